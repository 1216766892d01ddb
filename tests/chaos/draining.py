"""Four worker processes that drain an inbox of many hotels, in the slices of time that they are given."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from flask_valetpro_stripe.handlers import FETCHERS
from flask_valetpro_stripe.testing import Simulator, make_event
from flask_valetpro_stripe.webhooks import worker
from tests import timing
from tests.hosts import Host, make_host

from .copies import copies
from .sizes import SCALE

TYPE = "customer.created"
#: The tenant whose events the handler is told to suffer from; its account's name is all that sets it apart.
POISON = "acct_poison"
HOTELS, WORKERS = 20, 4
#: Seconds that the handler of a slow event takes.
NAP = 1.0
PATIENCE = timing.seconds(600)

# Where it matters what starting a process costs; elsewhere they are copies.
context = multiprocessing.get_context("spawn")

# As many as there are numbers, to the hotels in turn; each is due a millisecond after the one before it.
FILL = """
    INSERT INTO stripe_webhook_event (scope, event_id, type, mode, account_id, connection_id, tenant_id, status,
                                      attempts, generation, body, received_at, due_at)
    SELECT 'platform:test:connect', 'evt_' || account_id || n, :type, 'test', account_id, hotel.id, tenant_id,
           'received', 0, 0, replace(:body, 'evt_body', 'evt_' || account_id || n), came, came
    FROM (SELECT *, row_number() OVER () - 1 AS place, count(*) OVER () AS hotels FROM stripe_connection
          WHERE (account_id = :poison) = :is_poison) AS hotel,
         (SELECT n, now() - make_interval(hours => :hours) + n * interval '1 ms' AS came
          FROM generate_series(1, :count) AS n) AS numbers
    WHERE n % hotels = place
"""


@dataclass
class Signs:
    """What the processes of one group tell each other."""

    #: Handler calls for the hotels, and for the poison.
    calls: Any = field(default_factory=lambda: context.Value("q"))
    tries: Any = field(default_factory=lambda: context.Value("q"))
    #: How often the poison had been tried when 95 of 100 of the hotels' events were handled.
    tries_by_then: Any = field(default_factory=lambda: context.Value("q", -1))
    ready: Any = field(default_factory=lambda: context.Semaphore(0))
    go_on: Any = field(default_factory=context.Event)
    #: All of the hotels' events are handled.
    done: Any = field(default_factory=context.Event)
    stop: Any = field(default_factory=context.Event)


def work(url: str, hotels_events: int, kind: str, signs: Signs) -> None:
    """Be one worker, as ``flask stripe worker`` is; a process."""
    # As much as a host writes, to nobody.
    logging.basicConfig(filename=os.devnull, level=logging.INFO)
    with make_host(url, simulator=Simulator()) as host:

        @host.valetpro.on(TYPE)
        def handle(event: Any) -> None:
            if event.account_id == POISON:
                with signs.tries:
                    signs.tries.value += 1
                suffer(kind)
            else:
                count_call(signs, hotels_events)

        def should_stop() -> bool:
            signs.go_on.wait()
            return bool(signs.stop.is_set())

        with host.app.app_context():
            signs.ready.release()
            worker.keep_draining(host.state, FETCHERS, should_stop=should_stop)


def suffer(kind: str) -> None:
    """Do what poison does."""
    if kind == "fails":
        raise ValueError("poison")
    if kind == "sleeps":
        time.sleep(NAP)
    if kind == "kills":
        os.kill(os.getpid(), signal.SIGKILL)


def count_call(signs: Signs, of: int) -> None:
    with signs.calls:
        signs.calls.value += 1
        if signs.calls.value == of * 95 // 100:
            signs.tries_by_then.value = signs.tries.value
        if signs.calls.value == of:
            signs.done.set()


@dataclass
class Group:
    """An inbox and its workers."""

    url: str
    host: Host
    hotels_events: int
    kind: str
    signs: Signs = field(default_factory=Signs)
    workers: list[Any] = field(default_factory=list)
    deaths: int = 0
    #: From when until when the group worked.
    slices: list[tuple[float, float]] = field(default_factory=list)

    def start(self) -> None:
        """Start the workers, and return when all of them could begin."""
        for _ in range(WORKERS):
            self.workers.append(self._started())
        for _ in self.workers:
            assert self.signs.ready.acquire(timeout=PATIENCE), "A worker did not start."

    def _started(self) -> Any:
        start: Any = context if self.kind == "kills" and SCALE != "small" else copies
        process = start.Process(target=work, args=(self.url, self.hotels_events, self.kind, self.signs), daemon=True)
        process.start()
        return process

    def work_for(self, seconds: float) -> None:
        """Let the group work, with a new process for each that dies, as a supervisor does."""
        began = time.time()
        self.signs.go_on.set()
        while time.time() < began + seconds and not self.signs.done.wait(0.05):
            for number, process in enumerate(self.workers):
                if process.exitcode is not None:
                    assert process.exitcode == -signal.SIGKILL, "A worker ended by itself."
                    self.workers[number], self.deaths = self._started(), self.deaths + 1
        self.signs.go_on.clear()
        self.slices.append((began, time.time()))

    def end(self) -> None:
        """Stop the workers as SIGTERM does, and wait until they are gone."""
        self.signs.stop.set()
        self.signs.go_on.set()
        for process in self.workers:
            process.join(PATIENCE)

    def seconds(self) -> list[float]:
        """Return for each of the hotels' events how long the group had worked when it was done, the earliest first."""
        starts, before = [began for began, _ in self.slices], [0.0]
        for began, ended in self.slices:
            before.append(before[-1] + ended - began)
        found = []
        for row in self.rows(poison=False):
            number = bisect_right(starts, row.processed_at.timestamp()) - 1
            found.append(min(before[number] + row.processed_at.timestamp() - starts[number], before[number + 1]))
        return sorted(found)

    def rows(self, *, poison: bool) -> list[Any]:
        """Return what became of the events of the hotels, or of the poison."""
        model = self.host.valetpro.models.WebhookEvent
        columns = (model.status, model.attempts, model.generation, model.due_at, model.processed_at, model.error)
        with self.host.app.app_context():
            wanted = sa.select(*columns).where((model.account_id == POISON).is_(poison))
            return list(self.host.db.session.execute(wanted))


@contextmanager
def group(url: str, *, hotels_events: int, poison_events: int, kind: str) -> Iterator[Group]:
    """Give a group with a full inbox, whose workers wait for its first slice. The poison's events came first."""
    with make_host(url, simulator=Simulator()) as host:
        for number in range(HOTELS):
            host.connect(host.make_tenant(f"Hotel {number}"), f"acct_hotel{number}")
        host.connect(host.make_tenant("Poison"), POISON)
        fill(host, poison_events, is_poison=True)
        fill(host, hotels_events, is_poison=False)
        made = Group(url, host, hotels_events, kind)
        try:
            made.start()
            yield made
        finally:
            made.end()


def fill(host: Host, count: int, *, is_poison: bool) -> None:
    body = json.dumps(make_event(TYPE, {"id": "cus_1", "object": "customer"}, account=POISON, id="evt_body"))
    values = {"type": TYPE, "poison": POISON, "body": body, "count": count, "hours": 2 if is_poison else 1}
    with host.app.app_context():
        host.db.session.execute(sa.text(FILL), {**values, "is_poison": is_poison})
        host.db.session.commit()


def alternate(groups: list[Group], seconds: float) -> None:
    """Let the groups work in turn until each is done, so that a machine whose speed drifts changes all alike."""
    deadline = time.monotonic() + PATIENCE * 6
    while any(not group.signs.done.is_set() for group in groups):
        assert time.monotonic() < deadline, "It never ended."
        for group in groups:
            if not group.signs.done.is_set():
                group.work_for(seconds)
    for group in groups:
        group.end()
