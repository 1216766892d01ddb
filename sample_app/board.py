"""What the desk sees at a glance: its tickets, how many of each kind, and today's money."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from flask_valetpro_stripe import PaymentStatus
from flask_valetpro_stripe.enums import CaptureMethod

from . import bill, totals
from .extensions import db
from .models import CarState, Payment, Tenant, Ticket

MOST: Final = 200
#: All that the desk's pages and the guest's show of a payment.
_SEEN_OF_A_PAYMENT: Final = (
    "id amount status mode tip stripe_payment_link_url stripe_checkout_session_id amount_refunded paid_at receipt_url "
    "amount_capturable capture_before amount_captured".split()
)
_SEEN_OF_A_DISPUTE: Final = ("id", "status", "amount", "due_by")


@dataclass(frozen=True)
class Totals:
    """Today's money, by currency."""

    paid_count: int
    paid: Mapping[str, int]
    open_count: int
    open: Mapping[str, int]
    held_count: int
    held: Mapping[str, int]


@dataclass(frozen=True)
class Board:
    """One look at the desk, with a version that changes when anything on it does."""

    tickets: Sequence[Ticket]
    counts: Mapping[str, int]
    totals: Totals
    news: str
    version: str

    @property
    def is_full(self) -> bool:
        """Return whether there may be more tickets than the board shows."""
        return len(self.tickets) >= MOST


def look(hotel: Tenant, *, state: str = "", search: str = "") -> Board:
    """Return the board of ``hotel``, with the tickets that match."""
    tickets = _matching(hotel, state, search)
    counts = _counts(hotel)
    money = _totals(hotel)
    version = _digest([[version_of(ticket) for ticket in tickets], sorted(counts.items()), money])
    return Board(tickets, counts, money, _news(money, counts), version)


def version_of(ticket: Ticket) -> str:
    """Return a word that changes when the ticket's page would."""
    own = [ticket.id, str(ticket.state), ticket.amount, ticket.currency, ticket.texted_at, ticket.is_reachable]
    asks = [ticket.payment_id, ticket.deposit, ticket.tip, [(extra.name, extra.amount) for extra in ticket.extras]]
    return _digest([*own, *asks, [_seen_of(payment) for payment in ticket.payments]])


def _seen_of(payment: Payment) -> list[object]:
    seen = [getattr(payment, name) for name in _SEEN_OF_A_PAYMENT]
    # Only a payment that has been disputed is worth a look at its disputes.
    disputes = payment.stripe_disputes if payment.status == PaymentStatus.DISPUTED else []
    return [*seen, [[getattr(dispute, name) for name in _SEEN_OF_A_DISPUTE] for dispute in disputes]]


def _digest(seen: Iterable[object]) -> str:
    return sha256(repr(list(seen)).encode()).hexdigest()[:16]


def _matching(hotel: Tenant, state: str, search: str) -> Sequence[Ticket]:
    query = select(Ticket).where(Ticket.tenant_id == hotel.id)
    if state in CarState.__members__:
        query = query.where(Ticket.state == state)
    if search:
        query = query.where(_found_by(search))
    urgent_first = case({CarState.requested: 0, CarState.parked: 1}, value=Ticket.state, else_=2)
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
    return dict.fromkeys(map(str, CarState), 0) | {str(state): count for state, count in rows}


def _totals(hotel: Tenant) -> Totals:
    taken = [line for line in totals.lines(hotel, totals.today(hotel)) if bill.is_taken(line.payment)]
    paid = [(line.payment.currency, line.sums.net) for line in taken]
    waiting = db.session.execute(
        select(Payment.currency, Payment.amount)
        .join(Ticket, Ticket.payment_id == Payment.id)
        .where(_is_own(hotel), Payment.capture_method == CaptureMethod.automatic, _is_awaited())
    ).all()
    held = db.session.execute(
        select(Payment.currency, Payment.amount_capturable).where(
            _is_own(hotel), Payment.status == PaymentStatus.PROCESSING, Payment.amount_capturable > 0
        )
    ).all()
    return Totals(
        len(paid), _by_currency(paid), len(waiting), _by_currency(waiting), len(held), _by_currency(held)
    )


def _is_awaited() -> ColumnElement[bool]:
    """Return what holds for a payment whose link is open: a declined card may be followed by another."""
    failed_once = and_(Payment.status == PaymentStatus.FAILED, Payment.stripe_checkout_session_id.is_(None))
    return or_(Payment.status == PaymentStatus.PENDING, failed_once)


def _by_currency(rows: Iterable[Sequence[object]]) -> dict[str, int]:
    sums: defaultdict[str, int] = defaultdict(int)
    for currency, amount in rows:
        assert isinstance(currency, str) and isinstance(amount, int)
        sums[currency] += amount
    return dict(sorted(sums.items()))


def _is_own(hotel: Tenant) -> ColumnElement[bool]:
    """Return what holds for the hotel's payments of its present mode: test money is none."""
    return and_(Payment.tenant_id == hotel.id, Payment.mode == hotel.stripe_mode)


def _news(money: Totals, counts: Mapping[str, int]) -> str:
    """Return what a screen reader says when the board changes."""
    requested, paid = counts[CarState.requested], money.paid_count
    cars, tickets = "car" if requested == 1 else "cars", "ticket" if paid == 1 else "tickets"
    return f"{requested} {cars} requested, {paid} {tickets} paid today."
