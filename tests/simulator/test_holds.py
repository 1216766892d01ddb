"""Holds: a guest's card is authorized; the money is taken later, wholly, in part, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import CardDeclined, Simulator
from tests.simulator.helpers import code_of, link_params

MANUAL: Any = {"payment_intent_data": {"capture_method": "manual"}}
DAY = 86_400


def hold(simulator: Simulator, client: stripe.StripeClient, **more: Any) -> str:
    """Return the intent of a payment link whose guest has paid."""
    link = client.v1.payment_links.create(link_params(**MANUAL, **more))
    return str(simulator.pay(link.url)["payment_intent"])


def charge_of(simulator: Simulator, intent: str) -> Any:
    return simulator.object(simulator.object(intent)["latest_charge"])


def session_of(client: stripe.StripeClient, intent: str) -> stripe.checkout.Session:
    (session,) = client.v1.checkout.sessions.list({"payment_intent": intent}).data
    return session


def types(simulator: Simulator, last: int) -> list[str]:
    return [event["type"] for event in simulator.events[-last:]]


def test_link_holds_the_money(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = simulator.object(hold(simulator, plaza_client))

    charge, session = charge_of(simulator, intent["id"]), session_of(plaza_client, intent["id"])
    assert (intent["status"], intent["amount_capturable"], intent["amount_received"]) == ("requires_capture", 2500, 0)
    assert (charge["captured"], charge["amount_captured"], charge["balance_transaction"]) == (False, 0, None)
    assert charge["payment_method_details"]["card"]["capture_before"] == charge["created"] + 7 * DAY
    assert (session.status, session.payment_status) == ("complete", "unpaid")
    assert types(simulator, 3) == [
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "checkout.session.completed",
    ]


def test_session_holds_the_money_too(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    params: Any = link_params(mode="payment", success_url="https://plaza.example/", **MANUAL)
    opened = plaza_client.v1.checkout.sessions.create(params)

    session = simulator.pay(opened.id, card="4000002500003155")

    assert (session["status"], session["payment_status"]) == ("complete", "unpaid")
    assert simulator.object(session["payment_intent"])["status"] == "requires_capture"


def test_hold_is_captured(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = hold(simulator, plaza_client)

    captured = plaza_client.v1.payment_intents.capture(intent, {"metadata": {"by": "desk"}})

    charge = charge_of(simulator, intent)
    assert (captured.status, captured.amount_capturable, captured.amount_received) == ("succeeded", 0, 2500)
    assert dict(captured.metadata.to_dict()) == {"by": "desk"}
    assert (charge["captured"], charge["amount_captured"]) == (True, 2500)
    assert session_of(plaza_client, intent).payment_status == "paid"
    assert types(simulator, 2) == ["charge.captured", "payment_intent.succeeded"]


def test_rest_of_a_hold_is_released_and_not_refunded(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = hold(simulator, plaza_client)

    captured = plaza_client.v1.payment_intents.capture(intent, {"amount_to_capture": 2000})

    charge = charge_of(simulator, intent)
    assert (captured.amount, captured.amount_received, captured.amount_capturable) == (2500, 2000, 0)
    # Since 2025-03-31.basil what is released is no refund any more.
    assert (charge["amount"], charge["amount_captured"]) == (2500, 2000)
    assert (charge["amount_refunded"], charge["refunded"]) == (0, False)
    assert plaza_client.v1.refunds.list({"payment_intent": intent}).data == []
    (transaction,) = plaza_client.v1.balance_transactions.list().data
    assert transaction.amount == 2000


def test_only_what_was_captured_can_be_refunded(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = hold(simulator, plaza_client)
    plaza_client.v1.payment_intents.capture(intent, {"amount_to_capture": 2000})

    with pytest.raises(stripe.InvalidRequestError, match=r"Refund amount \(€20.01\) is greater than unrefunded amount"):
        plaza_client.v1.refunds.create({"payment_intent": intent, "amount": 2001})

    assert plaza_client.v1.refunds.create({"payment_intent": intent}).amount == 2000
    assert charge_of(simulator, intent)["refunded"] is True


@pytest.mark.parametrize(
    "amount, code", [(2501, "amount_too_large"), (0, "parameter_invalid_integer"), (-1, "parameter_invalid_integer")]
)
def test_more_than_was_held_is_refused(
    simulator: Simulator, plaza_client: stripe.StripeClient, amount: int, code: str
) -> None:
    intent = hold(simulator, plaza_client)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        plaza_client.v1.payment_intents.capture(intent, {"amount_to_capture": amount})

    assert (caught.value.code, caught.value.param) == (code, "amount_to_capture")
    assert simulator.object(intent)["status"] == "requires_capture"


def test_hold_is_captured_once(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = hold(simulator, plaza_client)
    plaza_client.v1.payment_intents.capture(intent, {"amount_to_capture": 2000})

    for again in (plaza_client.v1.payment_intents.capture, plaza_client.v1.payment_intents.cancel):
        with pytest.raises(stripe.InvalidRequestError, match="has a status of succeeded") as caught:
            again(intent)
        assert code_of(caught.value) == "payment_intent_unexpected_state"


def test_multicapture_is_refused(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = hold(simulator, plaza_client)

    with pytest.raises(stripe.InvalidRequestError, match="don't support multicapture"):
        plaza_client.v1.payment_intents.capture(intent, {"amount_to_capture": 1000, "final_capture": False})


@pytest.mark.parametrize(
    "at_first, at_capture, captured, asked, collected",
    [(90, None, None, 90, 90), (90, 60, None, 60, 60), (None, 60, None, 60, 60), (2400, None, 2000, 2400, 2000)],
)
def test_fee_is_set_at_capture_and_capped_at_what_is_captured(
    simulator: Simulator,
    plaza_client: stripe.StripeClient,
    at_first: int | None,
    at_capture: int | None,
    captured: int | None,
    asked: int,
    collected: int,
) -> None:
    intent = hold(simulator, plaza_client, **({"application_fee_amount": at_first} if at_first else {}))
    params: Any = {"application_fee_amount": at_capture, "amount_to_capture": captured}

    done = plaza_client.v1.payment_intents.capture(intent, params)

    assert done.application_fee_amount == asked
    assert charge_of(simulator, intent)["application_fee_amount"] == collected


def test_fee_at_capture_needs_a_platform(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    intent = hold(simulator, seaside_client)

    with pytest.raises(stripe.InvalidRequestError, match="Can only apply an application_fee_amount when"):
        seaside_client.v1.payment_intents.capture(intent, {"application_fee_amount": 60})


def test_hold_is_released(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = hold(simulator, plaza_client)

    canceled = plaza_client.v1.payment_intents.cancel(intent, {"cancellation_reason": "requested_by_customer"})

    charge = charge_of(simulator, intent)
    assert (canceled.status, canceled.amount_capturable) == ("canceled", 0)
    assert canceled.cancellation_reason == "requested_by_customer"
    assert (charge["captured"], charge["amount_captured"], charge["refunded"]) == (False, 0, False)
    assert session_of(plaza_client, intent).payment_status == "unpaid"
    assert types(simulator, 1) == ["payment_intent.canceled"]
    with pytest.raises(stripe.InvalidRequestError, match="has a status of canceled"):
        plaza_client.v1.payment_intents.capture(intent)


def test_hold_is_canceled_and_not_refunded(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = hold(simulator, plaza_client)

    with pytest.raises(stripe.InvalidRequestError, match="You must cancel the PaymentIntent to reverse the auth"):
        plaza_client.v1.refunds.create({"payment_intent": intent})


def test_hold_runs_out_after_a_week(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = hold(simulator, plaza_client)
    simulator.advance(7 * DAY - 60)
    assert simulator.object(intent)["status"] == "requires_capture"

    simulator.advance(60)

    expired = simulator.object(intent)
    assert (expired["status"], expired["cancellation_reason"]) == ("canceled", "expired")
    assert types(simulator, 2) == ["charge.expired", "payment_intent.canceled"]


def test_bank_debit_cannot_be_held(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    link = plaza_client.v1.payment_links.create(link_params(**MANUAL))

    with pytest.raises(CardDeclined, match="sepa_debit does not support capture_method=manual") as caught:
        simulator.pay(link.url, card="bank_debit")

    assert caught.value.session["payment_method_types"] == ["card"]


def test_one_tenants_hold_is_not_the_others(
    simulator: Simulator, plaza_client: stripe.StripeClient, seaside_client: stripe.StripeClient
) -> None:
    intent = hold(simulator, plaza_client)

    for ask in (seaside_client.v1.payment_intents.capture, seaside_client.v1.payment_intents.cancel):
        with pytest.raises(stripe.InvalidRequestError, match=f"No such payment_intent: '{intent}'"):
            ask(intent)

    assert simulator.object(intent)["amount_capturable"] == 2500
