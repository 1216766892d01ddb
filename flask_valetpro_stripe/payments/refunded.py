"""How much of a payment was given back, or is promised to be: sums over its refunds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

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
    """Return what may still be given back of ``payment``: what no refund has taken, nor reserved.

    It stays true as long as the payment is locked.
    """
    (left,) = left_of_each([payment])
    return left


def left_of_each(payments: Sequence[StripePaymentMixin]) -> list[int]:
    """Return :func:`left_of` of each of some payments, by one statement."""
    model = get_state().models.Refund
    reserved = _sums(payments, model.stripe_refund_id.is_(None), model.status.not_in(FREED))
    return [each.amount_taken - each.amount_refunded - reserved.get(key_of(each), 0) for each in payments]


def _sum(payment: StripePaymentMixin, *which: sa.ColumnElement[bool]) -> int:
    return _sums([payment], *which).get(key_of(payment), 0)


def _sums(payments: Sequence[StripePaymentMixin], *which: sa.ColumnElement[bool]) -> dict[Any, int]:
    """Return the sums of some refunds by the keys of their payments, of those that have any."""
    state = get_state()
    model = state.models.Refund
    # Of a refund that is new here a session without autoflush would know nothing.
    state.session.flush()
    sums = (
        sa.select(model.payment_id, sa.func.sum(model.amount))
        .where(model.payment_id.in_([key_of(payment) for payment in payments]), *which)
        .group_by(model.payment_id)
    )
    # PostgreSQL adds big integers up to a Decimal.
    return {key: int(found) for key, found in state.session.execute(sums)}
