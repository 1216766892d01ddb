"""Accounts that the platform makes by controller properties, and what Stripe wants of them."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, Simulator
from tests.simulator.helpers import Browser, client_with

EXPRESS: Any = {
    "stripe_dashboard": {"type": "express"},
    "fees": {"payer": "application"},
    "losses": {"payments": "application"},
    "requirement_collection": "stripe",
}
BACK: Any = {"type": "account_onboarding", "refresh_url": "http://app.test/again", "return_url": "http://app.test/back"}


def _onboard(simulator: Simulator, client: stripe.StripeClient, account: str) -> None:
    simulator.onboard(client.v1.account_links.create({**BACK, "account": account}).url)


def test_new_account_is_connected_and_cannot_be_charged_yet(
    simulator: Simulator, platform_client: stripe.StripeClient
) -> None:
    made = platform_client.v1.accounts.create(
        {
            "controller": EXPRESS,
            "capabilities": {"card_payments": {"requested": True}},
            "email": "desk@plaza.example",
            "business_profile": {"name": "Plaza Hotel"},
            "country": "DE",
            "metadata": {"tenant": "7"},
        }
    )

    read = platform_client.v1.accounts.retrieve(made.id)
    assert (read.charges_enabled, read.details_submitted, read.type) == (False, False, "none")
    assert read.controller is not None
    assert read.controller.to_dict() == {**EXPRESS, "is_controller": True, "type": "application"}
    assert read.capabilities is not None
    assert read.capabilities.to_dict() == {"card_payments": "inactive"}
    assert (read.country, read.email) == ("DE", "desk@plaza.example")
    assert read.metadata is not None
    assert read.metadata["tenant"] == "7"
    assert read.requirements is not None
    assert read.requirements.currently_due == ["business_profile.url", "external_account", "tos_acceptance.date"]
    assert read.requirements.disabled_reason == "requirements.past_due"
    assert simulator.is_connected(made.id)
    assert not simulator.is_connected(made.id, livemode=True)


def test_controller_left_out_means_a_standard_account(platform_client: stripe.StripeClient) -> None:
    made = platform_client.v1.accounts.create({})

    assert made.controller is not None
    assert made.controller.to_dict() == {
        "fees": {"payer": "account"},
        "is_controller": True,
        "losses": {"payments": "stripe"},
        "requirement_collection": "stripe",
        "stripe_dashboard": {"type": "full"},
        "type": "application",
    }


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"controller": {"losses": {"payments": "application"}}},
            r"`controller\[fees\]\[payer\]` must be `application`",
        ),
        (
            {"controller": {**EXPRESS, "requirement_collection": "application"}},
            r"`controller\[stripe_dashboard\]\[type\]` must be `none`",
        ),
        ({"controller": EXPRESS, "type": "express"}, "only specify one of these parameters: type, controller"),
        ({"controller": {"fees": {"payer": "guest"}}}, r"controller\[fees\]\[payer\]: must be one of"),
    ],
)
def test_impossible_terms_are_refused(
    simulator: Simulator, platform_client: stripe.StripeClient, params: Any, message: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=message) as caught:
        platform_client.v1.accounts.create(params)

    assert caught.value.http_status == 400
    assert len(platform_client.v1.accounts.list()) == 0


def test_nobody_but_the_platform_makes_accounts(
    simulator: Simulator, seaside_client: stripe.StripeClient, plaza_client: stripe.StripeClient
) -> None:
    for client in (seaside_client, plaza_client):
        with pytest.raises(
            stripe.InvalidRequestError, match="only create new accounts if you've signed up for Connect"
        ):
            client.v1.accounts.create({"controller": EXPRESS})


def test_platform_that_began_with_v2_is_sent_there() -> None:
    simulator = Simulator(accounts_v1=False)
    client = client_with(simulator, simulator.platform.test_secret_key)

    with pytest.raises(
        stripe.InvalidRequestError, match="Create connected accounts with POST /v2/core/accounts instead"
    ):
        client.v1.accounts.create({"controller": EXPRESS})


def test_accounts_of_two_hotels_do_not_mix(simulator: Simulator, platform_client: stripe.StripeClient) -> None:
    first, second = (platform_client.v1.accounts.create({"controller": EXPRESS}) for _ in range(2))

    _onboard(simulator, platform_client, first.id)

    assert platform_client.v1.accounts.retrieve(first.id).charges_enabled is True
    assert platform_client.v1.accounts.retrieve(second.id).charges_enabled is False
    assert {event["account"] for event in simulator.events} == {first.id}


def test_other_mode_does_not_know_the_account(simulator: Simulator, platform_client: stripe.StripeClient) -> None:
    made = platform_client.v1.accounts.create({"controller": EXPRESS})

    with pytest.raises(stripe.PermissionError):
        client_with(simulator, simulator.platform.live_secret_key).v1.accounts.retrieve(made.id)


def test_platform_acts_for_the_account_once_it_is_onboarded(
    simulator: Simulator, platform_client: stripe.StripeClient
) -> None:
    made = platform_client.v1.accounts.create({"controller": EXPRESS})

    _onboard(simulator, platform_client, made.id)

    account = platform_client.v1.accounts.retrieve_current({}, {"stripe_account": made.id})
    assert (account.charges_enabled, account.payouts_enabled, account.details_submitted) == (True, True, True)
    assert account.requirements is not None
    assert account.requirements.currently_due == []


def test_account_without_card_payments_stays_without_charges(
    simulator: Simulator, platform_client: stripe.StripeClient
) -> None:
    made = platform_client.v1.accounts.create(
        {"controller": EXPRESS, "capabilities": {"transfers": {"requested": True}}}
    )

    _onboard(simulator, platform_client, made.id)

    account = platform_client.v1.accounts.retrieve(made.id)
    assert (account.charges_enabled, account.details_submitted) == (False, True)


def test_stripe_may_want_more_by_a_deadline(
    simulator: Simulator, plaza: Account, plaza_client: stripe.StripeClient
) -> None:
    simulator.update_account(plaza.id, due=["external_account"], deadline=1_900_000_000)

    account = plaza_client.v1.accounts.retrieve_current()
    assert account.charges_enabled is True
    assert account.requirements is not None
    assert account.requirements.currently_due == ["external_account"]
    assert account.requirements.current_deadline == 1_900_000_000
    assert (account.requirements.past_due, account.requirements.disabled_reason) == ([], None)
    assert simulator.events[-1]["data"]["object"]["requirements"]["currently_due"] == ["external_account"]


def test_stripe_may_still_be_checking(simulator: Simulator, plaza: Account, plaza_client: stripe.StripeClient) -> None:
    simulator.update_account(plaza.id, charges_enabled=False, details_submitted=True, due=[])

    account = plaza_client.v1.accounts.retrieve_current()
    assert account.details_submitted is True
    assert account.requirements is not None
    assert account.requirements.disabled_reason == "requirements.pending_verification"


def test_account_has_no_other_properties(simulator: Simulator, plaza: Account) -> None:
    with pytest.raises(TypeError, match="An account has no stars"):
        simulator.update_account(plaza.id, stars=5)


def test_express_account_has_a_door_to_its_dashboard(
    simulator: Simulator, platform_client: stripe.StripeClient
) -> None:
    made = platform_client.v1.accounts.create({"controller": EXPRESS, "business_profile": {"name": "Plaza Hotel"}})
    _onboard(simulator, platform_client, made.id)

    link = platform_client.v1.accounts.login_links.create(made.id)

    page = Browser(simulator).get(link.url)
    assert (link.object, page.status_code) == ("login_link", 200)
    assert "Plaza Hotel" in page.text
    assert Browser(simulator).get(f"{link.url}x").status_code == 404


def test_login_link_waits_for_onboarding(platform_client: stripe.StripeClient) -> None:
    made = platform_client.v1.accounts.create({"controller": EXPRESS})

    with pytest.raises(stripe.InvalidRequestError, match="has not completed onboarding") as caught:
        platform_client.v1.accounts.login_links.create(made.id)

    assert caught.value.http_status == 400


def test_only_express_accounts_have_login_links(platform_client: stripe.StripeClient, plaza: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=f"{plaza.id}, which is not an Express account"):
        platform_client.v1.accounts.login_links.create(plaza.id)
