"""Customers: one for each account and mode, by the host's own id of who pays."""

from __future__ import annotations

from typing import Any

import pytest

from flask_valetpro_stripe import Mode, errors, payments
from flask_valetpro_stripe.testing import Simulator
from tests.payments.desk import Desk, in_parallel


def get(desk: Desk, reference: str = "guest-7", **more: Any) -> Any:
    with desk.open():
        customer = payments.get_customer(reference, **more)
        desk.host.db.session.refresh(customer)
        desk.host.db.session.expunge_all()
        return customer


def made(simulator: Simulator) -> list[Any]:
    return [r for r in simulator.requests if (r.method, r.path) == ("POST", "/v1/customers")]


@pytest.mark.both
def test_a_customer_is_made_once_and_pays_again(plaza: Desk, simulator: Simulator) -> None:
    customer = get(plaza, email="guest@example.com", name="Ada")
    assert get(plaza).stripe_customer_id == customer.stripe_customer_id
    assert len(made(simulator)) == 1

    session, intent = plaza.make_session(customer=customer), plaza.make_intent(customer=customer)
    assert session.stripe_customer_id == intent.stripe_customer_id == customer.stripe_customer_id
    assert simulator.object(session.stripe_checkout_session_id)["customer"] == customer.stripe_customer_id
    assert simulator.object(intent.stripe_payment_intent_id)["customer"] == customer.stripe_customer_id


@pytest.mark.both
def test_ten_threads_make_one(plaza: Desk, simulator: Simulator) -> None:
    answers = in_parallel(10, lambda: get(plaza))

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert len({answer.stripe_customer_id for answer in answers}) == 1
    assert len({request.idempotency_key for request in made(simulator)}) == 1


def test_a_lost_answer_makes_no_second_one(plaza: Desk, simulator: Simulator) -> None:
    simulator.faults.add("POST", "/v1/customers", "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        get(plaza)
    customer = get(plaza)

    found = [each for each in simulator._ledger.records.values() if each.kind == "customer"]
    assert [each.data["id"] for each in found] == [customer.stripe_customer_id]


def test_the_other_mode_has_its_own(plaza: Desk, simulator: Simulator) -> None:
    in_test = get(plaza)
    plaza.change(plaza.tenant, stripe_mode=Mode.live)
    in_live = get(plaza)

    assert in_test.stripe_customer_id != in_live.stripe_customer_id
    with pytest.raises(ValueError, match="not of the account that takes this payment"):
        plaza.make_session(customer=in_test)
    assert plaza.payments() == []


def test_a_key_gives_its_payment_after_an_account_switch_too(plaza: Desk, simulator: Simulator) -> None:
    customer = get(plaza)
    payment = plaza.make_session(customer=customer, idempotency_key="ticket-7")
    account = simulator.create_account("Plaza, new").id
    simulator.connect(account)
    plaza.host.connect(plaza.tenant, account, Mode.test)

    assert plaza.make_session(customer=customer, idempotency_key="ticket-7").id == payment.id
    with pytest.raises(ValueError, match="not of the account that takes this payment"):
        plaza.make_session(customer=customer, idempotency_key="ticket-8")
    assert len(plaza.payments()) == 1


@pytest.mark.parametrize("customer", ["cus_1", 7, "unknown to Stripe"])
def test_a_customer_is_one_of_ours_that_stripe_knows(plaza: Desk, customer: Any) -> None:
    if customer == "unknown to Stripe":
        customer = get(plaza)
        customer.stripe_customer_id = None
    with pytest.raises(ValueError, match="that payments.get_customer"):
        plaza.make_session(customer=customer)
    assert plaza.payments() == []


def test_another_tenants_customer_is_refused(plaza: Desk, seaside: Desk) -> None:
    theirs = get(seaside)
    assert get(plaza).stripe_customer_id != theirs.stripe_customer_id
    with pytest.raises(ValueError, match="not of the account that takes this payment"):
        plaza.make_intent(customer=theirs)


@pytest.mark.parametrize("reference", ["", "x" * 256, 7, None, "a\0b"])
def test_a_reference_is_a_text(plaza: Desk, simulator: Simulator, reference: Any) -> None:
    with pytest.raises(ValueError, match="reference"):
        get(plaza, reference)
    assert made(simulator) == []


@pytest.mark.parametrize("name", ["x" * 257, "a\0b", 7])
def test_a_name_is_a_text(plaza: Desk, simulator: Simulator, name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        get(plaza, name=name)
    assert made(simulator) == []
