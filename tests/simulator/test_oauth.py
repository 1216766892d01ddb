"""Connect's OAuth: consent, codes, disconnecting."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe
from stripe.oauth_error import InvalidClientError, InvalidGrantError

from flask_valetpro_stripe.testing import Account, OAuthError, Simulator
from tests.simulator.helpers import Browser, client_with

RETURN = "http://app.test/settings/payments/connect/callback"


def _authorize_url(simulator: Simulator, **changes: Any) -> str:
    client = client_with(simulator, simulator.platform.test_secret_key)
    params: Any = {"scope": "read_write", "state": "s-1", "redirect_uri": RETURN, **changes}
    return client.oauth.authorize_url(params)


def _answer(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def _code(simulator: Simulator, account: Account, **changes: Any) -> str:
    return _answer(simulator.authorize(_authorize_url(simulator, **changes), account.id))["code"]


def _exchange(client: stripe.StripeClient, code: str) -> Any:
    return client.oauth.token({"grant_type": "authorization_code", "code": code})


def test_approval_connects_the_account(
    simulator: Simulator, platform_client: stripe.StripeClient, seaside: Account
) -> None:
    back = simulator.authorize(_authorize_url(simulator), seaside.id)
    assert back.startswith(f"{RETURN}?")
    assert _answer(back)["state"] == "s-1"

    token = _exchange(platform_client, _answer(back)["code"])

    assert (token.stripe_user_id, token.scope, token.livemode) == (seaside.id, "read_write", False)
    assert token.token_type == "bearer"
    assert token.stripe_publishable_key == seaside.test_publishable_key
    account = platform_client.v1.accounts.retrieve_current({}, {"stripe_account": seaside.id})
    assert account.id == seaside.id
    event = simulator.events[-1]
    assert (event["type"], event["account"]) == ("account.application.authorized", seaside.id)


def test_access_token_acts_as_the_account(
    simulator: Simulator, platform_client: stripe.StripeClient, seaside: Account
) -> None:
    token = _exchange(platform_client, _code(simulator, seaside))

    assert client_with(simulator, token.access_token).v1.accounts.retrieve_current().id == seaside.id


def test_denial_returns_with_the_error(simulator: Simulator, seaside: Account) -> None:
    back = simulator.authorize(_authorize_url(simulator), seaside.id, deny=True)

    assert _answer(back) == {
        "error": "access_denied",
        "error_description": "The user denied your request",
        "state": "s-1",
    }


def test_code_used_twice_revokes_what_it_gave(
    simulator: Simulator, platform_client: stripe.StripeClient, seaside: Account
) -> None:
    code = _code(simulator, seaside)
    token = _exchange(platform_client, code)

    with pytest.raises(InvalidGrantError, match="All tokens issued with this code have been revoked"):
        _exchange(platform_client, code)

    assert not simulator.is_connected(seaside.id)
    with pytest.raises(stripe.AuthenticationError):
        client_with(simulator, token.access_token).v1.balance.retrieve()


def test_code_belongs_to_its_mode(simulator: Simulator, seaside: Account) -> None:
    code = _code(simulator, seaside)

    with pytest.raises(InvalidGrantError, match="test mode"):
        _exchange(client_with(simulator, simulator.platform.live_secret_key), code)

    assert not simulator.is_connected(seaside.id, livemode=True)


def test_live_client_id_connects_in_live_mode(simulator: Simulator, seaside: Account) -> None:
    code = _code(simulator, seaside, client_id=simulator.platform.live_client_id)

    token = _exchange(client_with(simulator, simulator.platform.live_secret_key), code)

    assert token.livemode is True
    assert simulator.is_connected(seaside.id, livemode=True)
    assert not simulator.is_connected(seaside.id)


def test_code_expires(simulator: Simulator, platform_client: stripe.StripeClient, seaside: Account) -> None:
    code = _code(simulator, seaside)
    simulator.advance(301)

    with pytest.raises(InvalidGrantError, match="expired"):
        _exchange(platform_client, code)


def test_stranger_cannot_exchange_a_code(simulator: Simulator, seaside: Account) -> None:
    code = _code(simulator, seaside)

    with pytest.raises(InvalidClientError):
        _exchange(client_with(simulator, seaside.test_secret_key), code)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client_id": "ca_other"}, "No application matches"),
        ({"redirect_uri": "http://evil.test/cb"}, "Invalid redirect URI"),
        ({"redirect_uri": "http://app.test.evil.test/cb"}, "Invalid redirect URI"),
        ({"response_type": "token"}, "response_type"),
        ({"scope": "everything"}, "Invalid scope"),
    ],
)
def test_wrong_link_shows_an_error_and_redirects_nowhere(
    simulator: Simulator, changes: dict[str, str], message: str
) -> None:
    url = _authorize_url(simulator, **changes)

    answer = Browser(simulator).get(url)

    assert answer.status_code == 400
    assert message in answer.text
    with pytest.raises(OAuthError, match=message):
        simulator.authorize(url, None)


def test_disconnecting_tells_the_platform_which_account(
    simulator: Simulator, platform_client: stripe.StripeClient, plaza: Account
) -> None:
    gone = platform_client.oauth.deauthorize({"stripe_user_id": plaza.id})

    assert gone.stripe_user_id == plaza.id
    event = simulator.events[-1]
    assert (event["type"], event["account"]) == ("account.application.deauthorized", plaza.id)
    assert event["data"]["object"] == {
        "id": simulator.platform.test_client_id,
        "object": "application",
        "name": "ValetPro",
    }
    with pytest.raises(stripe.PermissionError):
        platform_client.v1.balance.retrieve({}, {"stripe_account": plaza.id})


def test_disconnecting_twice_says_not_connected(platform_client: stripe.StripeClient, plaza: Account) -> None:
    platform_client.oauth.deauthorize({"stripe_user_id": plaza.id})

    with pytest.raises(InvalidClientError, match=f"not connected to stripe account {plaza.id}") as caught:
        platform_client.oauth.deauthorize({"stripe_user_id": plaza.id})

    assert caught.value.http_status == 401


def test_consent_page_offers_the_accounts_and_a_new_one(simulator: Simulator, seaside: Account) -> None:
    browser, url = Browser(simulator), _authorize_url(simulator)

    page = browser.get(url)
    chosen = browser.post(url, account=seaside.id, decision="approve")
    new = browser.post(url, account="new", name="<b>Grand</b> Hotel", decision="approve")
    cancelled = browser.post(url, account=seaside.id, decision="cancel")

    assert page.status_code == 200
    assert "Connect ValetPro with Stripe" in page.text
    assert "Seaside Resort" in page.text
    assert chosen.status_code == new.status_code == cancelled.status_code == 302
    assert "code" in _answer(chosen.headers["Location"])
    assert "code" in _answer(new.headers["Location"])
    assert _answer(cancelled.headers["Location"])["error"] == "access_denied"
    assert "&lt;b&gt;Grand&lt;/b&gt; Hotel" in browser.get(url).text


def test_oauth_calls_are_logged_with_their_key(
    simulator: Simulator, platform_client: stripe.StripeClient, seaside: Account
) -> None:
    _exchange(platform_client, _code(simulator, seaside))

    logged = simulator.requests[-1]

    assert (logged.method, logged.path, logged.status) == ("POST", "/oauth/token", 200)
    assert logged.api_key == simulator.platform.test_secret_key
    assert logged.params["grant_type"] == "authorization_code"
