"""What a host's own Tenant and Payment get: mix these in, add a primary key, and nothing else is needed."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from ..enums import AccountType, CaptureMethod, CollectedVia, Mode, OnboardingStatus, PaymentStatus
from ..errors import ConfigurationError
from .types import UTCDateTime, utcnow, words

if TYPE_CHECKING:
    from .money import Dispute
    from .tables import Connection


def _of_connection(tenant_class: Any, column: str) -> Any:
    """Return SQL for ``column`` of the current connection in a tenant's active mode."""
    inspected = sa.inspect(tenant_class)
    relation = inspected.mapper.relationships.get("stripe_connection")
    if relation is None:
        name = inspected.mapper.class_.__name__
        raise ConfigurationError(f"{name} is not bound yet. Call ValetProStripe(db, tenant={name}, payment=...) first.")
    connection = relation.mapper.class_
    key = getattr(tenant_class, inspected.mapper.get_property_by_column(inspected.mapper.primary_key[0]).key)
    found = (
        sa.select(getattr(connection, column))
        .where(connection.tenant_id == key, connection.mode == tenant_class.stripe_mode, connection.is_current)
        .correlate(inspected.selectable)
        .scalar_subquery()
    )
    # A subquery alone brings no FROM: selected by itself it would answer about any tenant. The key brings its own.
    return sa.case((key.is_not(None), found))


class StripeTenantMixin:
    """Stripe for a tenant: its mode and policy, and its connection's state in that mode, readable and queryable."""

    #: Which of its two connections the tenant works with now.
    stripe_mode: Mapped[Mode] = mapped_column(words(Mode), default=Mode.test, server_default=Mode.test.value)
    #: Ask Stripe to compute tax on new payments.
    stripe_automatic_tax: Mapped[bool] = mapped_column(default=False, server_default=sa.text("false"))
    #: The platform's fee on new payments, in hundredths of a percent, rounded down to a minor unit.
    stripe_application_fee_bps: Mapped[int] = mapped_column(default=0, server_default="0")

    if TYPE_CHECKING:
        id: Any
        stripe_connection: Mapped[Connection | None]

    @hybrid_property
    def stripe_account_id(self) -> str | None:
        """Return the ``acct_…`` of the tenant in its active mode, or None."""
        return self.stripe_connection.account_id if self.stripe_connection else None

    @stripe_account_id.inplace.expression
    @classmethod
    def _stripe_account_id(cls) -> Any:
        return _of_connection(cls, "account_id")

    @hybrid_property
    def stripe_account_type(self) -> AccountType | None:
        """Return how the tenant is connected in its active mode, or None."""
        return self.stripe_connection.account_type if self.stripe_connection else None

    @stripe_account_type.inplace.expression
    @classmethod
    def _stripe_account_type(cls) -> Any:
        return _of_connection(cls, "account_type")

    @hybrid_property
    def stripe_onboarding_status(self) -> OnboardingStatus:
        """Return how far the tenant is in its active mode."""
        return self.stripe_connection.status if self.stripe_connection else OnboardingStatus.NOT_CONNECTED

    @stripe_onboarding_status.inplace.expression
    @classmethod
    def _stripe_onboarding_status(cls) -> Any:
        return sa.func.coalesce(
            _of_connection(cls, "status"), sa.literal(OnboardingStatus.NOT_CONNECTED, words(OnboardingStatus))
        )


class StripePaymentMixin:
    """One payment at Stripe. Account, mode and connection are frozen when it is made, for refunds and replays."""

    #: Minor units of :attr:`currency`; what the guest pays, tax included.
    amount: Mapped[int] = mapped_column(sa.BigInteger)
    #: Lower-case ISO code.
    currency: Mapped[str] = mapped_column(sa.String(3))
    status: Mapped[PaymentStatus] = mapped_column(words(PaymentStatus), default=PaymentStatus.PENDING, index=True)
    mode: Mapped[Mode] = mapped_column(words(Mode))
    description: Mapped[str] = mapped_column(sa.String(500))
    #: The host's own id of what is paid.
    reference: Mapped[str | None] = mapped_column(sa.String(255), index=True)
    #: The account that took the money; None when the platform collected it.
    stripe_account_id: Mapped[str | None] = mapped_column(sa.String(64))
    collected_via: Mapped[CollectedVia] = mapped_column(words(CollectedVia))
    stripe_payment_link_id: Mapped[str | None] = mapped_column(sa.String(255), index=True)
    stripe_payment_link_url: Mapped[str | None] = mapped_column(sa.Text)
    stripe_checkout_session_id: Mapped[str | None] = mapped_column(sa.String(255), index=True)
    #: Stripe's page of a payment that was made as a checkout session. It closes after a day.
    checkout_url: Mapped[str | None] = mapped_column(sa.Text)
    stripe_payment_intent_id: Mapped[str | None] = mapped_column(sa.String(255), index=True)
    stripe_charge_id: Mapped[str | None] = mapped_column(sa.String(255), index=True)
    #: ``cus_…`` of who pays, on this payment's account.
    stripe_customer_id: Mapped[str | None] = mapped_column(sa.String(255))
    receipt_url: Mapped[str | None] = mapped_column(sa.Text)
    #: Where Stripe sends the receipt.
    receipt_email: Mapped[str | None] = mapped_column(sa.Text)
    #: Whether the money is taken at once, or held until it is captured.
    capture_method: Mapped[CaptureMethod] = mapped_column(
        words(CaptureMethod), default=CaptureMethod.automatic, server_default=CaptureMethod.automatic.value
    )
    #: Minor units that are held on the guest's card, and may be captured until :attr:`capture_before`.
    amount_capturable: Mapped[int] = mapped_column(sa.BigInteger, default=0, server_default="0")
    capture_before: Mapped[datetime | None] = mapped_column(UTCDateTime)
    #: Minor units that were taken, where that is not the whole amount.
    amount_captured: Mapped[int | None] = mapped_column(sa.BigInteger)
    #: Whether Stripe computes the tax.
    automatic_tax: Mapped[bool] = mapped_column(default=False, server_default=sa.text("false"))
    #: Minor units that were given back, or are on their way; a refund that fails later lowers it again.
    amount_refunded: Mapped[int] = mapped_column(sa.BigInteger, default=0, server_default="0")
    #: Minor units that the platform keeps of it.
    application_fee_amount: Mapped[int | None] = mapped_column(sa.BigInteger)
    connection_id: Mapped[int] = mapped_column(sa.ForeignKey("stripe_connection.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow, onupdate=utcnow)
    #: When Stripe's event says that it was paid; where Stripe was asked, when it answered so.
    paid_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    #: The last JSON of the object that Stripe told us about. Columns are only for what we query or constrain.
    stripe_object: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON)

    if TYPE_CHECKING:
        id: Any
        #: The payment's disputes, the newest first.
        stripe_disputes: Mapped[list[Dispute]]

    @property
    def amount_taken(self) -> int:
        """Return what a guest was charged once this is paid, in minor units: what may be given back."""
        return self.amount if self.amount_captured is None else self.amount_captured

    @property
    def client_secret(self) -> str | None:
        """Return what lets a browser pay a payment intent. Never stored: only whoever asked for it just now has it."""
        return self.__dict__.get("_valetpro_client_secret")

    @client_secret.setter
    def client_secret(self, secret: str | None) -> None:
        self.__dict__["_valetpro_client_secret"] = secret
