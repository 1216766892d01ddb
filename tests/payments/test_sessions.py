"""Checkout sessions: Stripe's page for a guest who is here now, made once, paid once, closed after a day."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from flask_valetpro_stripe import errors
from flask_valetpro_stripe.testing import CardDeclined, LinkInactive, Simulator
from tests.payments.desk import Desk, in_parallel, listening

SESSIONS = "/v1/checkout/sessions"


def sent(simulator: Simulator) -> list[Any]:
    return [request for request in simulator.requests if (request.method, request.path) == ("POST", SESSIONS)]


def test_a_session_is_a_payment_with_a_page_on_the_tenants_account(plaza: Desk, simulator: Simulator) -> None:
    with listening("payment_created") as heard:
        payment = plaza.make_session(reference="T-7", receipt_email="guest@example.com", application_fee=100)

    assert payment.status == "PENDING"
    assert payment.stripe_account_id == plaza.account
    assert payment.checkout_url.startswith("http://stripe.test/c/pay/cs_test_")
    assert payment.stripe_payment_link_id is None
    (request,) = sent(simulator)
    assert (request.stripe_account, request.params["mode"]) == (plaza.account, "payment")
    assert request.params["customer_email"] == "guest@example.com"
    intent = request.params["payment_intent_data"]
    assert (intent["application_fee_amount"], intent["receipt_email"]) == ("100", "guest@example.com")
    assert intent["metadata"]["valetpro_payment"] == str(payment.id)
    assert "payment_method_types" not in request.params
    assert heard == [("payment_created", payment.id)]


@pytest.mark.both
def test_paid_on_the_page_is_completed_by_the_event_and_the_page_is_gone(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make_session(receipt_email="guest@example.com")
    simulator.pay(payment.checkout_url)
    plaza.hear()

    paid = plaza.now(payment)
    assert (paid.status, paid.checkout_url) == ("COMPLETED", None)
    assert paid.paid_at is not None
    assert paid.stripe_payment_intent_id.startswith("pi_")
    assert paid.receipt_url
    assert paid.receipt_email == "guest@example.com"


def test_the_success_url_proves_nothing(plaza: Desk) -> None:
    payment = plaza.make_session()
    assert plaza.sync(payment).status == "PENDING"


@pytest.mark.both
def test_the_same_key_is_the_same_page_from_twenty_threads(plaza: Desk, simulator: Simulator) -> None:
    answers = in_parallel(20, lambda: plaza.make_session(idempotency_key="ticket-7"))

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert len({(a.id, a.checkout_url, a.status) for a in answers}) == 1
    assert len(plaza.payments()) == len(plaza.operations()) == 1
    assert len({request.idempotency_key for request in sent(simulator)}) == 1


def test_a_guest_whose_card_is_declined_may_pay_by_the_bank_on_the_same_page(
    plaza: Desk, simulator: Simulator
) -> None:
    payment = plaza.make_session()
    with pytest.raises(CardDeclined):
        simulator.pay(payment.checkout_url, card="4000000000000002")
    plaza.hear()
    assert plaza.now(payment).status == "FAILED"
    assert plaza.now(payment).checkout_url

    session = simulator.pay(payment.checkout_url, card="bank_debit")
    plaza.hear()
    assert plaza.now(payment).status == "PROCESSING"
    simulator.settle(session["id"])
    plaza.hear()
    assert plaza.now(payment).status == "COMPLETED"


@pytest.mark.parametrize("seed", range(6))
def test_a_bank_that_refuses_leaves_failed_in_whatever_order_it_is_told(
    plaza: Desk, simulator: Simulator, seed: int
) -> None:
    from tests.webhooks.stage import Stage

    payment = plaza.make_session()
    session = simulator.pay(payment.checkout_url, card="bank_debit_fails")
    simulator.settle(session["id"], succeeded=False)
    stage = Stage(plaza.host, simulator, plaza.tenant, plaza.tenant)
    events = simulator.events_of(plaza.account)
    random.Random(seed).shuffle(events)
    for event in events:
        assert stage.deliver({**event, "account": plaza.account}).status_code == 200

    assert plaza.now(payment).status == "FAILED"
    assert plaza.sync(payment).status == "FAILED"


def test_a_page_that_ran_out_of_time_is_a_cancelled_payment(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make_session()
    simulator.advance(timedelta(days=1, minutes=1).total_seconds())
    simulator.expire_sessions()
    plaza.hear()

    assert (plaza.now(payment).status, plaza.now(payment).checkout_url) == ("CANCELED", None)


def test_the_pages_of_a_link_may_run_out_of_time_and_the_link_stays(plaza: Desk, simulator: Simulator) -> None:
    from werkzeug.test import Client

    payment = plaza.make()
    Client(simulator).get(payment.stripe_payment_link_url.removeprefix("http://stripe.test"))
    simulator.advance(timedelta(days=1, minutes=1).total_seconds())
    simulator.expire_sessions()
    plaza.hear()

    assert plaza.now(payment).status == "PENDING"
    assert simulator.pay(payment.stripe_payment_link_url)["payment_status"] == "paid"


def test_a_cancelled_page_takes_no_money(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make_session()
    assert plaza.cancel(payment).status == "CANCELED"

    with pytest.raises(LinkInactive):
        simulator.pay(payment.checkout_url)
    assert plaza.cancel(payment).status == "CANCELED"


@pytest.mark.both
def test_whoever_paid_meanwhile_wins(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make_session()
    simulator.pay(payment.checkout_url)

    assert plaza.cancel(payment).status == "COMPLETED"


def test_a_lost_answer_is_asked_for_again_by_the_same_key(plaza: Desk, simulator: Simulator) -> None:
    simulator.faults.add("POST", SESSIONS, "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.make_session(idempotency_key="ticket-7")
    (row,) = plaza.payments()
    assert (row.status, row.checkout_url) == ("PENDING", None)

    payment = plaza.make_session(idempotency_key="ticket-7")

    assert payment.id == row.id
    assert len({request.idempotency_key for request in sent(simulator)}) == 1
    pages = [each for each in simulator._ledger.records.values() if each.kind == "checkout.session"]
    assert [page.data["id"] for page in pages] == [payment.stripe_checkout_session_id]


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"success_url": None}, "success_url"),
        ({"cancel_url": "/ticket/7"}, "cancel_url"),
        ({"capture_method": "later"}, "capture_method"),
        ({"receipt_email": "guest"}, "e-mail"),
        ({"receipt_email": "a b@example.com"}, "e-mail"),
        ({"amount": 10.5}, "amount"),
        ({"amount": True}, "amount"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(plaza: Desk, asked: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        plaza.make_session(**asked)
    assert plaza.payments() == []


def test_two_tenants_pages_are_on_their_own_accounts(plaza: Desk, seaside: Desk, simulator: Simulator) -> None:
    ours, theirs = plaza.make_session(), seaside.make_session()
    simulator.pay(theirs.checkout_url)
    plaza.hear()

    assert plaza.now(ours).status == "PENDING"
    assert seaside.now(theirs).status == "COMPLETED"
    assert [request.stripe_account for request in sent(simulator)] == [plaza.account, seaside.account]
