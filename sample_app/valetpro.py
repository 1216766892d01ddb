"""How the desk uses Flask-ValetPro-Stripe: which hotel a request is for, and who may set up its payments."""

from __future__ import annotations

import logging

from flask_login import current_user
from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import aliased, column_property, relationship

from flask_valetpro_stripe import AccountType, ValetProStripe, WebhookEvent

from .extensions import db
from .models import Payment, Tenant, Ticket

log = logging.getLogger(__name__)

valetpro = ValetProStripe(db, tenant=Tenant, payment=Payment)


def _is_reachable() -> ColumnElement[bool]:
    """Return whether the hotel still has a connection to the account that a ticket's payment goes to.

    Without one the guest could still pay at Stripe, and the desk would never hear of it.
    """
    payment, living = aliased(Payment), aliased(valetpro.models.Connection)
    # The platform's own account has no id here.
    is_platforms = and_(payment.stripe_account_id.is_(None), living.account_type == AccountType.PLATFORM)
    return exists().where(
        payment.id == Ticket.payment_id,
        living.tenant_id == payment.tenant_id,
        living.mode == payment.mode,
        living.ended_at.is_(None),
        or_(living.account_id == payment.stripe_account_id, is_platforms),
    )


# Part of each query for tickets, so that a board of them asks once. The extension's tables exist from here on only.
Ticket.is_reachable = column_property(_is_reachable())

# The newest first, as its disputes are.
Payment.refunds = relationship(valetpro.models.Refund, viewonly=True, order_by=valetpro.models.Refund.id.desc())


@valetpro.tenant_loader
def hotel_of_this_request() -> Tenant | None:
    """Return the hotel of whoever is signed in."""
    return current_user.tenant if current_user.is_authenticated else None


@valetpro.admin_check
def may_manage_payments(hotel: Tenant) -> bool:
    """Return whether the person who is signed in is an admin of this very hotel."""
    return bool(current_user.is_authenticated and current_user.is_admin and current_user.tenant_id == hotel.id)


@valetpro.on("payment_intent.succeeded")
def log_paid_ticket(event: WebhookEvent) -> None:
    """Tell the log which ticket was paid; the payment itself is kept up to date by the extension."""
    ticket = db.session.scalar(
        select(Ticket)
        .join(Ticket.payments)
        .where(Ticket.tenant_id == event.tenant_id, Payment.stripe_payment_intent_id == event.object["id"])
    )
    if ticket:
        log.info("ticket %s of hotel %s is paid", ticket.number, ticket.tenant_id)
