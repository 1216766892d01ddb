"""Tax: computed by Stripe where the account is set up for it, and otherwise never silently left out."""

from __future__ import annotations

import logging

import pytest

from flask_valetpro_stripe import errors
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import make_host
from tests.payments.desk import Desk


@pytest.mark.parametrize("make", [Desk.make, Desk.make_session])
def test_an_account_that_is_not_set_up_is_refused_before_anything_is_written(plaza: Desk, make: object) -> None:
    with pytest.raises(errors.ValetProStripeError, match="cannot compute tax") as caught:
        make(plaza, automatic_tax=True)  # type: ignore[operator]

    assert caught.value.code == "tax_not_ready"
    assert plaza.payments() == []


def test_settings_without_a_registration_would_tax_nothing(plaza: Desk, simulator: Simulator) -> None:
    simulator.enable_tax(str(plaza.account), countries=())
    with pytest.raises(errors.ValetProStripeError, match="registered nowhere"):
        plaza.make(automatic_tax=True)


@pytest.mark.both
def test_an_account_that_is_ready_is_asked_once_for_many_payments(plaza: Desk, simulator: Simulator) -> None:
    simulator.enable_tax(str(plaza.account))
    plaza.change(plaza.tenant, stripe_automatic_tax=True)
    first, second = plaza.make(), plaza.make_session()

    assert first.automatic_tax is second.automatic_tax is True
    asked = [request.path for request in simulator.requests if "/tax/" in request.path]
    assert asked == ["/v1/tax/settings", "/v1/tax/registrations"]
    assert simulator.object(second.stripe_checkout_session_id)["automatic_tax"]["enabled"] is True


def test_one_tenants_readiness_says_nothing_about_anothers(plaza: Desk, seaside: Desk, simulator: Simulator) -> None:
    simulator.enable_tax(str(plaza.account))
    plaza.make(automatic_tax=True)
    with pytest.raises(errors.ValetProStripeError, match="cannot compute tax"):
        seaside.make(automatic_tax=True)


def test_by_the_operators_will_it_goes_without_and_says_so(
    database_url: str, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"VALETPRO_STRIPE_TAX_NOT_READY": "warn"}
    with make_host(database_url, simulator=simulator, config=config) as host:
        plaza = Desk.of(host, "Plaza")
        with caplog.at_level(logging.WARNING):
            payment = plaza.make(automatic_tax=True)

    assert payment.automatic_tax is False
    assert "goes without tax" in caplog.text
