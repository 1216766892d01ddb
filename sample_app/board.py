"""What the desk sees at a glance: its tickets, how many of each kind, and today's money."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import case, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from flask_valetpro_stripe import PaymentStatus, money

from .extensions import db
from .models import Payment, State, Tenant, Ticket
from .tickets import needs_link

MOST: Final = 200
_TAKEN: Final = (PaymentStatus.COMPLETED, PaymentStatus.PARTIALLY_REFUNDED)


@dataclass(frozen=True)
class Totals:
    """Today's money, by currency."""

    paid_count: int
    paid: Mapping[str, int]
    open_count: int
    open: Mapping[str, int]


@dataclass(frozen=True)
class Board:
    """One look at the desk, with a version that changes when anything on it does."""

    tickets: Sequence[Ticket]
    counts: Mapping[str, int]
    totals: Totals
    news: str
    version: str


def look(hotel: Tenant, *, state: str = "", search: str = "") -> Board:
    """Return the board of ``hotel``, with the tickets that match."""
    tickets = _matching(hotel, state, search)
    counts = _counts(hotel)
    totals = _totals(hotel)
    version = _digest([[version_of(ticket) for ticket in tickets], sorted(counts.items()), totals])
    return Board(tickets, counts, totals, _news(totals, counts), version)


def version_of(ticket: Ticket) -> str:
    """Return a word that changes when the ticket's page would."""
    payment = ticket.payment
    paid = (payment.id, payment.status, payment.stripe_payment_link_url, payment.amount_refunded) if payment else None
    return _digest([ticket.id, str(ticket.state), ticket.amount, ticket.currency, paid, ticket.texted_at])


def _digest(seen: Iterable[object]) -> str:
    return sha256(repr(list(seen)).encode()).hexdigest()[:16]


def _matching(hotel: Tenant, state: str, search: str) -> Sequence[Ticket]:
    query = select(Ticket).where(Ticket.tenant_id == hotel.id)
    if state in State.__members__:
        query = query.where(Ticket.state == state)
    if search:
        query = query.where(_found_by(search))
    urgent_first = case({State.requested: 0, State.parked: 1}, value=Ticket.state, else_=2)
    return db.session.scalars(query.order_by(urgent_first, Ticket.number.desc()).limit(MOST)).unique().all()


def _found_by(search: str) -> ColumnElement[bool]:
    found = [Ticket.guest_name.icontains(search, autoescape=True), Ticket.plate.icontains(search, autoescape=True)]
    number = search.lstrip("#")
    if number.isascii() and number.isdigit() and len(number) < 10:
        found.append(Ticket.number == int(number))
    return or_(*found)


def _counts(hotel: Tenant) -> dict[str, int]:
    rows = db.session.execute(
        select(Ticket.state, func.count()).where(Ticket.tenant_id == hotel.id).group_by(Ticket.state)
    )
    return dict.fromkeys(map(str, State), 0) | {str(state): count for state, count in rows}


def _totals(hotel: Tenant) -> Totals:
    today = _start_of_today(hotel)
    paid = db.session.execute(
        select(Payment.currency, Payment.amount - func.coalesce(Payment.amount_refunded, 0)).where(
            Payment.tenant_id == hotel.id, Payment.status.in_(_TAKEN), Payment.paid_at >= today
        )
    ).all()
    waiting = db.session.execute(
        select(Payment.currency, Payment.amount)
        .join(Ticket, Ticket.payment_id == Payment.id)
        .where(Ticket.tenant_id == hotel.id, Payment.status == PaymentStatus.PENDING)
    ).all()
    return Totals(len(paid), _by_currency(paid), len(waiting), _by_currency(waiting))


def _by_currency(rows: Iterable[Sequence[object]]) -> dict[str, int]:
    sums: defaultdict[str, int] = defaultdict(int)
    for currency, amount in rows:
        assert isinstance(currency, str) and isinstance(amount, int)
        sums[currency] += amount
    return dict(sorted(sums.items()))


def _start_of_today(hotel: Tenant) -> datetime:
    midnight = datetime.now(ZoneInfo(hotel.timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.astimezone(UTC)


def _news(totals: Totals, counts: Mapping[str, int]) -> str:
    """Return what a screen reader says when the board changes."""
    requested, paid = counts[State.requested], totals.paid_count
    cars, tickets = "car" if requested == 1 else "cars", "ticket" if paid == 1 else "tickets"
    return f"{requested} {cars} requested, {paid} {tickets} paid today."


def shown(sums: Mapping[str, int], currency: str) -> str:
    """Return sums of several currencies as one line, zero in ``currency`` if there are none."""
    return " + ".join(money.format_amount(amount, word) for word, amount in (sums or {currency: 0}).items())


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
    State.parked: Pill("Parked", "idle"),
    State.requested: Pill("Requested", "call"),
    State.delivered: Pill("Delivered", "done"),
}
_NO_LINK: Final = Pill("No payment link", "idle")


def payment_pill(ticket: Ticket) -> Pill:
    """Return how the ticket's payment stands, in words."""
    if ticket.payment is None or (needs_link(ticket) and ticket.payment.status != PaymentStatus.CANCELED):
        return _NO_LINK
    return _PAYMENT_PILLS[ticket.payment.status]


def state_pill(ticket: Ticket) -> Pill:
    """Return where the ticket's car is, in words."""
    return _STATE_PILLS[ticket.state]
