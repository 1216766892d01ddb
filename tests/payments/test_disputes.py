"""Disputes: what a guest's bank wants back stands on the payment, with the deadline, and ends as Stripe says."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from flask_valetpro_stripe.testing import Simulator, make_event
from tests.payments.desk import Desk, listening, rows
from tests.webhooks.stage import Stage

DUE_BY = 2_000_000_000


def paid(desk: Desk) -> Any:
    payment = desk.make()
    desk.simulator.pay(payment.stripe_payment_link_url)
    desk.hear()
    return desk.now(payment)


def disputes_of(desk: Desk) -> list[Any]:
    return rows(desk.host, desk.host.valetpro.models.Dispute, tenant_id=desk.tenant.id)


@pytest.mark.both
def test_a_dispute_stands_on_its_payment_with_the_deadline(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    with listening("payment_updated") as heard:
        simulator.dispute(payment.stripe_charge_id, due_by=DUE_BY)
        plaza.hear()

    (dispute,) = disputes_of(plaza)
    assert plaza.now(payment).status == "DISPUTED"
    assert (dispute.amount, dispute.currency, dispute.status) == (2500, "eur", "needs_response")
    assert dispute.due_by == datetime.fromtimestamp(DUE_BY, UTC)
    assert heard[0] == ("payment_updated", payment.id)
    with plaza.open():
        row = plaza.host.db.session.get_one(plaza.host.Payment, payment.id)
        assert [each.stripe_dispute_id for each in row.stripe_disputes] == [dispute.stripe_dispute_id]


@pytest.mark.parametrize(
    ("verdict", "status"), [("won", "COMPLETED"), ("lost", "DISPUTED"), ("warning_closed", "COMPLETED")]
)
def test_it_ends_as_stripe_says(plaza: Desk, simulator: Simulator, verdict: str, status: str) -> None:
    payment = paid(plaza)
    begins = "warning_needs_response" if verdict == "warning_closed" else "needs_response"
    dispute = simulator.dispute(payment.stripe_charge_id, status=begins)
    plaza.hear()
    simulator.settle_dispute(dispute, verdict)
    plaza.hear()

    (row,) = disputes_of(plaza)
    assert (row.status, row.due_by) == (verdict, None)
    assert plaza.now(payment).status == status


@pytest.mark.parametrize("seed", range(5))
def test_its_news_may_come_in_any_order(plaza: Desk, simulator: Simulator, seed: int) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    charge = next(e["data"]["object"]["id"] for e in simulator.events if e["type"] == "charge.succeeded")
    dispute = simulator.dispute(charge)
    simulator.settle_dispute(dispute, "won")
    stage = Stage(plaza.host, simulator, plaza.tenant, plaza.tenant)
    events = simulator.events_of(plaza.account)
    random.Random(seed).shuffle(events)
    waiting = list(events)
    while waiting:
        event = waiting.pop(0)
        assert stage.deliver({**event, "account": plaza.account}).status_code == 200
    for event in events:
        # What came before anything tied it to its payment, Stripe's list has again.
        stage.deliver({**event, "id": f"{event['id']}_again", "account": plaza.account})

    assert plaza.now(payment).status == "COMPLETED"
    assert [row.status for row in disputes_of(plaza)] == ["won"]


@pytest.mark.both
def test_its_news_may_come_before_anything_ties_its_intent_to_the_payment(plaza: Desk, simulator: Simulator) -> None:
    """A dispute was nobody's whose news overtook that of the payment, and no later news told of it again."""
    payment = plaza.make()
    session = simulator.pay(payment.stripe_payment_link_url)
    simulator.dispute(session["id"])
    stage = Stage(plaza.host, simulator, plaza.tenant, plaza.tenant)
    (news,) = [event for event in simulator.events_of(plaza.account) if event["type"] == "charge.dispute.created"]
    assert stage.deliver(news).status_code == 200

    assert plaza.now(payment).status == "DISPUTED"
    assert plaza.now(payment).stripe_payment_intent_id == session["payment_intent"]
    assert [row.status for row in disputes_of(plaza)] == ["needs_response"]


@pytest.mark.both
def test_what_was_given_back_before_counts_when_the_dispute_is_won(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    plaza.refund(payment, amount=500)
    dispute = simulator.dispute(payment.stripe_charge_id)
    plaza.hear()
    assert plaza.now(payment).status == "DISPUTED"
    simulator.settle_dispute(dispute, "won")
    plaza.hear()

    assert plaza.now(payment).status == "PARTIALLY_REFUNDED"


def test_a_refund_of_a_disputed_payment_says_what_to_do(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    simulator.dispute(payment.stripe_charge_id)
    plaza.hear()
    with pytest.raises(Exception, match="disputes this payment at the bank"):
        plaza.refund(payment)
    assert plaza.now(payment).amount_refunded == 0


def test_a_tenant_cannot_have_anothers_payment_disputed(plaza: Desk, seaside: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    stage = Stage(plaza.host, simulator, plaza.tenant, seaside.tenant)
    forged = {
        "id": "dp_1",
        "object": "dispute",
        "amount": 2500,
        "currency": "eur",
        "status": "needs_response",
        "charge": payment.stripe_charge_id,
        "payment_intent": payment.stripe_payment_intent_id,
    }
    answer = stage.deliver(make_event("charge.dispute.created", forged, account=seaside.account))

    assert answer.status_code == 200
    assert plaza.now(payment).status == "COMPLETED"
    assert disputes_of(plaza) == disputes_of(seaside) == []
