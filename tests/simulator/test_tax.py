"""Stripe Tax: an account is ready for it, or its links with tax are refused."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, Simulator
from tests.simulator.helpers import client_with, link_params

TAXED: Any = {"automatic_tax": {"enabled": True}}


def session_params(**more: Any) -> Any:
    return link_params(mode="payment", success_url="https://plaza.example/", **more)


def test_new_account_is_not_ready(seaside_client: stripe.StripeClient) -> None:
    settings: Any = seaside_client.v1.tax.settings.retrieve()

    assert (settings.status, settings.head_office, settings.livemode) == ("pending", None, False)
    assert settings.status_details.pending.missing_fields == ["head_office"]
    assert seaside_client.v1.tax.registrations.list().data == []


def test_owner_makes_it_ready(simulator: Simulator, plaza: Account, plaza_client: stripe.StripeClient) -> None:
    simulator.enable_tax(plaza.id)

    settings: Any = plaza_client.v1.tax.settings.retrieve()
    (registration,) = plaza_client.v1.tax.registrations.list({"status": "active"}).data
    assert (settings.status, settings.head_office.address.country) == ("active", "FR")
    assert "pending" not in settings.status_details
    assert (registration.country, registration.status) == ("FR", "active")
    assert plaza_client.v1.tax.registrations.retrieve(registration.id).country == "FR"
    event = simulator.events[-1]
    assert (event["type"], event["account"]) == ("tax.settings.updated", plaza.id)


def test_active_settings_need_no_registration(simulator: Simulator, seaside: Account, seaside_client: Any) -> None:
    simulator.enable_tax(seaside.id, countries=())

    assert seaside_client.v1.tax.settings.retrieve().status == "active"
    assert seaside_client.v1.tax.registrations.list().data == []
    assert seaside_client.v1.payment_links.create(link_params(**TAXED)).automatic_tax.enabled is True


def test_registrations_are_listed_by_status(simulator: Simulator, seaside: Account, seaside_client: Any) -> None:
    simulator.enable_tax(seaside.id, countries=["it", "FR"])
    registrations = seaside_client.v1.tax.registrations

    found = {
        status: [each.country for each in registrations.list({"status": status})]
        for status in ("active", "all", "expired", "scheduled")
    }
    assert found == {"active": ["FR", "IT"], "all": ["FR", "IT"], "expired": [], "scheduled": []}
    with pytest.raises(stripe.InvalidRequestError, match="No such registration: 'taxreg_missing'"):
        registrations.retrieve("taxreg_missing")


@pytest.mark.parametrize(
    "ask",
    [
        lambda v1: v1.payment_links.create(link_params(**TAXED)),
        lambda v1: v1.payment_links.update(v1.payment_links.create(link_params()).id, TAXED),
        lambda v1: v1.checkout.sessions.create(session_params(**TAXED)),
    ],
)
def test_tax_is_refused_until_the_account_is_ready(
    simulator: Simulator, seaside: Account, seaside_client: stripe.StripeClient, ask: Any
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="You must have a valid head office address") as caught:
        ask(seaside_client.v1)
    assert (caught.value.http_status, caught.value.code) == (400, "stripe_tax_inactive")

    simulator.enable_tax(seaside.id)

    assert ask(seaside_client.v1).automatic_tax.enabled is True


def test_refused_link_leaves_nothing_behind(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        seaside_client.v1.payment_links.create(link_params(**TAXED))

    assert simulator.events == []


def test_each_mode_and_account_is_made_ready_by_itself(simulator: Simulator, plaza: Account, seaside: Account) -> None:
    simulator.enable_tax(plaza.id, livemode=True)
    keys = (plaza.live_secret_key, plaza.test_secret_key, seaside.live_secret_key)
    live, test, other = (client_with(simulator, key) for key in keys)

    assert live.v1.tax.settings.retrieve().status == "active"
    assert test.v1.tax.settings.retrieve().status == "pending"
    with pytest.raises(stripe.InvalidRequestError, match="Stripe Tax has not been activated on your account"):
        other.v1.payment_links.create(link_params(**TAXED))


def test_link_without_tax_needs_nothing(seaside_client: stripe.StripeClient) -> None:
    off: Any = {"automatic_tax": {"enabled": False}}

    assert seaside_client.v1.payment_links.create(link_params(**off)).automatic_tax.enabled is False
