"""What is done with payments: the calls that change something at Stripe, and what came of them."""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from ..enums import Mode, OperationState
from .owned import PaymentOwned, TenantOwned
from .types import UTCDateTime, utcnow, words


class Operation(PaymentOwned):
    """One mutating call to Stripe: durable before the call, so that a crash or a lost answer can be finished."""

    __tablename__ = "stripe_operation"

    #: Random; it makes Stripe's idempotency key, and stands in the object's metadata.
    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True, default=lambda: uuid.uuid4().hex)
    connection_id: Mapped[int] = mapped_column(sa.ForeignKey("stripe_connection.id"))
    #: What is called, for example ``payment_link.create``.
    kind: Mapped[str] = mapped_column(sa.String(64))
    #: One key is two operations in the two modes, as it is at Stripe.
    mode: Mapped[Mode] = mapped_column(words(Mode))
    #: The host's key, unique for each tenant, mode and kind.
    idempotency_key: Mapped[str] = mapped_column(sa.String(255))
    #: Exactly what is sent, so that a repeated call sends the same.
    params: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    state: Mapped[OperationState] = mapped_column(words(OperationState), default=OperationState.new)
    #: Goes up after a definite refusal: Stripe replays a saved answer for a key that it has seen.
    attempt: Mapped[int] = mapped_column(default=1)
    error: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    #: When the present attempt began: Stripe forgets a key after 24 hours.
    attempted_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            sa.UniqueConstraint("tenant_id", "mode", "kind", "idempotency_key", name="uq_stripe_operation_key"),
            # Only what has no outcome yet: few, of a table with a row for each payment.
            sa.Index(
                "ix_stripe_operation_open",
                "attempted_at",
                postgresql_where=sa.text("state IN ('new', 'unknown')"),
                sqlite_where=sa.text("state IN ('new', 'unknown')"),
            ),
        )

    @property
    def stripe_idempotency_key(self) -> str:
        """Return the key that Stripe sees for the present attempt."""
        return f"valetpro-{self.id}-{self.attempt}"


class Refund(PaymentOwned):
    """One refund of one payment, on the account that took the money."""

    __tablename__ = "stripe_refund"

    id: Mapped[int] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(sa.ForeignKey("stripe_connection.id"))
    #: What made it; None for a refund that was made at Stripe, in its dashboard for example.
    operation_id: Mapped[str | None] = mapped_column(
        sa.String(32), sa.ForeignKey("stripe_operation.id", name="fk_stripe_refund_operation")
    )
    #: ``re_…``; None until Stripe has answered: what is reserved then.
    stripe_refund_id: Mapped[str | None] = mapped_column(sa.String(255), index=True)
    #: Minor units of :attr:`currency`.
    amount: Mapped[int] = mapped_column(sa.BigInteger)
    currency: Mapped[str] = mapped_column(sa.String(3))
    #: Stripe's word: pending, requires_action, succeeded, failed, canceled.
    status: Mapped[str] = mapped_column(sa.String(32))
    #: One of Stripe's words, or the host's own text.
    reason: Mapped[str | None] = mapped_column(sa.String(64))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, onupdate=utcnow)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (
            sa.UniqueConstraint("payment_id", "stripe_refund_id", name="uq_stripe_refund_id"),
            sa.UniqueConstraint("operation_id", name="uq_stripe_refund_operation"),
        )


class Dispute(PaymentOwned):
    """What a guest's bank wants back of one payment, and how far that is."""

    __tablename__ = "stripe_dispute"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: ``dp_…`` or ``du_…``.
    stripe_dispute_id: Mapped[str] = mapped_column(sa.String(255))
    #: Minor units of :attr:`currency`.
    amount: Mapped[int] = mapped_column(sa.BigInteger)
    currency: Mapped[str] = mapped_column(sa.String(3))
    #: Stripe's word: needs_response, under_review, won, lost, warning_needs_response, …
    status: Mapped[str] = mapped_column(sa.String(32))
    #: Stripe's word for what the guest says, for example ``fraudulent``.
    reason: Mapped[str | None] = mapped_column(sa.String(64))
    #: Until when evidence is taken; None if there is nothing to answer.
    due_by: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, onupdate=utcnow)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (sa.UniqueConstraint("payment_id", "stripe_dispute_id", name="uq_stripe_dispute_id"),)


class Customer(TenantOwned):
    """Somebody who pays a tenant, at one account and in one mode: nobody's id at Stripe holds at another."""

    __tablename__ = "stripe_customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    mode: Mapped[Mode] = mapped_column(words(Mode))
    #: ``acct_…``, or empty for the platform's own: a unique constraint takes no two missing values for the same.
    account_id: Mapped[str] = mapped_column(sa.String(64))
    #: The host's own id of who pays.
    reference: Mapped[str] = mapped_column(sa.String(255))
    #: ``cus_…``; None until Stripe has answered.
    stripe_customer_id: Mapped[str | None] = mapped_column(sa.String(255))
    email: Mapped[str | None] = mapped_column(sa.Text)
    name: Mapped[str | None] = mapped_column(sa.Text)
    #: Random; it makes Stripe's idempotency key, which no copy of the database may have for another customer.
    key: Mapped[str] = mapped_column(sa.String(32), default=lambda: uuid.uuid4().hex)
    #: When the present attempt began: Stripe forgets a key after 24 hours.
    attempted_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (sa.UniqueConstraint("tenant_id", "mode", "account_id", "reference", name="uq_stripe_customer"),)
