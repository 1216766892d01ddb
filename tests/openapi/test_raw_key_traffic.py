"""What a tenant does with keys of its own is as Stripe describes it: tokens, permissions, endpoints, empty lists."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, Simulator
from tests.openapi.clients import client_with

ENDPOINT: Any = {
    "url": "https://plaza.example/api/webhooks/stripe",
    "enabled_events": ["payment_intent.succeeded"],
    "api_version": "2026-10-28.endive",
    "metadata": {"tag": "valetpro"},
}


@pytest.fixture
def hotel(simulator: Simulator) -> Account:
    return simulator.create_account("Hotel Plaza")


def restricted(simulator: Simulator, account: Account, *allow: str) -> Any:
    return client_with(simulator, simulator.create_restricted_key(account.id, allow=allow))


def test_tokens_by_the_publishable_key(simulator: Simulator, hotel: Account) -> None:
    public: Any = client_with(simulator, hotel.test_publishable_key)
    made = public.v1.tokens.create({"pii": {"id_number": "000000000"}})
    public.v1.tokens.create({"account": {"business_type": "company", "tos_shown_and_accepted": True}})
    seen = client_with(simulator, hotel.test_secret_key).v1.tokens.retrieve(made.id)

    assert seen.type == "pii"


def test_refusals_of_tokens_have_stripes_error_body(simulator: Simulator, hotel: Account) -> None:
    public: Any = client_with(simulator, hotel.test_publishable_key)
    with pytest.raises(stripe.InvalidRequestError):
        public.v1.tokens.create({})
    with pytest.raises(stripe.InvalidRequestError):
        public.v1.tokens.create({"pii": {"bogus": "x"}})
    with pytest.raises(stripe.InvalidRequestError):
        client_with(simulator, hotel.test_secret_key).v1.tokens.retrieve("pii_missing")
    with pytest.raises(stripe.AuthenticationError):
        public.v1.tokens.retrieve("pii_missing")

    assert [request.status for request in simulator.requests] == [400, 400, 404, 401]


def test_what_a_new_account_lists(simulator: Simulator, hotel: Account) -> None:
    v1 = restricted(simulator, hotel, "payouts:read", "tax:read", "billing_portal:read").v1
    one = {"limit": 1}

    assert v1.payouts.list({**one, "status": "paid"}).data == []
    assert v1.tax.registrations.list({**one, "status": "active"}).data == []
    assert v1.billing_portal.configurations.list({**one, "is_default": True}).data == []
    assert v1.tax.settings.retrieve().status == "pending"


@pytest.mark.parametrize(
    "path", ["/v1/payouts/po_1", "/v1/tax/registrations/taxreg_1", "/v1/billing_portal/configurations/bpc_1"]
)
def test_what_a_new_account_lacks_has_stripes_error_body(simulator: Simulator, hotel: Account, path: str) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client_with(simulator, hotel.test_secret_key).raw_request("get", path)

    assert simulator.requests[-1].status == 404


def test_missing_permission_has_stripes_error_body(simulator: Simulator, hotel: Account) -> None:
    with pytest.raises(stripe.PermissionError):
        restricted(simulator, hotel, "payment_links:read").v1.accounts.retrieve_current()

    assert simulator.requests[-1].status == 403


def test_endpoint_that_a_tenant_makes_with_a_restricted_key(simulator: Simulator, hotel: Account) -> None:
    endpoints = restricted(simulator, hotel, "webhook_endpoints").v1.webhook_endpoints
    made = endpoints.create(ENDPOINT)
    simulator.disable_endpoint(made.id)
    read = endpoints.retrieve(made.id)
    endpoints.update(made.id, {"disabled": False, "description": "Valet desk", "metadata": {"tag": ""}})
    endpoints.list({"limit": 1, "starting_after": endpoints.create(ENDPOINT).id})
    endpoints.delete(made.id)

    assert (made.status, read.status) == ("enabled", "disabled")


def test_refused_endpoints_have_stripes_error_body(simulator: Simulator, hotel: Account) -> None:
    client: Any = client_with(simulator, hotel.test_secret_key)
    for _ in range(16):
        client.v1.webhook_endpoints.create(ENDPOINT)
    for params in (ENDPOINT, {**ENDPOINT, "url": "nowhere"}, {"url": ENDPOINT["url"]}):
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.webhook_endpoints.create(params)

    assert [request.status for request in simulator.requests[16:]] == [400, 400, 400]
