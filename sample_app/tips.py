"""Tips: what a guest adds before paying. A link asks for one amount, so another tip is another link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from flask_valetpro_stripe import money

from . import bill, tickets
from .models import Ticket

PERCENT: Final = (5, 10, 15)
#: What Stripe may want amounts of a currency to be multiples of (Stripe docs, "Supported currencies").
_STEPS: Final = (1, 10, 100)


@dataclass(frozen=True)
class Choice:
    """One of the tips that the page offers."""

    value: str
    words: str
    amount: int


def choices(ticket: Ticket) -> list[Choice]:
    """Return the tips that are offered for what is due, in amounts that the currency has."""
    due = bill.due(ticket)
    shares = [Choice(str(percent), f"{percent} %", share(due, percent, ticket.currency)) for percent in PERCENT]
    return [Choice("none", "No tip", 0), *shares]


def share(amount: int, percent: int, currency: str) -> int:
    """Return so many percent of ``amount``, rounded to what can be charged in ``currency``."""
    step = next(step for step in _STEPS if _can_be_charged(step, currency))
    return int((Decimal(amount * percent) / (100 * step)).quantize(Decimal(1), ROUND_HALF_UP)) * step


def _can_be_charged(amount: int, currency: str) -> bool:
    try:
        money.check_amount(amount, currency)
    except ValueError:
        return False
    return True


def may_be_chosen(ticket: Ticket) -> bool:
    """Return whether the guest can still add a tip: before paying, and not to a deposit, which pays nothing yet."""
    return not bill.wants_hold(ticket) and (tickets.is_payable(ticket) or is_being_remade(ticket))


def is_being_remade(ticket: Ticket) -> bool:
    """Return whether a guest who was sent a link has none now, because making another one for a tip did not work."""
    return ticket.payment_id is None and ticket.texted_at is not None and bill.due(ticket) > 0


def read(form: Mapping[str, str], ticket: Ticket) -> int:
    """Return the tip that the guest chose.

    :raises ValueError: with a sentence for the guest.
    """
    choice = form.get("tip", "")
    offered = {offer.value: offer.amount for offer in choices(ticket)}
    if choice in offered:
        tip = offered[choice]
    elif choice == "own":
        tip = money.parse_amount(form.get("own", ""), ticket.currency)
    else:
        raise ValueError("Choose one of the tips, or write an amount of your own.")
    if bill.due(ticket) + tip > money.MAX_AMOUNT:
        raise ValueError("That is more than can be paid at once. Choose a smaller tip.")
    return tip


def choose(ticket: Ticket, tip: int) -> None:
    """Have the ticket's link ask for ``tip``, too, unless the guest has paid meanwhile.

    :raises ChangedMeanwhileError: if somebody else has changed the ticket at the same moment: theirs stays.
    :raises ValetProStripeError: if Stripe does not allow it.
    """
    payment = ticket.payment
    is_asked = payment is not None and payment.tip == tip and not tickets.is_stale(ticket)
    if not is_asked and tickets.leave_link(ticket, tip=tip):
        tickets.make_link(ticket)
