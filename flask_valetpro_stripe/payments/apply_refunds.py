"""From a Refund of Stripe's to our row of it, and to how much of its payment was given back, in whatever order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from ..models import Refund, StripePaymentMixin, key_of
from ..state import get_state
from . import operations
from .agree import ContradictionError
from .apply import apply_refunded, note_paying
from .find import OPERATION_METADATA, find_row, is_id, is_text
from .refunded import FREED, given_back

log = logging.getLogger(__name__)
#: How far a refund is. It never goes back, and what succeeded may fail 30 days later (Stripe docs, "Refunds").
_RANK: Final = {"requires_action": 0, "pending": 1, "succeeded": 2, "failed": 3, "canceled": 3}


def apply_refund(payment: StripePaymentMixin, refund: Mapping[str, Any]) -> Refund | None:
    """Apply a Refund of a locked payment to its row, a new one if it was made at Stripe; return the row if it changed.

    What was given back of the payment ends the same in whatever order refunds and charges arrive: the sum of its
    refunds, or what a charge said, less what has failed, whichever is more.

    :raises ContradictionError: if its amount or currency cannot be the payment's, or that was paid otherwise.
    """
    status, amount = str(refund.get("status")), refund.get("amount")
    if status not in _RANK or not is_id(refund.get("id")):
        return None
    if type(amount) is not int or not 0 < amount <= payment.amount or refund.get("currency") != payment.currency:
        log.error("Stripe's refund of payment %s does not fit it: it was not applied", key_of(payment))
        raise ContradictionError("The refund's amount or currency is not the payment's, so the event was not applied.")
    if amount > payment.amount_taken:
        # What was held and not taken, as endpoints of API versions before 2025-03-31.basil are told of it.
        return None
    note_paying(payment, refund.get("payment_intent"), refund.get("charge"))
    row = _known(payment, refund) or _reserved(payment, refund) or _foreign(payment, refund)
    if row.stripe_refund_id is not None and _RANK[status] <= _RANK[row.status]:
        return None
    row.stripe_refund_id, row.status = refund["id"], status
    known = payment.amount_refunded - (row.amount if status in FREED else 0)
    apply_refunded(payment, max(known, given_back(payment)))
    return row


def _known(payment: StripePaymentMixin, refund: Mapping[str, Any]) -> Refund | None:
    model = get_state().models.Refund
    found: Refund | None = find_row(payment, model, model.stripe_refund_id == refund["id"])
    return found


def _reserved(payment: StripePaymentMixin, refund: Mapping[str, Any]) -> Refund | None:
    """Return the row that was reserved for a refund of ours, whose operation is done with this; None for another's."""
    state = get_state()
    metadata = refund.get("metadata")
    operation = metadata.get(OPERATION_METADATA) if isinstance(metadata, Mapping) else None
    if not is_text(operation):
        return None
    model = state.models.Refund
    row: Refund | None = find_row(
        payment,
        model,
        model.operation_id == operation,
        model.stripe_refund_id.is_(None),
        # Metadata can be written by whoever owns the account.
        model.amount == refund["amount"],
    )
    if row is not None:
        operations.finish(state, state.session.get_one(state.models.Operation, row.operation_id))
    return row


def _foreign(payment: StripePaymentMixin, refund: Mapping[str, Any]) -> Refund:
    """Return a new row for a refund that was made at Stripe, in its dashboard for example."""
    state = get_state()
    reason: Any = refund.get("reason")
    row = state.models.Refund(
        tenant_id=getattr(payment, state.models.payment_tenant),
        payment_id=key_of(payment),
        connection_id=payment.connection_id,
        amount=refund["amount"],
        currency=payment.currency,
        status=refund["status"],
        reason=reason[:64] if is_text(reason) else None,
    )
    state.session.add(row)
    return row
