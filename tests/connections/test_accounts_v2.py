"""What is asked of Accounts v1 and v2, and what the operator is told when Stripe does not offer one of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import stripe

from flask_valetpro_stripe import errors
from flask_valetpro_stripe.testing import Simulator
from tests.connections.admin import Admin, asked
from tests.connections.onboarding import begin, come_back, made_at_stripe, onboard, use

NOT_ENABLED = "Accounts v2 is not enabled for your platform. If you want to use it, enable it in the Dashboard."
NO_CONNECT = "You can only create new accounts if you've signed up for Connect, which you can do in the Dashboard."


class Refusing(stripe.HTTPClient):
    """Stripe's answers, but for one path."""

    name = "refusing"

    def __init__(self, behind: stripe.HTTPClient, path: str, status: int, error: dict[str, Any]) -> None:
        super().__init__()
        self._behind, self._path, self._answer = behind, path, (json.dumps({"error": error}), status, {})
        self.refused = 0

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **options: Any) -> Any:
        if not url.endswith(self._path):
            return self._behind.request(method, url, headers, post_data, **options)
        self.refused += 1
        return self._answer

    def close(self) -> None:
        self._behind.close()


def refuse(admin: Admin, path: str, status: int = 400, **error: Any) -> Refusing:
    client = Refusing(admin.host.state.http_client, path, status, {"type": "invalid_request_error", **error})
    admin.host.state.http_client = client
    return client


@pytest.mark.both
def test_an_account_of_v2_is_asked_for_in_full(plaza: Admin, simulator: Simulator) -> None:
    begin(plaza, "CONNECT_STANDARD", country="it")

    [request] = made_at_stripe(simulator)
    [connection] = plaza.connections()
    assert request.path == "/v2/core/accounts"
    assert request.params == {
        "display_name": "Hotel Plaza",
        "dashboard": "full",
        "identity": {"country": "IT"},
        "configuration": {"merchant": {"capabilities": {"card_payments": {"requested": True}}}},
        "defaults": {"responsibilities": {"fees_collector": "stripe", "losses_collector": "stripe"}},
        "metadata": {"valetpro_connection": str(connection.id)},
    }
    assert request.idempotency_key == f"valetpro-connection-{connection.id}-{connection.created_at:%Y%m%d%H%M%S%f}"
    [link] = asked(simulator, "/v2/core/account_links")
    assert link.params["use_case"] == {
        "type": "account_onboarding",
        "account_onboarding": {
            "refresh_url": "http://app.test/settings/payments/onboard/refresh",
            "return_url": "http://app.test/settings/payments/onboard/return",
        },
    }


def test_an_account_of_v1_is_asked_for_in_full(plaza: Admin, simulator: Simulator) -> None:
    use(plaza, "v1")
    begin(plaza, "CONNECT_STANDARD", country="it")

    [request] = made_at_stripe(simulator)
    assert request.path == "/v1/accounts"
    assert set(request.params) == {"controller", "business_profile", "country", "capabilities", "metadata"}
    assert request.params["business_profile"] == {"name": "Hotel Plaza"}
    assert request.params["country"] == "IT"
    [link] = asked(simulator, "/v1/account_links")
    assert link.params["type"] == "account_onboarding"


def test_v2_takes_the_platforms_country_where_nobody_names_one(plaza: Admin, simulator: Simulator) -> None:
    simulator.platform.country = "ES"
    begin(plaza)
    assert made_at_stripe(simulator)[0].params["identity"] == {"country": "ES"}


def test_v2_needs_a_country_where_the_platforms_key_cannot_tell_its_own(plaza: Admin, simulator: Simulator) -> None:
    key = simulator.create_restricted_key(simulator.platform.id, allow=["payment_links"])
    plaza.host.state.config = replace(plaza.host.state.config, test_secret_key=type(_key(plaza))(key))
    with pytest.raises(
        errors.ValetProStripeError, match="Stripe has to know in which country the business is"
    ) as refused:
        begin(plaza)
    assert refused.value.hint == (
        "The operator must give tenants a 'country', two letters such as FR, or let the key read the account."
    )


def _key(admin: Admin) -> Any:
    return admin.host.state.config.test_secret_key


def test_what_the_tenant_says_about_itself_is_passed_on(
    plaza: Admin, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plaza.host.Tenant, "country", "pt", raising=False)
    monkeypatch.setattr(plaza.host.Tenant, "email", "office@plaza.example", raising=False)
    begin(plaza)

    params = made_at_stripe(simulator)[0].params
    assert (params["identity"], params["contact_email"]) == ({"country": "PT"}, "office@plaza.example")


@pytest.mark.parametrize("email", ["", "plaza", 7, "a b@plaza.example"])
def test_what_is_no_address_is_not_sent_as_one(
    email: Any, plaza: Admin, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plaza.host.Tenant, "email", email, raising=False)
    begin(plaza)
    assert "contact_email" not in made_at_stripe(simulator)[0].params


@pytest.mark.parametrize(("api", "other"), [("v1", "v2"), ("v2", "v1")])
def test_an_account_stays_with_the_api_that_made_it(api: str, other: str, plaza: Admin, simulator: Simulator) -> None:
    use(plaza, api)
    begin(plaza)
    use(plaza, other)

    simulator.onboard(begin(plaza))
    assert come_back(plaza) == "CONNECTED"
    assert plaza.connections()[0].accounts_api == api
    assert len(asked(simulator, "/v1/account_links" if api == "v1" else "/v2/core/account_links")) == 2


def test_a_new_platform_is_told_to_use_v2(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    use(plaza, "v1")
    simulator._ledger.accounts_v1 = False
    with pytest.raises(errors.ConfigurationError) as refused:
        begin(plaza)
    assert (str(refused.value), refused.value.code) == (
        "Stripe does not let this platform make accounts with its API v1. The operator must set "
        'VALETPRO_STRIPE_ACCOUNTS_API="v2", or switch Accounts v1 on in the Stripe Dashboard.',
        "accounts_api",
    )
    use(plaza, "v2")
    onboard(plaza)
    onboard(seaside)


def test_an_old_platform_is_told_to_use_v1(plaza: Admin) -> None:
    refuse(plaza, "/v2/core/accounts", message=NOT_ENABLED, code="accounts_v2_access_blocked")
    with pytest.raises(errors.ConfigurationError, match='VALETPRO_STRIPE_ACCOUNTS_API="v1"'):
        begin(plaza)
    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"
    assert plaza.audit()[-1] == (str(plaza.user.id), "given_up")


@pytest.mark.parametrize(
    ("api", "error"),
    [
        ("v1", {"message": NO_CONNECT}),
        ("v2", {"message": "Not for you.", "code": "non_connect_platform_accounts_v2_access_blocked"}),
    ],
)
def test_a_platform_without_connect_is_told_to_sign_up(api: str, error: dict[str, Any], plaza: Admin) -> None:
    use(plaza, api)
    refuse(plaza, "/v1/accounts" if api == "v1" else "/v2/core/accounts", **error)
    with pytest.raises(errors.ConfigurationError) as refused:
        begin(plaza)
    assert (str(refused.value), refused.value.code) == (
        "The platform's Stripe account does not use Connect yet. The operator must sign up for it, under Connect in "
        "the Stripe Dashboard.",
        "no_connect",
    )


def test_any_other_refusal_is_told_in_stripes_words(plaza: Admin) -> None:
    refuse(plaza, "/v2/core/accounts", message="We do not work with hotels.", code="unsupported")
    with pytest.raises(errors.ValetProStripeError) as refused:
        begin(plaza)
    assert str(refused.value) == "Making the account was refused by Stripe: We do not work with hotels."


def test_the_same_call_being_answered_elsewhere_is_no_refusal(plaza: Admin) -> None:
    """A second click, while Stripe is at the first: giving up would make a second account."""
    client = refuse(
        plaza,
        "/v2/core/accounts",
        409,
        type="idempotency_error",
        code="idempotency_key_in_use",
        message="There is currently another in-progress request using this key.",
    )
    with pytest.raises(errors.OutcomeUnknownError):
        begin(plaza)
    assert client.refused == 3
    assert plaza.row().stripe_onboarding_status == "PENDING"
    assert plaza.connections()[0].ended_at is None


def test_an_answer_without_an_account_connects_nothing(plaza: Admin) -> None:
    refuse(plaza, "/v2/core/accounts", 200)
    plaza.host.state.http_client._answer = ('{"id": "evil/../acct", "object": "v2.core.account"}', 200, {})  # type: ignore[attr-defined]
    with pytest.raises(errors.ValetProStripeError, match="Stripe's answer names no account"):
        begin(plaza)
    assert plaza.connections()[0].account_id is None
