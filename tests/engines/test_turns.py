"""Whose turn it is: all who wait, but for a while nobody who had more of a worker's time than the others."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.handlers import FETCHERS
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.webhooks import worker
from flask_valetpro_stripe.webhooks.turns import Turns, count_held, tenants_waiting
from tests.clocks import Clock
from tests.hosts import Host, make_host
from tests.webhooks.stage import PLAZA, SEASIDE, make_stage, ping

from .box import Box, fail

HOTELS = [f"hotel{number}" for number in range(20)]


def share_out(shared: Turns, waiting: list[str], seconds: Mapping[str, float], *, rounds: int) -> Counter[str]:
    """Return how much time each tenant got, if a turn of one takes so many seconds (of others 0.05)."""
    got: Counter[str] = Counter()
    for _ in range(rounds):
        took = {tenant: seconds.get(tenant, 0.05) for tenant in shared.of_round(waiting)}
        shared.note(took)
        got.update(took)  # type: ignore[arg-type]  # seconds, where it counts in whole numbers
    return got


# -- the time


def test_in_each_round_everybody_has_a_turn_and_no_two_workers_begin_with_the_same() -> None:
    rounds = [Turns({}).of_round(HOTELS) for _ in range(50)]

    assert all(sorted(order) == sorted(HOTELS) for order in rounds)
    assert len({order[0] for order in rounds}) > 5


@pytest.mark.parametrize("seconds", [0.2, 1.0, 10.0])
def test_a_tenant_whose_turns_take_long_gets_its_part_of_the_time_and_no_more(seconds: float) -> None:
    got = share_out(Turns({}), [*HOTELS, "slow"], {"slow": seconds}, rounds=5000)

    # As much as each other had, the second that it may be ahead, and the turn in which it gets there.
    (hotels,) = {round(got[hotel], 6) for hotel in HOTELS}
    assert hotels <= got["slow"] <= hotels + 1.0 + seconds


def test_who_waits_alone_has_its_turn_however_much_it_had() -> None:
    shared = Turns({"slow": 30})
    share_out(shared, [*HOTELS, "slow"], {"slow": 10.0}, rounds=3)

    assert shared.of_round(["slow"]) == ["slow"]


def test_of_several_who_had_much_the_one_that_had_least_is_next() -> None:
    shared = Turns({"slow": 30, "slower": 60})

    assert share_out(shared, ["slow", "slower"], {"slow": 10.0, "slower": 10.0}, rounds=30).keys() == {"slow", "slower"}
    assert Turns({"slow": 30, "slower": 60}).of_round(["slow", "slower"]) == ["slow"]


def test_who_comes_later_begins_where_the_others_are() -> None:
    shared = Turns({})
    share_out(shared, HOTELS, {}, rounds=1000)

    got = share_out(shared, [*HOTELS, "late"], {"late": 5.0}, rounds=50)

    assert got["late"] == 5.0


def test_whoever_has_quick_handlers_does_not_shut_others_out() -> None:
    got = share_out(Turns({}), [*HOTELS, "quick"], {"quick": 0.01}, rounds=10_000)

    (hotels,) = {round(got[hotel], 6) for hotel in HOTELS}
    assert got["quick"] <= hotels <= got["quick"] + 1.0 + 0.05


def test_a_tenant_whose_events_are_held_waits_until_the_others_had_a_second_for_each() -> None:
    shared = Turns({"killer": 4, None: 1})

    assert share_out(shared, [*HOTELS, "killer"], {}, rounds=59)["killer"] == 0
    assert share_out(shared, [*HOTELS, "killer"], {}, rounds=5)["killer"] > 0
    assert Turns({None: 1}).of_round([None]) == [None]


# -- who waits


def put(host: Host, tenant: Any, due_in: float | None, **more: Any) -> None:
    """Store an event that is due in so many seconds."""
    with host.app.app_context():
        row = {"scope": "platform:test:connect", "type": "customer.created", "mode": "test", "body": "{}"}
        due_at = None if due_in is None else utcnow() + timedelta(seconds=due_in)
        given = {"event_id": f"evt_{time.time_ns()}", "status": EventStatus.received, "due_at": due_at, **more}
        tenant_id = None if tenant is None else tenant.id
        host.db.session.add(host.valetpro.models.WebhookEvent(**row, **given, tenant_id=tenant_id))
        host.db.session.commit()


@pytest.mark.both
@pytest.mark.parametrize("key", ["int", "uuid", "str"])
def test_who_has_due_events_is_found_once_whatever_else_waits(database_url: str, key: str) -> None:
    with make_host(database_url, key=key) as host:
        busy, later, done, idle, both = (host.make_tenant(name) for name in ("busy", "later", "done", "idle", "both"))
        for due_in in (-3, -2, -1):
            put(host, busy, due_in)
        put(host, later, 60)
        put(host, done, None, status=EventStatus.processed)
        for due_in in (60, -1, 30):
            put(host, both, due_in)
        with host.app.app_context():
            assert idle.id not in tenants_waiting(host.state)
            assert sorted(tenants_waiting(host.state), key=str) == sorted([busy.id, both.id], key=str)
            host.db.session.remove()
        put(host, None, 60)
        with host.app.app_context():
            assert None not in tenants_waiting(host.state)
        put(host, None, -1)
        with host.app.app_context():
            assert sorted(tenants_waiting(host.state), key=str) == sorted([busy.id, both.id, None], key=str)


@pytest.mark.both
def test_nobody_is_found_in_an_empty_inbox_and_the_platform_alone_in_its_own(database_url: str) -> None:
    with make_host(database_url) as host:
        with host.app.app_context():
            assert list(tenants_waiting(host.state)) == []
        put(host, None, -1)
        with host.app.app_context():
            assert list(tenants_waiting(host.state)) == [None]


def test_to_see_who_waits_few_pages_are_read_however_many_events_wait(postgres_url: str) -> None:
    with make_stage(postgres_url) as stage:
        box = Box(stage)
        fill(box, 5_000)
        asked: list[Any] = []
        with box.state() as state:
            engine = stage.host.db.engine
            sa.event.listen(engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2:4]))
            assert sorted(tenants_waiting(state)) == [stage.plaza.id, stage.seaside.id]
            statement, values = asked[0]
            with engine.connect() as connection:
                explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
                (plan,) = connection.exec_driver_sql(explain, values).scalar_one()

    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 60, json.dumps(plan)


def fill(box: Box, count: int) -> None:
    """Store many events of each hotel."""
    model = box.stage.host.valetpro.models.WebhookEvent.__table__
    rows = [box.put(account=account) for account in (PLAZA, SEASIDE)]
    with box.state() as state:
        for row in state.session.execute(sa.select(model).where(model.c.id.in_(rows))).mappings().all():
            like = {name: value for name, value in row.items() if name != "id"}
            more = [{**like, "event_id": f"evt_{row['id']}_{number}"} for number in range(count)]
            state.session.execute(sa.insert(model), more)
        state.session.commit()


@pytest.mark.both
def test_what_is_held_counts_until_its_lease_ends(box: Box) -> None:
    held, freed, _ = (box.put() for _ in range(3))
    platform = box.put(ping("customer.created", account=None))
    for row_id in (held, freed, platform):
        box.must_claim(row_id)
    box.end_lease(freed)

    with box.state() as state:
        assert count_held(state) == {box.stage.plaza.id: 1, None: 1}


# -- a worker's turns


def test_a_tenant_whose_event_failed_gives_its_turn_away(light_box: Box) -> None:
    called: list[int] = []

    def note(event: Any) -> None:
        called.append(event.tenant_id)
        if event.tenant_id == light_box.stage.plaza.id:
            fail(event)

    light_box.on(note)
    for _ in range(10):
        light_box.put()
        light_box.put(account=SEASIDE)

    assert light_box.drain() == {"failed": 10, "processed": 10}
    plaza = light_box.stage.plaza.id
    until_seaside_is_done = called[: [n for n, tenant in enumerate(called) if tenant != plaza][-1]]
    assert until_seaside_is_done.count(plaza) <= 2


def test_a_turn_ends_when_it_took_long(light_box: Box) -> None:
    called: list[int] = []
    clock = light_box.stage.host.state.clock = Clock()

    def handle_slowly(event: Any) -> None:
        called.append(event.tenant_id)
        clock.move(worker.LONGEST)

    light_box.on(handle_slowly)
    for _ in range(4):
        light_box.put()
        light_box.put(account=SEASIDE)

    assert light_box.drain() == {"processed": 8}
    assert all(len({*called[n : n + 2]}) == 2 for n in range(0, 8, 2)), "Each round is one event of each."


def test_events_over_which_workers_died_come_after_those_of_others_and_are_not_forgotten(light_box: Box) -> None:
    box, called = light_box, list[int]()
    box.on(lambda event: called.append(event.tenant_id))
    killers = [box.put() for _ in range(8)]
    for row_id in killers[:6]:
        box.must_claim(row_id)
    for _ in range(7):
        box.put(account=SEASIDE)

    assert box.drain() == {"processed": 9}
    assert called == [box.stage.seaside.id] * 7 + [box.stage.plaza.id] * 2
    for row_id in killers[:6]:
        box.end_lease(row_id)
    assert box.drain() == {"processed": 6}


@contextmanager
def locked(box: Box, row_id: int) -> Iterator[None]:
    """Have an event locked, as by a handler that is at it beyond its lease."""
    with box.state():
        engine = box.stage.host.db.engine
        model = box.stage.host.valetpro.models.WebhookEvent
    with engine.begin() as connection:
        connection.execute(sa.select(model.id).where(model.id == row_id).with_for_update())
        yield


def test_a_due_event_that_nobody_can_take_ends_no_round_of_the_others(postgres_url: str) -> None:
    with make_stage(postgres_url) as stage:
        box = Box(stage)
        stuck = box.put()
        for _ in range(3 * worker.SHARE):
            box.put(account=SEASIDE)

        with locked(box, stuck):
            assert box.drain() == {"processed": 3 * worker.SHARE}
        assert box.drain() == {"processed": 1}


def test_beside_an_event_that_nobody_can_take_those_who_had_much_are_not_left_out(postgres_url: str) -> None:
    with make_stage(postgres_url) as stage:
        box = Box(stage)
        stuck = box.put()
        for row_id in [box.put(account=SEASIDE) for _ in range(5)][:3]:
            box.must_claim(row_id)

        with locked(box, stuck):
            assert box.drain() == {"processed": 2}


def test_an_event_costs_a_worker_three_statements(postgres_url: str) -> None:
    with make_stage(postgres_url) as stage:
        box = Box(stage)
        fill(box, 9)
        with box.state() as state, stage.statements() as seen:
            assert worker.drain(state, FETCHERS) == {"processed": 20}

    kinds = Counter(statement.split()[0] for statement in seen)
    # Claimed, held and finished; who waits is asked before each round, once who holds what.
    assert kinds == {"UPDATE": 40, "SELECT": 20 + 1, "WITH": 3}
    assert all(first != second for first, second in pairwise(seen))
