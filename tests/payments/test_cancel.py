"""A payment that nobody shall pay any more: its link is closed at Stripe, unless somebody was faster."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import Client

from flask_valetpro_stripe import Mode, errors
from flask_valetpro_stripe.testing import LinkInactive, Simulator
from tests.payments.desk import Desk, links_at, listening, made


def closings(simulator: Simulator) -> list[Any]:
    return [r for r in simulator.requests if r.method == "POST" and r.path.startswith("/v1/payment_links/plink_")]


def test_a_cancelled_link_is_closed_at_stripe(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    with listening("payment_updated") as heard:
        cancelled = plaza.cancel(payment)

    assert cancelled.status == "CANCELED"
    assert simulator.object(payment.stripe_payment_link_id)["active"] is False
    assert {request.stripe_account for request in simulator.requests} == {plaza.account}
    with pytest.raises(LinkInactive):
        simulator.pay(payment.stripe_payment_link_url)
    assert heard == [("payment_updated", payment.id)]


def test_a_page_that_a_guest_has_open_is_closed_too(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    opened = Client(simulator).get(payment.stripe_payment_link_url.removeprefix("http://stripe.test"))
    page = opened.location.rsplit("/", 1)[-1]
    assert simulator.object(page)["status"] == "open"

    plaza.cancel(payment)

    assert simulator.object(page)["status"] == "expired"


def test_cancelling_twice_is_harmless(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    plaza.cancel(payment)
    with listening("payment_updated") as heard:
        assert plaza.cancel(payment).status == "CANCELED"
    assert heard == []


@pytest.mark.both
def test_whoever_paid_meanwhile_wins(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    with listening("payment_updated") as heard:
        cancelled = plaza.cancel(payment)

    assert cancelled.status == "COMPLETED"
    assert cancelled.paid_at is not None
    assert heard == [("payment_updated", payment.id)]


def test_a_payment_on_its_way_is_not_cancelled(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    session = simulator.pay(payment.stripe_payment_link_url, card="bank_debit")
    assert plaza.cancel(payment).status == "PROCESSING"

    simulator.settle(session["id"])
    simulator.deliver_all(plaza.host.app)
    assert plaza.now(payment).status == "COMPLETED"


def test_a_guest_whose_card_was_declined_may_be_cancelled(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    plaza.change(payment, status="FAILED")
    assert plaza.cancel(payment).status == "CANCELED"


def test_another_tenants_payment_does_not_exist(plaza: Desk, seaside: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    simulator.requests.clear()
    for act in (seaside.cancel, seaside.sync):
        with pytest.raises(ValueError, match=r"^The current tenant has no such payment\.$"):
            act(payment)

    assert plaza.now(payment).status == "PENDING"
    assert simulator.requests == []


@pytest.mark.parametrize("fault", ["drop_before", "server_error", "rate_limit"])
def test_if_stripe_cannot_be_asked_nothing_changes(plaza: Desk, simulator: Simulator, fault: str) -> None:
    payment = plaza.make()
    simulator.faults.add("POST", "/v1/payment_links/", fault, times=3)
    with pytest.raises(errors.ValetProStripeError, match="Closing the payment link"):
        plaza.cancel(payment)
    assert plaza.now(payment).status == "PENDING"

    simulator.faults.clear()
    assert plaza.cancel(payment).status == "CANCELED"


def test_not_being_told_whether_somebody_paid_is_not_cancelled(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    simulator.faults.add("GET", "/v1/checkout/sessions", "drop_before", times=9)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.cancel(payment)

    assert plaza.now(payment).status == "PENDING"


def test_the_frozen_account_and_mode_are_cancelled(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    other = simulator.create_account("Plaza two").id
    simulator.connect(other)
    plaza.host.connect(plaza.tenant, other)
    plaza.change(plaza.tenant, stripe_mode=Mode.live)
    simulator.requests.clear()

    assert plaza.cancel(payment).status == "CANCELED"
    assert {(r.stripe_account, r.livemode) for r in simulator.requests} == {(plaza.account, False)}


def test_a_payment_that_stripe_refused_is_cancelled_without_asking(plaza: Desk, simulator: Simulator) -> None:
    with pytest.raises(errors.ValetProStripeError):
        plaza.make(amount=1)
    (payment,) = plaza.payments()
    simulator.requests.clear()

    assert plaza.cancel(payment).status == "CANCELED"
    assert simulator.requests == []


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_link_whose_making_was_never_answered_is_found_by_its_key_and_closed(
    plaza: Desk, simulator: Simulator, fault: str
) -> None:
    simulator.faults.add("POST", "/v1/payment_links", fault, times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.make(idempotency_key="ticket-7")

    assert plaza.cancel(plaza.payments()[0]).status == "CANCELED"
    assert [link["active"] for link in links_at(simulator, plaza.account)] == [False]


def test_what_was_cancelled_is_not_made_by_a_repeat(plaza: Desk, simulator: Simulator) -> None:
    plaza.cancel(plaza.make(idempotency_key="ticket-7"))
    simulator.requests.clear()

    assert plaza.make(idempotency_key="ticket-7").status == "CANCELED"
    assert made(simulator) == []


@pytest.mark.both
def test_what_is_cancelled_while_stripe_makes_its_link_is_closed_as_it_comes(plaza: Desk, simulator: Simulator) -> None:
    real = plaza.host.state.http_client

    class CancelledMeanwhile(type(real)):  # type: ignore[misc]
        def request(self, *args: Any, **kwargs: Any) -> Any:
            plaza.host.state.http_client = real
            answer = real.request(*args, **kwargs)
            plaza.change(plaza.payments()[0], status="CANCELED")
            return answer

    plaza.host.state.http_client = CancelledMeanwhile(simulator)
    payment = plaza.make()

    assert payment.status == "CANCELED"
    assert [link["active"] for link in links_at(simulator, plaza.account)] == [False]


@pytest.mark.both
def test_a_webhook_that_comes_while_stripe_is_asked_wins(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    real = plaza.host.state.http_client

    class PaidMeanwhile(type(real)):  # type: ignore[misc]
        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            answer = real.request(method, url, *args, **kwargs)
            if "/checkout/sessions" in url:
                plaza.change(payment, status="COMPLETED")
            return answer

    plaza.host.state.http_client = PaidMeanwhile(simulator)

    assert plaza.cancel(payment).status == "COMPLETED"
