"""What can be done with a ticket: open it, ask money for it, text its guest, move its car."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from flask import current_app, url_for
from sqlalchemy import CursorResult, func, select, update
from sqlalchemy.exc import IntegrityError

from flask_valetpro_stripe import PaymentStatus, errors, money, payments

from .extensions import db
from .forms import NewTicket
from .models import State, Tenant, Ticket
from .sms import get_sms

_TRIES: Final = 20
_NEXT: Final[Mapping[str, frozenset[str]]] = {
    State.parked: frozenset({State.requested, State.delivered}),
    State.requested: frozenset({State.parked, State.delivered}),
    State.delivered: frozenset({State.parked}),
}
_OPEN: Final = frozenset({PaymentStatus.PENDING, PaymentStatus.FAILED})


class FormUsedError(Exception):
    """The same form came twice, with other words in it: nobody can know which ticket was meant."""

    def __init__(self, ticket: Ticket) -> None:
        super().__init__(
            f"This form has already made ticket {ticket.number} for {ticket.guest_name}. "
            "If this is another car, check what it says and send it again."
        )


def open_ticket(hotel: Tenant, new: NewTicket) -> tuple[Ticket, bool]:
    """Return the ticket of this form, and whether it is new: sent twice, a form makes one ticket.

    :raises FormUsedError: if the form was used for a different ticket before.
    """
    hotel_id = hotel.id
    for _ in range(_TRIES):
        if ticket := _ticket_of_form(hotel_id, new):
            return ticket, False
        db.session.add(ticket := _made(hotel_id, new))
        try:
            db.session.commit()
        except IntegrityError:
            # Somebody else took the number, or a second click was quicker: look again.
            db.session.rollback()
        else:
            return ticket, True
    raise RuntimeError(f"Hotel {hotel_id} opens more tickets at once than can be numbered.")


def _ticket_of_form(hotel_id: int, new: NewTicket) -> Ticket | None:
    ticket = db.session.scalar(select(Ticket).where(Ticket.tenant_id == hotel_id, Ticket.operation == new.operation))
    if ticket and (ticket.guest_name, ticket.phone, ticket.plate) != (new.guest_name, new.phone, new.plate):
        raise FormUsedError(ticket)
    return ticket


def _made(hotel_id: int, new: NewTicket) -> Ticket:
    last = db.session.scalar(select(func.max(Ticket.number)).where(Ticket.tenant_id == hotel_id))
    return Ticket(
        tenant_id=hotel_id,
        number=(last or 0) + 1,
        operation=new.operation,
        guest_name=new.guest_name,
        phone=new.phone,
        plate=new.plate,
        amount=new.amount,
        currency=new.currency,
    )


def needs_link(ticket: Ticket) -> bool:
    """Return whether the ticket has nothing yet that its guest could pay by."""
    payment = ticket.payment
    if payment is None or payment.status == PaymentStatus.CANCELED:
        return True
    return not payment.stripe_payment_link_url and payment.status in _OPEN


def is_payable(ticket: Ticket) -> bool:
    """Return whether the ticket has a payment link that is still open."""
    return ticket.payment is not None and ticket.payment.status in _OPEN and not needs_link(ticket)


def change_price(ticket: Ticket, amount: int, currency: str) -> None:
    """Set what the ticket's next payment link asks for."""
    if (ticket.amount, ticket.currency) != (amount, currency):
        ticket.amount, ticket.currency = amount, currency
        # Another price is another payment: its link needs a key of its own.
        ticket.link_attempt += 1
        db.session.commit()


def make_link(ticket: Ticket) -> None:
    """Make the payment link at Stripe, on the account of the ticket's hotel.

    :raises ValetProStripeError: if Stripe or the hotel's connection does not allow it; the ticket stays as it was.
    """
    try:
        payment = payments.create_payment_link(
            amount=ticket.amount,
            currency=ticket.currency,
            description=f"{ticket.tenant.name} valet parking, ticket {ticket.number}",
            reference=str(ticket.id),
            success_url=guest_url(ticket, back=True),
            idempotency_key=ticket.link_key,
        )
    except errors.OutcomeUnknownError:
        # The link may exist. Asking again with the same key finds it, or makes it.
        db.session.rollback()
        raise
    except (errors.ValetProStripeError, ValueError):
        db.session.rollback()
        ticket.link_attempt += 1
        db.session.commit()
        raise
    ticket.payment_id = payment.id
    db.session.commit()


def cancel_link(ticket: Ticket) -> None:
    """Close the ticket's payment link at Stripe.

    :raises ValetProStripeError: if Stripe does not allow it.
    """
    if ticket.payment is None:
        return
    payments.cancel(ticket.payment)
    ticket.link_attempt += 1
    db.session.commit()


def refresh_payment(ticket: Ticket) -> None:
    """Ask Stripe how the ticket's payment stands.

    :raises ValetProStripeError: if Stripe cannot be asked.
    """
    if ticket.payment is not None:
        payments.sync(ticket.payment)
        db.session.commit()


def text_guest(ticket: Ticket) -> None:
    """Text the guest where to pay.

    :raises SmsError: with a sentence for the clerk; the ticket stays as it was.
    """
    get_sms().send(ticket.phone, text_of(ticket))
    ticket.texted_at = datetime.now(UTC)
    db.session.commit()


def text_of(ticket: Ticket) -> str:
    """Return the words of the guest's text, in letters that every phone network carries."""
    price = f"{money.to_decimal(ticket.amount, ticket.currency)} {ticket.currency.upper()}"
    return f"{ticket.tenant.name} valet: ticket {ticket.number}, {ticket.plate}. Pay {price}: {guest_url(ticket)}"


def guest_url(ticket: Ticket, *, back: bool = False) -> str:
    """Return the address of the guest's page, as the guest sees this app."""
    public_url: str = current_app.config["VALETPRO_STRIPE_PUBLIC_URL"]
    page = url_for("guest.page", public_token=ticket.public_token, back=1 if back else None)
    return public_url.rstrip("/") + page


def may_move(ticket: Ticket, state: str) -> bool:
    """Return whether the car can go from where it is to ``state``."""
    return state in _NEXT[ticket.state]


def move(ticket: Ticket, state: str) -> bool:
    """Say where the car is now; False if it was moved by somebody else meanwhile."""
    if not may_move(ticket, state):
        return False
    moved = db.session.execute(
        update(Ticket).where(Ticket.id == ticket.id, Ticket.state == ticket.state).values(state=state)
    )
    db.session.commit()
    assert isinstance(moved, CursorResult)
    return moved.rowcount == 1
