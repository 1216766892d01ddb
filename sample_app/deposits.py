"""Deposits: held on the guest's card when the car comes, taken or released when it goes."""

from __future__ import annotations

from flask import request
from flask.typing import ResponseReturnValue

from flask_valetpro_stripe import PaymentStatus, money, payments

from . import bill, tickets
from .counter import attempt, bp, link_and_text, own, tell, to
from .models import CarState, Ticket


@bp.post("/<int:ticket_id>/take")
def take_deposit(ticket_id: int) -> ResponseReturnValue:
    """Take what is due of the deposit, hand the car over, and ask by text for what the deposit does not cover."""
    ticket = own(ticket_id)
    if bill.is_held(ticket.payment):
        amount = bill.to_take(ticket)
        if request.form.get("amount") != str(amount) or not amount:
            tell("The bill has changed since you looked. Check it, then take the deposit.", tone="bad")
            return to(ticket)
        if not attempt(lambda: take(ticket, amount), f"{money.format_amount(amount, ticket.currency)} was taken."):
            return to(ticket)
    elif not any(bill.is_hold(made) and bill.is_taken(made) for made in ticket.payments):
        tell("No deposit is held for this ticket now.", tone="bad")
        return to(ticket)
    tickets.move(ticket, CarState.delivered)
    if tickets.needs_link(ticket):
        link_and_text(ticket, again=True)
    return to(ticket)


@bp.post("/<int:ticket_id>/release")
def release_deposit(ticket_id: int) -> ResponseReturnValue:
    """Let go of the deposit, without taking any of it."""
    ticket = own(ticket_id)
    if bill.is_held(ticket.payment) and attempt(lambda: release(ticket)):
        kept = ticket.payment is not None and ticket.payment.status != PaymentStatus.CANCELED
        tell("The deposit was taken meanwhile, so it stays." if kept else "The deposit is released.")
    return to(ticket)


def take(ticket: Ticket, amount: int) -> None:
    """Take ``amount`` of what is held; the rest is let go.

    :raises ValetProStripeError: if Stripe does not allow it.
    """
    if ticket.payment is not None:
        payments.capture(ticket.payment, amount=amount)


def release(ticket: Ticket) -> None:
    """Let go of what is held; the next link charges what is due.

    :raises ValetProStripeError: if Stripe does not allow it.
    """
    tickets.cancel_link(ticket, deposit=None)
