"""Tokens: made with a publishable key, seen with a secret key of the same account and mode."""

from __future__ import annotations

import pytest
import stripe

from flask_valetpro_stripe.testing import DROP_AFTER, Account, Simulator
from tests.simulator.helpers import client_with, code_of, link_params

PII = {"pii": {"id_number": "000000000"}}


def token_by(simulator: Simulator, key: str) -> str:
    return str(client_with(simulator, key).v1.tokens.create(PII).id)


def test_publishable_key_makes_a_token_that_the_secret_key_sees(simulator: Simulator, seaside: Account) -> None:
    made = client_with(simulator, seaside.test_publishable_key).v1.tokens.create(PII)

    seen = client_with(simulator, seaside.test_secret_key).v1.tokens.retrieve(made.id)

    assert made.id.startswith("pii_")
    assert (seen.id, seen.type, seen.livemode, seen.used) == (made.id, "pii", False, False)


def test_account_token_is_another_kind(simulator: Simulator, seaside: Account) -> None:
    client = client_with(simulator, seaside.live_publishable_key)

    token = client.v1.tokens.create({"account": {"business_type": "company", "tos_shown_and_accepted": True}})

    assert token.id.startswith("ct_")
    assert (token.type, token.livemode) == ("account", True)


def test_token_shows_nothing_of_what_is_in_it(simulator: Simulator, seaside: Account) -> None:
    token = token_by(simulator, seaside.test_publishable_key)

    assert "000000000" not in str(simulator.object(token))


def test_another_accounts_token_does_not_exist(simulator: Simulator, plaza: Account, seaside: Account) -> None:
    token = token_by(simulator, plaza.test_publishable_key)

    with pytest.raises(stripe.InvalidRequestError, match=f"No such token: '{token}'$") as caught:
        client_with(simulator, seaside.test_secret_key).v1.tokens.retrieve(token)

    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")


def test_token_of_the_other_mode_is_missing_too(simulator: Simulator, seaside: Account) -> None:
    token = token_by(simulator, seaside.live_publishable_key)

    with pytest.raises(stripe.InvalidRequestError, match="exists in live mode, but a test mode key was used") as caught:
        client_with(simulator, seaside.test_secret_key).v1.tokens.retrieve(token)

    assert caught.value.code == "resource_missing"


def test_publishable_key_sees_no_token(simulator: Simulator, seaside: Account) -> None:
    token = token_by(simulator, seaside.test_publishable_key)

    with pytest.raises(stripe.AuthenticationError) as caught:
        client_with(simulator, seaside.test_publishable_key).v1.tokens.retrieve(token)

    assert code_of(caught.value) == "secret_key_required"


def test_publishable_key_still_opens_nothing_else(simulator: Simulator, seaside: Account) -> None:
    with pytest.raises(stripe.AuthenticationError) as caught:
        client_with(simulator, seaside.test_publishable_key).v1.payment_links.create(link_params())

    assert code_of(caught.value) == "secret_key_required"


def test_unknown_publishable_key_is_refused_and_shown_masked(simulator: Simulator) -> None:
    with pytest.raises(stripe.AuthenticationError, match=r"Invalid API Key provided: pk_test_\*+wxyz"):
        token_by(simulator, "pk_test_notakeywxyz")


def test_expired_publishable_key_says_so(simulator: Simulator, seaside: Account) -> None:
    simulator.expire_key(seaside.test_publishable_key)

    with pytest.raises(stripe.AuthenticationError) as caught:
        token_by(simulator, seaside.test_publishable_key)

    assert code_of(caught.value) == "api_key_expired"


def test_publishable_key_is_no_proof_of_being_the_platform(simulator: Simulator, plaza: Account) -> None:
    client = client_with(simulator, simulator.platform.test_publishable_key)

    with pytest.raises(stripe.oauth_error.OAuthError):
        client.oauth.deauthorize({"stripe_user_id": plaza.id})

    assert simulator.is_connected(plaza.id)


def test_secret_key_makes_tokens_as_well(simulator: Simulator, seaside: Account) -> None:
    token = token_by(simulator, seaside.test_secret_key)

    assert simulator.object(token)["type"] == "pii"


def test_restricted_key_needs_a_permission_for_tokens(simulator: Simulator, seaside: Account) -> None:
    token = token_by(simulator, seaside.test_publishable_key)
    without = simulator.create_restricted_key(seaside.id, allow=["payment_links"])
    with_it = simulator.create_restricted_key(seaside.id, allow=["tokens:read"])

    with pytest.raises(stripe.PermissionError, match="Having the 'rak_token_read' permission"):
        client_with(simulator, without).v1.tokens.retrieve(token)

    assert client_with(simulator, with_it).v1.tokens.retrieve(token).id == token


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "You must supply either a card, customer, PII data"),
        ({"card": "4242"}, "The simulator makes tokens of pii and account only."),
        ({"bogus": "x"}, "Received unknown parameter: bogus"),
    ],
)
def test_other_tokens_are_not_made(
    simulator: Simulator, seaside: Account, params: dict[str, str], message: str
) -> None:
    client = client_with(simulator, seaside.test_publishable_key)

    with pytest.raises(stripe.InvalidRequestError, match=message):
        client.raw_request("post", "/v1/tokens", **params)


def test_answer_to_a_token_can_get_lost(simulator: Simulator, plaza: Account, seaside: Account) -> None:
    simulator.faults.add(method="POST", path="/v1/tokens", fault=DROP_AFTER, account=seaside.id)

    assert token_by(simulator, plaza.test_publishable_key)
    with pytest.raises(stripe.APIConnectionError):
        token_by(simulator, seaside.test_publishable_key)


def test_platforms_publishable_key_makes_tokens_of_its_connected_accounts_only(
    simulator: Simulator, plaza: Account, seaside: Account
) -> None:
    key = simulator.platform.test_publishable_key

    token = client_with(simulator, key, account=plaza.id).v1.tokens.create(PII)
    with pytest.raises(stripe.PermissionError, match="Application access may have been revoked"):
        client_with(simulator, key, account=seaside.id).v1.tokens.create(PII)

    assert client_with(simulator, plaza.test_secret_key).v1.tokens.retrieve(token.id).id == token.id
