"""Extras: what a guest gets besides parking, put on the bill before the car is handed over."""

from __future__ import annotations

from flask import request
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from flask_valetpro_stripe import PaymentStatus, money

from . import bill, tickets
from .counter import attempt, bp, link_and_text, own, tell, ticket_page, to
from .extensions import db
from .forms import NewExtra, read_extra
from .models import CarState, Extra, Ticket


@bp.post("/<int:ticket_id>/extras")
def add_extra(ticket_id: int) -> ResponseReturnValue:
    """Put an extra on the ticket, and ask the guest for what is due now."""
    ticket = own(ticket_id)
    if ticket.state == CarState.delivered:
        tell("The car was handed over, so nothing was added.", tone="bad")
        return to(ticket)
    new, mistakes = read_extra(request.form, ticket)
    if new is not None:
        mistakes = _too_much(ticket, new)
    if new is None or mistakes:
        return ticket_page(ticket, mistakes), 422
    if add(ticket, new):
        tell(f"{new.name} is on the bill.")
        ask_anew(ticket)
    return to(ticket)


@bp.post("/<int:ticket_id>/extras/<int:extra_id>/remove")
def remove_extra(ticket_id: int, extra_id: int) -> ResponseReturnValue:
    """Take an extra off the ticket that was put there by mistake and is not paid."""
    ticket = own(ticket_id)
    extra = next((extra for extra in ticket.extras if extra.id == extra_id), None)
    if extra is None:
        return to(ticket)
    if ticket.state == CarState.delivered:
        tell("The car was handed over, so nothing was taken off.", tone="bad")
        return to(ticket)
    if not may_remove(ticket, extra):
        tell(f"{extra.name} is paid already. A manager can give the money back.", tone="bad")
        return to(ticket)
    tell(f"{extra.name} is off the bill.")
    db.session.delete(extra)
    db.session.commit()
    ask_anew(ticket)
    return to(ticket)


def may_remove(ticket: Ticket, extra: Extra) -> bool:
    """Return whether the extra is still to be paid, and the car still here."""
    return ticket.state != CarState.delivered and bill.due(ticket) >= extra.amount


def add(ticket: Ticket, new: NewExtra) -> bool:
    """Put an extra on the ticket; False if this form has done so before."""
    hotel_id = ticket.tenant_id
    same = select(Extra.id).where(Extra.tenant_id == hotel_id, Extra.operation == new.operation)
    if db.session.scalar(same):
        return False
    db.session.add(
        Extra(tenant_id=hotel_id, ticket_id=ticket.id, operation=new.operation, name=new.name, amount=new.amount)
    )
    try:
        db.session.commit()
    except IntegrityError:
        # A second click was quicker.
        db.session.rollback()
        return False
    return True


def ask_anew(ticket: Ticket) -> None:
    """Have the guest asked for what is due now: a link for less or more is closed, and another one is texted.

    A deposit asks for nothing before the car is handed over. And without a link there is nothing to put right: the next
    one asks for what is due then.
    """
    payment = ticket.payment
    if tickets.is_stale(ticket):
        renew = attempt(lambda: tickets.leave_link(ticket)) and tickets.needs_link(ticket)
    else:
        renew = payment is not None and bill.is_covering(payment) and bill.due(ticket) > 0
    if renew:
        link_and_text(ticket, again=True)
    elif payment is None or payment.status == PaymentStatus.CANCELED:
        tickets.begin_anew(ticket)


def _too_much(ticket: Ticket, new: NewExtra) -> dict[str, str]:
    """Return what is wrong with a bill that nobody could pay at once."""
    try:
        money.check_amount(bill.cost(ticket) + new.amount, ticket.currency)
    except ValueError as error:
        return {"extra_amount": str(error)}
    return {}
