"""Any story of deliveries, workers, people and time, told to the inbox and to a model of it: both end alike."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from . import sizes
from .inbox_host import TENANTS
from .inbox_model import SAID, SOURCES, Claim, Event, Inbox, Row
from .inbox_stage import InboxStage, Key, Seen, make_inbox_stage
from .telling import ROUND, tell

T = TypeVar("T")
#: What a worker has in hand: the model's claim, and the real one.
Hand = tuple[Claim, Any]
#: Which of several: the story's next act is about one of those that are there by then.
ANY: Final = st.integers(0, 999)
TENANT: Final = st.sampled_from(TENANTS)
#: Those that lead to a tenant more often than the others.
SOURCE: Final = st.sampled_from(["plaza", "seaside", "lodge", "key", *SOURCES])
#: Where Stripe tells of each hotel's payment.
HOME: Final = {"plaza": "plaza", "seaside": "seaside", "harbour": "key", "lodge": "platform"}
#: Source, kind, and the tenant whose payment it is about. A wrong one can sign for any payment, too.
DELIVERY: Final = st.one_of(
    st.tuples(SOURCE, st.just("plain"), TENANT),
    st.tuples(TENANT, st.sampled_from(SAID)).map(lambda told: (HOME[told[0]], told[1], told[0])),
    st.tuples(SOURCE, st.sampled_from(SAID), TENANT),
)
AFTER_A_LEASE: Final = timedelta(minutes=6)
#: From one act to the next. Stripe counts in whole seconds.
TICK: Final = timedelta(seconds=1)
#: Enough for the pause after a failure, for a lease, for a consent, …, and for a body to go.
WAITS: Final = [timedelta(minutes=2), AFTER_A_LEASE, timedelta(minutes=20), timedelta(days=1)]
LONG: Final = [timedelta(days=6), timedelta(days=31)]
#: What must really have happened in a run that is not a small one.
WANTED: Final = """
    deliver, deliver again, deliver with the same id, deliver what a worker has, deliver what a worker had, answer
    200, answer 400, answer 500, answer 503, switch tenant, switch event, switch engine, wait, drain, drained:
    processed, drained: failed, drained: dead, claim early, claim when due, claim as the next, come back after a
    moment, come back after others have it, come back after others are done, came back: too late, overtake,
    overtaken, replay by admin, replay by admin: unknown_event, replay by operator, replay by operator by force,
    link, link after an event, released, disconnect, revoke, prune, pruned: rows, pruned: bodies
"""


def pick(things: Iterable[T], any_: int) -> T:
    found = list(things)
    return found[any_ % len(found)]


class Story(RuleBasedStateMachine):
    """Each rule is an act; what whoever acts is told, and all that is there afterwards, must be as the model says."""

    def __init__(self, stage: InboxStage, ran: Counter[str]) -> None:
        super().__init__()
        self.stage, self.ran = stage, ran
        self.model: Inbox = stage.begin()
        #: Every event that Stripe made.
        self.sent: dict[Key, Event] = {}
        #: What workers had when they died, or grew slow.
        self.hands: list[Hand] = []
        #: The rows after the act before this, and the tenant whose act this is; None if it is not one tenant's.
        self.before: dict[Key, Seen] = {}
        self.actor: str | None = None

    def note(self, act: str) -> None:
        self.ran[act] += 1

    # -- Stripe

    @initialize(
        deliveries=st.lists(DELIVERY, min_size=1, max_size=5),
        is_stored=st.booleans(),
        failing=st.sets(st.sampled_from([*TENANTS, None]), max_size=3),
    )
    def begin(self, deliveries: list[tuple[str, str, str]], is_stored: bool, failing: set[str | None]) -> None:
        self.use_engine(is_stored)
        self.model.poison |= failing
        for delivery in deliveries:
            self.send(*delivery)
            self.is_as_the_model_says()

    @rule(delivery=DELIVERY)
    def deliver(self, delivery: tuple[str, str, str]) -> None:
        self.note("deliver")
        self.send(*delivery)

    @rule(any_=ANY, by=st.none() | SOURCE)
    def deliver_again(self, any_: int, by: str | None) -> None:
        """The same event, or another one with its id by some endpoint."""
        self.note("deliver with the same id" if by else "deliver again")
        event = pick(self.sent.values(), any_)
        self.post(replace(event, source=by, created=self.model.now) if by else event)

    @precondition(lambda self: self.waiting())
    @rule(any_=ANY, is_over=st.booleans())
    def deliver_what_a_worker_has(self, any_: int, is_over: bool) -> None:
        """While its lease runs, or after it, when the worker must have died."""
        self.note("deliver what a worker had" if is_over else "deliver what a worker has")
        row = pick(self.waiting(), any_)
        self.claim(row, early=True)
        self.is_as_the_model_says()
        if is_over:
            self.go_on(AFTER_A_LEASE)
        self.post(row.event)

    def waiting(self) -> list[Row]:
        return [row for row in self.model.rows.values() if row.status in ("received", "failed")]

    def send(self, source: str, kind: str, about: str) -> None:
        self.post(Event(f"evt_{len(self.sent)}", source, kind, about, self.model.now))

    def post(self, event: Event) -> None:
        event = self.sent.setdefault(event.key, event)
        self.actor = self.model.route(event).tenant
        answer = self.model.deliver(event)
        assert self.stage.deliver(event) == answer
        self.note(f"answer {answer}")

    # -- the host, and time

    @rule(who=st.sampled_from(["engine", "event", *TENANTS, None]), any_=ANY)
    def switch(self, who: str | None, any_: int) -> None:
        """The handler fails for a tenant or an event, or does so no more; or the host goes over to the other engine."""
        self.note(f"switch {who if who in ('engine', 'event') else 'tenant'}")
        if who == "engine":
            self.use_engine(not self.model.is_stored)
        else:
            self.model.poison ^= {pick(self.sent.values(), any_).id if who == "event" else who}

    def use_engine(self, is_stored: bool) -> None:
        self.model.is_stored = is_stored
        self.stage.use_engine(is_stored=is_stored)

    @rule(pause=st.sampled_from([*WAITS, *LONG]))
    def wait(self, pause: timedelta) -> None:
        self.note("wait")
        self.go_on(pause)

    def go_on(self, pause: timedelta) -> None:
        self.model.now += pause
        self.stage.go_on_until(self.model.now)

    # -- workers

    @rule(pause=st.sampled_from([timedelta(), *WAITS]))
    def drain(self, pause: timedelta) -> None:
        self.note("drain")
        self.go_on(pause)
        done = self.model.drain()
        assert self.stage.drain() == done
        self.ran.update({f"drained: {status}": number for status, number in done.items()})

    @precondition(lambda self: self.model.rows)
    @rule(any_=ANY, how=st.sampled_from(["early", "when due", "as the next"]))
    def claim_and_die(self, any_: int, how: str) -> None:
        """A worker takes an event, or the next one of its tenant, and is not heard of for a while, or ever."""
        self.note(f"claim {how}")
        row = pick(self.model.rows.values(), any_)
        self.actor = row.tenant
        if how == "as the next":
            real = self.stage.claim_next(row.tenant)
            picked = self.stage.key_of(real)
            self.hold(self.model.claim_next(row.tenant, picked, self.stage.is_dead), real)
        else:
            self.claim(row, early=how == "early")

    def claim(self, row: Row, *, early: bool = False) -> Hand | None:
        return self.hold(self.model.claim(row, early=early), self.stage.claim(row.event.key, early=early))

    def hold(self, ours: Claim | None, real: Any) -> Hand | None:
        assert (ours is None) == (real is None)
        if ours is None:
            return None
        self.hands.append((ours, real))
        return self.hands[-1]

    @precondition(lambda self: self.hands)
    @rule(any_=ANY, after=st.sampled_from(["a moment", "others have it", "others are done"]))
    def come_back(self, any_: int, after: str) -> None:
        """A worker was slow, and goes on with what it had in hand, whosever that is by then."""
        self.note(f"come back after {after}")
        hand = self.hands.pop(any_ % len(self.hands))
        row = hand[0].row
        if self.model.rows.get(row.event.key) is not row:
            # It was so slow that even the row is gone.
            return
        if after != "a moment":
            self.go_on(AFTER_A_LEASE)
        if after == "others have it":
            self.claim(row)
        elif after == "others are done":
            self.drain(timedelta())
        self.note(f"came back: {self.work(hand) or 'too late'}")

    def work(self, hand: Hand) -> str | None:
        ours, real = hand
        # The real one first: others may do something meanwhile.
        became = self.stage.work(real)
        assert became == self.model.work(ours)
        return became

    @precondition(lambda self: self.runnable())
    @rule(any_=ANY)
    def overtake(self, any_: int) -> None:
        """A handler commits by itself and dawdles; when it writes at last, its event is another worker's."""
        self.note("overtake")
        row = pick(self.runnable(), any_)
        slow = self.claim(row, early=True)
        if slow is not None:
            self.stage.meanwhile(lambda: self.finish_first(row))
            assert self.work(slow) is None

    def finish_first(self, row: Row) -> None:
        self.go_on(AFTER_A_LEASE)
        quick = self.claim(row)
        if quick is not None:
            self.work(quick)
            self.note("overtaken")

    def runnable(self) -> list[Row]:
        """Return the rows that wait, and that the host alone has something to do about."""
        return [
            row for row in self.waiting() if row.event.kind == "plain" and not (row.connection and row.connection.ended)
        ]

    # -- people

    @precondition(lambda self: self.model.rows)
    @rule(any_=ANY, who=st.sampled_from(["its admin", "operator", "operator by force", *TENANTS]))
    def replay(self, any_: int, who: str) -> None:
        row = pick(self.model.rows.values(), any_)
        if who.startswith("operator"):
            force = who != "operator"
            self.answered(who, self.stage.replay(row.event.key, force=force), self.model.replay(row, force=force))
            return
        tenant = self.actor = (row.tenant or "plaza") if who == "its admin" else who
        self.answered("admin", self.stage.replay_own(row.event.key, tenant), self.model.replay_own(row, tenant))

    def answered(self, who: str, told: str, expected: str) -> None:
        assert told == expected
        self.note(f"replay by {who}")
        self.note(f"replay by {who}: {told}")

    @rule(tenant=TENANT, pause=st.sampled_from([timedelta(), *WAITS]))
    def link_after_an_event(self, tenant: str, pause: timedelta) -> None:
        """Stripe is faster than we are to say something about an account that is being linked."""
        self.note("link after an event")
        self.send("lodge", "plain", "lodge")
        self.is_as_the_model_says()
        self.go_on(pause)
        self.link(tenant, "lodge")

    @rule(tenant=TENANT, of=TENANT)
    def link(self, tenant: str, of: str) -> None:
        self.note("link")
        self.actor = tenant
        may, id_ = self.model.may_link(tenant, f"acct_{of}"), self.stage.link(tenant, f"acct_{of}")
        assert (id_ is not None) == may
        if id_ is not None:
            self.ran["released"] += self.model.link(tenant, f"acct_{of}", id_)

    @rule(tenant=TENANT, by_stripe=st.booleans())
    def leave(self, tenant: str, by_stripe: bool) -> None:
        """A tenant disconnects here, or withdraws our access in Stripe's dashboard."""
        self.note("revoke" if by_stripe else "disconnect")
        if by_stripe:
            self.send(tenant, "withdrawal", tenant)
            return
        self.actor = tenant
        assert self.stage.disconnect(tenant) == self.model.disconnect(tenant)

    @rule(pause=st.sampled_from([timedelta(), timedelta(), *LONG]))
    def prune(self, pause: timedelta) -> None:
        self.note("prune")
        self.go_on(pause)
        rows, bodies = self.stage.prune()
        assert (rows, bodies) == self.model.prune()
        self.ran.update({"pruned: rows": rows, "pruned: bodies": bodies})

    # -- what there must be after each act

    @invariant()
    def is_as_the_model_says(self) -> None:
        seen, rows = self.stage.rows(), self.model.rows
        assert list(seen) == list(rows)
        for key, row in rows.items():
            assert_alike(row, seen[key])
        assert self.stage.effects() == self.model.effects
        payments = self.model.payments
        assert self.stage.payments() == {name: (each.status, each.refunded) for name, each in payments.items()}
        living = [each for each in self.model.connections if not each.ended]
        assert self.stage.living() == {each.id: each.is_current for each in living}
        self.left_other_tenants_alone(seen)
        # Of events that are due since the same moment, a database may give any first.
        self.go_on(TICK)

    def left_other_tenants_alone(self, seen: dict[Key, Seen]) -> None:
        """Whatever the model thinks: the act of one tenant changes no row of another's."""
        if self.actor is not None:
            others = {key: row for key, row in self.before.items() if row.tenant not in (None, self.actor)}
            assert {key: seen.get(key) for key in others} == others
        self.before, self.actor = seen, None


def assert_alike(row: Row, seen: Seen) -> None:
    """Return if the database has the row as it must be; which pause was drawn after a failure is noted in the model."""
    assert (seen.due is not None) == (seen.status in ("received", "processing", "failed"))
    if row.due and seen.due and row.spread:
        assert abs(row.due - seen.due) <= row.spread
        row.due, row.spread = seen.due, timedelta()
    assert seen == Seen(
        status=row.status,
        attempts=row.attempts,
        tenant=row.tenant,
        connection_id=row.connection and row.connection.id,
        received=row.received,
        due=row.due,
        has_error=row.reason is not None,
        processed=row.processed,
        has_body=row.has_body,
    )


@pytest.fixture
def stage(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[InboxStage]:
    with make_inbox_stage(database_url, monkeypatch) as stage:
        yield stage


@pytest.mark.slow("tells fifty stories")
def test_whatever_happens_in_whatever_order_the_inbox_is_as_its_model(
    stage: InboxStage, capsys: pytest.CaptureFixture[str]
) -> None:
    examples, steps = sizes.size("EXAMPLES", middle=200, full=5_000), sizes.size("STEPS", small=30, middle=30, full=50)
    seed = sizes.seed()
    sizes.tell(capsys, f"{examples} stories of {steps} acts on {stage.database}, SEED={seed}")
    ran, began = Counter[str](), time.perf_counter()

    for done in range(0, examples, ROUND):
        sized: Any = {"examples": min(ROUND, examples - done), "steps": steps, "seed": seed + done}
        tell(lambda: Story(stage, ran), "EXAMPLES={examples} STEPS={steps}.", **sized)

    acts = ", ".join(f"{act} {number}" for act, number in sorted(ran.items()))
    sizes.tell(capsys, f"{examples * steps / (time.perf_counter() - began):.0f} acts a second: {acts}")
    if examples * steps >= 200 * 30:
        assert [act for act in " ".join(WANTED.split()).split(", ") if not ran[act]] == []
