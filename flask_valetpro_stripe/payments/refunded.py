"""How much of a payment was given back, or is promised to be: sums over its refunds."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ..models import StripePaymentMixin, key_of
from ..state import get_state

#: A refund with one of these words gives nothing back. Stripe may say so 30 days later (Stripe docs, "Failed refunds").
FREED: Final = frozenset({"failed", "canceled"})


def given_back(payment: StripePaymentMixin) -> int:
    """Return what Stripe has taken in as refunds of ``payment``, in minor units."""
    model = get_state().models.Refund
    return _sum(payment, model.stripe_refund_id.is_not(None), model.status.not_in(FREED))


def came_back(payment: StripePaymentMixin) -> int:
    """Return the sum of the refunds of ``payment`` that Stripe took in, and that failed since."""
    model = get_state().models.Refund
    return _sum(payment, model.stripe_refund_id.is_not(None), model.status.in_(FREED))


def left_of(payment: StripePaymentMixin) -> int:
    """Return what may still be given back of a locked payment: what no refund has taken, nor reserved."""
    model = get_state().models.Refund
    reserved = _sum(payment, model.stripe_refund_id.is_(None), model.status.not_in(FREED))
    return payment.amount_taken - payment.amount_refunded - reserved


def _sum(payment: StripePaymentMixin, *which: sa.ColumnElement[bool]) -> int:
    state = get_state()
    model = state.models.Refund
    found = state.session.scalar(
        sa.select(sa.func.sum(model.amount)).where(model.payment_id == key_of(payment), *which)
    )
    # PostgreSQL adds big integers up to a Decimal.
    return int(found or 0)
