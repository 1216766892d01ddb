"""What a guest sees: the payment page, its mistakes, the receipt."""

from __future__ import annotations

import re
from typing import Any

import pytest
import stripe
from werkzeug.test import TestResponse

from flask_valetpro_stripe.testing import Account, Simulator
from tests.simulator.helpers import Browser, client_with, link_params

CARD = {
    "email": "ada@example.com",
    "method": "card",
    "number": "4242 4242 4242 4242",
    "expiry": "12 / 40",
    "cvc": "123",
}


@pytest.fixture
def guest(simulator: Simulator) -> Browser:
    return Browser(simulator)


def _page(guest: Browser, client: stripe.StripeClient, amount: int = 2500, currency: str = "eur") -> str:
    after = {"type": "redirect", "redirect": {"url": "http://app.test/thanks?session={CHECKOUT_SESSION_ID}"}}
    params = link_params(amount, currency, after_completion=after, payment_intent_data={"description": "Plate AB-123"})
    return guest.open_link(client.v1.payment_links.create(params).url)


def test_page_shows_who_is_paid_for_what(guest: Browser, plaza_client: stripe.StripeClient) -> None:
    page = guest.get(_page(guest, plaza_client))

    assert page.status_code == 200
    for shown in ("Plaza Hotel", "Valet parking", "Plate AB-123", "Pay €25.00", "Simulator – no real money"):
        assert shown in page.text


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [(300, "jpy", "¥300"), (123456, "usd", "$1,234.56"), (10500, "kwd", "10.500 KWD"), (2500, "chf", "25.00 CHF")],
)
def test_amount_is_shown_as_the_currency_is_written(
    guest: Browser, plaza_client: stripe.StripeClient, amount: int, currency: str, shown: str
) -> None:
    assert f"Pay {shown}" in guest.get(_page(guest, plaza_client, amount, currency)).text


def test_paying_returns_to_the_host_with_the_session(
    guest: Browser, simulator: Simulator, plaza_client: stripe.StripeClient
) -> None:
    url = _page(guest, plaza_client)

    paid = guest.post(url, **CARD)

    session = url.rsplit("/", 1)[-1]
    assert paid.status_code == 303
    assert paid.headers["Location"] == f"http://app.test/thanks?session={session}"
    assert simulator.object(session)["payment_status"] == "paid"


def test_page_can_be_reloaded_after_paying(guest: Browser, plaza_client: stripe.StripeClient) -> None:
    url = _page(guest, plaza_client)
    first = guest.post(url, **CARD)

    again: TestResponse = guest.post(url, **CARD)

    assert again.headers["Location"] == first.headers["Location"]
    assert len(plaza_client.v1.charges.list()) == 1


def test_declined_card_is_explained_and_another_can_be_tried(guest: Browser, plaza_client: stripe.StripeClient) -> None:
    url = _page(guest, plaza_client)

    declined = guest.post(url, **{**CARD, "number": "4000000000009995"})

    assert declined.status_code == 422
    assert "Your card has insufficient funds." in declined.text
    assert guest.post(url, **CARD).status_code == 303


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("email", "nobody", "Enter your e-mail address."),
        ("number", "4242 4242 4242 4241", "Your card number is invalid."),
        ("number", "", "Your card number is invalid."),
        ("expiry", "13/40", "Enter the expiry date as MM / YY."),
        ("expiry", "12/20", "expiry year is in the past."),
        ("cvc", "1", "Enter the security code."),
    ],
)
def test_mistakes_are_named_and_nothing_is_charged(
    guest: Browser, simulator: Simulator, plaza_client: stripe.StripeClient, field: str, typed: str, said: str
) -> None:
    answer = guest.post(_page(guest, plaza_client), **{**CARD, field: typed})

    assert answer.status_code == 422
    assert said in answer.text
    assert not [event for event in simulator.events if event["type"].startswith("charge")]


def test_test_cards_fill_the_form_by_plain_links(guest: Browser, plaza_client: stripe.StripeClient) -> None:
    url = _page(guest, plaza_client)
    assert 'href="?card=4000002500003155"' in guest.get(url).text

    filled = guest.get(f"{url}?card=4000002500003155").text

    assert 'value="4000002500003155"' in filled
    assert 'value="guest@example.com"' in filled


def test_challenge_is_a_page_of_its_own(guest: Browser, plaza_client: stripe.StripeClient) -> None:
    url = _page(guest, plaza_client)

    asked = guest.post(url, **{**CARD, "number": "4000002500003155"})
    assert asked.headers["Location"] == f"{url}/authenticate"
    assert "3-D Secure" in guest.get(f"{url}/authenticate").text
    failed = guest.post(f"{url}/authenticate", decision="fail")
    guest.post(url, **{**CARD, "number": "4000002500003155"})
    passed = guest.post(f"{url}/authenticate", decision="complete")

    assert "unable to authenticate" in failed.text
    assert passed.status_code == 303


def test_intent_of_the_api_can_be_challenged_too(
    guest: Browser, simulator: Simulator, plaza_client: stripe.StripeClient
) -> None:
    params: Any = {"amount": 900, "currency": "eur", "confirm": True}
    params["payment_method"] = "pm_card_authenticationRequired"
    intent = plaza_client.v1.payment_intents.create({**params, "return_url": "http://app.test/back?ticket=12"})
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    url = str(intent.next_action.redirect_to_url.url)
    assert "3-D Secure" in guest.get(url).text

    answer = guest.post(url, decision="complete")

    query = f"ticket=12&payment_intent={intent.id}&redirect_status=succeeded"
    assert answer.headers["Location"] == f"http://app.test/back?{query}"
    assert simulator.object(intent.id)["status"] == "succeeded"


def test_bank_debit_is_thanked_for_and_not_called_paid(
    guest: Browser, simulator: Simulator, plaza_client: stripe.StripeClient
) -> None:
    url = guest.open_link(plaza_client.v1.payment_links.create(link_params()).url)
    assert "IBAN" in guest.get(f"{url}?method=bank_debit").text

    answer = guest.post(url, email="ada@example.com", method="bank_debit", iban="AT61 1904 3002 3457 3201")

    assert answer.status_code == 200
    assert "Your bank debit is on its way" in answer.text
    assert simulator.object(url.rsplit("/", 1)[-1])["payment_status"] == "unpaid"


def test_link_without_redirect_ends_on_a_confirmation(guest: Browser, plaza_client: stripe.StripeClient) -> None:
    after = {"type": "hosted_confirmation", "hosted_confirmation": {"custom_message": "Your car is on its way."}}
    link = plaza_client.v1.payment_links.create(link_params(after_completion=after))

    answer = guest.post(guest.open_link(link.url), **CARD)

    assert answer.status_code == 200
    assert "Your car is on its way." in answer.text


def test_inactive_link_shows_its_message(guest: Browser, plaza_client: stripe.StripeClient) -> None:
    link = plaza_client.v1.payment_links.create(link_params(inactive_message="This ticket was cancelled."))
    open_page = guest.open_link(link.url)
    plaza_client.v1.payment_links.update(link.id, {"active": False})

    assert "This ticket was cancelled." in guest.get(link.url).text
    assert "This ticket was cancelled." in guest.post(open_page, **CARD).text
    assert len(plaza_client.v1.charges.list()) == 0


def test_receipt_is_where_the_charge_says(
    guest: Browser, simulator: Simulator, plaza_client: stripe.StripeClient
) -> None:
    simulator.pay(plaza_client.v1.payment_links.create(link_params()).url)
    (charge,) = plaza_client.v1.charges.list()

    receipt = guest.get(str(charge.receipt_url))

    assert "Receipt from Plaza Hotel" in receipt.text
    assert "€25.00" in receipt.text


def test_names_are_escaped(guest: Browser, simulator: Simulator) -> None:
    evil = simulator.create_account("<script>alert(1)</script>")
    link = client_with(simulator, evil.test_secret_key).v1.payment_links.create(link_params())

    page = guest.get(guest.open_link(link.url))

    assert "<script>" not in page.text


@pytest.mark.parametrize("path", ["/pay/none", "/c/pay/cs_test_none", "/receipts/ch_none", "/oauth/none", "/none"])
def test_unknown_page_is_not_found(guest: Browser, path: str) -> None:
    assert guest.get(path).status_code == 404


def test_front_page_lists_accounts_links_and_deliveries(
    guest: Browser, simulator: Simulator, plaza: Account, plaza_client: stripe.StripeClient
) -> None:
    link = plaza_client.v1.payment_links.create(link_params())

    page = guest.get("/")

    assert plaza.id in page.text
    assert link.url in page.text


def test_front_page_shows_the_keys_of_both_modes_and_none_of_the_platform(
    guest: Browser, simulator: Simulator, plaza: Account, seaside: Account
) -> None:
    page = guest.get("/").text

    for account in (plaza, seaside):
        for mode in ("test", "live"):
            assert getattr(account, f"{mode}_secret_key") in page
            assert getattr(account, f"{mode}_publishable_key") in page
    assert simulator.platform.test_secret_key not in page
    assert simulator.platform.live_secret_key not in page


def test_expired_key_is_no_longer_shown(guest: Browser, simulator: Simulator, plaza: Account) -> None:
    simulator.expire_key(plaza.test_secret_key)

    assert plaza.test_secret_key not in guest.get("/").text


@pytest.mark.parametrize("mode", ["test", "live"])
def test_key_is_deleted_on_the_front_page(
    guest: Browser, simulator: Simulator, plaza: Account, seaside: Account, mode: str
) -> None:
    key, others = getattr(plaza, f"{mode}_secret_key"), getattr(seaside, f"{mode}_secret_key")

    guest.post("/", account=plaza.id, expire=key)

    assert key not in guest.get("/").text
    with pytest.raises(stripe.AuthenticationError, match="Expired API Key"):
        client_with(simulator, key).v1.balance.retrieve()
    assert client_with(simulator, others).v1.balance.retrieve()


def test_webhook_secret_is_shown_and_rolled_on_the_front_page(
    guest: Browser, simulator: Simulator, seaside: Account
) -> None:
    endpoints = client_with(simulator, seaside.live_secret_key).v1.webhook_endpoints
    endpoint = endpoints.create({"url": "http://app.test/hook", "enabled_events": ["*"]})
    assert endpoint.secret
    assert endpoint.secret in guest.get("/").text

    guest.post("/", account=seaside.id, roll=endpoint.id)

    page = guest.get("/").text
    assert endpoint.secret not in page
    (secret,) = re.findall(r"whsec_\w+", page)
    assert simulator.roll_secret(secret)  # It is the one that signs now.


def test_access_is_withdrawn_on_the_front_page_in_one_mode(
    guest: Browser, simulator: Simulator, plaza: Account
) -> None:
    simulator.connect(plaza.id, livemode=True)
    assert "connected, live" in guest.get("/").text

    guest.post("/", account=plaza.id, withdraw="live")

    assert not simulator.is_connected(plaza.id, livemode=True)
    assert simulator.is_connected(plaza.id)
    assert "connected, live" not in guest.get("/").text


def test_buttons_of_one_account_do_nothing_to_another(
    guest: Browser, simulator: Simulator, plaza: Account, seaside: Account
) -> None:
    before = guest.get("/").text

    guest.post("/", account=plaza.id, expire=seaside.live_secret_key)
    guest.post("/", account=seaside.id, withdraw="test")
    guest.post("/", account=simulator.platform.id, expire=simulator.platform.test_secret_key)

    assert guest.get("/").text == before
    assert client_with(simulator, simulator.platform.test_secret_key).v1.balance.retrieve()


def test_account_can_be_opened_from_the_front_page(guest: Browser) -> None:
    answer = guest.post("/", name="Hotel Riviera")

    page = guest.get("/").text
    (account_id,) = re.findall(r'id="(acct_\w+)">\s*<h3>Hotel Riviera', page)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/#{account_id}"


@pytest.mark.parametrize("mode", ["test", "live"])
def test_restricted_key_of_the_front_page_may_do_what_it_is_for_and_nothing_else(
    guest: Browser, simulator: Simulator, plaza: Account, seaside: Account, mode: str
) -> None:
    guest.post("/", account=plaza.id, restricted=mode)

    (key,) = set(re.findall(r"rk_\w+", guest.get("/").text))
    client = client_with(simulator, key)
    assert key.startswith(f"rk_{mode}_")
    assert client.v1.accounts.retrieve_current().id == plaza.id
    assert client.v1.payment_links.create(link_params()).active
    with pytest.raises(stripe.PermissionError):
        client.v1.customers.create({"name": "Ada"})


@pytest.mark.parametrize("fields", [{"account": "acct_nobody"}, {"restricted": "test"}, {}])
def test_front_page_makes_nothing_of_a_form_that_it_does_not_have(
    guest: Browser, simulator: Simulator, plaza: Account, fields: dict[str, str]
) -> None:
    before = guest.get("/").text

    assert guest.post("/", **fields).status_code == 303
    assert guest.post("/", account=simulator.platform.id, restricted="test").status_code == 303
    assert guest.get("/").text == before


def test_pages_need_nothing_from_elsewhere(guest: Browser, plaza_client: stripe.StripeClient) -> None:
    page = guest.get(_page(guest, plaza_client)).text

    assert "<script" not in page
    assert 'src="' not in page
    assert "@import" not in page
