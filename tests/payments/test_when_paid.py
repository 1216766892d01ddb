"""When a payment was paid: as Stripe's event of that says, whatever is heard first."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_valetpro_stripe.testing import Simulator
from tests.payments.desk import Desk
from tests.payments.news import last, owner_of, page_of, tell

PAYING = ["checkout.session.completed", "payment_intent.succeeded", "charge.succeeded"]


def told_at(event: dict[str, Any], moment: datetime) -> dict[str, Any]:
    return {**event, "created": int(moment.timestamp())}


@pytest.mark.parametrize("later", ["charge.refunded", "charge.dispute.created"])
@pytest.mark.parametrize("later_first", [True, False])
def test_it_is_the_same_moment_in_whatever_order_events_come(
    plaza: Desk, simulator: Simulator, later: str, later_first: bool
) -> None:
    payment, now = plaza.make(), datetime.now(UTC).replace(microsecond=0)
    made, paid = now - timedelta(days=30), now - timedelta(days=20)
    plaza.change(payment, created_at=made)
    simulator.pay(page_of(payment), card="4000000000000259" if "dispute" in later else "4242424242424242")
    if later == "charge.refunded":
        intent = last(plaza, "payment_intent.succeeded")["data"]["object"]["id"]
        owner_of(plaza).v1.refunds.create({"payment_intent": intent, "amount": 100})
    news = [told_at(last(plaza, each), paid) for each in PAYING]
    aftermath = told_at(last(plaza, later), now - timedelta(days=1))
    for event in [aftermath, *news] if later_first else [*news, aftermath]:
        assert tell(plaza, json.loads(json.dumps(event))).error is None

    assert plaza.now(payment).paid_at == paid


@pytest.mark.parametrize("kind", PAYING[:2])
def test_it_is_not_before_the_payment_was_made(plaza: Desk, simulator: Simulator, kind: str) -> None:
    payment = plaza.make()
    simulator.pay(page_of(payment))
    tell(plaza, last(plaza, kind) | {"created": 1})

    now = plaza.now(payment)
    assert (now.status, now.paid_at) == ("COMPLETED", now.created_at)


def test_an_event_whose_intent_says_otherwise_does_not_move_it(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    simulator.pay(page_of(payment))
    plaza.hear()
    before = plaza.now(payment)
    event = last(plaza, "payment_intent.succeeded") | {"id": "evt_absurd", "created": 0}
    event["data"]["object"] |= {"amount": None, "status": "requires_payment_method"}
    tell(plaza, event)

    now = plaza.now(payment)
    assert (now.paid_at, now.updated_at, now.status) == (before.paid_at, before.updated_at, "COMPLETED")


def test_of_a_deposit_it_is_when_it_was_taken(plaza: Desk, simulator: Simulator) -> None:
    payment, now = plaza.make(capture_method="manual"), datetime.now(UTC).replace(microsecond=0)
    plaza.change(payment, created_at=now - timedelta(days=3))
    simulator.pay(page_of(payment))
    held = ["checkout.session.completed", "payment_intent.amount_capturable_updated", "charge.succeeded"]
    for kind in held:
        tell(plaza, told_at(last(plaza, kind), now - timedelta(days=2)))
    assert plaza.now(payment).paid_at is None

    plaza.capture(payment)
    tell(plaza, told_at(last(plaza, "payment_intent.succeeded"), now - timedelta(hours=1)))
    assert plaza.now(payment).paid_at == now - timedelta(hours=1)
