"""Payments and refunds that wait for Stripe to end them: perhaps it has, and we were not told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from ..context import tenant_context
from ..enums import Mode, PaymentStatus
from ..models.types import utcnow
from ..state import State
from .sync import sync

#: How long a guest, and the webhook after that, are given.
YOUNGEST: Final = timedelta(minutes=10)
#: After which nobody is expected to pay any more, nor a bank to answer.
OLDEST: Final = timedelta(days=30)
#: Payments of one connection that one run asks Stripe about. Which of more, chance decides.
MOST: Final = 200
_WAITING: Final = (PaymentStatus.PENDING, PaymentStatus.PROCESSING)
_REFUND_WAITING: Final = ("pending", "requires_action")


def find_open(
    state: State, tenant_id: Any = None, mode: Mode | None = None, *, most: int = MOST
) -> Sequence[tuple[Any, Any, Mode]]:
    """Return the keys of payments that wait for an end, or for that of a refund, with their tenants and modes.

    :param most: how many of one connection.
    """
    model: Any = state.models.Payment
    key, owner = sa.inspect(model).primary_key[0], getattr(model, state.models.payment_tenant)
    ids = (model.stripe_payment_link_id, model.stripe_checkout_session_id, model.stripe_payment_intent_id)
    known_at_stripe = sa.or_(*(column.is_not(None) for column in ids))
    which = [
        sa.or_(sa.and_(model.status.in_(_WAITING), known_at_stripe, *_in_time(model.created_at)), _is_refunded(state)),
        *([] if tenant_id is None else [owner == tenant_id]),
        *([] if mode is None else [model.mode == mode]),
    ]
    turn = sa.func.row_number().over(partition_by=model.connection_id, order_by=sa.func.random())
    ranked = sa.select(key.label("key"), owner.label("owner"), model.mode, turn.label("turn")).where(*which).subquery()
    wanted = sa.select(ranked.c.key, ranked.c.owner, ranked.c.mode).where(ranked.c.turn <= most)
    return [(row.key, row.owner, row.mode) for row in state.session.execute(wanted.order_by(ranked.c.turn))]


def _in_time(column: Any) -> tuple[sa.ColumnElement[bool], ...]:
    now = utcnow()
    return (column < now - YOUNGEST, column > now - OLDEST)


def _is_refunded(state: State) -> sa.ColumnElement[bool]:
    """Return the condition that a refund of the payment has reached Stripe, and not its end."""
    model, payment = state.models.Refund, state.models.Payment
    waiting = sa.select(model.payment_id).where(
        model.status.in_(_REFUND_WAITING), model.stripe_refund_id.is_not(None), *_in_time(model.created_at)
    )
    key: sa.ColumnElement[Any] = sa.inspect(payment).primary_key[0]
    return key.in_(waiting)


def ask(state: State, payment_key: Any, tenant_id: Any) -> bool:
    """Bring a payment to what Stripe says about it; return whether that was news. Commits.

    :raises ValetProStripeError: if Stripe, or the store of the tenant's key, cannot be asked.
    """
    payment = state.session.get_one(state.models.Payment, payment_key)
    before = payment.status, payment.amount_refunded
    with tenant_context(state.session.get_one(state.models.Tenant, tenant_id)):
        payment = sync(payment)
    return (payment.status, payment.amount_refunded) != before
