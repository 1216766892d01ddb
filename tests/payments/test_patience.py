"""When Stripe has no time: a call is made again after a moment, a few times, and one tenant's storm is its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flask_valetpro_stripe import errors, payments
from flask_valetpro_stripe.payments import patience, unfinished
from flask_valetpro_stripe.testing import Simulator
from flask_valetpro_stripe.waits import MOST_WAITS, WINDOW, Waits
from tests.hosts import Host
from tests.payments.desk import LINKS, Desk, links_at, made


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each wait would have been: nobody waits."""
    seconds: list[float] = []
    monkeypatch.setattr(patience, "_sleep", seconds.append)
    return seconds


@pytest.mark.parametrize("fault", ["rate_limit", "lock_timeout"])
def test_two_refusals_cost_a_moment_and_nothing_else(
    plaza: Desk, simulator: Simulator, waited: list[float], fault: str
) -> None:
    simulator.faults.add("POST", LINKS, fault, times=2)
    payment = plaza.make()

    assert payment.stripe_payment_link_url
    assert len(waited) == 2
    assert patience.LONGEST_WAIT / 2 <= waited[0] <= patience.LONGEST_WAIT
    assert patience.LONGEST_WAIT <= waited[1] <= 2 * patience.LONGEST_WAIT
    assert [request.status for request in made(simulator)] == [429, 429, 200]
    assert len({request.idempotency_key for request in made(simulator)}) == 1


def test_a_third_refusal_is_told_and_the_same_key_finishes_it(plaza: Desk, simulator: Simulator) -> None:
    simulator.faults.add("POST", LINKS, "rate_limit", times=3)
    with pytest.raises(errors.ValetProStripeError) as caught:
        plaza.make(idempotency_key="ticket-7")
    assert caught.value.code == "rate_limit"

    payment = plaza.make(idempotency_key="ticket-7")
    assert payment.status == "PENDING"
    assert len(links_at(simulator, plaza.account)) == 1


@pytest.mark.both
def test_a_call_that_is_being_answered_elsewhere_is_waited_for(
    plaza: Desk, simulator: Simulator, waited: list[float]
) -> None:
    """The SDK itself asks three times."""
    simulator.faults.add("POST", LINKS, "idempotency_key_in_use", times=8)
    payment = plaza.make()

    assert payment.stripe_payment_link_url
    assert len(waited) == 2
    assert [request.status for request in made(simulator)] == [409] * 8 + [200]
    assert len({request.idempotency_key for request in made(simulator)}) == 1


def test_a_call_that_is_answered_elsewhere_for_long_is_unknown(plaza: Desk, simulator: Simulator) -> None:
    simulator.faults.add("POST", LINKS, "idempotency_key_in_use", times=9)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.make(idempotency_key="ticket-7")
    [operation] = plaza.operations()
    assert operation.state == "unknown"

    assert plaza.make(idempotency_key="ticket-7").stripe_payment_link_url
    assert len(links_at(simulator, plaza.account)) == 1


def test_refunds_and_captures_wait_as_well(plaza: Desk, simulator: Simulator, waited: list[float]) -> None:
    payment = plaza.make_intent(capture_method="manual")
    plaza.confirm(payment)
    plaza.hear()
    simulator.faults.add("POST", "/v1/payment_intents/.*/capture", "lock_timeout")
    plaza.capture(payment)
    simulator.faults.add("POST", "/v1/refunds", "lock_timeout")
    plaza.refund(payment)

    assert len(waited) == 2
    assert plaza.now(payment).status == "REFUNDED"


@pytest.mark.parametrize(("fault", "times"), [("rate_limit", 2), ("idempotency_key_in_use", 8)])
def test_customers_wait_as_well(plaza: Desk, simulator: Simulator, waited: list[float], fault: str, times: int) -> None:
    simulator.faults.add("POST", "/v1/customers", fault, times=times)
    with plaza.open():
        assert payments.get_customer("guest-7").stripe_customer_id
    assert len(waited) == 2


@pytest.mark.parametrize(
    ("fault", "sdk_tries", "most"),
    [("rate_limit", 1, MOST_WAITS), ("idempotency_key_in_use", 3, patience.MOST_REPEATS)],
)
def test_one_tenants_storm_does_not_make_another_wait(
    plaza: Desk, seaside: Desk, simulator: Simulator, waited: list[float], fault: str, sdk_tries: int, most: int
) -> None:
    simulator.faults.add("POST", LINKS, fault, times=1000, account=plaza.account)
    for _ in range(most // 2 + 5):
        with pytest.raises(errors.ValetProStripeError):
            plaza.make(idempotency_key="ticket-7")
    assert len(waited) == most

    simulator.faults.add("POST", LINKS, fault, times=sdk_tries, account=seaside.account)
    assert seaside.make().stripe_payment_link_url
    assert len(waited) == most + 1


def test_the_budget_comes_back() -> None:
    now = [0.0]
    waits = Waits(clock=lambda: now[0])
    assert [waits.may("plaza") for _ in range(MOST_WAITS + 1)] == [True] * MOST_WAITS + [False]
    now[0] += WINDOW
    assert waits.may("plaza")


def later(host: Host, desk: Desk) -> None:
    """Let a call have waited long enough for somebody to look after it."""
    for operation in desk.operations():
        desk.change(operation, attempted_at=operation.attempted_at - timedelta(minutes=5))


@pytest.mark.parametrize("fault, ends", [("server_error", "never made"), ("server_error_after", "done")])
def test_a_saved_failure_is_not_asked_for_until_the_key_is_forgotten(
    host: Host, plaza: Desk, simulator: Simulator, fault: str, ends: str
) -> None:
    """Stripe's 500 is its answer under the key for a day; whether it acted before that, its list tells."""
    simulator.faults.add("POST", LINKS, fault)
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        plaza.make(idempotency_key="ticket-7")
    assert caught.value.is_saved
    later(host, plaza)

    with host.app.app_context():
        ((operation_id, _, _),) = unfinished.find_unfinished(host.state)
        assert str(unfinished.finish(host.state, operation_id)) == ends

    assert len(links_at(simulator, plaza.account)) == (1 if ends == "done" else 0)
    payment = plaza.make(idempotency_key="ticket-7")
    assert payment.status == "PENDING"
    assert len(links_at(simulator, plaza.account)) == 1


def test_a_saved_failure_of_a_refund_reserves_nothing_for_a_day(
    host: Host, plaza: Desk, simulator: Simulator
) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    plaza.hear()
    simulator.faults.add("POST", "/v1/refunds", "server_error")
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.refund(payment)
    later(host, plaza)

    with host.app.app_context():
        outcomes: list[Any] = [
            unfinished.finish(host.state, operation_id) for operation_id, _, _ in unfinished.find_unfinished(host.state)
        ]
    assert outcomes == ["never made"]
    plaza.refund(payment)
    assert plaza.now(payment).amount_refunded == 2500
