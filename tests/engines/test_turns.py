"""Whose turn it is: all who wait."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.handlers import FETCHERS
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.webhooks import worker
from flask_valetpro_stripe.webhooks.turns import tenants_waiting
from tests.hosts import Host, make_host
from tests.webhooks.stage import PLAZA, SEASIDE, make_stage

from .box import Box


def put(host: Host, tenant: Any, due_in: float | None, **more: Any) -> None:
    """Store an event that is due in so many seconds."""
    with host.app.app_context():
        row = {"scope": "platform:test:connect", "type": "customer.created", "mode": "test", "body": "{}"}
        due_at = None if due_in is None else utcnow() + timedelta(seconds=due_in)
        given = {"event_id": f"evt_{time.time_ns()}", "status": EventStatus.received, "due_at": due_at, **more}
        tenant_id = None if tenant is None else tenant.id
        host.db.session.add(host.valetpro.models.WebhookEvent(**row, **given, tenant_id=tenant_id))
        host.db.session.commit()


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


def test_an_event_costs_a_worker_three_statements(postgres_url: str) -> None:
    with make_stage(postgres_url) as stage:
        box = Box(stage)
        fill(box, 9)
        with box.state() as state, stage.statements() as seen:
            assert worker.drain(state, FETCHERS) == {"processed": 20}

    kinds = Counter(statement.split()[0] for statement in seen)
    # Claimed, held and finished; who waits is asked before each round.
    assert kinds == {"UPDATE": 40, "SELECT": 20, "WITH": 3}
    assert all(first != second for first, second in pairwise(seen))
