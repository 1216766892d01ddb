"""How payments end: at once, later, after a challenge, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, CardDeclined, LinkInactive, Simulator
from tests.simulator.helpers import link_params


@pytest.fixture
def link(plaza_client: stripe.StripeClient) -> stripe.PaymentLink:
    return plaza_client.v1.payment_links.create(link_params())


def _types(simulator: Simulator, *families: str) -> list[str]:
    return [event["type"] for event in simulator.events if event["type"].startswith(families)]


def test_card_pays_at_once(
    simulator: Simulator, plaza: Account, plaza_client: stripe.StripeClient, link: stripe.PaymentLink
) -> None:
    session = simulator.pay(link.url, email="ada@example.com")

    assert (session["status"], session["payment_status"], session["payment_link"]) == ("complete", "paid", link.id)
    assert session["customer_details"]["email"] == "ada@example.com"
    intent = plaza_client.v1.payment_intents.retrieve(session["payment_intent"], {"expand": ["latest_charge"]})
    assert (intent.status, intent.amount_received) == ("succeeded", 2500)
    assert intent.latest_charge.receipt_url.startswith("http://stripe.test/receipts/")
    assert _types(simulator, "payment_intent", "charge", "checkout") == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    assert {event["account"] for event in simulator.events} == {plaza.id}


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("4000 0000 0000 0002", "card_declined", "generic_decline"),
        ("4000000000009995", "card_declined", "insufficient_funds"),
        ("4000000000000069", "expired_card", "expired_card"),
        ("4000000000000127", "incorrect_cvc", "incorrect_cvc"),
        ("4000000000000119", "processing_error", "processing_error"),
        ("4111111111111111", "card_declined", "test_mode_live_card"),
    ],
)
def test_declined_card_leaves_the_page_open(
    simulator: Simulator, link: stripe.PaymentLink, card: str, code: str, decline_code: str
) -> None:
    with pytest.raises(CardDeclined) as caught:
        simulator.pay(link.url, card=card)

    assert (caught.value.code, caught.value.decline_code) == (code, decline_code)
    session = caught.value.session
    intent = simulator.object(session["payment_intent"])
    assert session["status"] == "open"
    assert (intent["status"], intent["last_payment_error"]["code"]) == ("requires_payment_method", code)
    assert _types(simulator, "payment_intent", "charge", "checkout") == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
    ]


def test_second_card_pays_the_same_session(simulator: Simulator, link: stripe.PaymentLink) -> None:
    with pytest.raises(CardDeclined) as caught:
        simulator.pay(link.url, card="4000000000000002")

    session = simulator.pay(caught.value.session["id"])

    assert session["payment_status"] == "paid"
    assert session["payment_intent"] == caught.value.session["payment_intent"]


def test_bank_debit_is_completed_unpaid_and_settles_later(simulator: Simulator, link: stripe.PaymentLink) -> None:
    session = simulator.pay(link.url, card="bank_debit")
    assert (session["status"], session["payment_status"]) == ("complete", "unpaid")
    assert simulator.object(session["payment_intent"])["status"] == "processing"

    simulator.settle(session["id"])

    assert simulator.object(session["id"])["payment_status"] == "paid"
    assert _types(simulator, "payment_intent", "charge", "checkout") == [
        "payment_intent.created",
        "charge.pending",
        "payment_intent.processing",
        "checkout.session.completed",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.async_payment_succeeded",
    ]


def test_bank_debit_that_bounces_says_so(simulator: Simulator, link: stripe.PaymentLink) -> None:
    session = simulator.pay(link.url, card="bank_debit")

    simulator.settle(session["payment_intent"], succeeded=False)

    assert simulator.object(session["id"])["payment_status"] == "unpaid"
    assert _types(simulator, "checkout")[-1] == "checkout.session.async_payment_failed"
    assert _types(simulator, "payment_intent")[-1] == "payment_intent.payment_failed"


def test_challenge_passed_pays(simulator: Simulator, link: stripe.PaymentLink) -> None:
    session = simulator.pay(link.url, card="4000002500003155")

    assert session["payment_status"] == "paid"
    assert "payment_intent.requires_action" in _types(simulator, "payment_intent")


def test_challenge_failed_declines(simulator: Simulator, link: stripe.PaymentLink) -> None:
    with pytest.raises(CardDeclined) as caught:
        simulator.pay(link.url, card="4000002500003155", authenticate=False)

    assert caught.value.code == "payment_intent_authentication_failure"


def test_session_expires_with_time(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    session = plaza_client.v1.checkout.sessions.create(
        {**link_params(), "mode": "payment", "success_url": "http://app.test/done"}  # type: ignore[typeddict-item]
    )
    simulator.advance(86_401)

    assert plaza_client.v1.checkout.sessions.retrieve(session.id).status == "expired"
    assert _types(simulator, "checkout") == ["checkout.session.expired"]
    with pytest.raises(LinkInactive):
        simulator.pay(session.id)


def test_intent_is_authorized_then_captured_in_part(plaza_client: stripe.StripeClient) -> None:
    params: Any = {"amount": 5000, "currency": "eur", "capture_method": "manual"}
    intent = plaza_client.v1.payment_intents.create(params)
    intent = plaza_client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 5000)

    intent = plaza_client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 4000})

    assert (intent.status, intent.amount_received) == ("succeeded", 4000)


def test_succeeded_intent_cannot_be_cancelled(plaza_client: stripe.StripeClient) -> None:
    params: Any = {"amount": 900, "currency": "eur", "confirm": True, "payment_method": "pm_card_visa"}
    intent = plaza_client.v1.payment_intents.create(params)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        plaza_client.v1.payment_intents.cancel(intent.id)

    assert caught.value.code == "payment_intent_unexpected_state"


def test_decline_through_the_api_carries_the_intent(plaza_client: stripe.StripeClient) -> None:
    params: Any = {"amount": 900, "currency": "eur", "confirm": True}

    with pytest.raises(stripe.CardError) as caught:
        plaza_client.v1.payment_intents.create(
            {**params, "payment_method": "pm_card_chargeDeclinedInsufficientFunds"}
        )

    assert caught.value.http_status == 402
    assert caught.value.error is not None
    assert caught.value.error.decline_code == "insufficient_funds"
    assert caught.value.error.payment_intent.status == "requires_payment_method"


def test_balance_counts_what_was_taken_less_fees(
    simulator: Simulator, plaza_client: stripe.StripeClient, link: stripe.PaymentLink
) -> None:
    simulator.pay(link.url)

    (transaction,) = plaza_client.v1.balance_transactions.list()
    (pending,) = plaza_client.v1.balance.retrieve().pending

    assert (transaction.amount, transaction.fee, transaction.net) == (2500, 60, 2440)
    assert (pending.amount, pending.currency) == (2440, "eur")
