"""A day's money: the payments of one day on the hotel's clock, and their sums by currency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select

from flask_valetpro_stripe import PaymentStatus

from . import bill
from .extensions import db
from .models import Payment, Tenant, Ticket

_TAKEN_BY_BANKS: Final = frozenset({"needs_response", "under_review", "lost"})


@dataclass(frozen=True)
class Sums:
    """The money of some payments in one currency, in minor units."""

    charged: int = 0
    held: int = 0
    #: What of the charged is for the team.
    tips: int = 0
    refunded: int = 0
    #: What guests' banks have taken back, until they give it up or for good.
    disputed: int = 0

    @property
    def net(self) -> int:
        """Return what the hotel has."""
        return self.charged - self.refunded - self.disputed

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.charged + other.charged,
            self.held + other.held,
            self.tips + other.tips,
            self.refunded + other.refunded,
            self.disputed + other.disputed,
        )


@dataclass(frozen=True)
class Line:
    """One payment with its ticket."""

    ticket: Ticket
    payment: Payment
    moment: datetime
    sums: Sums


def today(hotel: Tenant) -> date:
    """Return the date on the hotel's clock."""
    return datetime.now(ZoneInfo(hotel.timezone)).date()


def lines(hotel: Tenant, day: date) -> Sequence[Line]:
    """Return the payments of ``day``: those that were paid then, and those made then whose money is held or on its way.

    Only those of the hotel's present mode: test money is none. What was given back of a payment since counts on the
    day of the payment.
    """
    start, end = _bounds(hotel, day)
    moment = func.coalesce(Payment.paid_at, Payment.created_at)
    found = db.session.execute(
        select(Ticket, Payment)
        .join(Ticket.payments)
        .where(
            Ticket.tenant_id == hotel.id,
            Payment.tenant_id == hotel.id,
            Payment.mode == hotel.stripe_mode,
            or_(Payment.status.in_(bill.TAKEN), Payment.status == PaymentStatus.PROCESSING),
            moment >= start,
            moment < end,
        )
        .order_by(moment, Payment.id)
    )
    return [Line(ticket, made, made.paid_at or made.created_at, sums_of(made)) for ticket, made in found.unique()]


def sums_of(payment: Payment) -> Sums:
    """Return the money of one payment."""
    if not bill.is_taken(payment):
        return Sums(held=payment.amount_capturable)
    return Sums(payment.amount_taken, 0, payment.tip, payment.amount_refunded, _disputed(payment))


def _disputed(payment: Payment) -> int:
    """Return what banks have taken: an inquiry only asks, and what was won is back (Stripe docs, "Disputes")."""
    if payment.status != PaymentStatus.DISPUTED:
        return 0
    taken = sum(each.amount for each in payment.stripe_disputes if each.status in _TAKEN_BY_BANKS)
    return min(taken, payment.amount_taken - payment.amount_refunded)


def by_currency(found: Iterable[Line]) -> Mapping[str, Sums]:
    """Return the sums of some payments, by currency."""
    sums: dict[str, Sums] = {}
    for line in found:
        currency = line.payment.currency
        sums[currency] = sums.get(currency, Sums()) + line.sums
    return dict(sorted(sums.items()))


def _bounds(hotel: Tenant, day: date) -> tuple[datetime, datetime]:
    """Return when the day begins and ends; where clocks change, it has 23 hours or 25."""
    zone = ZoneInfo(hotel.timezone)
    first, last = (datetime.combine(date_, time(), zone) for date_ in (day, day + timedelta(days=1)))
    return first.astimezone(UTC), last.astimezone(UTC)
