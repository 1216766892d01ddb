"""Who may do what: keys, modes, connected accounts."""

from __future__ import annotations

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, Simulator
from tests.simulator.helpers import client_with, code_of, link_params


def test_unknown_key_is_refused_and_shown_masked(simulator: Simulator) -> None:
    with pytest.raises(stripe.AuthenticationError, match=r"Invalid API Key provided: sk_test_\*+wxyz") as caught:
        client_with(simulator, "sk_test_notakeywxyz").v1.balance.retrieve()

    assert caught.value.http_status == 401
    assert "notakey" not in str(caught.value)


def test_publishable_key_opens_nothing(simulator: Simulator) -> None:
    with pytest.raises(stripe.AuthenticationError, match="publishable API key") as caught:
        client_with(simulator, simulator.platform.test_publishable_key).v1.balance.retrieve()

    assert code_of(caught.value) == "secret_key_required"


def test_expired_key_says_so(simulator: Simulator, seaside: Account) -> None:
    simulator.expire_key(seaside.test_secret_key)

    with pytest.raises(stripe.AuthenticationError) as caught:
        client_with(simulator, seaside.test_secret_key).v1.balance.retrieve()

    assert code_of(caught.value) == "api_key_expired"


def test_key_decides_the_mode(simulator: Simulator, seaside: Account) -> None:
    assert client_with(simulator, seaside.test_secret_key).v1.balance.retrieve().livemode is False
    assert client_with(simulator, seaside.live_secret_key).v1.balance.retrieve().livemode is True


def test_platform_reaches_a_connected_account(plaza_client: stripe.StripeClient, plaza: Account) -> None:
    account = plaza_client.v1.accounts.retrieve_current()

    assert account.id == plaza.id
    assert account.charges_enabled is True


def test_platform_cannot_reach_an_account_that_is_not_connected(simulator: Simulator, seaside: Account) -> None:
    client = client_with(simulator, simulator.platform.test_secret_key, account=seaside.id)

    with pytest.raises(stripe.PermissionError, match="Application access may have been revoked") as caught:
        client.v1.payment_links.create(link_params())

    assert caught.value.http_status == 403
    assert code_of(caught.value) == "account_invalid"


def test_connection_in_test_mode_does_not_open_live_mode(simulator: Simulator, plaza: Account) -> None:
    client = client_with(simulator, simulator.platform.live_secret_key, account=plaza.id)

    with pytest.raises(stripe.PermissionError):
        client.v1.balance.retrieve()


def test_tenants_key_cannot_act_for_another_account(simulator: Simulator, plaza: Account, seaside: Account) -> None:
    client = client_with(simulator, seaside.test_secret_key, account=plaza.id)

    with pytest.raises(stripe.PermissionError):
        client.v1.balance.retrieve()


def test_other_accounts_objects_do_not_exist(
    plaza_client: stripe.StripeClient, seaside_client: stripe.StripeClient
) -> None:
    link = plaza_client.v1.payment_links.create(link_params())

    with pytest.raises(stripe.InvalidRequestError, match=f"No such payment_link: '{link.id}'$") as caught:
        seaside_client.v1.payment_links.retrieve(link.id)

    assert caught.value.http_status == 404
    assert caught.value.code == "resource_missing"


def test_object_of_the_other_mode_is_hinted_at(simulator: Simulator, seaside: Account) -> None:
    link = client_with(simulator, seaside.test_secret_key).v1.payment_links.create(link_params())

    with pytest.raises(stripe.InvalidRequestError, match="exists in test mode, but a live mode key was used"):
        client_with(simulator, seaside.live_secret_key).v1.payment_links.retrieve(link.id)


def test_restricted_key_does_what_it_is_allowed(simulator: Simulator, seaside: Account) -> None:
    key = simulator.create_restricted_key(seaside.id, allow=["payment_links"])
    client = client_with(simulator, key)

    assert client.v1.payment_links.create(link_params()).active
    with pytest.raises(stripe.PermissionError, match="required permissions"):
        client.v1.accounts.retrieve_current()


def test_unknown_url_is_refused(platform_client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=r"Unrecognized request URL \(GET: /v1/nothing\)"):
        platform_client.raw_request("get", "/v1/nothing")
