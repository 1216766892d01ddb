"""The desk's tables: hotels, their people, their tickets and the payments of those."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from flask_login import UserMixin
from sqlalchemy import DateTime, ForeignKey, String, UniqueConstraint, and_, cast
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

from flask_valetpro_stripe import StripePaymentMixin, StripeTenantMixin

from .extensions import db

if TYPE_CHECKING:
    from flask_valetpro_stripe.models import Refund

    # Flask-SQLAlchemy makes db.Model at run time; to a type checker it is the base that we gave it.
    from .extensions import Base as Model
else:
    Model = db.Model


class Role(StrEnum):
    """What a person may do: everybody runs the desk, an admin also gives money back and sets up payments."""

    admin = "admin"
    staff = "staff"


class CarState(StrEnum):
    """Where the car is."""

    parked = "parked"
    requested = "requested"
    delivered = "delivered"


def _now() -> datetime:
    return datetime.now(UTC)


def _new_public_token() -> str:
    return secrets.token_urlsafe(24)


class Tenant(StripeTenantMixin, Model):
    """A hotel."""

    __tablename__ = "tenant"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    city: Mapped[str] = mapped_column(String(120))
    timezone: Mapped[str] = mapped_column(String(60))
    currency: Mapped[str] = mapped_column(String(3))
    dialling_code: Mapped[str] = mapped_column(String(4))


class User(UserMixin, Model):  # type: ignore[misc]
    """A person of one hotel who signs in."""

    __tablename__ = "desk_user"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenant.id"), index=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(10))

    tenant: Mapped[Tenant] = relationship(lazy="joined")

    @property
    def is_admin(self) -> bool:
        """Return whether this person may give money back and set up payments."""
        return self.role == Role.admin


class Payment(StripePaymentMixin, Model):
    """Money asked for a ticket; its ``reference`` is the ticket's id."""

    __tablename__ = "payment"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenant.id"), index=True)
    # What of the amount is the guest's tip, in minor units.
    tip: Mapped[int] = mapped_column(default=0, server_default="0")

    if TYPE_CHECKING:
        #: What was given back of it, the newest first; .valetpro adds it.
        refunds: Mapped[list[Refund]]


class Ticket(Model):
    """One car in the hotel's care."""

    __tablename__ = "ticket"
    __table_args__ = (
        UniqueConstraint("tenant_id", "number", name="uq_ticket_number_per_hotel"),
        # The form's operation: however often it is sent, it makes one ticket.
        UniqueConstraint("tenant_id", "operation", name="uq_ticket_operation_per_hotel"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenant.id"), index=True)
    number: Mapped[int]
    operation: Mapped[str] = mapped_column(String(64))
    public_token: Mapped[str] = mapped_column(String(64), unique=True, default=_new_public_token)
    guest_name: Mapped[str] = mapped_column(String(80))
    phone: Mapped[str] = mapped_column(String(20))
    plate: Mapped[str] = mapped_column(String(16))
    # What parking costs, in minor units.
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    # What the next link holds on the guest's card instead of charging; None charges what is due.
    deposit: Mapped[int | None]
    # What the guest adds to the next link that charges.
    tip: Mapped[int] = mapped_column(default=0, server_default="0")
    state: Mapped[str] = mapped_column(String(10), default=CarState.parked, index=True)
    # Goes up when a link is cancelled or refused, or asks for too little since, so that the next one is a new operation
    # at Stripe.
    link_attempt: Mapped[int] = mapped_column(default=1)
    payment_id: Mapped[int | None] = mapped_column(ForeignKey("payment.id"), unique=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now, index=True)
    texted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    tenant: Mapped[Tenant] = relationship()
    #: The latest payment: what the guest pays by now, or paid last.
    payment: Mapped[Payment | None] = relationship(lazy="joined")
    extras: Mapped[list[Extra]] = relationship(lazy="selectin", order_by="Extra.id")
    #: All that were ever made for this ticket, the oldest first.
    payments: Mapped[list[Payment]] = relationship(
        primaryjoin=lambda: and_(
            foreign(Payment.reference) == cast(Ticket.id, String), foreign(Payment.tenant_id) == Ticket.tenant_id
        ),
        lazy="selectin",
        viewonly=True,
        order_by=Payment.id,
    )

    if TYPE_CHECKING:
        #: Whether the account of the ticket's payment is still connected; .valetpro adds it.
        is_reachable: Mapped[bool]

    @property
    def link_key(self) -> str:
        """Return the idempotency key of the payment link that this ticket asks for now."""
        return f"ticket-{self.operation}-{self.link_attempt}"


class Extra(Model):
    """Something that a guest gets besides parking, in the currency of its ticket."""

    __tablename__ = "extra"
    __table_args__ = (
        # The form's operation: however often it is sent, it adds one extra.
        UniqueConstraint("tenant_id", "operation", name="uq_extra_operation_per_hotel"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenant.id"), index=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id"), index=True)
    operation: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(60))
    amount: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now)
