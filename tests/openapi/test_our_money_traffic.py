"""Every request that pages, intents, deposits, customers, tax and disputes make of us is as Stripe describes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flask_valetpro_stripe import Mode, errors, payments
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.openapi.traffic import sent, validated
from tests.payments.desk import Desk


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with validated(Simulator(), refusable=False) as checked:
        yield checked


@pytest.fixture
def host(simulator: Simulator, sqlite_url: str) -> Iterator[Host]:
    with make_host(sqlite_url, simulator=simulator) as host:
        yield host


@pytest.fixture
def plaza(host: Host) -> Desk:
    """Hotel Plaza, which pays the platform a fee, with its tax set up."""
    desk = Desk.of(host, "Plaza", modes=(Mode.test,), stripe_application_fee_bps=150)
    desk.simulator.enable_tax(str(desk.account))
    return desk


def test_a_session_is_made_paid_and_synced(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make_session(
        reference="T-7", metadata={"plate": "AB-123-CD"}, application_fee=90, receipt_email="guest@example.com"
    )
    simulator.pay(payment.checkout_url)
    paid = plaza.sync(payment)
    plaza.hear()

    assert (paid.status, plaza.refund(payment, amount=500).status) == ("COMPLETED", "succeeded")
    asked = {"POST /v1/checkout/sessions", "GET /v1/checkout/sessions/:id", "POST /v1/refunds", "GET /v1/refunds"}
    assert asked <= sent(simulator)


def test_a_session_of_a_customer_with_tax(plaza: Desk, simulator: Simulator) -> None:
    with plaza.open():
        customer = payments.get_customer("guest-7", email="guest@example.com", name="Ada Guest")
        pages = {"success_url": "https://plaza.example/paid", "cancel_url": "https://plaza.example/ticket/7"}
        asked: Any = {"amount": 2500, "currency": "eur", "description": "Valet parking", "customer": customer}
        payments.create_checkout_session(**asked, **pages, automatic_tax=True)

    asked_for = {"POST /v1/customers", "GET /v1/tax/settings", "GET /v1/tax/registrations"}
    assert asked_for <= sent(simulator)
    assert simulator.requests[-1].params["customer_update"] == {"address": "auto"}


def test_tax_that_an_account_is_not_set_up_for(host: Host, simulator: Simulator) -> None:
    lodge = Desk.of(host, "Lodge", modes=(Mode.test,))
    with pytest.raises(errors.ValetProStripeError, match="cannot compute tax"):
        lodge.make(automatic_tax=True)

    assert sent(simulator) == {"GET /v1/tax/settings"}


def test_a_session_is_cancelled_and_a_closed_one_too(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make_session()
    assert plaza.cancel(payment).status == plaza.cancel(payment).status == "CANCELED"
    plaza.hear()

    assert "POST /v1/checkout/sessions/:id/expire" in sent(simulator)


def test_an_intent_is_made_paid_and_asked_for_again(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make_intent(idempotency_key="T-7", receipt_email="guest@example.com", metadata={"plate": "AB"})
    plaza.make_intent(idempotency_key="T-7", receipt_email="guest@example.com", metadata={"plate": "AB"})
    plaza.confirm(payment)
    plaza.hear()

    assert plaza.sync(payment).status == "COMPLETED"
    assert {"POST /v1/payment_intents", "GET /v1/payment_intents/:id"} <= sent(simulator)


@pytest.mark.parametrize("amount", [None, 1000])
def test_a_deposit_is_taken(plaza: Desk, simulator: Simulator, amount: int | None) -> None:
    for make in (plaza.make_intent, plaza.make_session, plaza.make):
        payment = make(capture_method="manual")
        if payment.stripe_payment_intent_id:
            plaza.confirm(payment)
        else:
            simulator.pay(payment.checkout_url or payment.stripe_payment_link_url)
        plaza.sync(payment)
        assert plaza.capture(payment, amount).amount_taken == (amount or 2500)
    plaza.hear()

    assert "POST /v1/payment_intents/:id/capture" in sent(simulator)


def test_a_deposit_is_let_go_and_an_intent_is_cancelled(plaza: Desk, simulator: Simulator) -> None:
    held, left = plaza.make_intent(capture_method="manual"), plaza.make_intent()
    plaza.confirm(held)
    plaza.sync(held)
    assert plaza.cancel(held).status == plaza.cancel(left).status == "CANCELED"
    plaza.hear()

    assert "POST /v1/payment_intents/:id/cancel" in sent(simulator)


def test_a_dispute_is_read_with_its_intent(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    session = simulator.pay(payment.stripe_payment_link_url)
    simulator.settle_dispute(simulator.dispute(session["id"]), "won")
    plaza.hear()

    assert plaza.now(payment).status == "COMPLETED"
    (read, *_) = [request for request in simulator.requests if request.path.startswith("/v1/disputes/")]
    assert read.response["payment_intent"]["id"] == session["payment_intent"]
