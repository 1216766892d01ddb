"""Every resource of the simulator, driven by Stripe's own SDK, is as Stripe describes it.

The simulator fixture checks each request, answer and event when a test ends; what is asserted here is that there
was something to check. The client is Any, as half of the dicts given to it are wrong or composed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe

from flask_valetpro_stripe.testing import RATE_LIMIT, SERVER_ERROR, CardDeclined, Simulator
from tests.openapi.clients import client_with
from tests.openapi.traffic import event_types

LINE: Any = {
    "quantity": 1,
    "price_data": {"currency": "eur", "unit_amount": 4500, "product_data": {"name": "Valet parking"}},
}
LINK: Any = {
    "line_items": [LINE],
    "metadata": {"reference": "T-7"},
    "payment_intent_data": {"metadata": {"reference": "T-7"}, "description": "Valet parking"},
    "after_completion": {"type": "redirect", "redirect": {"url": "https://plaza.example/?s={CHECKOUT_SESSION_ID}"}},
    "restrictions": {"completed_sessions": {"limit": 1}},
    "inactive_message": "This ticket is paid.",
    "billing_address_collection": "required",
    "customer_creation": "always",
    "automatic_tax": {"enabled": False},
}
SESSION: Any = {
    "mode": "payment",
    "line_items": [LINE],
    "success_url": "https://plaza.example/paid",
    "cancel_url": "https://plaza.example/",
    "client_reference_id": "T-7",
    "metadata": {"reference": "T-7"},
    "payment_intent_data": {"metadata": {"reference": "T-7"}},
}
INTENT: Any = {"amount": 4500, "currency": "eur", "description": "Valet", "metadata": {"reference": "T-7"}}
CARD: Any = {"payment_method": "pm_card_visa", "confirm": True, "return_url": "https://plaza.example/"}
ENDPOINT: Any = {
    "url": "https://plaza.example/api/webhooks/stripe",
    "enabled_events": ["payment_intent.succeeded", "checkout.session.completed"],
    "api_version": "2026-10-28.endive",
    "metadata": {"tag": "valetpro"},
}


def test_products_and_prices(simulator: Simulator, client: Any) -> None:
    product = client.v1.products.create({"name": "Valet parking", "metadata": {"a": "b"}})
    price = client.v1.prices.create({"product": product.id, "currency": "eur", "unit_amount": 4500})
    client.v1.prices.create({"currency": "eur", "unit_amount": 90, "product_data": {"name": "Bike"}})
    client.v1.prices.create(
        {"product": product.id, "currency": "jpy", "unit_amount": 900, "recurring": {"interval": "month"}}
    )
    client.v1.products.update(product.id, {"description": "By the night", "active": True})
    client.v1.prices.update(price.id, {"metadata": {"season": "high"}, "nickname": "High season"})
    client.v1.products.retrieve(product.id)
    client.v1.prices.retrieve(price.id, {"expand": ["product"]})
    client.v1.products.list({"limit": 3})
    client.v1.prices.list({"limit": 1, "product": product.id})
    client.v1.products.delete(client.v1.products.create({"name": "Retired"}).id)

    assert {"product.created", "product.updated", "price.created", "price.updated"} <= event_types(simulator)


def test_payment_links_from_making_to_deactivating(simulator: Simulator, client: Any) -> None:
    link = client.v1.payment_links.create(LINK)
    price = client.v1.prices.create({"currency": "eur", "unit_amount": 90, "product_data": {"name": "Bike"}})
    client.v1.payment_links.create({"line_items": [{"price": price.id, "quantity": 2}]})
    client.v1.payment_links.create({**LINK, "after_completion": {"type": "hosted_confirmation"}})
    client.v1.payment_links.create(
        {**LINK, "allow_promotion_codes": True, "phone_number_collection": {"enabled": True}}
    )
    client.v1.payment_links.retrieve(link.id, {"expand": ["line_items"]})
    client.v1.payment_links.line_items.list(link.id)
    client.v1.payment_links.update(link.id, {"active": False, "metadata": {"void": "yes"}})
    client.v1.payment_links.list({"active": True, "limit": 2})

    assert {"payment_link.created", "payment_link.updated"} <= event_types(simulator)


def test_a_payment_link_is_paid_by_card(simulator: Simulator, client: Any) -> None:
    link = client.v1.payment_links.create(LINK)
    session = simulator.pay(link.url)
    [listed] = client.v1.checkout.sessions.list({"payment_link": link.id}).data
    client.v1.checkout.sessions.retrieve(session["id"], {"expand": ["line_items", "payment_intent.latest_charge"]})
    client.v1.checkout.sessions.line_items.list(session["id"])
    intent = client.v1.payment_intents.retrieve(session["payment_intent"], {"expand": ["latest_charge"]})
    client.v1.payment_links.retrieve(link.id)

    assert listed.payment_status == "paid"
    assert intent.status == "succeeded"
    assert {
        "checkout.session.completed",
        "payment_intent.created",
        "payment_intent.succeeded",
        "charge.succeeded",
        "payment_link.updated",
    } <= event_types(simulator)


@pytest.mark.parametrize("card", ["4000000000000002", "4000000000009995"])
def test_a_payment_link_is_declined_and_then_paid(card: str, simulator: Simulator, client: Any) -> None:
    link = client.v1.payment_links.create(LINK)
    with pytest.raises(CardDeclined):
        simulator.pay(link.url, card=card)
    simulator.pay(link.url)

    assert {"charge.failed", "payment_intent.payment_failed", "payment_intent.succeeded"} <= event_types(simulator)


def test_a_checkout_session_is_paid_or_expires(simulator: Simulator, client: Any) -> None:
    session = client.v1.checkout.sessions.create(SESSION)
    client.v1.checkout.sessions.retrieve(session.id)
    simulator.pay(session.id)
    abandoned = client.v1.checkout.sessions.create({**SESSION, "customer_email": "guest@plaza.example"})
    client.v1.checkout.sessions.update(abandoned.id, {"metadata": {"reminded": "yes"}})
    client.v1.checkout.sessions.expire(abandoned.id)
    client.v1.checkout.sessions.list({"limit": 1, "status": "expired"})

    assert {"checkout.session.completed", "checkout.session.expired"} <= event_types(simulator)


@pytest.mark.parametrize("card", ["5555555555554444", "4000002500003155"])
def test_a_payment_link_is_paid_by_other_cards(card: str, simulator: Simulator, client: Any) -> None:
    simulator.enable_tax(simulator.platform.id)
    link = client.v1.payment_links.create({**LINK, "automatic_tax": {"enabled": True}})
    session = simulator.pay(link.url, card=card)
    client.v1.payment_intents.retrieve(session["payment_intent"], {"expand": ["payment_method", "latest_charge"]})

    assert session["payment_status"] == "paid"


def test_a_guest_fails_the_banks_challenge(simulator: Simulator, client: Any) -> None:
    link = client.v1.payment_links.create(LINK)
    with pytest.raises(CardDeclined):
        simulator.pay(link.url, card="4000002500003155", authenticate=False)

    assert {"payment_intent.requires_action", "payment_intent.payment_failed"} <= event_types(simulator)


@pytest.mark.parametrize("succeeded", [True, False])
def test_a_payment_link_is_paid_by_bank_debit(succeeded: bool, simulator: Simulator, client: Any) -> None:
    link = client.v1.payment_links.create(LINK)
    session = simulator.pay(link.url, card="bank_debit")
    simulator.settle(session["id"], succeeded=succeeded)
    client.v1.checkout.sessions.retrieve(session["id"], {"expand": ["payment_intent.latest_charge"]})

    assert session["payment_status"] == "unpaid"
    assert f"checkout.session.async_payment_{'succeeded' if succeeded else 'failed'}" in event_types(simulator)


def test_a_payment_in_live_mode_and_in_yen(simulator: Simulator) -> None:
    live: Any = client_with(simulator, simulator.platform.live_secret_key)
    yen = {"quantity": 2, "price_data": {"currency": "jpy", "unit_amount": 900, "product_data": {"name": "Valet"}}}
    link = live.v1.payment_links.create({**LINK, "line_items": [yen]})
    session = simulator.pay(link.url)

    assert session["livemode"] is True
    assert (session["amount_total"], session["currency"]) == (1800, "jpy")


def test_payment_intents_in_all_their_ends(simulator: Simulator, client: Any) -> None:
    intents = client.v1.payment_intents
    intents.create({**INTENT, **CARD})
    later = intents.create(INTENT)
    intents.update(later.id, {"amount": 5000, "metadata": {"night": "2"}})
    intents.confirm(later.id, {"payment_method": "pm_card_visa", "return_url": "https://plaza.example/"})
    held = intents.create({**INTENT, **CARD, "capture_method": "manual"})
    intents.capture(held.id)
    partly = intents.create({**INTENT, **CARD, "capture_method": "manual"})
    intents.capture(partly.id, {"amount_to_capture": 4000})
    dropped = intents.create(INTENT)
    intents.cancel(dropped.id, {"cancellation_reason": "abandoned"})
    intents.create({**INTENT, **CARD, "payment_method": "pm_card_authenticationRequired"})
    intents.list({"limit": 2, "expand": ["data.latest_charge", "data.payment_method"]})

    assert {
        "payment_intent.amount_capturable_updated",
        "payment_intent.canceled",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
        "charge.captured",
    } <= event_types(simulator)


def test_a_declined_card_answers_with_stripes_card_error(simulator: Simulator, client: Any) -> None:
    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.create({**INTENT, **CARD, "payment_method": "pm_card_chargeDeclined"})

    assert declined.value.code == "card_declined"
    assert {"charge.failed", "payment_intent.payment_failed"} <= event_types(simulator)


@pytest.mark.parametrize("succeeded", [True, False])
def test_a_delayed_payment_is_settled(succeeded: bool, simulator: Simulator, client: Any) -> None:
    method = client.v1.payment_methods.create(
        {
            "type": "sepa_debit",
            "sepa_debit": {"iban": "AT611904300234573201"},
            "billing_details": {"name": "Ada Guest", "email": "ada@plaza.example"},
        }
    )
    intent = client.v1.payment_intents.create(
        {**INTENT, **CARD, "payment_method": method.id, "mandate_data": {"customer_acceptance": {"type": "offline"}}}
    )
    simulator.settle(intent.id, succeeded=succeeded)
    client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge", "payment_method"]})

    assert intent.status == "processing"
    assert f"payment_intent.{'succeeded' if succeeded else 'payment_failed'}" in event_types(simulator)


def test_charges_and_refunds(simulator: Simulator, client: Any) -> None:
    intent = client.v1.payment_intents.create({**INTENT, **CARD})
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    client.v1.charges.list({"payment_intent": intent.id})
    part = client.v1.refunds.create(
        {"payment_intent": intent.id, "amount": 1000, "reason": "requested_by_customer", "metadata": {"by": "desk"}}
    )
    rest = client.v1.refunds.create({"charge": charge.id})
    client.v1.refunds.retrieve(part.id, {"expand": ["charge"]})
    client.v1.refunds.update(rest.id, {"metadata": {"order": "6735"}})
    client.v1.refunds.list({"payment_intent": intent.id})
    client.v1.charges.update(charge.id, {"description": "Two nights", "metadata": {"by": "desk"}})
    [newest, *_] = client.v1.balance_transactions.list({"limit": 3}).data
    client.v1.balance_transactions.retrieve(newest.id, {"expand": ["source"]})

    assert client.v1.charges.retrieve(charge.id, {"expand": ["refunds", "balance_transaction"]}).refunded
    assert {"charge.refunded", "refund.created", "refund.updated"} <= event_types(simulator)


@pytest.mark.parametrize("succeeded", [True, False])
def test_a_refund_that_takes_time(succeeded: bool, simulator: Simulator, client: Any) -> None:
    intent = client.v1.payment_intents.create({**INTENT, **CARD, "payment_method": "pm_card_pendingRefund"})
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    simulator.settle(refund.id, succeeded=succeeded)
    client.v1.refunds.retrieve(refund.id)

    assert refund.status == "pending"
    assert ("refund.updated" if succeeded else "refund.failed") in event_types(simulator)


def test_customers_and_payment_methods(simulator: Simulator, client: Any) -> None:
    customer = client.v1.customers.create(
        {"name": "Ada Guest", "email": "ada@plaza.example", "metadata": {"room": "7"}}
    )
    client.v1.customers.update(customer.id, {"description": "A regular"})
    client.v1.customers.retrieve(customer.id)
    method = client.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    client.v1.payment_methods.retrieve(method.id)
    client.v1.payment_methods.attach(method.id, {"customer": customer.id})
    client.v1.payment_intents.create({**INTENT, **CARD, "customer": customer.id})
    client.v1.customers.list({"email": "ada@plaza.example"})
    client.v1.customers.delete(customer.id)
    client.v1.customers.retrieve(customer.id)

    assert {"customer.created", "customer.updated"} <= event_types(simulator)


def test_accounts_and_balance(simulator: Simulator, client: Any) -> None:
    hotel = simulator.create_account("Hotel Plaza", email="desk@plaza.example")
    unready = simulator.create_account("Hotel Soon", charges_enabled=False)
    for account in (hotel, unready):
        simulator.connect(account.id)
        client.v1.accounts.retrieve(account.id)
    client.v1.accounts.retrieve_current()
    client_with(simulator, simulator.platform.test_secret_key, account=hotel.id).v1.accounts.retrieve_current()
    client_with(simulator, hotel.test_secret_key).v1.accounts.retrieve_current()
    client_with(simulator, hotel.live_secret_key).v1.balance.retrieve()
    client.v1.balance.retrieve()
    made = client.v1.accounts.create({"type": "standard", "country": "FR", "email": "new@plaza.example"})
    client.v1.accounts.update(made.id, {"metadata": {"tenant": "7"}, "business_profile": {"name": "Hotel New"}})
    client.v1.accounts.list({"limit": 2})
    simulator.update_account(unready.id, charges_enabled=True)

    assert "account.updated" in event_types(simulator)


def test_events_are_listed_as_they_are_delivered(simulator: Simulator, client: Any) -> None:
    client.v1.payment_intents.create({**INTENT, **CARD})
    listed = client.v1.events.list({"types": ["payment_intent.succeeded", "charge.succeeded"], "limit": 10}).data
    client.v1.events.retrieve(listed[0].id)
    client.v1.events.list({"type": "payment_intent.*", "created": {"gte": 1}})
    client.v1.events.list({"delivery_success": False})

    assert {event.type for event in listed} == {"payment_intent.succeeded", "charge.succeeded"}


def test_webhook_endpoints(simulator: Simulator, client: Any) -> None:
    made = client.v1.webhook_endpoints.create(ENDPOINT)
    client.v1.webhook_endpoints.create({**ENDPOINT, "connect": True, "description": "Hotels"})
    read = client.v1.webhook_endpoints.retrieve(made.id)
    client.v1.webhook_endpoints.update(made.id, {"disabled": True, "enabled_events": ["*"]})
    client.v1.webhook_endpoints.list({"limit": 1})
    client.v1.webhook_endpoints.delete(made.id)

    assert made.secret is not None
    assert getattr(read, "secret", None) is None


def test_a_connected_accounts_payment_with_a_fee(simulator: Simulator) -> None:
    hotel = simulator.create_account("Hotel Plaza")
    simulator.connect(hotel.id)
    acting: Any = client_with(simulator, simulator.platform.test_secret_key, account=hotel.id)
    link = acting.v1.payment_links.create({**LINK, "application_fee_amount": 90})
    session = simulator.pay(link.url)
    intent = acting.v1.payment_intents.retrieve(session["payment_intent"], {"expand": ["latest_charge"]})
    acting.v1.refunds.create({"payment_intent": intent.id, "refund_application_fee": True})

    assert intent.application_fee_amount == 90
    assert {event["account"] for event in simulator.events_of(hotel.id)} == {hotel.id}


def test_oauth_from_the_consent_page_to_the_end_of_the_connection(simulator: Simulator, client: Any) -> None:
    hotel = simulator.create_account("Hotel Plaza")
    client_id = simulator.platform.test_client_id
    url = client.oauth.authorize_url({"client_id": client_id, "scope": "read_write", "state": "s"})
    code = parse_qs(urlsplit(simulator.authorize(url, hotel.id)).query)["code"][0]
    token = client.oauth.token({"grant_type": "authorization_code", "code": code})
    client.oauth.deauthorize({"client_id": client_id, "stripe_user_id": hotel.id})
    with pytest.raises(stripe.oauth_error.InvalidClientError):
        client.oauth.deauthorize({"client_id": client_id, "stripe_user_id": hotel.id})
    with pytest.raises(stripe.oauth_error.InvalidGrantError):
        client.oauth.token({"grant_type": "authorization_code", "code": code})

    assert token.stripe_user_id == hotel.id
    assert "account.application.deauthorized" in event_types(simulator)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda v1: v1.payment_links.retrieve("plink_missing"),
        lambda v1: v1.payment_links.create({"metadata": {"reference": "T-7"}}),
        lambda v1: v1.payment_intents.create({"currency": "eur"}),
        lambda v1: v1.payment_intents.create({**INTENT, "amount": 10.5}),
        lambda v1: v1.payment_intents.create({**INTENT, "amount": 1}),
        lambda v1: v1.payment_intents.create({**INTENT, "payment_method_types": ["card"]}),
        lambda v1: v1.refunds.create({"payment_intent": "pi_missing"}),
        lambda v1: v1.refunds.create({"payment_intent": "pi_missing", "bogus": {"a": 1}}),
    ],
)
def test_refusals_have_stripes_error_body(break_it: Callable[[Any], object], simulator: Simulator, client: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        break_it(client.v1)

    assert simulator.requests[-1].status in (400, 404)


def test_faults_and_idempotency_have_stripes_error_body(simulator: Simulator, client: Any) -> None:
    key = {"idempotency_key": "ticket-7"}
    simulator.faults.add(method="POST", path="/v1/customers", fault=RATE_LIMIT)
    with pytest.raises(stripe.RateLimitError):
        client.v1.customers.create({"name": "Ada"}, key)
    simulator.faults.add(method="POST", path="/v1/customers", fault=SERVER_ERROR)
    with pytest.raises(stripe.APIError):
        client.v1.customers.create({"name": "Ada"}, key)
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"name": "Grace"}, key)

    assert [request.status for request in simulator.requests] == [429, 500, 400]


def test_a_wrong_key_and_a_foreign_account_have_stripes_error_body(simulator: Simulator) -> None:
    stranger = simulator.create_account("Hotel Elsewhere")
    with pytest.raises(stripe.AuthenticationError):
        client_with(simulator, "sk_test_unknown").v1.balance.retrieve()
    with pytest.raises(stripe.PermissionError):
        client_with(simulator, simulator.platform.test_secret_key, account=stranger.id).v1.balance.retrieve()

    assert [request.status for request in simulator.requests] == [401, 403]
