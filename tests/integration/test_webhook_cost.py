"""What a delivery asks of the database: counted in statements, so that it is the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_valetpro_stripe import AccountType, current_stripe, current_tenant, signals
from flask_valetpro_stripe.testing import make_event, sign
from tests.webhooks.stage import PLAZA, REFUSED, SEASIDE, Stage, make_stage

pytestmark = pytest.mark.both


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    """Two hotels with an account each, whose statements are counted."""
    with make_stage(database_url) as stage:
        yield stage


def completed(stage: Stage, account: str = PLAZA, **more: object) -> dict[str, object]:
    """Return the event of a new payment of the account's hotel."""
    payment = stage.make_payment(stage.plaza if account == PLAZA else stage.seaside)
    session = {
        "id": f"cs_{payment.id}",
        "object": "checkout.session",
        "payment_link": payment.stripe_payment_link_id,
        "payment_intent": f"pi_{payment.id}",
        "payment_status": "paid",
        "status": "complete",
        "amount_total": payment.amount,
        "currency": payment.currency,
    }
    return dict(make_event("checkout.session.completed", session, account=account, **more))


def test_a_paid_session_takes_two_statements(stage: Stage) -> None:
    event = completed(stage)

    with stage.statements() as seen:
        answer = stage.deliver(event)

    assert answer.status_code == 200
    assert [statement.split()[0] for statement in seen] == ["INSERT", "UPDATE"]
    assert [row.status for row in stage.rows("WebhookEvent")] == ["processed"]


def test_a_repeat_takes_two_statements(stage: Stage) -> None:
    event = completed(stage)
    stage.deliver(event)

    with stage.statements() as seen:
        answer = stage.deliver(event)

    assert answer.status_code == 200
    assert [statement.split()[0] for statement in seen] == ["INSERT", "SELECT"]


def test_an_event_for_a_worker_is_stored_by_one_statement(stage: Stage) -> None:
    event = completed(stage)
    told: list[tuple[int, str]] = []
    stage.host.state.enqueue = lambda row_id, event_type: told.append((row_id, event_type))

    with stage.statements() as seen:
        answer = stage.deliver(event)

    assert answer.status_code == 200
    assert [statement.split()[0] for statement in seen] == ["INSERT"]
    row = stage.row()
    assert (row.status, row.attempts, row.tenant_id, row.account_id) == ("received", 0, stage.plaza.id, PLAZA)
    assert told == [(row.id, "checkout.session.completed")]


def test_a_forged_event_takes_no_statement(stage: Stage) -> None:
    body = b'{"object": "event"}'

    with stage.statements() as seen:
        answer = stage.post(body, sign(body, "whsec_" + "forged00" * 4))

    assert (answer.status_code, answer.text) == REFUSED
    assert seen == []


def test_a_listener_costs_what_it_is_given_and_no_more(stage: Stage) -> None:
    event = completed(stage)
    heard: list[str] = []

    def listen(*_: object, **facts: object) -> None:
        heard.append(facts["tenant"].name)  # type: ignore[attr-defined]

    with signals.payment_updated.connected_to(listen, sender=stage.host.app), stage.statements() as seen:
        stage.deliver(event)

    assert heard == ["Plaza"]
    # The tenant and the payment, and the tenant once more after the commit.
    assert [statement.split()[0] for statement in seen] == ["INSERT", "UPDATE", "SELECT", "SELECT", "SELECT"]


def test_the_event_belongs_to_the_hotel_whose_account_it_names(stage: Stage) -> None:
    seen: list[tuple[str, str | None, AccountType | None, int]] = []

    @stage.host.valetpro.on("checkout.session.completed")
    def look(event: object) -> None:
        connection_id = event.connection_id  # type: ignore[attr-defined]
        seen.append((current_tenant.name, current_stripe.account_id, current_stripe.account_type, connection_id))

    for account in (PLAZA, SEASIDE):
        stage.deliver(completed(stage, account))

    standard = AccountType.CONNECT_STANDARD
    connections = [connection.id for connection in stage.rows("Connection")]
    assert seen == [("Plaza", PLAZA, standard, connections[0]), ("Seaside", SEASIDE, standard, connections[1])]


def test_a_handler_gets_the_sessions_own_row(stage: Stage) -> None:
    found: list[bool] = []

    @stage.host.valetpro.on("checkout.session.completed")
    def look(event: object) -> None:
        model = stage.host.valetpro.models.WebhookEvent
        same = stage.host.db.session.query(model).one()
        found.append(same is event)
        found.append((same.generation, same.processed_at, same.error) == (0, None, None))

    stage.deliver(completed(stage))

    assert found == [True, True]
