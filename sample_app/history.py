"""What earlier guests of the demo paid, by an account that its hotel has disconnected since.

Nothing here was ever at Stripe: it can be looked at, and whoever asks for money back is told that nobody can be asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import select

from flask_valetpro_stripe import AccountType, CollectedVia, Mode, OnboardingStatus, PaymentStatus
from flask_valetpro_stripe.enums import CaptureMethod

from .extensions import db
from .models import CarState, Extra, Payment, Tenant, Ticket
from .valetpro import valetpro

if TYPE_CHECKING:
    from flask_valetpro_stripe.models import Connection, Dispute, Refund


class _Visit(NamedTuple):
    """One earlier guest, with a payment for all of the bill."""

    guest_name: str
    phone: str
    plate: str
    amount: int
    hours_ago: int
    extras: tuple[tuple[str, int], ...] = ()
    tip: int = 0
    #: What was held, and of which the bill was taken.
    deposit: int | None = None
    #: What a manager gave back, and why.
    refund: tuple[int, str] | None = None
    is_disputed: bool = False

    @property
    def bill(self) -> int:
        """Return what was paid."""
        return self.amount + sum(amount for _, amount in self.extras) + self.tip


_ACCOUNT: Final = "acct_demo_until_today"
_VISITS: Final = {
    "plaza": (
        _Visit("Sofia Lindqvist", "+46701234608", "KHD 42A", 4500, 6, (("Car wash", 1500),), tip=600),
        _Visit("Marc Dubois", "+33612345609", "FB-318-ZN", 3500, 5, (("Charging", 1200),), deposit=6000),
        _Visit("Elena Petrova", "+49151234610", "B-EP 77", 4000, 4, refund=(1000, "Waited half an hour for the car")),
        _Visit("Tom Ashby", "+447700900611", "YK19 DVO", 3500, 3, is_disputed=True),
    ),
    "seaside": (_Visit("Giulia Ferrari", "+393331234612", "GB 204 MT", 3000, 4, tip=300),),
}


def add_history() -> None:
    """Put the earlier guests where they are missing. Commits."""
    for hotel in db.session.scalars(select(Tenant).where(Tenant.slug.in_(_VISITS))).all():
        known = select(Ticket.id).where(Ticket.tenant_id == hotel.id, Ticket.operation == _operation(1))
        if not db.session.scalar(known):
            _add(hotel, _VISITS[hotel.slug])
    db.session.commit()


def _operation(place: int) -> str:
    return f"history-{place}"


def _add(hotel: Tenant, visits: Iterable[_Visit]) -> None:
    now = datetime.now(UTC)
    account = valetpro.models.Connection(
        tenant_id=hotel.id,
        mode=Mode.test,
        account_type=AccountType.CONNECT_STANDARD,
        status=OnboardingStatus.REVOKED,
        account_id=f"{_ACCOUNT}_{hotel.slug}",
        account_name=f"{hotel.name}, closed",
        is_current=False,
        created_at=now - timedelta(days=30),
        connected_at=now - timedelta(days=30),
        ended_at=now - timedelta(hours=1),
    )
    db.session.add(account)
    db.session.flush()
    last = max(ticket.number for ticket in db.session.scalars(select(Ticket).where(Ticket.tenant_id == hotel.id)))
    for place, visit in enumerate(visits, start=1):
        ticket = _ticket(hotel, visit, place, number=last + place, came=now - timedelta(hours=visit.hours_ago))
        db.session.add(ticket)
        db.session.flush()
        ticket.payment = _payment(ticket, visit, account)
        db.session.flush()
        db.session.add_all(_afterwards(ticket.payment, visit, now))


def _ticket(hotel: Tenant, visit: _Visit, place: int, *, number: int, came: datetime) -> Ticket:
    return Ticket(
        tenant_id=hotel.id,
        number=number,
        operation=_operation(place),
        guest_name=visit.guest_name,
        phone=visit.phone,
        plate=visit.plate,
        amount=visit.amount,
        currency=hotel.currency,
        deposit=visit.deposit,
        state=CarState.delivered,
        created_at=came,
        extras=[
            Extra(tenant_id=hotel.id, operation=f"{_operation(place)}-{which}", name=name, amount=amount)
            for which, (name, amount) in enumerate(visit.extras, start=1)
        ],
    )


def _payment(ticket: Ticket, visit: _Visit, account: Connection) -> Payment:
    refunded = visit.refund[0] if visit.refund else 0
    word = PaymentStatus.PARTIALLY_REFUNDED if refunded else PaymentStatus.COMPLETED
    return Payment(
        tenant_id=ticket.tenant_id,
        amount=visit.deposit or visit.bill,
        amount_captured=visit.bill if visit.deposit else None,
        capture_method=CaptureMethod.manual if visit.deposit else CaptureMethod.automatic,
        tip=visit.tip,
        currency=ticket.currency,
        status=PaymentStatus.DISPUTED if visit.is_disputed else word,
        mode=account.mode,
        description=f"Valet parking, ticket {ticket.number}",
        reference=str(ticket.id),
        stripe_account_id=account.account_id,
        collected_via=CollectedVia.TENANT,
        amount_refunded=refunded,
        connection_id=account.id,
        created_at=ticket.created_at,
        paid_at=ticket.created_at + timedelta(minutes=4),
    )


def _afterwards(payment: Payment, visit: _Visit, now: datetime) -> Iterable[Refund | Dispute]:
    """Give the refund, and the dispute, that the visit ended with."""
    owned = {"tenant_id": payment.tenant_id, "payment_id": payment.id, "currency": payment.currency}
    if visit.refund:
        amount, reason = visit.refund
        yield valetpro.models.Refund(
            amount=amount, reason=reason, status="succeeded", connection_id=payment.connection_id, **owned
        )
    if visit.is_disputed:
        yield valetpro.models.Dispute(
            stripe_dispute_id=f"du_demo_{payment.id}",
            amount=payment.amount,
            status="needs_response",
            reason="fraudulent",
            due_by=now + timedelta(days=7),
            **owned,
        )
