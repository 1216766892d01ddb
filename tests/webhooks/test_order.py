"""Stripe promises no order: whatever comes first, a payment ends the same."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import CardDeclined, make_event
from tests.webhooks.objects import charge, intent, operation_of, refund, session

from .stage import PLAZA, Stage, answer

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


@pytest.mark.both
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


@pytest.mark.both
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


@pytest.mark.parametrize("same_guest", [True, False])
def test_a_bank_debit_after_a_declined_card_is_on_its_way_in_every_order(stage: Stage, same_guest: bool) -> None:
    payment, events, paid = debit_after_a_declined_card(stage, same_guest)

    for order, found in deliver_in_every_order(stage, payment, events):
        assert (found["status"], found["paid"]) == ("PROCESSING", False), order
        assert found["stripe_checkout_session_id"] == paid["id"], order
        assert found["stripe_payment_intent_id"] == paid["payment_intent"], order
        assert found["stripe_charge_id"] is None, order


@pytest.mark.slow("delivers the events in every order")
@pytest.mark.parametrize("same_guest", [True, False])
def test_a_bank_debit_that_fails_after_a_declined_card_ends_the_same_in_every_order(
    light_stage: Stage, same_guest: bool
) -> None:
    stage = light_stage
    payment, events, paid = debit_after_a_declined_card(stage, same_guest)
    with stage.events_while() as settling:
        stage.simulator.settle(paid["id"], succeeded=False)
    events += [settling.of("payment_intent.payment_failed"), settling.of("checkout.session.async_payment_failed")]

    ends = list(deliver_in_every_order(stage, payment, events))

    assert {end["status"] for _, end in ends} == {"FAILED"}
    assert {end["stripe_checkout_session_id"] for _, end in ends} == {paid["id"]}
    assert {end["stripe_charge_id"] for _, end in ends} == {None}


def debit_after_a_declined_card(stage: Stage, same_guest: bool) -> tuple[Any, list[dict[str, Any]], dict[str, Any]]:
    """Return a payment, its events and the session of a bank debit that a guest began after a card was declined."""
    payment = stage.make_payment(stage.plaza)
    with stage.events_while() as happening:
        with pytest.raises(CardDeclined) as declined:
            stage.simulator.pay(payment.stripe_payment_link_url, card=DECLINED_CARD)
        page = declined.value.session["id"] if same_guest else payment.stripe_payment_link_url
        paid = stage.simulator.pay(page, card="bank_debit")
    events = ("payment_intent.payment_failed", "payment_intent.processing", "checkout.session.completed")
    return payment, [happening.of(event_type) for event_type in events], paid


@pytest.mark.oldest
@pytest.mark.both
@pytest.mark.parametrize(
    "refunds",
    [
        # Each of these takes the payment's money to be paid before the intent that paid it is heard of.
        ("charge.refunded",),
        ("charge.succeeded", "payment_intent.payment_failed", "refund.failed", "refund.created"),
    ],
)
def test_money_that_is_given_back_was_paid_by_the_intent_of_the_refund_not_by_the_one_that_failed(
    stage: Stage, refunds: tuple[str, ...]
) -> None:
    payment = stage.make_payment(stage.plaza)
    operation = operation_of(stage, payment)
    paid = charge(payment, operation, id="ch_paid", payment_intent="pi_paid")
    kept = refund(payment, charge="ch_paid", payment_intent="pi_paid")
    declined = {"id": "pi_other", "status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}}
    told = {
        "payment_intent.payment_failed": intent(payment, operation, **declined),
        "charge.succeeded": paid,
        "charge.refunded": paid | {"amount_refunded": 500},
        "refund.failed": kept | {"id": "re_lost", "status": "failed"},
        "refund.created": kept,
        "payment_intent.succeeded": intent(payment, operation, id="pi_paid", latest_charge="ch_paid"),
        "checkout.session.completed": session(payment, payment_intent="pi_paid"),
    }
    for event_type in (
        "payment_intent.payment_failed",
        *refunds,
        "payment_intent.payment_failed",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ):
        assert answer(stage.deliver(make_event(event_type, told[event_type], account=PLAZA))) == (200, "Taken.")

    end = end_of(stage, payment)
    assert (end["status"], end["amount_refunded"]) == ("PARTIALLY_REFUNDED", 500)
    assert (end["stripe_payment_intent_id"], end["stripe_charge_id"]) == ("pi_paid", "ch_paid")
    assert end["stripe_checkout_session_id"] == "cs_test_1"
    assert {row.error for row in stage.rows()} == {None}


@pytest.mark.oldest
@pytest.mark.both
def test_a_guest_who_pays_before_stripes_answer_about_the_link_arrives_has_paid(stage: Stage) -> None:
    """The link is there as soon as Stripe has made it; what we do not know yet, the metadata tell."""
    real = stage.host.state.http_client

    class PaidMeanwhile(type(real)):  # type: ignore[misc]
        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            answered = real.request(method, url, *args, **kwargs)
            if url.endswith("/v1/payment_links"):
                stage.simulator.pay(json.loads(answered[0])["url"])
                told.extend(stage.deliver(event).status_code for event in stage.simulator.events_of(PLAZA))
            return answered

    told: list[int] = []
    stage.host.state.http_client = PaidMeanwhile(stage.simulator)
    payment = stage.make_payment(stage.plaza)

    assert set(told) == {200}
    assert (payment.status, payment.paid_at is not None) == ("COMPLETED", True)
    assert payment.stripe_payment_link_id.startswith("plink_")
    assert payment.stripe_charge_id.startswith("ch_")
    assert payment.stripe_checkout_session_id.startswith("cs_test_")


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


@pytest.mark.oldest
@pytest.mark.both
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
