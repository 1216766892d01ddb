"""What was held and let go is no refund, though endpoints of API versions before 2025-03-31.basil tell of it as one."""

from __future__ import annotations

from typing import Any

import pytest

from flask_valetpro_stripe import current_stripe
from flask_valetpro_stripe.payments.find import OPERATION_METADATA
from flask_valetpro_stripe.testing import Simulator, make_event
from tests.payments.desk import Desk
from tests.payments.news import operation_of, owner_of, page_of, tell


def told_as_refund(kind: str, charge: str, intent: str, amount: int) -> dict[str, Any]:
    refund = {
        "id": "re_let_go",
        "object": "refund",
        "amount": amount,
        "currency": "eur",
        "charge": charge,
        "payment_intent": intent,
        "status": "succeeded",
        "reason": None,
        "metadata": {},
    }
    return make_event(kind, refund, api_version="2024-10-28.acacia")


def held(desk: Desk) -> Any:
    payment = desk.make(capture_method="manual", amount=5000)
    desk.simulator.pay(page_of(payment))
    desk.hear()
    return desk.now(payment)


@pytest.mark.parametrize("kind", ["refund.created", "charge.refund.updated"])
@pytest.mark.parametrize("is_heard", [True, False])
def test_a_hold_that_was_let_go_was_not_paid(plaza: Desk, kind: str, is_heard: bool) -> None:
    payment = held(plaza)
    with plaza.open():
        current_stripe.client.v1.payment_intents.cancel(payment.stripe_payment_intent_id)
    if is_heard:
        plaza.hear()
    tell(plaza, told_as_refund(kind, payment.stripe_charge_id, payment.stripe_payment_intent_id, 5000))
    plaza.hear()

    for now in (plaza.now(payment), plaza.sync(payment)):
        assert (now.status, now.paid_at, now.amount_refunded) == ("CANCELED", None, 0)


def test_the_rest_of_a_deposit_was_not_given_back(plaza: Desk) -> None:
    payment = held(plaza)
    plaza.capture(payment, 1200)
    plaza.hear()
    tell(plaza, told_as_refund("refund.created", payment.stripe_charge_id, payment.stripe_payment_intent_id, 3800))

    now = plaza.now(payment)
    assert (now.status, now.amount_refunded) == ("COMPLETED", 0)
    plaza.refund(payment, amount=1200)
    assert plaza.now(payment).status == "REFUNDED"


@pytest.mark.both
def test_a_refund_of_a_deposit_is_known_before_its_capture_is_heard(plaza: Desk) -> None:
    payment = held(plaza)
    owner = owner_of(plaza).v1
    owner.payment_intents.capture(payment.stripe_payment_intent_id)
    owner.refunds.create({"payment_intent": payment.stripe_payment_intent_id, "amount": 700})
    found = [event for event in plaza.simulator.events_of(plaza.account) if event["type"] == "refund.created"]
    tell(plaza, found[-1])

    now = plaza.now(payment)
    assert (now.status, now.amount_refunded) == ("PARTIALLY_REFUNDED", 700)


def test_a_hold_of_the_owners_own_does_not_keep_the_guest_from_paying(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make(application_fee=250)
    own: Any = {
        "amount": 2500,
        "currency": "eur",
        "capture_method": "manual",
        "confirm": True,
        "payment_method": "pm_card_visa",
        "return_url": "https://owner.example/",
        "metadata": {OPERATION_METADATA: operation_of(plaza, payment)},
    }
    intents = owner_of(plaza).v1.payment_intents
    intent = intents.create(own)
    intents.cancel(intent.id)
    tell(plaza, told_as_refund("refund.created", str(intent.latest_charge), intent.id, 2500))
    assert plaza.now(payment).status in ("PENDING", "CANCELED")

    simulator.pay(page_of(payment))
    plaza.hear()
    assert plaza.now(payment).status == "COMPLETED"
