"""How the desk uses Flask-ValetPro-Stripe: which hotel a request is for, and who may set up its payments."""

from __future__ import annotations

import logging

from flask_login import current_user
from sqlalchemy import select

from flask_valetpro_stripe import ValetProStripe, WebhookEvent

from .extensions import db
from .models import Payment, Tenant, Ticket

log = logging.getLogger(__name__)

valetpro = ValetProStripe(db, tenant=Tenant, payment=Payment)


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
        .join(Payment, Ticket.payment_id == Payment.id)
        .where(Ticket.tenant_id == event.tenant_id, Payment.stripe_payment_intent_id == event.object["id"])
    )
    if ticket:
        log.info("ticket %s of hotel %s is paid", ticket.number, ticket.tenant_id)
