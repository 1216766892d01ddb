"""Disputes: opened by a guest's bank, answered, decided."""

from typing import Any

from .changes import changed
from .charges import book, instrument_of
from .errors import ApiError, invalid
from .ids import new_id
from .ledger import Json, Record, Scope, snapshot

STATUSES = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")
"""What a dispute can be while the bank hasn't decided; a ``warning_…`` is an inquiry, which takes no money yet."""
_OUTCOMES = {False: ("won", "lost"), True: ("warning_closed",)}
_DAY = 86_400
_DAYS_TO_ANSWER = 8
_FEE = 1500
_EVIDENCE = """
    access_activity_log billing_address cancellation_policy cancellation_policy_disclosure cancellation_rebuttal
    customer_communication customer_email_address customer_name customer_purchase_ip customer_signature
    duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id product_description receipt
    refund_policy refund_policy_disclosure refund_refusal_explanation service_date service_documentation
    shipping_address shipping_carrier shipping_date shipping_documentation shipping_tracking_number uncategorized_file
    uncategorized_text
""".split()
# Visa's codes for Stripe's reasons (docs.stripe.com/disputes/categories).
_CODES = {
    "credit_not_processed": "13.6",
    "fraudulent": "10.4",
    "product_not_received": "13.1",
    "product_unacceptable": "13.3",
    "subscription_canceled": "13.2",
}
# What a test card's dispute is; the words are those of cards.Instrument.
_BY_CARD: dict[str, Json] = {
    "fraudulent": {},
    "product_not_received": {"reason": "product_not_received"},
    "inquiry": {"status": "warning_needs_response"},
}
_BY_TEXT = {"winning_evidence": "won", "losing_evidence": "lost"}


def is_inquiry(dispute: Record) -> bool:
    return str(dispute.data["status"]).startswith("warning_")


def open_dispute(
    scope: Scope,
    charge: Record,
    *,
    status: str = "needs_response",
    reason: str = "fraudulent",
    amount: int | None = None,
    due_by: int | None = None,
) -> Record:
    """Dispute a charge: emits charge.dispute.created and, unless it is an inquiry, …funds_withdrawn."""
    inquiry = status.startswith("warning_")
    left = charge.data["amount_captured"] - charge.data["amount_refunded"]
    dispute = {
        "id": new_id("du"),
        "object": "dispute",
        "amount": left if amount is None else amount,
        "balance_transactions": [],
        "charge": charge.data["id"],
        "created": scope.now(),
        "currency": charge.data["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(_EVIDENCE) | {"enhanced_evidence": {}},
        "evidence_details": _details(_last_day(scope.now()) if due_by is None else due_by),
        "is_charge_refundable": True,
        "livemode": scope.livemode,
        "metadata": {},
        "payment_intent": charge.data["payment_intent"],
        "reason": reason,
        "status": status,
    }
    record = scope.add(dispute | _method_details(charge, reason, inquiry=inquiry))
    charge.data["disputed"] = True
    if not inquiry:
        _withdraw(scope, record)
    scope.emit("charge.dispute.created", record.data)
    if not inquiry:
        scope.emit("charge.dispute.funds_withdrawn", record.data)
    return record


def dispute_by_card(scope: Scope, charge: Record) -> None:
    """Dispute a charge if its card is one of those that are there to be disputed."""
    kind = instrument_of(scope, charge).dispute
    if kind:
        # The bank does it, not the request that charged the card.
        open_dispute(scope.ledger.scope_of(charge), charge, **_BY_CARD[kind])


def _last_day(now: int) -> int:
    """Return the end of the last day to answer in, as Stripe's deadlines are."""
    return (now // _DAY + 1 + _DAYS_TO_ANSWER) * _DAY - 1


def _details(due_by: int) -> Json:
    return {
        "due_by": due_by,
        "enhanced_eligibility": {},
        "has_evidence": False,
        "past_due": False,
        "submission_count": 0,
        "submission_method": "not_submitted",
    }


def _method_details(charge: Record, reason: str, *, inquiry: bool) -> Json:
    method = charge.data["payment_method_details"]
    if method["type"] != "card":
        return {}
    brand = method["card"]["brand"]
    code = _CODES.get(reason) if brand == "visa" else None
    card = {
        "brand": brand,
        "case_type": "inquiry" if inquiry else "chargeback",
        "network": brand,
        "network_reason_code": code.partition(".")[0] if code and inquiry else code,
    }
    return {"payment_method_details": {"card": card, "type": "card"}}


def _withdraw(scope: Scope, dispute: Record) -> None:
    _move(scope, dispute, "dispute", -dispute.data["amount"], _FEE, f"Chargeback withdrawal for {_charge(dispute)}")
    dispute.data["is_charge_refundable"] = False


def _reinstate(scope: Scope, dispute: Record) -> None:
    # "credits your account with the amount of the charge and related fees" (docs.stripe.com/testing, winning_evidence)
    text = f"Chargeback reversal for {_charge(dispute)}"
    _move(scope, dispute, "dispute_reversal", dispute.data["amount"], -_FEE, text)
    dispute.data["is_charge_refundable"] = True


def _move(scope: Scope, dispute: Record, category: str, amount: int, fee: int, text: str) -> None:
    data = dispute.data
    transaction = book(scope, "adjustment", data["id"], amount, data["currency"], fee=fee, fee_text="Dispute fee")
    transaction.data |= {"description": text, "reporting_category": category}
    data["balance_transactions"] = [*data["balance_transactions"], snapshot(transaction.data)]


def _charge(dispute: Record) -> Any:
    return dispute.data["charge"]


def respond(scope: Scope, dispute: Record, params: Json) -> Json:
    """Stage evidence, submit it unless told not to, and return what Stripe answers before the bank decides."""
    require_open(dispute)
    given = _readable(params.get("evidence") or {})
    details = dict(dispute.data["evidence_details"])
    details["has_evidence"] = details["has_evidence"] or bool(given)
    changes = changed(dispute.data, params)
    # Whatever is staged goes out with any update that doesn't say submit=false.
    submits = params.get("submit", True) and details["has_evidence"]
    if submits:
        details |= _submission(scope, details)
        changes["status"] = "warning_under_review" if is_inquiry(dispute) else "under_review"
    changes |= {"evidence": dispute.data["evidence"] | given, "evidence_details": details}
    scope.change(dispute, "charge.dispute.updated", **changes)
    answer = snapshot(dispute.data)
    if submits:
        _decide_by_text(scope.ledger.scope_of(dispute), dispute)
    return answer


def _readable(evidence: Json) -> Json:
    more = sorted(set(evidence) - set(_EVIDENCE))
    if more:
        raise invalid(f"The simulator's banks read no {' and no '.join(more)}.", f"evidence[{more[0]}]")
    return evidence


def _submission(scope: Scope, details: Json) -> Json:
    late = scope.now() > details["due_by"]
    count = details["submission_count"] + 1
    return {"past_due": late, "submission_count": count, "submission_method": "manual"}


def _decide_by_text(scope: Scope, dispute: Record) -> None:
    """Decide as one of the texts asks that docs.stripe.com/testing gives for uncategorized_text."""
    text, inquiry = dispute.data["evidence"]["uncategorized_text"], is_inquiry(dispute)
    if text == "escalate_inquiry_evidence" and inquiry:
        escalate(scope, dispute)
    elif text in _BY_TEXT:
        decide(scope, dispute, "warning_closed" if inquiry else _BY_TEXT[text])


def escalate(scope: Scope, dispute: Record) -> None:
    """Make a chargeback of an inquiry: emits charge.dispute.updated and …funds_withdrawn."""
    if not is_inquiry(dispute):
        raise ValueError(f"{dispute.data['id']} is no inquiry: its status is {dispute.data['status']}.")
    require_undecided(dispute)
    charge = scope.ledger.records[_charge(dispute)]
    details = _method_details(charge, dispute.data["reason"], inquiry=False)
    _withdraw(scope, dispute)
    scope.change(dispute, "charge.dispute.updated", status="needs_response", **details)
    scope.emit("charge.dispute.funds_withdrawn", dispute.data)


def decide(scope: Scope, dispute: Record, outcome: str) -> None:
    """End a dispute: emits charge.dispute.closed, after …funds_reinstated if it was won."""
    require_undecided(dispute)
    possible = _OUTCOMES[is_inquiry(dispute)]
    if outcome not in possible:
        status = dispute.data["status"]
        raise ValueError(f"A dispute that is {status} can end as {' or '.join(possible)}, not as {outcome!r}.")
    before = {"status": dispute.data["status"]}
    dispute.data["status"] = outcome
    if outcome == "won":
        _reinstate(scope, dispute)
        scope.emit("charge.dispute.funds_reinstated", dispute.data)
    scope.emit("charge.dispute.closed", dispute.data, previous=before)


def accept(scope: Scope, dispute: Record) -> None:
    """Give a dispute up, as ``POST …/close`` does."""
    require_open(dispute)
    decide(scope, dispute, _OUTCOMES[is_inquiry(dispute)][-1])


def require_open(dispute: Record) -> None:
    """Raise Stripe's answer for a dispute that the bank has decided."""
    if dispute.data["status"] not in STATUSES:
        raise ApiError(400, "This dispute is already closed")


def require_undecided(dispute: Record) -> None:
    """Raise ValueError, for a test that decides twice."""
    if dispute.data["status"] not in STATUSES:
        raise ValueError(f"{dispute.data['id']} is closed already: its status is {dispute.data['status']}.")


def _of(scope: Scope, charge: Record) -> list[Record]:
    return [record for record in scope.list("dispute") if _charge(record) == charge.data["id"]]


def require_refundable(scope: Scope, charge: Record) -> None:
    """Raise Stripe's answer if the bank has taken the charge's money, or has had it for good."""
    if not all(dispute.data["is_charge_refundable"] for dispute in _of(scope, charge)):
        message = f"Charge {charge.data['id']} has been charged back; cannot issue a refund."
        raise ApiError(400, message, code="charge_disputed")


def close_if_refunded(scope: Scope, charge: Record) -> None:
    """Close the inquiries about a charge of which nothing is left to ask for."""
    if charge.data["refunded"]:
        for dispute in _of(scope, charge):
            if is_inquiry(dispute) and dispute.data["status"] in STATUSES:
                decide(scope.ledger.scope_of(dispute), dispute, "warning_closed")
