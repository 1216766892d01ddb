"""The check of a simulator's traffic fails when something in it is not as Stripe describes it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Simulator
from tests.openapi.clients import client_with
from tests.openapi.traffic import problems_of_events, problems_of_requests, validated


@pytest.fixture
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture
def client(simulator: Simulator) -> stripe.StripeClient:
    return client_with(simulator, simulator.platform.test_secret_key)


def test_an_answer_that_stripe_would_not_give_is_found(simulator: Simulator, client: Any) -> None:
    client.v1.customers.create({"name": "Ada Guest"})
    honest = simulator.requests[-1]
    forged = dataclasses.replace(honest, response={**honest.response, "loyalty_points": 7})

    assert problems_of_requests([honest]) == []
    assert problems_of_requests([forged]) == ["POST /v1/customers (200): loyalty_points is unknown to Stripe."]


def test_a_request_that_stripe_would_refuse_must_have_been_refused(simulator: Simulator, client: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"loyalty_points": 7})
    refused = simulator.requests[-1]
    let_through = dataclasses.replace(refused, status=200, response={})

    assert problems_of_requests([refused]) == []
    assert problems_of_requests([let_through]) == ["POST /v1/customers: loyalty_points is unknown to Stripe."]


def test_an_event_that_stripe_would_not_send_is_found(simulator: Simulator, client: Any) -> None:
    client.v1.customers.create({"name": "Ada Guest"})
    event = simulator.events[-1]

    assert problems_of_events([event]) == []
    assert problems_of_events([{**event, "livemode": "no"}]) == [
        "event customer.created: livemode must be of type boolean, not 'no'."
    ]


def test_the_block_fails_with_all_that_was_wrong_in_it(simulator: Simulator, client: Any) -> None:
    with pytest.raises(AssertionError, match="loyalty_points is unknown"), validated(simulator):  # noqa: PT012
        client.v1.customers.create({"name": "Ada Guest"})
        honest = simulator.requests.pop()
        simulator.requests.append(dataclasses.replace(honest, response={**honest.response, "loyalty_points": 7}))


def test_a_refused_request_fails_where_none_may_be_refused(simulator: Simulator, client: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"loyalty_points": 7})

    assert problems_of_requests(simulator.requests, refusable=False) == [
        "POST /v1/customers: loyalty_points is unknown to Stripe."
    ]
