"""Idempotency keys: one effect, one answer, whatever happens to the connection."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import DELAY, DROP_AFTER, SERVER_ERROR, Account, Simulator
from tests import timing
from tests.simulator.helpers import client_with, code_of, link_params

KEY: Any = {"idempotency_key": "ticket-12"}


def _links(simulator: Simulator) -> list[str]:
    return [event["data"]["object"]["id"] for event in simulator.events if event["type"] == "payment_link.created"]


def test_same_key_answers_the_same_and_acts_once(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    first = seaside_client.v1.payment_links.create(link_params(), KEY)
    second = seaside_client.v1.payment_links.create(link_params(), KEY)

    assert second.id == first.id
    assert _links(simulator) == [first.id]
    assert first.last_response is not None
    assert second.last_response is not None
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert second.last_response.headers["Idempotent-Replayed"] == "true"


def test_key_with_other_parameters_is_refused(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    seaside_client.v1.payment_links.create(link_params(2500), KEY)

    with pytest.raises(stripe.IdempotencyError, match="same parameters they were first used with"):
        seaside_client.v1.payment_links.create(link_params(2600), KEY)
    assert len(_links(simulator)) == 1


def test_key_of_another_endpoint_is_refused(seaside_client: stripe.StripeClient) -> None:
    seaside_client.v1.payment_links.create(link_params(), KEY)

    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        seaside_client.v1.customers.create({}, KEY)


def test_each_account_and_mode_has_its_own_keys(simulator: Simulator, plaza: Account, seaside: Account) -> None:
    clients = [
        client_with(simulator, key) for key in (plaza.test_secret_key, seaside.test_secret_key, seaside.live_secret_key)
    ]

    made = {client.v1.payment_links.create(link_params(), KEY).id for client in clients}

    assert len(made) == 3


def test_server_error_is_replayed_until_another_key_is_used(
    simulator: Simulator, seaside_client: stripe.StripeClient
) -> None:
    simulator.faults.add("POST", "/v1/payment_links", SERVER_ERROR)

    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            seaside_client.v1.payment_links.create(link_params(), KEY)
        assert caught.value.http_status == 500
    assert seaside_client.v1.payment_links.create(link_params(), {"idempotency_key": "another"}).active


def test_declined_card_is_replayed(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    params: Any = {"amount": 900, "currency": "eur", "confirm": True, "payment_method": "pm_card_chargeDeclined"}

    for _ in range(2):
        with pytest.raises(stripe.CardError, match="Your card was declined"):
            seaside_client.v1.payment_intents.create(params, KEY)

    assert [event["type"] for event in simulator.events].count("charge.failed") == 1


def test_refused_parameters_do_not_use_the_key_up(seaside_client: stripe.StripeClient) -> None:
    wrong: Any = link_params(colour="red")
    with pytest.raises(stripe.InvalidRequestError):
        seaside_client.v1.payment_links.create(wrong, KEY)

    assert seaside_client.v1.payment_links.create(link_params(), KEY).active


def test_lost_answer_is_found_again_under_its_key(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    simulator.faults.add("POST", "/v1/payment_links", DROP_AFTER)

    with pytest.raises(stripe.APIConnectionError) as caught:
        seaside_client.v1.payment_links.create(link_params(), KEY)
    assert caught.value.should_retry is True
    found = seaside_client.v1.payment_links.create(link_params(), KEY)

    assert _links(simulator) == [found.id]


def test_second_request_meanwhile_is_a_conflict(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    entered, leave = threading.Event(), threading.Event()
    simulator.faults.sleep = lambda seconds: (entered.set(), leave.wait(timing.seconds(10)))
    simulator.faults.add("POST", "/v1/payment_links", DELAY(1))
    slow = threading.Thread(target=lambda: seaside_client.v1.payment_links.create(link_params(), KEY))
    slow.start()
    assert entered.wait(timing.seconds(10))

    with pytest.raises(stripe.APIError) as caught:
        seaside_client.v1.payment_links.create(link_params(), KEY)
    leave.set()
    slow.join(timing.seconds(10))

    assert (caught.value.http_status, code_of(caught.value)) == (409, "idempotency_key_in_use")
    assert seaside_client.v1.payment_links.create(link_params(), KEY).id == _links(simulator)[0]


def test_key_is_forgotten_after_a_day(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    first = seaside_client.v1.payment_links.create(link_params(), KEY)
    simulator.advance(86_399)
    assert seaside_client.v1.payment_links.create(link_params(), KEY).id == first.id

    simulator.advance(1)

    assert seaside_client.v1.payment_links.create(link_params(), KEY).id != first.id


def test_rate_limited_request_is_not_saved(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    simulator.faults.add(path="/v1/payment_links", fault="rate_limit")

    with pytest.raises(stripe.RateLimitError):
        seaside_client.v1.payment_links.create(link_params(), KEY)

    assert seaside_client.v1.payment_links.create(link_params(), KEY).active
