"""Customers: kept by their account and mode, and paid with only there."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, Simulator
from tests.simulator.helpers import client_with, link_params

ADA: Any = {"name": "Ada Guest", "email": "ada@plaza.example", "metadata": {"room": "7"}}


def session_params(**more: Any) -> Any:
    return link_params(mode="payment", success_url="https://plaza.example/", **more)


def intent_params(**more: Any) -> Any:
    return {"amount": 2500, "currency": "eur", **more}


def test_customer_is_made_found_changed_and_deleted(
    simulator: Simulator, plaza_client: stripe.StripeClient
) -> None:
    customers = plaza_client.v1.customers
    ada = customers.create(ADA)
    customers.create({"email": "bob@plaza.example"})

    assert (ada.name, ada.email, dict((ada.metadata or {}).to_dict())) == ("Ada Guest", ADA["email"], {"room": "7"})
    assert [each.id for each in customers.list({"email": ADA["email"]})] == [ada.id]
    assert customers.update(ada.id, {"name": "Ada G.", "metadata": {"room": ""}}).name == "Ada G."
    assert getattr(customers.delete(ada.id), "deleted", None) is True
    assert getattr(customers.retrieve(ada.id), "deleted", None) is True
    assert [each.email for each in customers.list()] == ["bob@plaza.example"]
    types = [event["type"] for event in simulator.events if event["type"].startswith("customer.")]
    assert types == ["customer.created", "customer.created", "customer.updated", "customer.deleted"]


ASKS = [
    lambda v1, id: v1.checkout.sessions.create(session_params(customer=id)),
    lambda v1, id: v1.payment_intents.create(intent_params(customer=id)),
    lambda v1, id: v1.payment_intents.update(v1.payment_intents.create(intent_params()).id, {"customer": id}),
]


@pytest.mark.parametrize("ask", ASKS)
def test_customer_of_the_account_is_taken(plaza_client: stripe.StripeClient, ask: Any) -> None:
    ada = plaza_client.v1.customers.create(ADA)

    assert ask(plaza_client.v1, ada.id).customer == ada.id


@pytest.mark.parametrize("ask", ASKS)
def test_customer_of_elsewhere_is_missing(
    simulator: Simulator, plaza: Account, plaza_client: stripe.StripeClient, seaside_client: Any, ask: Any
) -> None:
    live = client_with(simulator, plaza.live_secret_key)
    deleted = plaza_client.v1.customers.create(ADA)
    plaza_client.v1.customers.delete(deleted.id)
    elsewhere = [client.v1.customers.create(ADA).id for client in (seaside_client, live)]

    for id in [*elsewhere, deleted.id, "cus_unknown"]:
        with pytest.raises(stripe.InvalidRequestError, match=f"No such customer: '{id}'") as caught:
            ask(plaza_client.v1, id)
        assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
        assert caught.value.param == "customer"


def test_customer_of_a_session_is_the_payments_too(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    ada = plaza_client.v1.customers.create(ADA)
    opened = plaza_client.v1.checkout.sessions.create(session_params(customer=ada.id))

    session = simulator.pay(opened.id, email="somebody@else.example")

    intent = simulator.object(session["payment_intent"])
    assert session["customer_details"]["email"] == ADA["email"]
    assert (intent["customer"], simulator.object(intent["latest_charge"])["customer"]) == (ada.id, ada.id)
    assert [each.id for each in plaza_client.v1.payment_intents.list({"customer": ada.id})] == [intent["id"]]


def test_session_takes_a_customer_or_an_address(plaza_client: stripe.StripeClient) -> None:
    ada = plaza_client.v1.customers.create(ADA)

    with pytest.raises(stripe.InvalidRequestError, match="You may only specify one of these parameters"):
        plaza_client.v1.checkout.sessions.create(session_params(customer=ada.id, customer_email="a@b.example"))
