"""`stripe trigger` works against the simulator as against Stripe: nobody here wrote what it sends."""

from __future__ import annotations

import pytest

from flask_valetpro_stripe.testing import Simulator
from tests.cli.stripe_cli import StripeCli
from tests.openapi.description import CURRENT_VERSION, DESCRIBED_VERSION
from tests.openapi.traffic import validated

# The CLI's fixtures still send payment_method_types, which Stripe refuses since 2026-09-30; so they need a version.
FIXTURE_VERSION = DESCRIBED_VERSION

TRIGGERS = [
    "account.updated",
    "charge.captured",
    "charge.failed",
    "charge.refund.updated",
    "charge.refunded",
    "charge.succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.created",
    "customer.deleted",
    "customer.updated",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "payment_link.created",
    "payment_link.updated",
    "payment_method.attached",
    "price.created",
    "price.updated",
    "product.created",
    "product.deleted",
    "product.updated",
]
DELAYED = {"checkout.session.async_payment_succeeded": True, "checkout.session.async_payment_failed": False}


def trigger(cli: StripeCli, event: str, *, version: str = FIXTURE_VERSION, account: str | None = None) -> None:
    result = cli.trigger(event, api_version=version, account=account)

    assert result.returncode == 0, f"stripe trigger {event} failed:\n{result.stdout}{result.stderr}"


def types_since(simulator: Simulator, count: int) -> list[str]:
    return [event["type"] for event in simulator.events[count:]]


@pytest.mark.parametrize("event", TRIGGERS)
def test_the_trigger_succeeds_and_its_event_is_emitted(event: str, stripe_cli: StripeCli, simulator: Simulator) -> None:
    before = len(simulator.events)

    with validated(simulator):
        trigger(stripe_cli, event)

    assert event in types_since(simulator, before)


@pytest.mark.parametrize("event", DELAYED)
def test_a_delayed_payment_is_unpaid_until_it_is_settled(
    event: str, stripe_cli: StripeCli, simulator: Simulator
) -> None:
    before = len(simulator.events)

    with validated(simulator):
        trigger(stripe_cli, event)
        [completed] = [each for each in simulator.events[before:] if each["type"] == "checkout.session.completed"]
        session = completed["data"]["object"]
        simulator.settle(session["id"], succeeded=DELAYED[event])

    assert session["payment_status"] == "unpaid"
    assert types_since(simulator, before).count(event) == 1


@pytest.mark.parametrize("event", ["payment_intent.succeeded", "checkout.session.completed", "charge.refunded"])
def test_the_trigger_acts_for_a_connected_account(event: str, stripe_cli: StripeCli, simulator: Simulator) -> None:
    hotel = simulator.create_account("Hotel Plaza")
    simulator.connect(hotel.id)
    before = len(simulator.events)

    with validated(simulator):
        trigger(stripe_cli, event, account=hotel.id)

    assert event in types_since(simulator, before)
    assert len(simulator.events_of(hotel.id)) >= len(simulator.events) - before


def test_the_trigger_is_refused_for_an_account_that_is_not_connected(
    stripe_cli: StripeCli, simulator: Simulator
) -> None:
    stranger = simulator.create_account("Hotel Elsewhere")

    with validated(simulator):
        result = stripe_cli.trigger("customer.created", api_version=FIXTURE_VERSION, account=stranger.id)

    assert result.returncode != 0
    assert "does not have access to account" in result.stdout + result.stderr
    assert simulator.requests[-1].status == 403


def test_todays_version_refuses_what_the_fixtures_still_send(stripe_cli: StripeCli, simulator: Simulator) -> None:
    with validated(simulator):
        result = stripe_cli.trigger("payment_intent.created", api_version=CURRENT_VERSION)

    assert result.returncode != 0
    assert "payment_method_types_no_longer_supported" in result.stdout + result.stderr
