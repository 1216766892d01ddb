"""How the desk puts what it knows into words: a payment, a car, a sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flask_valetpro_stripe import PaymentStatus, money

from . import bill
from .models import CarState, Payment, Ticket
from .tickets import is_out_of_reach, needs_link, price_of

if TYPE_CHECKING:
    from flask_valetpro_stripe.models import Dispute


def shown(sums: Mapping[str, int], currency: str) -> str:
    """Return sums of several currencies as one line, zero in ``currency`` if there are none."""
    return " + ".join(money.format_amount(amount, word) for word, amount in (sums or {currency: 0}).items())


def price(ticket: Ticket) -> str:
    """Return what the ticket costs, as people read it."""
    return money.format_amount(*price_of(ticket))


@dataclass(frozen=True)
class Pill:
    """A word with a colour for it."""

    word: str
    tone: str


_PAYMENT_PILLS: Final[Mapping[str, Pill]] = {
    PaymentStatus.PENDING: Pill("Awaiting payment", "wait"),
    PaymentStatus.PROCESSING: Pill("Processing", "wait"),
    PaymentStatus.COMPLETED: Pill("Paid", "good"),
    PaymentStatus.FAILED: Pill("Payment failed", "bad"),
    PaymentStatus.CANCELED: Pill("Link cancelled", "idle"),
    PaymentStatus.PARTIALLY_REFUNDED: Pill("Partly refunded", "idle"),
    PaymentStatus.REFUNDED: Pill("Refunded", "idle"),
    PaymentStatus.DISPUTED: Pill("Disputed", "bad"),
}
_STATE_PILLS: Final[Mapping[str, Pill]] = {
    CarState.parked: Pill("Parked", "idle"),
    CarState.requested: Pill("Requested", "call"),
    CarState.delivered: Pill("Delivered", "done"),
}
_ENDED: Final = frozenset({PaymentStatus.CANCELED, PaymentStatus.FAILED})
_NO_LINK: Final = Pill("No payment link", "idle")
_MORE_DUE: Final = Pill("More to pay", "wait")
_HELD: Final = Pill("Held", "call")
_AWAITS_HOLD: Final = Pill("Awaiting deposit", "wait")
_OUT_OF_REACH: Final = Pill("Disconnected", "bad")


def payment_pill(ticket: Ticket) -> Pill:
    """Return how the ticket's payment stands, in words."""
    payment = ticket.payment
    is_ended = payment is not None and payment.status in _ENDED and payment.mode == ticket.tenant.stripe_mode
    if payment is None or (needs_link(ticket) and not is_ended):
        return _MORE_DUE if bill.covering(ticket) else _NO_LINK
    return _OUT_OF_REACH if is_out_of_reach(ticket) else pill_of(payment)


def pill_of(payment: Payment) -> Pill:
    """Return how a payment stands, in words."""
    if bill.is_held(payment):
        return _HELD
    if bill.is_hold(payment) and payment.status == PaymentStatus.PENDING:
        return _AWAITS_HOLD
    return _PAYMENT_PILLS[payment.status]


def moved(ticket: Ticket) -> list[Payment]:
    """Return the ticket's payments that a bank has had to do with: what was only asked for is not among them."""
    return [made for made in ticket.payments if bill.is_taken(made) or made.status == PaymentStatus.PROCESSING]


@dataclass(frozen=True)
class Line:
    """One line of a bill."""

    name: str
    amount: int


def lines(ticket: Ticket) -> list[Line]:
    """Return the bill: parking, extras, tips, and what is paid of it; none for parking alone, but beside a deposit."""
    parts = [Line(extra.name, extra.amount) for extra in ticket.extras]
    if tips := bill.tips(ticket):
        parts.append(Line("Tip", tips))
    if (paid := bill.taken(ticket)) and (bill.due(ticket) or bill.is_held(ticket.payment)):
        parts.append(Line("Paid", -paid))
    return [Line("Parking", ticket.amount), *parts] if parts or has_deposit(ticket) else []


def has_deposit(ticket: Ticket) -> bool:
    """Return whether the guest leaves a deposit, or has left one, which is not taken."""
    return bill.wants_hold(ticket) and not bill.covering(ticket)


def sum_of(ticket: Ticket) -> int:
    """Return what the lines of the bill add up to."""
    return sum(line.amount for line in lines(ticket))


_DISPUTES: Final[Mapping[str, str]] = {
    "warning_needs_response": "The guest's bank asks about {amount}; answer until {until}.",
    "needs_response": "The guest's bank wants {amount} back; answer until {until}.",
    "warning_under_review": "The guest's bank reads the answer about {amount}.",
    "under_review": "The guest's bank wanted {amount} back, and reads the answer.",
    "lost": "The guest's bank took {amount} back.",
}


def dispute(found: Dispute, until: str) -> str:
    """Return what a guest's bank wants, and until when it can be answered; "" if it wants nothing any more."""
    said = _DISPUTES.get(found.status, "")
    if not until:
        said = said.replace("answer until {until}", "answer soon")
    return said.format(amount=money.format_amount(found.amount, found.currency), until=until)


def state_pill(ticket: Ticket) -> Pill:
    """Return where the ticket's car is, in words."""
    return _STATE_PILLS[ticket.state]
