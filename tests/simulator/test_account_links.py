"""Account links: used once, soon, and with a page that leads back to the host."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, Simulator
from tests.simulator.helpers import Browser, client_with

REFRESH, RETURN = "http://app.test/again", "http://app.test/back?tenant=7"


@pytest.fixture
def hotel(platform_client: stripe.StripeClient) -> str:
    """An account that the platform made, and that Stripe knows nothing about yet."""
    return platform_client.v1.accounts.create({"business_profile": {"name": "<b>Plaza</b> Hotel"}}).id


def _link(client: stripe.StripeClient, account: str, **changed: Any) -> stripe.AccountLink:
    params: Any = {"account": account, "type": "account_onboarding", "refresh_url": REFRESH, "return_url": RETURN}
    return client.v1.account_links.create({**params, **changed})


def _is_ready(client: stripe.StripeClient, account: str) -> bool:
    return bool(client.v1.accounts.retrieve(account).charges_enabled)


def test_link_lives_five_minutes(platform_client: stripe.StripeClient, hotel: str) -> None:
    link = _link(platform_client, hotel, collection_options={"fields": "eventually_due"})

    assert link.expires_at - link.created == 300
    assert link.url.startswith("http://stripe.test/setup/s/")


def test_two_links_have_two_addresses(platform_client: stripe.StripeClient, hotel: str) -> None:
    assert _link(platform_client, hotel).url != _link(platform_client, hotel).url


def test_finishing_makes_the_account_chargeable_and_says_so(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str
) -> None:
    back = simulator.onboard(_link(platform_client, hotel).url)

    assert back == RETURN
    assert _is_ready(platform_client, hotel)
    (event,) = simulator.events
    assert (event["type"], event["account"], event["livemode"]) == ("account.updated", hotel, False)
    assert event["data"]["object"]["charges_enabled"] is True


def test_leaving_changes_nothing(simulator: Simulator, platform_client: stripe.StripeClient, hotel: str) -> None:
    back = simulator.onboard(_link(platform_client, hotel).url, complete=False)

    assert back == RETURN
    assert not _is_ready(platform_client, hotel)
    assert simulator.events == []


def test_used_link_leads_to_the_refresh_address(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str
) -> None:
    url = _link(platform_client, hotel).url
    simulator.onboard(url, complete=False)

    assert simulator.onboard(url) == REFRESH
    assert not _is_ready(platform_client, hotel)


def test_expired_link_leads_to_the_refresh_address(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str
) -> None:
    url = _link(platform_client, hotel).url
    simulator.advance(300)

    assert simulator.onboard(url) == REFRESH
    assert Browser(simulator).get(url).headers["Location"] == REFRESH
    assert not _is_ready(platform_client, hotel)


def test_link_of_a_disconnected_account_leads_to_the_refresh_address(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str
) -> None:
    url = _link(platform_client, hotel).url
    simulator.disconnect(hotel)

    assert simulator.onboard(url) == REFRESH


def test_address_that_never_was_is_an_error(simulator: Simulator, hotel: str) -> None:
    url = f"{simulator.base_url}/setup/s/{hotel}/nothing"

    assert Browser(simulator).get(url).status_code == 404
    with pytest.raises(LookupError, match="no account link"):
        simulator.onboard(url)


def test_page_says_what_is_missing_and_finishing_it_returns(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str
) -> None:
    browser, url = Browser(simulator), _link(platform_client, hotel).url

    page = browser.get(url)
    answer = browser.post(url, decision="finish")

    assert page.status_code == 200
    assert "Set up payments for &lt;b&gt;Plaza&lt;/b&gt; Hotel" in page.text
    assert "A bank account for your payouts" in page.text
    assert "test mode" in page.text
    assert (answer.status_code, answer.headers["Location"]) == (303, RETURN)
    assert _is_ready(platform_client, hotel)


def test_page_can_be_left(simulator: Simulator, platform_client: stripe.StripeClient, hotel: str) -> None:
    browser, url = Browser(simulator), _link(platform_client, hotel).url
    browser.get(url)

    answer = browser.post(url, decision="leave")

    assert answer.headers["Location"] == RETURN
    assert not _is_ready(platform_client, hotel)


def test_page_opens_once_and_answers_once(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str
) -> None:
    browser, url = Browser(simulator), _link(platform_client, hotel).url
    browser.get(url)

    again = browser.get(url)
    browser.post(url, decision="leave")
    late = browser.post(url, decision="finish")

    assert again.headers["Location"] == late.headers["Location"] == REFRESH
    assert not _is_ready(platform_client, hotel)


def test_form_that_was_never_shown_does_nothing(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str
) -> None:
    answer = Browser(simulator).post(_link(platform_client, hotel).url, decision="finish")

    assert answer.headers["Location"] == REFRESH
    assert not _is_ready(platform_client, hotel)


def test_somebody_who_is_slow_may_still_finish_the_page(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str
) -> None:
    browser, url = Browser(simulator), _link(platform_client, hotel).url
    browser.get(url)
    simulator.advance(1800)

    assert browser.post(url, decision="finish").headers["Location"] == RETURN


def test_page_says_when_nothing_is_missing(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str
) -> None:
    simulator.onboard(_link(platform_client, hotel).url)

    page = Browser(simulator).get(_link(platform_client, hotel).url)

    assert "Nothing is missing for this account." in page.text


def test_page_asks_a_chargeable_account_for_what_is_due(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str
) -> None:
    simulator.onboard(_link(platform_client, hotel).url)
    simulator.update_account(hotel, due=["company.tax_id"], deadline=1_900_000_000)
    browser, url = Browser(simulator), _link(platform_client, hotel).url

    page = browser.get(url)
    browser.post(url, decision="finish")

    assert "To keep taking payments, Stripe needs:" in page.text
    assert "company.tax_id" in page.text
    requirements = platform_client.v1.accounts.retrieve(hotel).requirements
    assert requirements is not None
    assert (requirements.currently_due, requirements.current_deadline) == ([], None)


@pytest.mark.parametrize("name", ["refresh_url", "return_url"])
def test_both_addresses_are_needed_and_must_be_urls(
    platform_client: stripe.StripeClient, hotel: str, name: str
) -> None:
    other = {"refresh_url": "return_url", "return_url": "refresh_url"}[name]
    ask: Any = {"account": hotel, "type": "account_onboarding", other: RETURN}

    with pytest.raises(stripe.InvalidRequestError, match=f"Missing required param: {name}"):
        platform_client.v1.account_links.create(ask)
    with pytest.raises(stripe.InvalidRequestError, match="Not a valid URL") as caught:
        platform_client.v1.account_links.create({**ask, name: "/settings/payments"})

    assert caught.value.code == "url_invalid"


def test_live_mode_returns_over_https_only(simulator: Simulator) -> None:
    client = client_with(simulator, simulator.platform.live_secret_key)
    made = client.v1.accounts.create({})

    with pytest.raises(stripe.InvalidRequestError, match="Livemode requests must always be redirected via HTTPS"):
        _link(client, made.id)
    secure = _link(client, made.id, refresh_url="https://app.test/again", return_url="https://app.test/back")

    assert simulator.onboard(secure.url) == "https://app.test/back"
    assert simulator.events[-1]["livemode"] is True


def test_account_with_a_dashboard_updates_itself_there(platform_client: stripe.StripeClient, hotel: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="cannot create `account_update` type Account Links"):
        _link(platform_client, hotel, type="account_update")


def test_account_of_its_own_owner_gets_no_link(platform_client: stripe.StripeClient, plaza: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="doesn't control this account"):
        _link(platform_client, plaza.id)


def test_nobody_but_the_platform_makes_links(seaside_client: stripe.StripeClient, hotel: str) -> None:
    with pytest.raises(stripe.PermissionError):
        _link(seaside_client, hotel)


def test_consent_page_does_not_offer_accounts_of_the_platform(
    simulator: Simulator, platform_client: stripe.StripeClient, hotel: str, seaside: Account
) -> None:
    page = Browser(simulator).get(platform_client.oauth.authorize_url({"scope": "read_write"}))

    assert seaside.id in page.text
    assert hotel not in page.text
