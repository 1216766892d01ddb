"""Whether Stripe delivered an event or it had to be fetched is kept, whichever engine is at work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from celery import Celery

from flask_valetpro_stripe.celery import bind
from tests.reconcile.stage import dashboard, lose_deliveries
from tests.webhooks.stage import PLAZA, Stage, make_stage, ping

from .ward import Handler, let_pass, pay, run


@pytest.fixture(params=["inline", "celery"])
def any_stage(request: pytest.FixtureRequest, database_url: str) -> Iterator[Stage]:
    """The two hotels, by either engine, on the databases that the test's markers choose."""
    with make_stage(database_url, PROCESSING=request.param) as stage:
        if request.param == "celery":
            bind(Celery("host", broker="memory://"), stage.host.app)
        yield stage


def marks(stage: Stage) -> dict[str, bool]:
    return {row.event_id: row.was_missed for row in stage.rows()}


def lost(stage: Stage, event_type: str = "checkout.session.completed") -> Mapping[str, Any]:
    """An event whose delivery was lost."""
    payment = stage.make_payment(stage.plaza)
    with stage.events_while() as events:
        pay(stage, payment)
    lose_deliveries(stage.host, stage.simulator)
    return events.of(event_type)


def test_what_stripe_delivers_is_not_missed(any_stage: Stage) -> None:
    event = ping()
    any_stage.deliver(event)
    any_stage.deliver(event)

    assert marks(any_stage) == {event["id"]: False}


@pytest.mark.both
def test_what_had_to_be_fetched_is_missed_until_stripe_delivers_it(any_stage: Stage) -> None:
    event = lost(any_stage)
    assert run(any_stage.host, "reconcile").exit_code == 0
    assert set(marks(any_stage).values()) == {True}
    let_pass(any_stage.host, minutes=5)
    before = {row.event_id: row.received_at for row in any_stage.rows()}

    assert any_stage.deliver(event).status_code == 200

    assert [event_id for event_id, missed in marks(any_stage).items() if not missed] == [event["id"]]
    # What a later look at Stripe's list finds was there before.
    assert run(any_stage.host, "reconcile").exit_code == 0
    assert marks(any_stage)[event["id"]] is False
    assert {row.event_id: row.received_at for row in any_stage.rows()} == before
    assert {row.status for row in any_stage.rows()} == {"processed"}


@pytest.mark.both
def test_a_fetched_event_that_fails_and_is_delivered_then_was_delivered(stage: Stage) -> None:
    handler = Handler.of(stage.host, ValueError("poison"))
    dashboard(stage.simulator, PLAZA).v1.customers.create({"name": "A guest"})
    lose_deliveries(stage.host, stage.simulator)
    run(stage.host, "reconcile")
    (event,) = [each for each in stage.simulator.events_of(PLAZA) if each["type"] == "customer.created"]
    (row,) = [each for each in stage.rows() if each.type == "customer.created"]
    assert (row.status, row.was_missed) == ("failed", True)

    assert stage.deliver(event).status_code == 500
    assert marks(stage)[event["id"]] is False
    handler.raises = None
    assert stage.deliver(event).status_code == 200

    assert marks(stage)[event["id"]] is False


@pytest.mark.both
def test_a_repeat_of_what_was_delivered_takes_no_statement_more(stage: Stage) -> None:
    event = ping()
    stage.deliver(event)

    with stage.statements() as seen:
        stage.deliver(event)

    assert [statement.split()[0] for statement in seen] == ["INSERT", "SELECT"]
