"""What moves money after it was paid is as Stripe describes it: disputes, holds, tax."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import KEY_IN_USE, SERVER_ERROR_AFTER, Simulator

LINE: Any = {
    "quantity": 1,
    "price_data": {"currency": "eur", "unit_amount": 4500, "product_data": {"name": "Valet parking"}},
}
INTENT: Any = {"amount": 4500, "currency": "eur", "confirm": True, "return_url": "https://plaza.example/"}


def event_types(simulator: Simulator) -> set[str]:
    return {event["type"] for event in simulator.events}


@pytest.mark.parametrize(
    "method", ["pm_card_createDispute", "pm_card_createDisputeProductNotReceived", "pm_card_createDisputeInquiry"]
)
def test_disputes_by_test_cards(method: str, simulator: Simulator, client: Any) -> None:
    intent = client.v1.payment_intents.create({**INTENT, "payment_method": method})
    (dispute,) = client.v1.disputes.list({"payment_intent": intent.id, "limit": 3}).data
    client.v1.disputes.retrieve(dispute.id, {"expand": ["charge", "payment_intent"]})
    client.v1.charges.retrieve(dispute.charge)

    assert "charge.dispute.created" in event_types(simulator)


@pytest.mark.parametrize("text", ["winning_evidence", "losing_evidence", "escalate_inquiry_evidence"])
@pytest.mark.parametrize("status", ["needs_response", "warning_needs_response"])
def test_disputes_that_are_answered(text: str, status: str, simulator: Simulator, client: Any) -> None:
    intent = client.v1.payment_intents.create({**INTENT, "payment_method": "pm_card_visa"})
    dispute = simulator.dispute(intent.id, status=status)
    client.v1.disputes.update(
        dispute, {"evidence": {"customer_name": "Ada Guest"}, "submit": False, "metadata": {"by": "desk"}}
    )
    client.v1.disputes.update(dispute, {"evidence": {"uncategorized_text": text}, "submit": True})
    client.v1.disputes.retrieve(dispute)
    client.v1.balance_transactions.list({"source": dispute})

    assert "charge.dispute.updated" in event_types(simulator)


def test_disputes_that_are_given_up_and_what_is_refused(simulator: Simulator, client: Any) -> None:
    intent = client.v1.payment_intents.create({**INTENT, "payment_method": "pm_card_mastercard"})
    dispute = simulator.dispute(intent.id, reason="duplicate")
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent.id})
    client.v1.disputes.close(dispute)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.disputes.close(dispute)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.disputes.retrieve("du_missing")

    assert "charge.dispute.closed" in event_types(simulator)


def test_a_bank_debit_is_disputed(simulator: Simulator, client: Any) -> None:
    link = client.v1.payment_links.create({"line_items": [LINE]})
    session = simulator.pay(link.url, card="bank_debit")
    simulator.settle(session["id"])
    client.v1.disputes.retrieve(simulator.dispute(session["id"], reason="debit_not_authorized"))

    assert "charge.dispute.funds_withdrawn" in event_types(simulator)


@pytest.mark.parametrize("countries", [None, (), ("FR", "DE", "US", "GB", "CH")])
def test_tax_settings_and_registrations(countries: Any, simulator: Simulator, client: Any) -> None:
    client.v1.tax.settings.retrieve()
    simulator.enable_tax(simulator.platform.id, countries=countries)
    client.v1.tax.settings.retrieve()
    for registration in client.v1.tax.registrations.list({"status": "active", "limit": 5}):
        client.v1.tax.registrations.retrieve(registration.id)

    assert "tax.settings.updated" in event_types(simulator)


def test_tax_that_is_refused_has_stripes_error_body(simulator: Simulator, client: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_links.create({"line_items": [LINE], "automatic_tax": {"enabled": True}})

    assert simulator.requests[-1].status == 400


@pytest.mark.parametrize("capture", [{}, {"amount_to_capture": 4000, "metadata": {"by": "desk"}}])
def test_a_hold_that_is_captured(capture: Any, simulator: Simulator, client: Any) -> None:
    held = {"line_items": [LINE], "payment_intent_data": {"capture_method": "manual"}}
    link = client.v1.payment_links.create(held)
    intent = simulator.pay(link.url)["payment_intent"]
    client.v1.payment_intents.retrieve(intent, {"expand": ["latest_charge"]})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.capture(intent, {"amount_to_capture": 4501})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent})
    client.v1.payment_intents.capture(intent, capture)
    client.v1.checkout.sessions.list({"payment_intent": intent})
    client.v1.refunds.create({"payment_intent": intent})

    assert {"charge.captured", "payment_intent.amount_capturable_updated"} <= event_types(simulator)


def test_holds_that_are_released_or_run_out(simulator: Simulator, client: Any) -> None:
    params = {"mode": "payment", "success_url": "https://plaza.example/", "line_items": [LINE]}
    held = {**params, "payment_intent_data": {"capture_method": "manual"}}
    first, _ = [simulator.pay(client.v1.checkout.sessions.create(held).id)["payment_intent"] for _ in range(2)]
    client.v1.payment_intents.cancel(first, {"cancellation_reason": "requested_by_customer"})
    simulator.advance(8 * 86_400)
    client.v1.payment_intents.list({"expand": ["data.latest_charge"]})

    assert {"charge.expired", "payment_intent.canceled"} <= event_types(simulator)


def test_a_key_in_use_and_a_late_server_error_have_stripes_error_body(simulator: Simulator, client: Any) -> None:
    for fault in (KEY_IN_USE, SERVER_ERROR_AFTER):
        simulator.faults.add("POST", "/v1/payment_intents", fault)
        with pytest.raises(stripe.APIError):
            client.v1.payment_intents.create({**INTENT, "payment_method": "pm_card_visa"}, {"idempotency_key": "T-7"})

    assert [request.status for request in simulator.requests] == [409, 500]
