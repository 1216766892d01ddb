"""Disputes: what a guest's bank wants back, until when it can be answered, and how that ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from ..enums import PaymentStatus
from ..models import Connection, Dispute, StripePaymentMixin, key_of
from ..state import State, get_state
from .agree import ContradictionError
from .apply import apply_paid, time_of, word_by_refunds
from .fetch import fetch
from .find import find_row, is_id, is_text

log = logging.getLogger(__name__)
#: Ended for the tenant: the money is with it (Stripe docs, "Disputes"). Not ``lost``: there it is the guest's.
ENDED_WELL: Final = frozenset({"won", "warning_closed", "prevented"})
_INTENT: Final = "payment_intent"
#: How far a dispute is. An inquiry, a warning, may become one that takes the money.
_RANK: Final = {
    "warning_needs_response": 0,
    "warning_under_review": 1,
    "needs_response": 2,
    "under_review": 3,
    "warning_closed": 4,
    "prevented": 4,
    "won": 4,
    "lost": 4,
}


def fetch_dispute(
    state: State, connection: Connection | None, event: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return a dispute as Stripe has it now, with its intent: its events come in any order, also before any others.

    Bodies of two may say the same time. And nothing may have tied the intent to its payment yet.

    :param connection: whose account it is; None for the platform's own.
    :returns: None if it cannot be seen; the event's body has to do then.
    :raises ValetProStripeError: if Stripe, or the store of the tenant's key, cannot be asked now.
    """
    dispute = event["data"]["object"].get("id")
    if not is_id(dispute):
        return None
    return fetch(state, connection, event, lambda client: client.v1.disputes, dispute, {"expand": [_INTENT]})


def intent_of(dispute: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the PaymentIntent that a fetched dispute is of, whose metadata are what we gave it."""
    intent = (dispute or {}).get(_INTENT)
    return intent if isinstance(intent, Mapping) else None


def apply_dispute(payment: StripePaymentMixin, dispute: Mapping[str, Any]) -> bool:
    """Apply a Dispute of a locked payment to its row, a new one if it is the first that is heard; tell if it is news.

    The payment is DISPUTED while its guest may get the money, or has got it; otherwise it is what its refunds make it.

    :raises ContradictionError: if its amount or currency cannot be the payment's.
    """
    status, amount = str(dispute.get("status")), dispute.get("amount")
    if status not in _RANK or not is_id(dispute.get("id")):
        return False
    if type(amount) is not int or not 0 <= amount < 2**63 or dispute.get("currency") != payment.currency:
        log.error("Stripe's dispute of payment %s does not fit it: it was not applied", key_of(payment))
        raise ContradictionError("The dispute's currency is not the payment's, so the event was not applied.")
    row = _known(payment, dispute) or _new(payment, dispute)
    if _RANK[status] < _RANK[row.status]:
        return False
    before = payment.status, row.id, row.status, row.due_by, row.amount
    row.status, row.amount, row.due_by = status, amount, _due_by(dispute, status)
    get_state().session.flush()
    # What is wanted back was paid, even if the event that says so comes later.
    apply_paid(payment)
    payment.status = PaymentStatus.DISPUTED if _is_disputed(payment) else word_by_refunds(payment)
    return before != (payment.status, row.id, row.status, row.due_by, row.amount)


def _known(payment: StripePaymentMixin, dispute: Mapping[str, Any]) -> Dispute | None:
    model = get_state().models.Dispute
    found: Dispute | None = find_row(payment, model, model.stripe_dispute_id == dispute["id"])
    return found


def _new(payment: StripePaymentMixin, dispute: Mapping[str, Any]) -> Dispute:
    state = get_state()
    reason: Any = dispute.get("reason")
    row = state.models.Dispute(
        tenant_id=getattr(payment, state.models.payment_tenant),
        payment_id=key_of(payment),
        stripe_dispute_id=dispute["id"],
        status=str(dispute["status"]),
        amount=dispute["amount"],
        currency=payment.currency,
        reason=reason[:64] if is_text(reason) else None,
    )
    state.session.add(row)
    return row


def _due_by(dispute: Mapping[str, Any], status: str) -> Any:
    details = dispute.get("evidence_details")
    if not status.endswith("needs_response") or not isinstance(details, Mapping):
        return None
    return time_of(details.get("due_by"))


def _is_disputed(payment: StripePaymentMixin) -> bool:
    state = get_state()
    model = state.models.Dispute
    standing = sa.select(model.id).where(model.payment_id == key_of(payment), model.status.not_in(ENDED_WELL))
    return state.session.scalar(standing.limit(1)) is not None
