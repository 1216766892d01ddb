"""Disputes: by test cards and by hand, answered, given up, decided; and what they do to refunds."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, Simulator
from tests.simulator.helpers import code_of, link_params

ANSWER: Any = {"evidence": {"product_description": "Valet parking", "customer_name": "Ada Guest"}}


def paid(client: stripe.StripeClient, method: str = "pm_card_visa") -> stripe.PaymentIntent:
    params: Any = {"amount": 2500, "currency": "eur", "confirm": True, "payment_method": method}
    return client.v1.payment_intents.create(params)


def types(simulator: Simulator, last: int) -> list[str]:
    return [event["type"] for event in simulator.events[-last:]]


def the_dispute(client: stripe.StripeClient) -> stripe.Dispute:
    (dispute,) = client.v1.disputes.list().data
    return dispute


@pytest.mark.parametrize(
    "method, reason, code",
    [
        ("pm_card_createDispute", "fraudulent", "10.4"),
        ("pm_card_createDisputeProductNotReceived", "product_not_received", "13.1"),
    ],
)
def test_card_that_is_disputed_loses_its_money_at_once(
    simulator: Simulator, plaza_client: stripe.StripeClient, method: str, reason: str, code: str
) -> None:
    intent = paid(plaza_client, method)

    dispute: Any = the_dispute(plaza_client)
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", reason, 2500)
    assert (dispute.payment_intent, dispute.charge) == (intent.id, intent.latest_charge)
    assert dispute.is_charge_refundable is False
    assert dispute.payment_method_details.card.case_type == "chargeback"
    assert dispute.payment_method_details.card.network_reason_code == code
    assert [(each.type, each.amount, each.net) for each in dispute.balance_transactions] == [
        ("adjustment", -2500, -4000)
    ]
    assert simulator.object(str(intent.latest_charge))["disputed"] is True
    assert types(simulator, 4) == [
        "charge.succeeded",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "payment_intent.succeeded",
    ]


def test_inquiry_takes_no_money(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    link = plaza_client.v1.payment_links.create(link_params())
    session = simulator.pay(link.url, card="4000000000001976")

    dispute: Any = the_dispute(plaza_client)
    assert session["payment_status"] == "paid"
    assert (dispute.status, dispute.is_charge_refundable) == ("warning_needs_response", True)
    assert dispute.payment_method_details.card.case_type == "inquiry"
    assert dispute.balance_transactions == []
    assert "charge.dispute.funds_withdrawn" not in [event["type"] for event in simulator.events]


def test_bank_disputes_without_a_request_of_ours(simulator: Simulator, plaza: Account, plaza_client: Any) -> None:
    paid(plaza_client, "pm_card_createDispute")

    (event,) = [event for event in simulator.events if event["type"] == "charge.dispute.created"]
    assert (event["account"], event["request"]) == (plaza.id, {"id": None, "idempotency_key": None})


def test_hold_is_disputed_only_once_it_is_captured(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    held: Any = {"amount": 2500, "currency": "eur", "confirm": True, "capture_method": "manual"}
    intent = plaza_client.v1.payment_intents.create({**held, "payment_method": "pm_card_createDispute"})
    assert plaza_client.v1.disputes.list().data == []

    plaza_client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 2000})

    assert the_dispute(plaza_client).amount == 2000


def test_charge_is_disputed_by_hand(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = paid(plaza_client)
    plaza_client.v1.refunds.create({"payment_intent": intent.id, "amount": 500})

    by_intent = simulator.dispute(intent.id, reason="duplicate", due_by=2_000_000_000)
    by_charge = simulator.dispute(str(intent.latest_charge), status="warning_needs_response", amount=1000)

    first, second = (plaza_client.v1.disputes.retrieve(id) for id in (by_intent, by_charge))
    assert (first.amount, first.reason, first.evidence_details.due_by) == (2000, "duplicate", 2_000_000_000)
    assert (second.amount, second.status) == (1000, "warning_needs_response")


def test_deadline_is_the_end_of_a_day(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    paid(plaza_client, "pm_card_createDispute")

    dispute = the_dispute(plaza_client)
    due_by = dispute.evidence_details.due_by or 0
    assert due_by % 86_400 == 86_399
    assert 8 <= (due_by - dispute.created) / 86_400 <= 9


def test_what_nobody_paid_cannot_be_disputed(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = plaza_client.v1.payment_intents.create({"amount": 2500, "currency": "eur"})

    for id in (intent.id, "ch_unknown"):
        with pytest.raises(LookupError, match=f"No money was taken for '{id}'"):
            simulator.dispute(id)
    with pytest.raises(ValueError, match="A dispute can't begin as 'won', but as one of needs_response, "):
        simulator.dispute(intent.id, status="won")


def test_staged_evidence_waits_for_the_update_that_submits_it(
    simulator: Simulator, plaza_client: stripe.StripeClient
) -> None:
    dispute = simulator.dispute(paid(plaza_client).id)

    staged = plaza_client.v1.disputes.update(dispute, {**ANSWER, "submit": False, "metadata": {"by": "desk"}})
    details = staged.evidence_details
    assert (staged.status, details.has_evidence, details.submission_count) == ("needs_response", True, 0)
    assert (staged.evidence.customer_name, dict(staged.metadata.to_dict())) == ("Ada Guest", {"by": "desk"})

    sent = plaza_client.v1.disputes.update(dispute, {"evidence": {"customer_name": "Ada G."}})
    details = sent.evidence_details
    assert (sent.status, details.submission_count, details.past_due) == ("under_review", 1, False)
    assert (sent.evidence.customer_name, sent.evidence.product_description) == ("Ada G.", "Valet parking")
    assert types(simulator, 2) == ["charge.dispute.updated"] * 2


def test_metadata_alone_submits_nothing(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    dispute = simulator.dispute(paid(plaza_client).id)

    noted = plaza_client.v1.disputes.update(dispute, {"metadata": {"by": "desk"}})

    assert (noted.status, noted.evidence_details.submission_count) == ("needs_response", 0)


def test_evidence_after_the_deadline_is_past_due(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    dispute = simulator.dispute(paid(plaza_client).id)
    simulator.advance(10 * 86_400)

    assert plaza_client.v1.disputes.update(dispute, ANSWER).evidence_details.past_due is True


def test_evidence_that_no_bank_here_reads_is_refused(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    dispute = simulator.dispute(paid(plaza_client).id)
    more: Any = {"evidence": {"enhanced_evidence": {"visa_compliance": {"fee_acknowledged": True}}}}

    with pytest.raises(stripe.InvalidRequestError, match="The simulator's banks read no enhanced_evidence"):
        plaza_client.v1.disputes.update(dispute, more)


def test_bank_is_convinced_by_the_documented_text(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = paid(plaza_client)
    dispute = simulator.dispute(intent.id)

    answered = plaza_client.v1.disputes.update(dispute, {"evidence": {"uncategorized_text": "winning_evidence"}})

    won = plaza_client.v1.disputes.retrieve(dispute)
    assert (answered.status, won.status, won.is_charge_refundable) == ("under_review", "won", True)
    assert sum(each.net for each in won.balance_transactions) == 0
    assert types(simulator, 3) == [
        "charge.dispute.updated",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
    ]
    assert simulator.events[-1]["data"]["previous_attributes"] == {"status": "under_review"}
    assert plaza_client.v1.refunds.create({"payment_intent": intent.id}).amount == 2500
    assert simulator.object(str(intent.latest_charge))["disputed"] is True


@pytest.mark.parametrize("text, status", [("losing_evidence", "lost"), ("We did park it.", "under_review")])
def test_bank_is_not_convinced_or_takes_its_time(
    simulator: Simulator, plaza_client: stripe.StripeClient, text: str, status: str
) -> None:
    dispute = simulator.dispute(paid(plaza_client).id)

    plaza_client.v1.disputes.update(dispute, {"evidence": {"uncategorized_text": text}})

    after = plaza_client.v1.disputes.retrieve(dispute)
    assert (after.status, after.is_charge_refundable) == (status, False)


def test_dispute_is_given_up(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = paid(plaza_client)
    dispute = simulator.dispute(intent.id)

    assert plaza_client.v1.disputes.close(dispute).status == "lost"

    assert types(simulator, 1) == ["charge.dispute.closed"]
    for again in (lambda: plaza_client.v1.disputes.close(dispute), lambda: plaza_client.v1.disputes.update(dispute)):
        with pytest.raises(stripe.InvalidRequestError, match="This dispute is already closed") as caught:
            again()
        assert (caught.value.http_status, caught.value.code) == (400, None)


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_bank_decides_by_itself(simulator: Simulator, plaza_client: stripe.StripeClient, outcome: str) -> None:
    dispute = simulator.dispute(paid(plaza_client).id)

    simulator.settle_dispute(dispute, outcome)

    assert plaza_client.v1.disputes.retrieve(dispute).status == outcome
    with pytest.raises(ValueError, match=f"is closed already: its status is {outcome}"):
        simulator.settle_dispute(dispute, outcome)


def test_ends_that_a_dispute_cannot_have_are_refused(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    chargeback = simulator.dispute(paid(plaza_client).id)
    inquiry = simulator.dispute(paid(plaza_client).id, status="warning_needs_response")

    with pytest.raises(ValueError, match="needs_response can end as won or lost, not as 'warning_closed'"):
        simulator.settle_dispute(chargeback, "warning_closed")
    with pytest.raises(ValueError, match="warning_needs_response can end as warning_closed, not as 'lost'"):
        simulator.settle_dispute(inquiry, "lost")
    with pytest.raises(ValueError, match="is no inquiry"):
        simulator.escalate_dispute(chargeback)


def test_disputed_charge_cannot_be_refunded(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = paid(plaza_client)
    dispute = simulator.dispute(intent.id)

    for status in ("needs_response", "lost"):
        with pytest.raises(stripe.InvalidRequestError, match="has been charged back; cannot issue a refund") as caught:
            plaza_client.v1.refunds.create({"payment_intent": intent.id})
        assert (code_of(caught.value), plaza_client.v1.disputes.retrieve(dispute).status) == ("charge_disputed", status)
        if status == "needs_response":
            plaza_client.v1.disputes.close(dispute)


def test_inquiry_closes_once_all_is_refunded(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    intent = paid(plaza_client, "pm_card_createDisputeInquiry")

    plaza_client.v1.refunds.create({"payment_intent": intent.id, "amount": 1000})
    assert the_dispute(plaza_client).status == "warning_needs_response"
    plaza_client.v1.refunds.create({"payment_intent": intent.id})

    assert the_dispute(plaza_client).status == "warning_closed"
    assert types(simulator, 2) == ["charge.refunded", "charge.dispute.closed"]


@pytest.mark.parametrize("by_text", [True, False])
def test_inquiry_becomes_a_chargeback(
    simulator: Simulator, plaza_client: stripe.StripeClient, by_text: bool
) -> None:
    dispute = simulator.dispute(paid(plaza_client).id, status="warning_needs_response")

    if by_text:
        evidence: Any = {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}}
        assert plaza_client.v1.disputes.update(dispute, evidence).status == "warning_under_review"
    else:
        simulator.escalate_dispute(dispute)

    after: Any = plaza_client.v1.disputes.retrieve(dispute)
    assert (after.status, after.is_charge_refundable) == ("needs_response", False)
    assert after.payment_method_details.card.case_type == "chargeback"
    assert types(simulator, 2) == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]


def test_disputes_are_found_by_charge_and_by_intent(simulator: Simulator, plaza_client: stripe.StripeClient) -> None:
    first, second = paid(plaza_client), paid(plaza_client)
    ids = [simulator.dispute(intent.id) for intent in (first, second)]

    disputes = plaza_client.v1.disputes
    assert [each.id for each in disputes.list()] == ids[::-1]
    assert [each.id for each in disputes.list({"payment_intent": first.id})] == ids[:1]
    assert [each.id for each in disputes.list({"charge": str(second.latest_charge)})] == ids[1:]
    assert disputes.list({"created": {"gt": 4_000_000_000}}).data == []


def test_one_tenants_dispute_is_not_the_others(
    simulator: Simulator, plaza_client: stripe.StripeClient, seaside_client: stripe.StripeClient
) -> None:
    dispute = simulator.dispute(paid(plaza_client).id)
    asks = (
        lambda: seaside_client.v1.disputes.retrieve(dispute),
        lambda: seaside_client.v1.disputes.update(dispute, ANSWER),
        lambda: seaside_client.v1.disputes.close(dispute),
    )

    for ask in asks:
        with pytest.raises(stripe.InvalidRequestError, match=f"No such dispute: '{dispute}'") as caught:
            ask()
        assert (caught.value.code, caught.value.param) == ("resource_missing", "dispute")
    assert seaside_client.v1.disputes.list().data == []
    assert plaza_client.v1.disputes.retrieve(dispute).status == "needs_response"
