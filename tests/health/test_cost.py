"""Health is read by a few statements, however many tenants and events there are."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import Mode, metrics, parked
from flask_valetpro_stripe.payments import unfinished
from flask_valetpro_stripe.webhooks.health import health_of, overview
from tests.chaos.sizes import size
from tests.hosts import Host, make_host
from tests.webhooks.stage import Stage, ping

from .ward import Handler, everybody, within, words

#: 1,000 tenants in two modes; one connection has half of all events and payments.
EVENTS = size("HEALTH_EVENTS", small=20_000, middle=100_000, full=100_000)
FILL = (
    "INSERT INTO tenant (name) SELECT 'Hotel ' || g FROM generate_series(1, 1000) g",
    """INSERT INTO stripe_connection (tenant_id, mode, account_type, status, account_id, is_current, created_at)
    SELECT id, mode, 'CONNECT_STANDARD', 'CONNECTED', 'acct_' || id || mode, true, now() - interval '60 days'
    FROM tenant, (VALUES ('test'), ('live')) modes (mode)""",
    f"""INSERT INTO stripe_webhook_event (scope, event_id, type, mode, account_id, connection_id, status, attempts,
        error, received_at, processed_at, due_at, tenant_id, was_missed)
    SELECT 'platform', 'evt_' || g, 'customer.created', c.mode, c.account_id, c.id,
        CASE WHEN g % 5000 = 1 THEN 'dead' WHEN g % 2500 = 2 THEN 'failed' WHEN g % 1000 = 3 THEN 'received'
            WHEN g % 500 = 4 THEN 'parked' ELSE 'processed' END,
        1, 'ValueError: x', now() - interval '29 days' * random(), now(),
        CASE WHEN g % 2500 = 2 OR g % 1000 = 3 THEN now() END, c.tenant_id, g % 1000 = 7
    FROM generate_series(1, {EVENTS}) g
    JOIN stripe_connection c ON c.id = CASE WHEN g % 2 = 0 THEN 1 ELSE 1 + (g / 7) % 2000 END""",
    f"""INSERT INTO payment (tenant_id, amount, currency, status, mode, description, collected_via, connection_id,
        created_at, updated_at, paid_at, amount_refunded)
    SELECT c.tenant_id, 100, 'eur', 'COMPLETED', c.mode, 'x', 'TENANT', c.id, now() - interval '29 days' * random(),
        now(), now() - interval '1 day', 0
    FROM generate_series(1, {EVENTS}) g
    JOIN stripe_connection c ON c.id = CASE WHEN g % 2 = 0 THEN 1 ELSE 1 + g % 2000 END""",
    """INSERT INTO stripe_operation (id, tenant_id, payment_id, connection_id, kind, mode, idempotency_key, params,
        state, attempt, created_at, attempted_at)
    SELECT 'op_' || id, tenant_id, id, connection_id, 'payment_link.create', mode, 'key_' || id, '{}',
        CASE WHEN id % 5000 = 0 THEN 'unknown' ELSE 'done' END, 1, created_at, created_at FROM payment""",
    "ANALYZE",
)


@pytest.fixture(scope="module")
def many(postgresql: Any) -> Any:
    """1,000 hotels, and thousands of events, payments and calls."""
    with postgresql.database() as url, make_host(url) as host:
        with host.app.app_context(), host.db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as to:
            for statement in FILL:
                to.exec_driver_sql(statement.replace("%", "%%"))
        yield host


def plans(host: Host, ask: Any) -> list[str]:
    """Return PostgreSQL's plan of each statement."""
    asked: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:
        asked.append((arguments[2], arguments[3]))

    with within(host) as state:
        engine = host.db.engine
        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            ask(state)
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)
        found = []
        for statement, parameters in asked:
            lines = state.session.connection().exec_driver_sql(f"EXPLAIN {statement}", parameters)
            found.append("\n".join(line for (line,) in lines))
        return found


@pytest.mark.slow("fills a database first")
@pytest.mark.parametrize(
    "ask",
    [
        overview,
        lambda state: health_of(state, state.session.get(state.models.Tenant, 1), Mode.test),
        lambda state: health_of(state, None, Mode.live),
        parked.count,
        unfinished.count,
        unfinished.find_unfinished,
    ],
    ids=["overview", "one", "platform", "parked", "unfinished", "find"],
)
def test_among_thousands_of_events_and_payments_none_is_read_that_is_not_asked_for(many: Host, ask: Any) -> None:
    found = plans(many, ask)

    assert found
    wide = ("stripe_webhook_event", "payment", "stripe_operation")
    assert [plan for plan in found if any(f"Seq Scan on {table}" in plan for table in wide)] == []


def test_what_a_connection_was_paid_lately_is_found_among_all_that_it_ever_was(many: Host) -> None:
    (plan,) = [each for each in plans(many, overview) if "payment" in each]

    assert "ix_payment_stripe_paid" in plan


def test_the_overview_of_1_000_hotels_has_each_of_them_and_is_right(many: Host) -> None:
    with within(many) as state:
        found = overview(state)
        event = state.models.WebhookEvent
        counted = sa.select(event.status, sa.func.count().label("rows")).group_by(event.status)
        by_status = {row.status: row.rows for row in state.session.execute(counted)}

    assert len(found) == 2000
    assert sum(each.dead for each in found) == by_status["dead"] == EVENTS // 5000
    assert sum(each.failed for each in found) == by_status["failed"]
    assert sum(each.waiting for each in found) == by_status["failed"] + by_status["received"]


def statements_of(stage: Stage, ask: Any) -> int:
    with within(stage.host) as state:
        tenant = stage.host.tenant(stage.plaza.id)
        with stage.statements() as seen:
            ask(state, tenant)
        return len(seen)


@pytest.mark.both
@pytest.mark.parametrize(
    "ask",
    [
        lambda state, _: overview(state),
        lambda state, tenant: health_of(state, tenant, Mode.test),
        lambda state, _: metrics.scrape(state),
    ],
    ids=["overview", "one", "metrics"],
)
def test_ten_more_hotels_take_no_statement_more(stage: Stage, ask: Any) -> None:
    before = statements_of(stage, ask)
    Handler.of(stage.host, ValueError("poison"))
    for number in range(10):
        tenant = stage.host.make_tenant(f"Hotel {number}")
        stage.host.connect(tenant, f"acct_{number}")
        stage.deliver(ping(account=f"acct_{number}"))
    assert sum(words(each)[0] == "failing" for each in everybody(stage.host).values()) == 10

    assert statements_of(stage, ask) == before <= 8
