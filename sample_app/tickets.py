"""What can be done with a ticket: open it, ask money for it, text its guest, move its car."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from flask import current_app, url_for
from sqlalchemy import ColumnElement, CursorResult, func, select, update
from sqlalchemy.exc import IntegrityError

from flask_valetpro_stripe import PaymentStatus, errors, money, payments

from . import bill
from .extensions import db
from .forms import NewTicket
from .models import CarState, Payment, Tenant, Ticket
from .sms import get_sms

_TRIES: Final = 20
_NEXT: Final[Mapping[str, frozenset[str]]] = {
    CarState.parked: frozenset({CarState.requested, CarState.delivered}),
    CarState.requested: frozenset({CarState.parked, CarState.delivered}),
    CarState.delivered: frozenset({CarState.parked}),
}
#: What a clerk types into the form of a new ticket.
_TYPED: Final = ("guest_name", "phone", "plate", "amount", "currency", "deposit")
#: Stripe did nothing, perhaps because another click is making the same link: that one keeps its key.
_PUT_OFF: Final = "rate_limit"
_OPEN: Final = frozenset({PaymentStatus.PENDING, PaymentStatus.FAILED})


class FormUsedError(Exception):
    """The same form came twice, with other words in it: nobody can know which ticket was meant."""

    def __init__(self, ticket: Ticket) -> None:
        super().__init__(
            f"This form has already made ticket {ticket.number} for {ticket.guest_name}. "
            "To change that ticket, open it. If this is another car, check what it says and send it again."
        )


class ChangedMeanwhileError(Exception):
    """Another clerk has gone on with the ticket since it was looked at: theirs stays."""

    def __init__(self, ticket: Ticket) -> None:
        super().__init__(f"Somebody else changed ticket {ticket.number} meanwhile. This is how it stands now.")


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
    if ticket and any(getattr(ticket, name) != getattr(new, name) for name in _TYPED):
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
        deposit=new.deposit,
    )


def needs_link(ticket: Ticket) -> bool:
    """Return whether something is due that the guest has nothing to pay by."""
    payment = ticket.payment
    if payment is None or payment.status == PaymentStatus.CANCELED or is_used_up(payment) or bill.is_covering(payment):
        return bill.due(ticket) > 0
    return not payment.stripe_payment_link_url and payment.status in _OPEN


def is_used_up(payment: Payment) -> bool:
    """Return whether the guest went through with it and the bank refused later: such a link takes no second try."""
    return payment.status == PaymentStatus.FAILED and payment.stripe_checkout_session_id is not None


def is_payable(ticket: Ticket) -> bool:
    """Return whether the ticket has a payment link that is still open, on an account that is still connected."""
    return _is_open(ticket) and ticket.is_reachable


def is_out_of_reach(ticket: Ticket) -> bool:
    """Return whether the link may still be open, but on an account that the hotel has disconnected."""
    return _is_open(ticket) and not ticket.is_reachable


def _is_open(ticket: Ticket) -> bool:
    payment = ticket.payment
    if payment is None or is_used_up(payment):
        return False
    return payment.status in _OPEN and not needs_link(ticket)


def is_stale(ticket: Ticket) -> bool:
    """Return whether the open link asks for another amount than what is due now."""
    payment = ticket.payment
    if payment is None or bill.is_hold(payment) or not _is_open(ticket):
        return False
    return payment.amount != bill.to_ask(ticket)


def price_of(ticket: Ticket) -> tuple[int, str]:
    """Return amount and currency: what the open link asks for, else what the next one will, else what was paid."""
    payment = ticket.payment
    if payment is None or needs_link(ticket):
        return bill.to_ask(ticket), ticket.currency
    if bill.is_covering(payment):
        return bill.taken(ticket), payment.currency
    return payment.amount, payment.currency


def change_price(ticket: Ticket, amount: int, currency: str, deposit: int | None = None) -> None:
    """Set what parking costs, and what the ticket's next payment link holds, if it is to hold a deposit.

    :raises ChangedMeanwhileError: if another clerk has changed the price or made a link since ``ticket`` was read.
    """
    if (ticket.amount, ticket.currency, ticket.deposit) == (amount, currency, deposit):
        return
    # Another price is another payment: its link needs a key of its own.
    values = {"amount": amount, "currency": currency, "deposit": deposit, "link_attempt": ticket.link_attempt + 1}
    if currency != ticket.currency:
        # As many of another currency is another tip.
        values["tip"] = 0
    if not change(ticket, ticket.link_attempt, Ticket.payment_id == ticket.payment_id, **values):
        raise ChangedMeanwhileError(ticket)


def leave_link(ticket: Ticket, **values: Any) -> bool:
    """Close the ticket's open link for another one; False if the guest has paid by it meanwhile.

    :raises ChangedMeanwhileError: if another clerk, or the guest, has left it at the same moment.
    :raises ValetProStripeError: if Stripe does not allow it.
    """
    payment, asked = ticket.payment, ticket.link_attempt
    payment_id = ticket.payment_id
    if payment is not None and payments.cancel(payment).status != PaymentStatus.CANCELED:
        return False
    values = {"payment_id": _last_paid(ticket), "link_attempt": asked + 1, **values}
    if not change(ticket, asked, Ticket.payment_id == payment_id, **values):
        raise ChangedMeanwhileError(ticket)
    return True


def _last_paid(ticket: Ticket) -> int | None:
    """Return the payment that a ticket shows when nothing is due any more."""
    paid = bill.covering(ticket)
    return paid[-1].id if paid and not bill.due(ticket) else None


def begin_anew(ticket: Ticket) -> None:
    """Have the next link be another one than what may have been asked for before the bill changed."""
    values = {"link_attempt": ticket.link_attempt + 1, "payment_id": _last_paid(ticket) or ticket.payment_id}
    change(ticket, ticket.link_attempt, **values)


def make_link(ticket: Ticket) -> None:
    """Make the payment link at Stripe, on the account of the ticket's hotel.

    :raises ChangedMeanwhileError: if another clerk changed the price while Stripe was asked: this link is closed again.
    :raises ValetProStripeError: if Stripe or the hotel's connection does not allow it; the ticket stays as it was.
    """
    _leave_ended(ticket)
    asked, tip, holds = ticket.link_attempt, bill.next_tip(ticket), bill.wants_hold(ticket)
    try:
        payment = payments.create_payment_link(
            amount=bill.to_ask(ticket),
            currency=ticket.currency,
            description=_description(ticket, tip, holds=holds),
            reference=str(ticket.id),
            success_url=guest_url(ticket, back=True),
            capture_method="manual" if holds else "automatic",
            idempotency_key=ticket.link_key,
        )
    except errors.OutcomeUnknownError:
        # The link may exist. Asking again with the same key finds it, or makes it.
        db.session.rollback()
        raise
    except (errors.ValetProStripeError, ValueError) as error:
        db.session.rollback()
        if getattr(error, "code", None) != _PUT_OFF:
            change(ticket, asked, link_attempt=asked + 1)
        raise
    payment.tip = tip
    if not change(ticket, asked, payment_id=payment.id):
        payments.cancel(payment)
        raise ChangedMeanwhileError(ticket)


def _description(ticket: Ticket, tip: int, *, holds: bool) -> str:
    """Return what the guest reads on Stripe's page, which shows a payment as one line."""
    what = f"{ticket.tenant.name} valet parking, ticket {ticket.number}"
    if holds:
        return f"{what}, deposit"
    return f"{what}, with a tip of {money.format_amount(tip, ticket.currency)}" if tip else what


def _leave_ended(ticket: Ticket) -> None:
    """Begin a new attempt after a payment that was made, or that the bank refused; of two clicks only one begins it."""
    payment, asked = ticket.payment, ticket.link_attempt
    if payment is None or not (is_used_up(payment) or bill.is_covering(payment)):
        return
    values = {"payment_id": None, "link_attempt": asked + 1, "tip": bill.next_tip(ticket)}
    change(ticket, asked, Ticket.payment_id == payment.id, **values)


def cancel_link(ticket: Ticket, **values: Any) -> None:
    """Close the ticket's payment link at Stripe, and let go of what it holds; a guest who paid meanwhile has paid.

    :param values: what else changes on the ticket with it.
    :raises ValetProStripeError: if Stripe does not allow it.
    """
    if ticket.payment is None:
        return
    asked = ticket.link_attempt
    if payments.cancel(ticket.payment).status == PaymentStatus.CANCELED:
        change(ticket, asked, link_attempt=asked + 1, **{"tip": 0, **values})


def change(ticket: Ticket, asked: int, *same: ColumnElement[bool], **values: Any) -> bool:
    """Change the ticket and commit; False if its next link is no longer the one that was asked for."""
    still = (Ticket.id == ticket.id, Ticket.link_attempt == asked, *same)
    changed = db.session.execute(update(Ticket).where(*still).values(**values))
    db.session.commit()
    assert isinstance(changed, CursorResult)
    return changed.rowcount == 1


def refresh_payment(ticket: Ticket) -> None:
    """Ask Stripe how the ticket's payment stands.

    :raises ValetProStripeError: if Stripe cannot be asked.
    """
    if ticket.payment is not None:
        payments.sync(ticket.payment)


def text_guest(ticket: Ticket) -> None:
    """Text the guest where to pay.

    :raises SmsError: with a sentence for the clerk; the ticket stays as it was.
    """
    get_sms().send(ticket.phone, text_of(ticket))
    ticket.texted_at = datetime.now(UTC)
    db.session.commit()


def text_of(ticket: Ticket) -> str:
    """Return the words of the guest's text, in letters that every phone network carries."""
    amount, currency = price_of(ticket)
    price = f"{money.to_decimal(amount, currency)} {currency.upper()}"
    holds = ticket.payment is not None and bill.is_hold(ticket.payment)
    what = f"Leave a deposit of {price}" if holds else f"Pay {price}"
    return f"{ticket.tenant.name} valet: ticket {ticket.number}, {ticket.plate}. {what}: {guest_url(ticket)}"


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
