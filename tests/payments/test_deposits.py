"""Deposits: money that is held on a card, and taken later, in part, or not at all."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from flask_valetpro_stripe import current_stripe, errors, payments
from flask_valetpro_stripe.testing import Simulator
from tests.payments.desk import Desk, in_parallel, listening
from tests.webhooks.stage import Stage


def hold_by_link(desk: Desk, **asked: Any) -> Any:
    payment = desk.make(capture_method="manual", amount=5000, **asked)
    desk.simulator.pay(payment.stripe_payment_link_url)
    return payment


def hold_by_session(desk: Desk, **asked: Any) -> Any:
    payment = desk.make_session(capture_method="manual", amount=5000, **asked)
    desk.simulator.pay(payment.checkout_url)
    return payment


def hold_by_intent(desk: Desk, **asked: Any) -> Any:
    payment = desk.make_intent(capture_method="manual", amount=5000, **asked)
    desk.confirm(payment)
    return payment


HOLDS = [hold_by_link, hold_by_session, hold_by_intent]


@pytest.fixture(params=HOLDS)
def hold(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """One of the ways to hold 50.00 on a guest's card."""
    found: Callable[..., Any] = request.param
    return found


def test_what_is_held_is_not_paid(plaza: Desk, hold: Callable[..., Any]) -> None:
    payment = hold(plaza)
    plaza.hear()

    held = plaza.now(payment)
    assert (held.status, held.amount_capturable, held.paid_at) == ("PROCESSING", 5000, None)
    with pytest.raises(errors.RefundError):
        plaza.refund(payment)


def test_all_of_it_is_taken(plaza: Desk, hold: Callable[..., Any]) -> None:
    payment = hold(plaza)
    plaza.hear()
    with listening("payment_updated") as heard:
        taken = plaza.capture(payment)
        plaza.hear()

    assert (taken.status, taken.amount_capturable, taken.amount_captured) == ("COMPLETED", 0, None)
    assert taken.amount_taken == 5000
    assert taken.paid_at is not None
    assert heard[0] == ("payment_updated", payment.id)


@pytest.mark.both
def test_a_part_of_it_is_taken_and_only_that_can_be_given_back(
    plaza: Desk, simulator: Simulator, hold: Callable[..., Any]
) -> None:
    payment = hold(plaza, application_fee=501)
    plaza.hear()
    taken = plaza.capture(payment, 3000)
    plaza.hear()

    assert (taken.status, taken.amount_captured, taken.amount_taken) == ("COMPLETED", 3000, 3000)
    # 501 × 3000 / 5000 is 300.6.
    assert plaza.now(payment).application_fee_amount == 300
    assert simulator.object(plaza.now(payment).stripe_payment_intent_id)["amount_received"] == 3000
    with pytest.raises(errors.RefundError, match="only €30.00 of this payment is left"):
        plaza.refund(payment, amount=3001)

    plaza.refund(payment)
    plaza.hear()
    refunded = plaza.now(payment)
    assert (refunded.status, refunded.amount_refunded) == ("REFUNDED", 3000)
    assert plaza.sync(payment).amount_refunded == 3000


def test_a_fee_is_not_rounded_down_to_nothing(plaza: Desk, simulator: Simulator) -> None:
    payment = hold_by_intent(plaza, application_fee=1)
    plaza.hear()

    assert plaza.capture(payment, 3000).application_fee_amount == 1
    assert simulator.object(payment.stripe_payment_intent_id)["application_fee_amount"] == 1


def test_what_is_let_go_was_never_paid(plaza: Desk, simulator: Simulator, hold: Callable[..., Any]) -> None:
    payment = hold(plaza)
    plaza.hear()
    cancelled = plaza.cancel(payment)
    plaza.hear()

    assert (cancelled.status, plaza.now(payment).amount_capturable) == ("CANCELED", 0)
    assert simulator.object(cancelled.stripe_payment_intent_id)["status"] == "canceled"
    with pytest.raises(errors.ValetProStripeError) as caught:
        plaza.capture(payment)
    assert caught.value.code == "not_held"


@pytest.mark.parametrize("way", HOLDS)
def test_every_order_of_the_news_ends_the_same(plaza: Desk, way: Callable[..., Any]) -> None:
    """Twelve random orders of each; what was captured in part, and what was let go."""
    stage = Stage(plaza.host, plaza.simulator, plaza.tenant, plaza.tenant)
    for seed, ending in itertools.product(range(6), ("captured", "let go")):
        before = len(plaza.simulator.events_of(plaza.account))
        payment = way(plaza)
        intent = next(
            event["data"]["object"]["id"]
            for event in reversed(plaza.simulator.events_of(plaza.account))
            if event["type"] == "payment_intent.amount_capturable_updated"
        )
        with plaza.open():

            if ending == "captured":
                current_stripe.client.v1.payment_intents.capture(intent, {"amount_to_capture": 1200})
            else:
                current_stripe.client.v1.payment_intents.cancel(intent)
        events = plaza.simulator.events_of(plaza.account)[before:]
        random.Random(seed).shuffle(events)
        for event in events:
            assert stage.deliver({**event, "account": plaza.account}).status_code == 200
        ended = plaza.now(payment)
        found = (ended.status, ended.amount_capturable, ended.amount_captured)
        assert found == (("COMPLETED", 0, 1200) if ending == "captured" else ("CANCELED", 0, None)), (seed, ending)


def test_more_than_is_held_is_refused_here(plaza: Desk, simulator: Simulator) -> None:
    payment = hold_by_intent(plaza)
    plaza.hear()
    simulator.requests.clear()
    with pytest.raises(ValueError, match=r"€50.01 cannot be taken: only €50.00 is held"):
        plaza.capture(payment, 5001)
    for wrong in (0, -1, 10.5, True):
        with pytest.raises(ValueError, match="amount"):
            plaza.capture(payment, wrong)  # type: ignore[arg-type]
    assert [request for request in simulator.requests if request.method == "POST"] == []


@pytest.mark.both
def test_twenty_captures_at_once_take_it_once(plaza: Desk, simulator: Simulator) -> None:
    payment = hold_by_intent(plaza)
    plaza.hear()
    answers = in_parallel(20, lambda: plaza.capture(payment, 3000))

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert {(a.status, a.amount_captured) for a in answers} == {("COMPLETED", 3000)}
    captures = [r for r in simulator.requests if r.path.endswith("/capture")]
    assert len({request.idempotency_key for request in captures}) == 1


def test_a_lost_answer_of_a_capture_is_asked_for_again(plaza: Desk, simulator: Simulator) -> None:
    payment = hold_by_intent(plaza)
    plaza.hear()
    simulator.faults.add("POST", "/v1/payment_intents/.*/capture", "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.capture(payment, 3000)
    assert [operation.state for operation in plaza.operations()] == ["done", "unknown"]

    assert plaza.capture(payment, 3000).amount_captured == 3000
    assert [operation.state for operation in plaza.operations()] == ["done", "done"]
    assert simulator.object(payment.stripe_payment_intent_id)["amount_received"] == 3000


def test_a_fee_is_no_more_than_what_was_taken_in_the_dashboard(plaza: Desk, simulator: Simulator) -> None:
    """The intent still says what fee was meant, where less than that was taken."""
    payment = hold_by_intent(plaza, application_fee=501)
    with plaza.open():
        params: Any = {"amount_to_capture": 300}
        current_stripe.client.v1.payment_intents.capture(payment.stripe_payment_intent_id, params)
    plaza.hear()

    taken = plaza.now(payment)
    assert (taken.amount_taken, taken.application_fee_amount) == (300, 300)
    assert simulator.object(taken.stripe_charge_id)["application_fee_amount"] == 300


def test_another_tenants_deposit_does_not_exist(plaza: Desk, seaside: Desk) -> None:
    payment = hold_by_intent(plaza)
    plaza.hear()
    with seaside.open(), pytest.raises(ValueError, match="no such payment"):

        payments.capture(payment)
    assert plaza.now(payment).status == "PROCESSING"


def test_a_hold_that_ran_out_is_a_cancelled_payment(plaza: Desk) -> None:

    payment = hold_by_session(plaza)
    plaza.hear()
    with plaza.open():
        current_stripe.client.v1.payment_intents.cancel(
            plaza.now(payment).stripe_payment_intent_id, {"cancellation_reason": "abandoned"}
        )
    plaza.hear()

    assert (plaza.now(payment).status, plaza.now(payment).amount_capturable) == ("CANCELED", 0)


@pytest.mark.parametrize("way", HOLDS)
def test_a_hold_that_nobody_has_told_of_yet_is_let_go_too(plaza: Desk, way: Callable[..., Any]) -> None:
    payment = way(plaza)
    assert plaza.now(payment).amount_capturable == 0
    cancelled = plaza.cancel(payment)

    assert (cancelled.status, plaza.now(payment).amount_capturable) == ("CANCELED", 0)
    intent = plaza.now(payment).stripe_payment_intent_id
    assert plaza.simulator.object(intent)["status"] == "canceled"


def test_a_declined_card_that_is_told_of_late_ends_no_hold(plaza: Desk) -> None:
    payment = plaza.make_intent(capture_method="manual")
    with pytest.raises(Exception, match="declined"):
        plaza.confirm(payment, "pm_card_chargeDeclined")
    plaza.confirm(payment)
    stage = Stage(plaza.host, plaza.simulator, plaza.tenant, plaza.tenant)
    for event in reversed(plaza.simulator.events_of(plaza.account)):
        assert stage.deliver({**event, "account": plaza.account}).status_code == 200

    assert (plaza.now(payment).status, plaza.now(payment).amount_capturable) == ("PROCESSING", 2500)
