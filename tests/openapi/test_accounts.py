"""Accounts that a platform makes, through v1 and v2, and their onboarding are as Stripe describes them."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import RATE_LIMIT, SERVER_ERROR, Simulator
from tests.openapi.clients import client_with
from tests.openapi.traffic import event_types

EVERYTHING = [
    "configuration.customer",
    "configuration.merchant",
    "configuration.recipient",
    "defaults",
    "future_requirements",
    "identity",
    "requirements",
]
HOTEL: Any = {
    "dashboard": "full",
    "contact_email": "desk@plaza.example",
    "display_name": "Hotel Plaza",
    "identity": {"country": "fr"},
    "configuration": {"merchant": {"capabilities": {"card_payments": {"requested": True}}}},
    "defaults": {
        "currency": "eur",
        "locales": ["fr-FR"],
        "responsibilities": {"fees_collector": "stripe", "losses_collector": "stripe"},
    },
    "metadata": {"tenant": "7"},
}
MARKET: Any = {
    **HOTEL,
    "dashboard": "express",
    "configuration": {
        **HOTEL["configuration"],
        "recipient": {"capabilities": {"stripe_balance": {"stripe_transfers": {"requested": True}}}},
    },
    "defaults": {"responsibilities": {"fees_collector": "application", "losses_collector": "application"}},
}
BACK = {"refresh_url": "https://app.example/again", "return_url": "https://app.example/back"}


def v2_link(account: str) -> Any:
    return {"account": account, "use_case": {"type": "account_onboarding", "account_onboarding": BACK}}


@pytest.mark.parametrize("params", [HOTEL, MARKET], ids=["full", "express"])
@pytest.mark.parametrize("include", [[], EVERYTHING], ids=["nothing", "everything"])
def test_v2_account_from_its_making_to_its_rejection(
    simulator: Simulator, client: Any, params: Any, include: list[str]
) -> None:
    simulator.config()
    made = client.v2.core.accounts.create({**params, "include": include})
    asked = {"include": include}
    client.v2.core.accounts.retrieve(made.id, asked)
    simulator.update_account(made.id, due=[], details_submitted=True)
    client.v2.core.accounts.retrieve(made.id, asked)
    simulator.onboard(client.v2.core.account_links.create(v2_link(made.id)).url)
    client.v2.core.accounts.retrieve(made.id, asked)
    simulator.update_account(made.id, due=["external_account"], deadline=1_900_000_000)
    client.v2.core.accounts.retrieve(made.id, asked)
    simulator.update_account(made.id, charges_enabled=False, due=[], disabled_reason="rejected.fraud")
    client.v2.core.accounts.retrieve(made.id, asked)
    client.v1.accounts.retrieve(made.id)
    client_with(simulator, simulator.platform.test_secret_key, account=made.id).v1.accounts.retrieve_current()

    assert {
        "account.updated",
        "v2.core.account[requirements].updated",
        "v2.core.account[configuration.merchant].capability_status_updated",
    } <= event_types(simulator)


@pytest.mark.parametrize(
    "params",
    [
        {"dashboard": "express", **{name: HOTEL[name] for name in ("configuration", "identity", "defaults")}},
        {"configuration": HOTEL["configuration"]},
        {**HOTEL, "loyalty": 7},
        {**HOTEL, "dashboard": "half"},
    ],
    ids=["express without liability", "no country", "unknown", "no such dashboard"],
)
def test_v2_refusals_have_v2s_error_body(simulator: Simulator, client: Any, params: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client.v2.core.accounts.create(params)

    assert simulator.requests[-1].status == 400


def test_v2_refuses_accounts_that_it_does_not_know(simulator: Simulator, client: Any) -> None:
    connected = simulator.create_account("Hotel Plaza")
    simulator.connect(connected.id)
    for id in (connected.id, "acct_missing"):
        with pytest.raises(stripe.InvalidRequestError):
            client.v2.core.accounts.retrieve(id)
        with pytest.raises(stripe.InvalidRequestError):
            client.v2.core.account_links.create(v2_link(id))

    assert [request.status for request in simulator.requests] == [400, 400, 404, 404]


def test_v2_faults_and_wrong_keys_have_v2s_error_body(simulator: Simulator, client: Any) -> None:
    simulator.faults.add(path="/v2/", fault=RATE_LIMIT)
    with pytest.raises(stripe.RateLimitError):
        client.v2.core.accounts.create(HOTEL)
    simulator.faults.add(path="/v2/", fault=SERVER_ERROR)
    with pytest.raises(stripe.APIError):
        client.v2.core.accounts.create(HOTEL)
    with pytest.raises(stripe.AuthenticationError):
        client_with(simulator, "sk_test_unknown").v2.core.accounts.create(HOTEL)
    client.v2.core.accounts.create(HOTEL, {"idempotency_key": "hotel-7"})
    with pytest.raises(stripe.IdempotencyError):
        client.v2.core.accounts.create(MARKET, {"idempotency_key": "hotel-7"})

    assert [request.status for request in simulator.requests] == [429, 500, 401, 200, 400]


def test_v1_account_by_controller_properties(simulator: Simulator, client: Any) -> None:
    made = client.v1.accounts.create(
        {
            "country": "FR",
            "email": "desk@plaza.example",
            "business_profile": {"name": "Hotel Plaza"},
            "capabilities": {"card_payments": {"requested": True}, "transfers": {"requested": True}},
            "controller": {
                "stripe_dashboard": {"type": "express"},
                "fees": {"payer": "application"},
                "losses": {"payments": "application"},
                "requirement_collection": "stripe",
            },
            "metadata": {"tenant": "7"},
        }
    )
    options = {"collection_options": {"fields": "eventually_due", "future_requirements": "include"}}
    link = client.v1.account_links.create({"account": made.id, "type": "account_onboarding", **BACK, **options})
    simulator.onboard(link.url)
    client.v1.accounts.retrieve(made.id)
    client.v1.accounts.login_links.create(made.id)
    simulator.update_account(made.id, due=["external_account"], deadline=1_900_000_000)
    client.v1.accounts.retrieve(made.id)

    assert "account.updated" in event_types(simulator)


def test_v1_refusals_have_stripes_error_body(simulator: Simulator, client: Any) -> None:
    made = client.v1.accounts.create({"controller": {"losses": {"payments": "stripe"}}})
    ask: Any = {"account": made.id, **BACK}
    for refused in (
        lambda: client.v1.accounts.create({"controller": {"losses": {"payments": "application"}}}),
        lambda: client.v1.account_links.create({**ask, "type": "account_update"}),
        lambda: client.v1.account_links.create({**ask, "type": "account_onboarding", "return_url": "nowhere"}),
        lambda: client.v1.accounts.login_links.create(made.id),
    ):
        with pytest.raises(stripe.InvalidRequestError):
            refused()

    assert [request.status for request in simulator.requests] == [200, 400, 400, 400, 400]
