"""Payment intents: for a host's own page. Their secret lets a browser pay, and is never stored."""

from __future__ import annotations

from typing import Any

import pytest

from flask_valetpro_stripe import current_stripe, errors
from flask_valetpro_stripe.testing import Simulator
from tests.payments.desk import Desk, in_parallel, rows

INTENTS = "/v1/payment_intents"


def sent(simulator: Simulator) -> list[Any]:
    return [request for request in simulator.requests if (request.method, request.path) == ("POST", INTENTS)]


@pytest.mark.both
def test_an_intent_is_a_payment_that_a_browser_confirms_by_its_secret(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make_intent(receipt_email="guest@example.com", metadata={"plate": "AB-123"})

    assert payment.client_secret.startswith(f"{payment.stripe_payment_intent_id}_secret_")
    (request,) = sent(simulator)
    assert request.stripe_account == plaza.account
    assert request.params["automatic_payment_methods"] == {"enabled": "true"}
    assert "payment_method_types" not in request.params
    assert request.params["metadata"]["plate"] == "AB-123"

    plaza.confirm(payment)
    plaza.hear()
    paid = plaza.now(payment)
    assert (paid.status, paid.receipt_email) == ("COMPLETED", "guest@example.com")
    assert paid.stripe_charge_id.startswith("ch_")


def test_the_secret_is_not_kept_and_is_asked_for_again(plaza: Desk) -> None:
    payment = plaza.make_intent(idempotency_key="ticket-7")
    secret = payment.client_secret
    plaza.hear()

    (operation,) = plaza.operations()
    assert secret not in repr(vars(operation))
    (stored,) = plaza.payments()
    assert secret not in repr(vars(stored))
    assert stored.client_secret is None
    assert plaza.make_intent(idempotency_key="ticket-7").client_secret == secret


@pytest.mark.both
def test_twenty_threads_with_one_key_get_one_intent_and_its_secret(plaza: Desk, simulator: Simulator) -> None:
    answers = in_parallel(20, lambda: plaza.make_intent(idempotency_key="ticket-7"))

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert len({(a.id, a.stripe_payment_intent_id, a.client_secret) for a in answers}) == 1
    assert len({request.idempotency_key for request in sent(simulator)}) == 1


def test_a_declined_card_is_not_the_end(plaza: Desk) -> None:
    payment = plaza.make_intent()
    with pytest.raises(Exception, match="declined"):
        plaza.confirm(payment, "pm_card_chargeDeclined")
    plaza.hear()
    assert plaza.now(payment).status == "FAILED"

    plaza.confirm(payment)
    plaza.hear()
    assert plaza.now(payment).status == "COMPLETED"


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_bank_debit_that_fails_is_no_longer_waited_for(plaza: Desk, simulator: Simulator, is_heard: bool) -> None:
    """There is no session to tell of it, as there is for a link: the payment was PROCESSING for ever."""
    payment = plaza.make_intent()
    debit: Any = {
        "type": "sepa_debit",
        "sepa_debit": {"iban": "AT861904300235473202"},
        "billing_details": {"name": "Ada Guest", "email": "guest@example.com"},
    }
    with plaza.open():
        params: Any = {"payment_method_data": debit, "return_url": "https://plaza.example/paid"}
        current_stripe.client.v1.payment_intents.confirm(payment.stripe_payment_intent_id, params)
    plaza.hear()
    assert plaza.now(payment).status == "PROCESSING"

    simulator.settle(payment.stripe_payment_intent_id, succeeded=False)
    if is_heard:
        plaza.hear()
    else:
        plaza.sync(payment)
    assert plaza.now(payment).status == "FAILED"


def test_a_cancelled_intent_takes_no_money(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make_intent()
    assert plaza.cancel(payment).status == "CANCELED"

    assert simulator.object(payment.stripe_payment_intent_id)["status"] == "canceled"
    plaza.hear()
    assert plaza.now(payment).status == "CANCELED"


def test_an_intent_that_is_cancelled_at_stripe_is_a_cancelled_payment(plaza: Desk) -> None:
    payment = plaza.make_intent()
    with plaza.open():
        current_stripe.client.v1.payment_intents.cancel(payment.stripe_payment_intent_id)
    plaza.hear()

    assert plaza.now(payment).status == "CANCELED"


def test_tax_that_stripe_would_not_compute_is_never_silently_missing(plaza: Desk) -> None:
    with pytest.raises(ValueError, match="no tax on payment intents"):
        plaza.make_intent(automatic_tax=True)

    plaza.change(plaza.tenant, stripe_automatic_tax=True)
    with pytest.raises(errors.ValetProStripeError) as caught:
        plaza.make_intent()
    assert caught.value.code == "tax_not_computed"
    assert plaza.payments() == []
    assert plaza.make_intent(automatic_tax=False).automatic_tax is False


def test_two_tenants_intents_are_on_their_own_accounts(plaza: Desk, seaside: Desk) -> None:
    ours, theirs = plaza.make_intent(), seaside.make_intent()
    seaside.confirm(theirs)
    plaza.hear()

    assert rows(plaza.host, plaza.host.Payment, tenant_id=plaza.tenant.id)[0].status == "PENDING"
    assert seaside.now(theirs).status == "COMPLETED"
    assert plaza.now(ours).stripe_account_id != seaside.now(theirs).stripe_account_id
