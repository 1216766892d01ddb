"""Asking Stripe how a payment stands: what the webhook has not told yet, and what it must not be taken for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flask_valetpro_stripe import Mode, current_stripe, errors
from flask_valetpro_stripe.testing import CardDeclined, Simulator
from tests.payments.desk import Desk, listening, made


@pytest.mark.oldest
@pytest.mark.both
def test_a_payment_is_paid_without_its_webhook(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    session = simulator.pay(payment.stripe_payment_link_url)
    with listening("payment_updated") as heard:
        paid = plaza.sync(payment)

    intent = simulator.object(session["payment_intent"])
    assert paid.status == "COMPLETED"
    assert paid.paid_at.utcoffset().total_seconds() == 0
    assert (paid.stripe_checkout_session_id, paid.stripe_payment_intent_id) == (session["id"], intent["id"])
    assert paid.stripe_charge_id == intent["latest_charge"]
    assert paid.receipt_url == simulator.object(intent["latest_charge"])["receipt_url"]
    assert isinstance(paid.stripe_object, dict)
    assert "client_secret" not in paid.stripe_object or paid.stripe_object["client_secret"] is None
    assert heard == [("payment_updated", payment.id)]


def test_asking_again_changes_nothing_and_tells_nobody(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    before = plaza.sync(payment)
    with listening("payment_updated") as heard:
        after = plaza.sync(payment)

    assert (after.paid_at, after.updated_at, after.status) == (before.paid_at, before.updated_at, "COMPLETED")
    assert heard == []


def test_the_webhook_after_a_sync_is_no_news(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    paid = plaza.sync(payment)
    with listening("payment_updated") as heard:
        simulator.deliver_all(plaza.host.app)

    assert heard == []
    now = plaza.now(payment)
    # We have heard of it then; when it was, the event tells.
    assert timedelta(0) <= paid.paid_at - now.paid_at < timedelta(minutes=1)
    assert now.status == "COMPLETED"


def test_the_page_of_success_proves_nothing(plaza: Desk, simulator: Simulator) -> None:
    """Whoever opens the address without paying, or with another's session in it, has not paid."""
    payment = plaza.make(success_url="https://plaza.example/paid?s={CHECKOUT_SESSION_ID}")

    assert plaza.sync(payment).status == "PENDING"
    assert plaza.now(payment).paid_at is None


def test_another_guests_session_does_not_pay_for_this_one(plaza: Desk, seaside: Desk, simulator: Simulator) -> None:
    mine, other, theirs = plaza.make(), plaza.make(), seaside.make()
    simulator.pay(other.stripe_payment_link_url)
    simulator.pay(theirs.stripe_payment_link_url)

    assert plaza.sync(mine).status == "PENDING"
    assert plaza.sync(other).status == "COMPLETED"
    assert plaza.now(mine).status == "PENDING"
    assert seaside.now(theirs).status == "PENDING"


def test_a_declined_card_is_no_end(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    with pytest.raises(CardDeclined):
        simulator.pay(payment.stripe_payment_link_url, card="4000000000000002")
    assert plaza.sync(payment).status in {"PENDING", "FAILED"}
    simulator.deliver_all(plaza.host.app)
    assert plaza.sync(payment).status == "FAILED"

    simulator.pay(payment.stripe_payment_link_url)
    paid = plaza.sync(payment)
    assert paid.status == "COMPLETED"
    assert simulator.object(paid.stripe_charge_id)["status"] == "succeeded"
    assert paid.receipt_url


def test_completed_is_not_paid_until_the_bank_settles(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    session = simulator.pay(payment.stripe_payment_link_url, card="bank_debit")
    waiting = plaza.sync(payment)
    assert (waiting.status, waiting.paid_at) == ("PROCESSING", None)

    simulator.settle(session["id"])
    assert plaza.sync(payment).status == "COMPLETED"


def test_a_bank_debit_that_fails_is_failed_and_stays_so(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    session = simulator.pay(payment.stripe_payment_link_url, card="bank_debit")
    plaza.sync(payment)
    simulator.settle(session["id"], succeeded=False)

    assert plaza.sync(payment).status == "FAILED"
    with listening("payment_updated") as heard:
        assert plaza.sync(payment).status == "FAILED"
    assert heard == []


@pytest.mark.parametrize("other", [{"amount": 2400}, {"currency": "usd"}])
def test_an_amount_that_is_not_ours_is_not_paid(plaza: Desk, simulator: Simulator, other: dict[str, Any]) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    plaza.change(payment, **other)
    with pytest.raises(errors.ValetProStripeError, match="amount or currency is not the payment's"):
        plaza.sync(payment)

    now = plaza.now(payment)
    assert (now.status, now.paid_at, now.stripe_checkout_session_id) == ("PENDING", None, None)
    simulator.deliver_all(plaza.host.app)
    assert plaza.now(payment).status == "PENDING"


def test_a_payment_without_a_link_is_not_asked_for(plaza: Desk, simulator: Simulator) -> None:
    simulator.faults.add("POST", "/v1/payment_links", "drop_before", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.make()
    simulator.requests.clear()

    assert plaza.sync(plaza.payments()[0]).status == "PENDING"
    assert simulator.requests == []


@pytest.mark.parametrize("fault", ["drop_before", "server_error", "rate_limit"])
def test_if_stripe_cannot_be_asked_nothing_changes(plaza: Desk, simulator: Simulator, fault: str) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    simulator.faults.add("GET", "/v1/", fault, times=9)
    with pytest.raises(errors.ValetProStripeError, match="Asking for the payment"):
        plaza.sync(payment)
    assert plaza.now(payment).status == "PENDING"


def test_an_account_that_was_cut_off_says_so(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    simulator.disconnect(str(plaza.account))
    with pytest.raises(errors.ConnectionRevokedError):
        plaza.sync(payment)
    assert plaza.now(payment).status == "PENDING"


def test_account_mode_and_connection_are_frozen(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    other = simulator.create_account("Plaza two").id
    simulator.connect(other)
    plaza.host.connect(plaza.tenant, other)
    plaza.change(plaza.tenant, stripe_mode=Mode.live)
    simulator.requests.clear()

    paid = plaza.sync(payment)
    assert paid.status == "COMPLETED"
    frozen = (payment.stripe_account_id, payment.mode, payment.connection_id)
    assert (paid.stripe_account_id, paid.mode, paid.connection_id) == frozen
    assert {(r.stripe_account, r.livemode) for r in simulator.requests} == {(plaza.account, False)}


def test_a_repeat_under_the_key_uses_the_frozen_account(plaza: Desk, simulator: Simulator) -> None:
    simulator.faults.add("POST", "/v1/payment_links", "drop_before", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.make(idempotency_key="ticket-7")
    other = simulator.create_account("Plaza two").id
    simulator.connect(other)
    plaza.host.connect(plaza.tenant, other)

    assert plaza.make(idempotency_key="ticket-7").stripe_account_id == plaza.account
    assert {request.stripe_account for request in made(simulator)} - {None} == {plaza.account}


@pytest.mark.oldest
@pytest.mark.both
def test_a_refund_made_at_stripe_is_seen(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    paid = plaza.sync(payment)
    with plaza.open():
        current_stripe.client.v1.refunds.create({"charge": paid.stripe_charge_id, "amount": 500})
    part = plaza.sync(payment)
    assert (part.status, part.amount_refunded) == ("PARTIALLY_REFUNDED", 500)


@pytest.mark.oldest
@pytest.mark.both
def test_a_webhook_that_comes_while_stripe_is_asked_is_not_taken_back(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    session = simulator.pay(payment.stripe_payment_link_url, card="bank_debit")
    real = plaza.host.state.http_client

    class SettledMeanwhile(type(real)):  # type: ignore[misc]
        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            answer = real.request(method, url, *args, **kwargs)
            if "/payment_intents/" in url:
                plaza.host.state.http_client = real
                simulator.settle(session["id"])
                simulator.deliver_all(plaza.host.app)
            return answer

    plaza.host.state.http_client = SettledMeanwhile(simulator)

    assert plaza.sync(payment).status == "COMPLETED"
    assert plaza.now(payment).status == "COMPLETED"


def test_the_host_is_told_of_a_payment_that_was_paid_and_given_back_meanwhile(
    plaza: Desk, simulator: Simulator
) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    intent = next(e["data"]["object"]["id"] for e in simulator.events if e["type"] == "payment_intent.succeeded")
    with plaza.open():
        current_stripe.client.v1.refunds.create({"payment_intent": intent})
    with listening("payment_updated") as heard:
        assert plaza.sync(payment).status == "REFUNDED"
    assert heard == [("payment_updated", payment.id)]
