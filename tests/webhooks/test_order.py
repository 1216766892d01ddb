"""Stripe promises no order: whatever comes first, a payment ends the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import CardDeclined, make_event

from .stage import PLAZA, Stage, answer
from .test_payments import intent, operation_of, session

PAID = ("checkout.session.completed", "payment_intent.succeeded", "charge.succeeded", "payment_intent.payment_failed")
DECLINED_CARD = "4000000000000002"


def end_of(stage: Stage, payment: Any) -> dict[str, Any]:
    """Return how a payment ends: everything but the times and the last JSON seen."""
    row = stage.payment(payment)
    columns = (
        "status amount currency amount_refunded stripe_account_id connection_id stripe_checkout_session_id "
        "stripe_payment_intent_id stripe_charge_id receipt_url"
    )
    return {name: getattr(row, name) for name in columns.split()} | {"paid": row.paid_at is not None}


def deliver_in_every_order(
    stage: Stage, payment: Any, events: list[dict[str, Any]]
) -> Iterable[tuple[list[str], dict[str, Any]]]:
    """Yield the end of the payment for each order of ``events``, and the order, from the same start each time."""
    host, model = stage.host, stage.host.valetpro.models.WebhookEvent
    with host.app.app_context():
        row = host.db.session.get_one(host.Payment, payment.id)
        start = {column.key: getattr(row, column.key) for column in host.Payment.__mapper__.column_attrs}
    for order in itertools.permutations(events):
        with host.app.app_context():
            host.db.session.query(model).delete()
            host.db.session.query(host.Payment).update(start)
            host.db.session.commit()
        for event in order:
            assert answer(stage.deliver(event)) == (200, "Taken.")
        yield [event["type"] for event in order], end_of(stage, payment)


def test_a_payment_after_a_declined_card_ends_the_same_in_every_order(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    with stage.events_while() as paying:
        with pytest.raises(CardDeclined):
            stage.simulator.pay(payment.stripe_payment_link_url, card=DECLINED_CARD)
        stage.simulator.pay(payment.stripe_payment_link_url)
    events = [paying.of(event_type) for event_type in PAID]

    ends = list(deliver_in_every_order(stage, payment, events))

    assert len(ends) == 24
    completed = stage.simulator.object(paying.of("checkout.session.completed")["data"]["object"]["id"])
    paid_by = stage.simulator.object(completed["payment_intent"])
    for order, end in ends:
        assert end["status"] == "COMPLETED", order
        assert end["paid"], order
        assert end["stripe_checkout_session_id"] == completed["id"], order
        assert end["stripe_payment_intent_id"] == paid_by["id"], order
        assert end["stripe_charge_id"] == paid_by["latest_charge"], order
        assert end["receipt_url"] == ends[0][1]["receipt_url"], order
    assert len({tuple(end.items()) for _, end in ends}) == 1


def test_a_refund_that_overtakes_the_payment_ends_the_same_in_every_order(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    with stage.events_while() as happening:
        paid = stage.simulator.pay(payment.stripe_payment_link_url)
        _refund(stage, paid["payment_intent"])
    events = [happening.of(event_type) for event_type in (*PAID[:3], "charge.refunded")]

    ends = list(deliver_in_every_order(stage, payment, events))

    assert {(end["status"], end["amount_refunded"]) for _, end in ends} == {("REFUNDED", 2500)}
    assert len({tuple(end.items()) for _, end in ends}) == 1


def _refund(stage: Stage, intent_id: str) -> None:
    """Give the money back as the hotel does in Stripe's dashboard."""
    client = stripe.StripeClient(
        stage.simulator.platform.test_secret_key,
        stripe_account=PLAZA,
        http_client=stage.simulator.http_client(),
        base_addresses={"api": stage.simulator.base_url},
    )
    client.v1.refunds.create({"payment_intent": intent_id})


def test_a_late_failure_of_another_guests_attempt_does_not_take_the_place_of_what_was_paid(stage: Stage) -> None:
    """Two guests have the same link open: one is declined, the other pays. Each has an intent of their own."""
    payment = stage.make_payment(stage.plaza)
    operation = operation_of(stage, payment)
    declined = intent(
        payment,
        operation,
        id="pi_declined",
        status="requires_payment_method",
        latest_charge="ch_declined",
        last_payment_error={"code": "card_declined"},
    )
    events = [
        make_event("payment_intent.payment_failed", declined, account=PLAZA),
        make_event("payment_intent.processing", declined | {"status": "processing"}, account=PLAZA),
        make_event("payment_intent.succeeded", intent(payment, operation), account=PLAZA),
        make_event("checkout.session.completed", session(payment), account=PLAZA),
    ]

    for order, end in deliver_in_every_order(stage, payment, events):
        assert end["status"] == "COMPLETED", order
        assert (end["stripe_payment_intent_id"], end["stripe_charge_id"]) == ("pi_1", "ch_1"), order


@pytest.mark.parametrize("succeeded, end", [(True, "COMPLETED"), (False, "FAILED")])
def test_a_bank_debit_is_processing_until_the_bank_has_answered(stage: Stage, succeeded: bool, end: str) -> None:
    payment = stage.make_payment(stage.plaza)
    with stage.events_while() as paying:
        paid = stage.simulator.pay(payment.stripe_payment_link_url, card="bank_debit")
    for event in paying.made:
        stage.deliver(event)

    assert paid["payment_status"] == "unpaid"
    assert (stage.payment(payment).status, stage.payment(payment).paid_at) == ("PROCESSING", None)

    with stage.events_while() as settling:
        stage.simulator.settle(paid["id"], succeeded=succeeded)
    for event in settling.made:
        stage.deliver(event)

    assert stage.payment(payment).status == end
    assert (stage.payment(payment).paid_at is not None) == succeeded


@pytest.mark.parametrize("succeeded, word, end", [(True, "succeeded", "COMPLETED"), (False, "failed", "FAILED")])
def test_a_bank_debit_ends_the_same_in_every_order(stage: Stage, succeeded: bool, word: str, end: str) -> None:
    payment = stage.make_payment(stage.plaza)
    with stage.events_while() as happening:
        paid = stage.simulator.pay(payment.stripe_payment_link_url, card="bank_debit")
        stage.simulator.settle(paid["id"], succeeded=succeeded)
    events = [
        happening.of(event_type)
        for event_type in (
            "checkout.session.completed",
            "payment_intent.processing",
            f"checkout.session.async_payment_{word}",
            "payment_intent.succeeded" if succeeded else "payment_intent.payment_failed",
        )
    ]

    for order, found in deliver_in_every_order(stage, payment, events):
        assert found["status"] == end, order
        assert found["stripe_checkout_session_id"] == paid["id"], order
        assert found["stripe_payment_intent_id"] == paid["payment_intent"], order


def test_a_bank_debit_after_a_declined_card_is_processing(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    with stage.events_while() as happening:
        with pytest.raises(CardDeclined):
            stage.simulator.pay(payment.stripe_payment_link_url, card=DECLINED_CARD)
        stage.simulator.pay(payment.stripe_payment_link_url, card="bank_debit")
    for event in happening.made:
        stage.deliver(event)

    assert stage.payment(payment).status == "PROCESSING"


def test_a_declined_card_is_not_the_end(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    with stage.events_while() as trying, pytest.raises(CardDeclined):
        stage.simulator.pay(payment.stripe_payment_link_url, card=DECLINED_CARD)
    for event in trying.made:
        stage.deliver(event)
    assert stage.payment(payment).status == "FAILED"

    with stage.events_while() as paying:
        stage.simulator.pay(payment.stripe_payment_link_url)
    for event in paying.made:
        stage.deliver(event)
    assert stage.payment(payment).status == "COMPLETED"


def test_two_event_objects_for_one_change_have_one_effect(stage: Stage) -> None:
    """Stripe sometimes makes two events of one change; only the effect tells that they are the same."""
    from flask_valetpro_stripe import signals

    payment = stage.make_payment(stage.plaza)
    told: list[Any] = []
    with signals.payment_updated.connected_to(lambda *_, **facts: told.append(facts), sender=stage.host.app):
        for number in range(2):
            stage.deliver(make_event("checkout.session.completed", session(payment), account=PLAZA, id=f"evt_{number}"))

    assert len(told) == 1
    assert len(stage.rows()) == 2
