"""The Events API: what reconciliation reads."""

from __future__ import annotations

import stripe

from flask_valetpro_stripe.testing import Account, Simulator
from tests.simulator.helpers import link_params


def test_events_are_listed_by_type_newest_first(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    link = plaza_client.v1.payment_links.create(link_params())
    simulator.pay(link.url)

    by_type = plaza_client.v1.events.list({"type": "checkout.session.*"})
    by_types = plaza_client.v1.events.list({"types": ["charge.succeeded", "payment_link.created"]})

    assert [event.type for event in by_type] == ["checkout.session.completed"]
    assert [event.type for event in by_types] == ["charge.succeeded", "payment_link.created"]


def test_platform_sees_the_account_and_the_account_does_not(
    simulator: Simulator, plaza: Account, plaza_client: stripe.StripeClient
) -> None:
    plaza_client.v1.customers.create({})
    own = stripe.StripeClient(plaza.test_secret_key, http_client=simulator.http_client())

    (through_platform,) = plaza_client.v1.events.list()
    (by_itself,) = own.v1.events.list()

    assert through_platform.id == by_itself.id
    assert through_platform.account == plaza.id
    assert "account" not in by_itself


def test_event_keeps_what_the_object_was(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    link = plaza_client.v1.payment_links.create(link_params())
    (created,) = plaza_client.v1.events.list({"type": "payment_link.created"})

    plaza_client.v1.payment_links.update(link.id, {"active": False})

    assert plaza_client.v1.events.retrieve(created.id).data.object["active"] is True


def test_events_can_be_asked_for_by_time(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    plaza_client.v1.customers.create({})
    simulator.advance(100)
    plaza_client.v1.customers.create({})
    later = simulator.events[-1]

    found = plaza_client.v1.events.list({"created": {"gte": later["created"]}})

    assert [event.id for event in found] == [later["id"]]


def test_simulator_tells_accounts_apart(
    simulator: Simulator, plaza: Account, plaza_client: stripe.StripeClient, platform_client: stripe.StripeClient
) -> None:
    plaza_client.v1.customers.create({})
    platform_client.v1.products.create({"name": "Fee"})

    assert [event["type"] for event in simulator.events_of(None)] == ["product.created"]
    assert [event["type"] for event in simulator.events_of(plaza.id)][-1] == "customer.created"
