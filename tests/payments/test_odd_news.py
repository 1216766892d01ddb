"""News that hardly ever come, or that an account's owner has arranged: what they cannot do, and where they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Event, Thread, current_thread
from typing import Any

import pytest
import stripe

from flask_valetpro_stripe import current_stripe, errors
from flask_valetpro_stripe.payments.find import OPERATION_METADATA
from flask_valetpro_stripe.testing import CardDeclined, Simulator, make_event
from tests.payments.desk import Desk
from tests.payments.news import last, operation_of, owner_of, page_of, tell
from tests.raw_keys.owner import put_transport
from tests.timing import seconds

WAYS: list[Callable[..., Any]] = [Desk.make, Desk.make_session]


def own_link(desk: Desk, of_session: Any, of_intent: Any) -> str:
    """Return a link that the account's owner makes, with the metadata of payments of ours."""
    price: Any = {"currency": "eur", "unit_amount": 2500, "product_data": {"name": "Parking"}}
    made = owner_of(desk).v1.payment_links.create(
        {
            "line_items": [{"price_data": price, "quantity": 1}],
            "metadata": {OPERATION_METADATA: operation_of(desk, of_session)},
            "payment_intent_data": {"metadata": {OPERATION_METADATA: operation_of(desk, of_intent)}},
        }
    )
    return str(made.url)


@pytest.mark.both
@pytest.mark.parametrize("session_first", [True, False])
def test_one_charge_pays_one_payment_whatever_its_owner_writes_into_metadata(
    plaza: Desk, seaside: Desk, simulator: Simulator, session_first: bool
) -> None:
    first, second, other = plaza.make(), plaza.make(), seaside.make()
    # Its own page would be known otherwise, and refused in any case.
    plaza.change(second, stripe_payment_link_id=None)
    simulator.pay(own_link(plaza, of_session=second, of_intent=first))
    news = ["checkout.session.completed", "payment_intent.succeeded"]
    rows = [tell(plaza, last(plaza, each)) for each in (news if session_first else reversed(news))]
    plaza.hear()

    standing = [str(plaza.now(payment).status) for payment in (first, second)]
    assert standing == (["PENDING", "COMPLETED"] if session_first else ["COMPLETED", "PENDING"])
    pays_another = "The PaymentIntent pays another payment, so the event was not applied to this one."
    assert [row.error for row in rows] == [None, None if session_first else pays_another]
    assert seaside.now(other).status == "PENDING"


@pytest.mark.parametrize("way", [*WAYS, Desk.make_intent])
def test_a_charge_of_the_owners_own_does_not_pass_for_one_with_the_platforms_fee(
    plaza: Desk, simulator: Simulator, way: Callable[..., Any]
) -> None:
    payment = way(plaza, application_fee=250)
    page = own_link(plaza, of_session=payment, of_intent=payment)
    simulator.pay(page)
    intent = last(plaza, "payment_intent.succeeded")["data"]["object"]["id"]
    owner_of(plaza).v1.refunds.create({"payment_intent": intent, "amount": 100})
    kinds = ["checkout.session.completed", "payment_intent.succeeded", "charge.succeeded", "charge.refunded"]
    rows = [tell(plaza, last(plaza, kind)) for kind in kinds]
    plaza.hear()

    assert rows[0].error == "The Checkout Session was not made for the payment, so the event was not applied."
    assert {row.error for row in rows[1:]} == {
        "What was paid carries no fee for the platform, so the event was not applied."
    }
    now = plaza.now(payment)
    assert (now.status, now.paid_at, now.amount_refunded) == ("PENDING", None, 0)


def test_a_fee_that_the_platform_has_waived_is_no_contradiction(plaza: Desk, simulator: Simulator) -> None:
    paid, held = plaza.make_intent(application_fee=250), plaza.make_intent(application_fee=250, capture_method="manual")
    for payment in (paid, held):
        intent = simulator._ledger.records[payment.stripe_payment_intent_id].data
        intent |= {"application_fee_amount": None, "application": "ca_ValetPro"}
        plaza.confirm(payment)
    plaza.hear()
    plaza.capture(held)
    for payment in (paid, held):
        now = plaza.now(payment)
        assert (now.status, now.application_fee_amount) == ("COMPLETED", None)
        plaza.refund(payment)
    assert [operation.state for operation in plaza.operations()] == ["done"] * 5


def test_a_session_is_not_refused_for_a_declined_card_before_its_links_answer_came(
    plaza: Desk, simulator: Simulator
) -> None:
    payment = plaza.make()
    page = page_of(payment)
    plaza.change(payment, stripe_payment_link_id=None, stripe_payment_link_url=None)
    with pytest.raises(CardDeclined):
        simulator.pay(page, card="4000000000000002")
    plaza.hear()
    assert plaza.now(payment).stripe_payment_intent_id
    simulator.pay(page)

    assert tell(plaza, last(plaza, "checkout.session.completed")).error is None
    assert plaza.now(payment).status == "COMPLETED"


def test_an_id_of_stripes_goes_before_what_an_owner_writes_into_metadata(plaza: Desk, simulator: Simulator) -> None:
    other, payment = plaza.make(capture_method="manual"), plaza.make(capture_method="manual")
    with plaza.open():
        theirs = {"metadata": {OPERATION_METADATA: operation_of(plaza, other)}}
        current_stripe.client.v1.payment_links.update(payment.stripe_payment_link_id, theirs)
    simulator.pay(page_of(payment))

    assert tell(plaza, last(plaza, "checkout.session.completed")).error is None
    assert plaza.now(payment).stripe_checkout_session_id
    assert plaza.now(other).stripe_checkout_session_id is None


def test_a_page_that_asked_for_nothing_pays_nothing(plaza: Desk) -> None:
    payment = plaza.make()
    session = {"id": "cs_1", "object": "checkout.session", "mode": "setup", "status": "complete"}
    session |= {"payment_status": "no_payment_required", "amount_total": 2500, "currency": "eur"}
    session |= {"payment_intent": None, "metadata": {OPERATION_METADATA: operation_of(plaza, payment)}}
    tell(plaza, make_event("checkout.session.completed", session, account=plaza.account))

    assert (plaza.now(payment).status, plaza.now(payment).paid_at) == ("PENDING", None)


@pytest.mark.parametrize("make", WAYS)
def test_a_debit_that_is_cancelled_on_its_way_ends(plaza: Desk, simulator: Simulator, make: Callable[..., Any]) -> None:
    """Of some debits Stripe allows that (Stripe docs, "PaymentIntent lifecycle")."""
    payment = make(plaza)
    simulator.pay(page_of(payment), card="bank_debit")
    plaza.hear()
    intent = simulator._ledger.records[plaza.now(payment).stripe_payment_intent_id].data
    assert (plaza.now(payment).status, intent["status"]) == ("PROCESSING", "processing")
    # Past the simulator, which allows it of none.
    intent["status"] = "requires_action"
    with plaza.open():
        current_stripe.client.v1.payment_intents.cancel(intent["id"])
    plaza.hear()

    assert plaza.now(payment).status == "CANCELED"
    assert plaza.sync(payment).status == "CANCELED"


@pytest.mark.parametrize("make", WAYS)
def test_what_is_declined_on_an_open_page_is_not_waited_for(plaza: Desk, make: Callable[..., Any]) -> None:
    payment = make(plaza)
    with pytest.raises(CardDeclined):
        plaza.simulator.pay(page_of(payment), card="4000000000000002")
    failed = last(plaza, "payment_intent.payment_failed")
    under_way = json.loads(json.dumps(failed)) | {"id": "evt_under_way", "type": "payment_intent.processing"}
    under_way["data"]["object"] |= {"status": "processing", "last_payment_error": None}
    tell(plaza, under_way)
    assert plaza.now(payment).status == "PROCESSING"

    tell(plaza, failed)
    assert plaza.now(payment).status == "FAILED"
    plaza.simulator.pay(page_of(payment))
    plaza.hear()
    assert plaza.now(payment).status == "COMPLETED"


def test_what_an_old_endpoint_counts_as_given_back_of_a_deposit_is_not(plaza: Desk) -> None:
    """Before 2025-03-31.basil a charge counted what was let go, too; and it may be told of before the capture."""
    payment = plaza.make_intent(capture_method="manual", amount=5000)
    plaza.confirm(payment)
    plaza.hear()
    with plaza.open():
        intent = payment.stripe_payment_intent_id
        current_stripe.client.v1.payment_intents.capture(intent, {"amount_to_capture": 1200})
        current_stripe.client.v1.refunds.create({"payment_intent": intent, "amount": 300})
    old = last(plaza, "charge.refunded") | {"id": "evt_old", "api_version": "2024-06-20"}
    old["data"]["object"]["amount_refunded"] = 300 + 3800
    tell(plaza, old)
    plaza.hear()

    found = plaza.now(payment)
    assert (found.status, found.amount_taken, found.amount_refunded) == ("PARTIALLY_REFUNDED", 1200, 300)


@pytest.mark.both
def test_a_refund_is_not_repeated_by_another_caller_but_looked_for(plaza: Desk, simulator: Simulator) -> None:
    """What a call by the platform made, Stripe may not know under the key of a call by the account itself."""
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    payment = plaza.sync(payment)
    simulator.faults.add("POST", "/v1/refunds", "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.refund(payment, amount=1000, idempotency_key="once")
    simulator.faults.clear()
    operation = plaza.operations()[-1]
    plaza.change(operation, params={**operation.params, "by_key": True})
    simulator.requests.clear()

    with pytest.raises(errors.OutcomeUnknownError, match="through another connection"):
        plaza.refund(payment, amount=1000, idempotency_key="once")

    assert [request for request in simulator.requests if request.path == "/v1/refunds"] == []
    assert simulator.object(payment.stripe_charge_id)["amount_refunded"] == 1000


@pytest.mark.both
def test_what_another_process_has_freed_is_reserved_again_when_the_answer_is_lost(
    plaza: Desk, simulator: Simulator
) -> None:
    """Two send one form; Stripe makes the refund for the first, and tells the second to come back later."""
    payment = plaza.make(amount=10_000)
    simulator.pay(payment.stripe_payment_link_url)
    payment = plaza.sync(payment)
    transport, made, go_on, first = put_transport(plaza.host), Event(), Event(), Event()

    def lose(method: str, url: str, body: str) -> str:
        if method == "POST" and url.endswith("/v1/refunds") and current_thread().name == "first":
            made.set()
            assert go_on.wait(seconds(30))
            raise stripe.APIConnectionError("lost")
        return body

    def refund(amount: int, key: str) -> str:
        try:
            return str(plaza.refund(payment, amount=amount, idempotency_key=key).status)
        except errors.ValetProStripeError as error:
            return error.code

    def begin() -> None:
        answers.append(refund(6000, "once"))
        first.set()

    answers: list[str] = []
    transport.after = lose
    Thread(target=begin, name="first").start()
    assert made.wait(seconds(30))
    simulator.faults.add("POST", "/v1/refunds", "rate_limit", times=10)
    assert refund(6000, "once") == "rate_limit"
    simulator.faults.clear()
    go_on.set()
    assert first.wait(seconds(30))

    assert answers == ["outcome_unknown"]
    assert refund(4001, "another") == "refund_too_large"
    assert refund(6000, "once") == "succeeded"
    assert simulator.object(payment.stripe_charge_id)["amount_refunded"] == 6000
