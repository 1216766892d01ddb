"""The desk's tables: hotels, their people, their tickets and the payments of those."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from flask_login import UserMixin
from sqlalchemy import DateTime, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_valetpro_stripe import StripePaymentMixin, StripeTenantMixin

from .extensions import db

if TYPE_CHECKING:
    # Flask-SQLAlchemy makes db.Model at run time; to a type checker it is the base that we gave it.
    from .extensions import Base as Model
else:
    Model = db.Model


class Role(StrEnum):
    """What a person may do: everybody runs the desk, an admin also sets up payments."""

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
        """Return whether this person may set up payments."""
        return self.role == Role.admin


class Payment(StripePaymentMixin, Model):
    """Money asked for a ticket; its ``reference`` is the ticket's id."""

    __tablename__ = "payment"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenant.id"), index=True)


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
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    state: Mapped[str] = mapped_column(String(10), default=CarState.parked, index=True)
    # Goes up when a link is cancelled or refused, so that the next one is a new operation at Stripe.
    link_attempt: Mapped[int] = mapped_column(default=1)
    payment_id: Mapped[int | None] = mapped_column(ForeignKey("payment.id"), unique=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now, index=True)
    texted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    tenant: Mapped[Tenant] = relationship()
    payment: Mapped[Payment | None] = relationship(lazy="joined")

    if TYPE_CHECKING:
        #: Whether the account of the ticket's payment is still connected; .valetpro adds it.
        is_reachable: Mapped[bool]

    @property
    def link_key(self) -> str:
        """Return the idempotency key of the payment link that this ticket asks for now."""
        return f"ticket-{self.operation}-{self.link_attempt}"
