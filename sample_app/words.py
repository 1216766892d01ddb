"""How the desk puts what it knows into words: a payment, a car, a sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flask_valetpro_stripe import PaymentStatus, money

from .models import CarState, Ticket
from .tickets import is_out_of_reach, needs_link, price_of


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
_OUT_OF_REACH: Final = Pill("Disconnected", "bad")


def payment_pill(ticket: Ticket) -> Pill:
    """Return how the ticket's payment stands, in words."""
    if ticket.payment is None or (needs_link(ticket) and ticket.payment.status not in _ENDED):
        return _NO_LINK
    if is_out_of_reach(ticket):
        return _OUT_OF_REACH
    return _PAYMENT_PILLS[ticket.payment.status]


def state_pill(ticket: Ticket) -> Pill:
    """Return where the ticket's car is, in words."""
    return _STATE_PILLS[ticket.state]
