"""Refunds: whole, partial, too large, late to fail."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Simulator


def _paid(client: stripe.StripeClient, method: str = "pm_card_visa") -> stripe.PaymentIntent:
    params: Any = {"amount": 2500, "currency": "eur", "confirm": True, "payment_method": method}
    return client.v1.payment_intents.create(params)


def test_partial_refunds_add_up(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = _paid(plaza_client)

    plaza_client.v1.refunds.create({"payment_intent": intent.id, "amount": 1000})
    rest = plaza_client.v1.refunds.create({"payment_intent": intent.id, "reason": "requested_by_customer"})

    charge = plaza_client.v1.charges.retrieve(str(intent.latest_charge), {"expand": ["refunds"]})
    assert (rest.amount, rest.status) == (1500, "succeeded")
    assert (charge.amount_refunded, charge.refunded) == (2500, True)
    assert charge.refunds is not None
    assert len(charge.refunds) == 2
    assert [event["type"] for event in simulator.events[-4:]] == ["refund.created", "charge.refunded"] * 2


def test_refund_above_the_rest_is_refused(plaza_client: stripe.StripeClient) -> None:
    intent = _paid(plaza_client)

    with pytest.raises(
        stripe.InvalidRequestError, match=r"Refund amount \(€25.01\) is greater than unrefunded amount on charge"
    ) as caught:
        plaza_client.v1.refunds.create({"payment_intent": intent.id, "amount": 2501})

    assert (caught.value.param, caught.value.code) == ("amount", None)


def test_refunding_twice_is_refused(plaza_client: stripe.StripeClient) -> None:
    intent = _paid(plaza_client)
    plaza_client.v1.refunds.create({"payment_intent": intent.id})

    with pytest.raises(stripe.InvalidRequestError) as caught:
        plaza_client.v1.refunds.create({"payment_intent": intent.id})

    assert caught.value.code == "charge_already_refunded"


def test_application_fee_that_was_never_taken_cannot_be_refunded(plaza_client: stripe.StripeClient) -> None:
    intent = _paid(plaza_client)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        plaza_client.v1.refunds.create({"payment_intent": intent.id, "refund_application_fee": True})

    assert caught.value.param == "refund_application_fee"


def test_unpaid_intent_has_nothing_to_refund(plaza_client: stripe.StripeClient) -> None:
    intent = plaza_client.v1.payment_intents.create({"amount": 2500, "currency": "eur"})

    with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
        plaza_client.v1.refunds.create({"payment_intent": intent.id})


def test_refund_can_fail_weeks_later(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = _paid(plaza_client)
    refund = plaza_client.v1.refunds.create({"payment_intent": intent.id})

    simulator.settle(refund.id, succeeded=False)

    assert plaza_client.v1.refunds.retrieve(refund.id).status == "failed"
    assert simulator.object(str(intent.latest_charge))["amount_refunded"] == 0
    assert simulator.events[-1]["type"] == "refund.failed"


def test_refund_can_be_pending_first(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = _paid(plaza_client, "pm_card_pendingRefund")
    refund = plaza_client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"

    simulator.settle(refund.id)

    assert plaza_client.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert simulator.events[-1]["type"] == "refund.updated"
