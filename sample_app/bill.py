"""What a ticket costs, what was paid of it, and what is still due."""

from __future__ import annotations

from typing import Final

from flask_valetpro_stripe import PaymentStatus
from flask_valetpro_stripe.enums import CaptureMethod

from .models import Payment, Ticket

#: The words of a payment whose money was taken, whatever became of it since.
TAKEN: Final = frozenset(
    {PaymentStatus.COMPLETED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED, PaymentStatus.DISPUTED}
)


def is_taken(payment: Payment) -> bool:
    """Return whether the hotel got the money. What was given back since was a gift: it is not asked for again."""
    return payment.status in TAKEN


def is_hold(payment: Payment) -> bool:
    """Return whether the payment only holds a deposit until somebody takes it."""
    return payment.capture_method is CaptureMethod.manual


def is_held(payment: Payment | None) -> bool:
    """Return whether a deposit is on the guest's card now."""
    return payment is not None and payment.status == PaymentStatus.PROCESSING and payment.amount_capturable > 0


def is_covering(payment: Payment) -> bool:
    """Return whether the payment's money was taken, or its bank has been asked for it."""
    return is_taken(payment) or (payment.status == PaymentStatus.PROCESSING and not is_hold(payment))


def cost(ticket: Ticket) -> int:
    """Return what parking and the extras cost."""
    return ticket.amount + sum(extra.amount for extra in ticket.extras)


def covering(ticket: Ticket) -> list[Payment]:
    """Return the payments that count towards the ticket. Test money pays nothing where the hotel takes live money."""
    counts = ticket.currency, ticket.tenant.stripe_mode
    return [made for made in ticket.payments if (made.currency, made.mode) == counts and is_covering(made)]


def covered(ticket: Ticket) -> int:
    """Return what was paid of the cost; a tip is nobody's debt."""
    return sum(made.amount_taken - made.tip for made in covering(ticket))


def due(ticket: Ticket) -> int:
    """Return what is still to be paid. A deposit pays nothing before it is taken."""
    return max(0, cost(ticket) - covered(ticket))


def taken(ticket: Ticket) -> int:
    """Return what the guest was charged in all, tips included."""
    return sum(made.amount_taken for made in covering(ticket))


def refunded(ticket: Ticket) -> int:
    """Return what the guest got back in all."""
    return sum(made.amount_refunded for made in covering(ticket))


def wants_hold(ticket: Ticket) -> bool:
    """Return whether the next link holds a deposit: of each ticket one is taken at most."""
    return ticket.deposit is not None and not any(is_hold(made) and is_taken(made) for made in ticket.payments)


def next_tip(ticket: Ticket) -> int:
    """Return the tip that the guest adds to the open link, or to the next one; one that was paid is not asked again."""
    has_paid = ticket.payment is not None and is_covering(ticket.payment)
    return 0 if has_paid or wants_hold(ticket) else ticket.tip


def tips(ticket: Ticket) -> int:
    """Return the tips that were paid, and the one that is asked for."""
    return sum(made.tip for made in covering(ticket)) + next_tip(ticket)


def to_ask(ticket: Ticket) -> int:
    """Return what the next link asks for."""
    return ticket.deposit if ticket.deposit is not None and wants_hold(ticket) else due(ticket) + next_tip(ticket)


def to_take(ticket: Ticket) -> int:
    """Return what is taken of the deposit when the car is handed over."""
    return min(ticket.payment.amount_capturable, due(ticket)) if ticket.payment and is_held(ticket.payment) else 0
