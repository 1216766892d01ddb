"""Faults: each looks to the SDK as it looks on a real wire."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import (
    DROP_AFTER,
    DROP_BEFORE,
    KEY_IN_USE,
    LOCK_TIMEOUT,
    RATE_LIMIT,
    RETRY_HEADER,
    SERVER_ERROR,
    SERVER_ERROR_AFTER,
    Account,
    Fault,
    Simulator,
)
from tests.simulator.helpers import client_with, code_of, link_params


def test_fault_hits_the_next_request_only(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    simulator.faults.add("POST", "/v1/payment_links", RATE_LIMIT)

    assert seaside_client.v1.payment_links.list().data == []
    with pytest.raises(stripe.RateLimitError) as caught:
        seaside_client.v1.payment_links.create(link_params())
    assert code_of(caught.value) == "rate_limit"
    assert seaside_client.v1.payment_links.create(link_params()).active


def test_fault_can_be_meant_for_one_account_and_a_pattern(
    simulator: Simulator, plaza: Account, plaza_client: stripe.StripeClient, seaside_client: stripe.StripeClient
) -> None:
    simulator.faults.add(path=r"/v1/payment_links/plink_\w+", fault=LOCK_TIMEOUT, account=plaza.id)
    links = [client.v1.payment_links.create(link_params()) for client in (plaza_client, seaside_client)]

    assert seaside_client.v1.payment_links.retrieve(links[1].id).active
    with pytest.raises(stripe.RateLimitError) as caught:
        plaza_client.v1.payment_links.retrieve(links[0].id)
    assert code_of(caught.value) == "lock_timeout"


@pytest.mark.parametrize(("fault", "made"), [(DROP_BEFORE, 0), (DROP_AFTER, 1)])
def test_dropped_connection_leaves_the_outcome_unknown(
    simulator: Simulator, seaside_client: stripe.StripeClient, fault: object, made: int
) -> None:
    simulator.faults.add("POST", "/v1/payment_links", fault)  # type: ignore[arg-type]

    with pytest.raises(stripe.APIConnectionError) as caught:
        seaside_client.v1.payment_links.create(link_params())

    assert caught.value.should_retry is True
    assert len(seaside_client.v1.payment_links.list().data) == made
    assert simulator.requests[0].status == (200 if made else 0)


@dataclass
class Money:
    """Each call that moves money, on a payment of its own, and what it leaves at Stripe."""

    simulator: Simulator
    v1: Any

    def intent(self, **more: Any) -> Any:
        params = {"amount": 2500, "currency": "eur", "confirm": True, "payment_method": "pm_card_visa", **more}
        return self.v1.payment_intents.create(params)

    def hold(self) -> str:
        return str(self.intent(capture_method="manual").id)

    def call(self, name: str) -> tuple[Any, str]:
        """Return the call, to be made with a key, and the event that tells that it was carried out."""
        v1 = self.v1
        if name == "refund":
            id = self.intent().id
            return lambda key: v1.refunds.create({"payment_intent": id, "amount": 900}, key), "refund.created"
        if name == "capture":
            held = self.hold()
            return lambda key: v1.payment_intents.capture(held, {"amount_to_capture": 900}, key), "charge.captured"
        if name == "cancel":
            held = self.hold()
            return lambda key: v1.payment_intents.cancel(held, {}, key), "payment_intent.canceled"
        dispute = self.simulator.dispute(self.intent().id)
        if name == "evidence":
            evidence = {"evidence": {"customer_name": "Ada"}}
            return lambda key: v1.disputes.update(dispute, evidence, key), "charge.dispute.updated"
        return lambda key: v1.disputes.close(dispute, {}, key), "charge.dispute.closed"

    def times(self, type: str) -> int:
        return [event["type"] for event in self.simulator.events].count(type)


MONEY = ["refund", "capture", "cancel", "evidence", "give up"]
KEY = {"idempotency_key": "operation-7"}


@pytest.fixture
def money(simulator: Simulator, plaza_client: stripe.StripeClient) -> Money:
    return Money(simulator, plaza_client.v1)


@pytest.mark.parametrize("name", MONEY)
@pytest.mark.parametrize(
    "fault, status, code",
    [
        (RATE_LIMIT, 429, "rate_limit"),
        (LOCK_TIMEOUT, 429, "lock_timeout"),
        (KEY_IN_USE, 409, "idempotency_key_in_use"),
        (DROP_BEFORE, None, None),
    ],
)
def test_what_was_not_done_is_done_by_the_same_key(
    simulator: Simulator, money: Money, name: str, fault: Fault, status: int | None, code: str | None
) -> None:
    call, event = money.call(name)
    simulator.faults.add("POST", "/v1/", fault)

    with pytest.raises(stripe.StripeError) as caught:
        call(KEY)
    assert (caught.value.http_status, code_of(caught.value), money.times(event)) == (status, code, 0)

    assert "Idempotent-Replayed" not in call(KEY).last_response.headers
    assert money.times(event) == 1


@pytest.mark.parametrize("name", MONEY)
def test_lost_answer_is_replayed_by_the_same_key(simulator: Simulator, money: Money, name: str) -> None:
    call, event = money.call(name)
    simulator.faults.add("POST", "/v1/", DROP_AFTER)

    with pytest.raises(stripe.APIConnectionError):
        call(KEY)
    assert money.times(event) == 1

    assert call(KEY).last_response.headers["Idempotent-Replayed"] == "true"
    assert money.times(event) == 1


@pytest.mark.parametrize("name", MONEY)
@pytest.mark.parametrize("fault, done", [(SERVER_ERROR, 0), (SERVER_ERROR_AFTER, 1)])
def test_server_error_is_replayed_whether_it_was_done_or_not(
    simulator: Simulator, money: Money, name: str, fault: Fault, done: int
) -> None:
    call, event = money.call(name)
    simulator.faults.add("POST", "/v1/", fault)

    replayed = []
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            call(KEY)
        assert caught.value.http_status == 500
        replayed.append((caught.value.headers or {}).get("Idempotent-Replayed"))

    assert replayed == [None, "true"]
    assert money.times(event) == done


def test_faults_have_names(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    simulator.faults.add("POST", "/v1/customers", "idempotency_key_in_use")
    with pytest.raises(stripe.APIError) as busy:
        seaside_client.v1.customers.create({}, {"idempotency_key": "k-1"})
    simulator.faults.add("POST", "/v1/customers", "server_error_after")
    with pytest.raises(stripe.APIError) as broken:
        seaside_client.v1.customers.create({}, {"idempotency_key": "k-1"})

    assert (busy.value.http_status, broken.value.http_status) == (409, 500)
    assert "k-1" in str(busy.value)
    assert len(seaside_client.v1.customers.list().data) == 1


def test_sdk_retries_a_lost_answer_into_one_object(
    simulator: Simulator, seaside: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe.HTTPClient, "_sleep_time_seconds", lambda self, retries: 0)
    simulator.faults.add("POST", "/v1/payment_links", DROP_AFTER)
    client = client_with(simulator, seaside.test_secret_key, retries=2)

    link = client.v1.payment_links.create(link_params())

    assert [found.id for found in client.v1.payment_links.list()] == [link.id]
    assert [r.status for r in simulator.requests if r.method == "POST"] == [200, 200]


def test_retry_header_is_obeyed(
    simulator: Simulator, seaside: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe.HTTPClient, "_sleep_time_seconds", lambda self, retries: 0)
    client = client_with(simulator, seaside.test_secret_key, retries=2)

    simulator.faults.add("GET", "/v1/balance", RETRY_HEADER(RATE_LIMIT, True))
    assert client.v1.balance.retrieve().livemode is False

    simulator.faults.add("GET", "/v1/balance", RETRY_HEADER(SERVER_ERROR, False))
    with pytest.raises(stripe.APIError):
        client.v1.balance.retrieve()


def test_oauth_can_fail_too(simulator: Simulator, platform_client: stripe.StripeClient) -> None:
    simulator.faults.add("POST", "/oauth/token", DROP_AFTER)

    with pytest.raises(stripe.APIConnectionError):
        platform_client.oauth.token({"grant_type": "authorization_code", "code": "ac_none"})

    simulator.faults.add("POST", "/oauth/token", SERVER_ERROR)
    with pytest.raises(stripe.APIError):
        platform_client.oauth.token({"grant_type": "authorization_code", "code": "ac_none"})

    simulator.faults.add("POST", "/oauth/token", SERVER_ERROR_AFTER)
    with pytest.raises(stripe.APIError):
        platform_client.oauth.token({"grant_type": "authorization_code", "code": "ac_none"})


def test_threads_never_see_each_others_accounts(simulator: Simulator) -> None:
    accounts = [simulator.create_account(f"Hotel {number}") for number in range(8)]
    for account in accounts:
        simulator.connect(account.id)
    shared = stripe.StripeClient(simulator.platform.test_secret_key, http_client=simulator.http_client())
    problems: list[BaseException] = []

    def work(account: Account) -> None:
        try:
            for number in range(10):
                params = link_params(metadata={"owner": account.id})
                options = {"stripe_account": account.id, "idempotency_key": f"{number}"}
                link = shared.v1.payment_links.create(params, options)  # type: ignore[arg-type]
                session = simulator.pay(link.url)
                assert session["metadata"] == {"owner": account.id}
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(account,)) for account in accounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    for account in accounts:
        links = shared.v1.payment_links.list({"limit": 100}, {"stripe_account": account.id})
        assert len(links.data) == 10
        assert {link.metadata["owner"] for link in links} == {account.id}
