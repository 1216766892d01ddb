"""Declares the stripe_* tables beside a host's Tenant and Payment, with foreign keys that follow the host's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, relationship

from ..errors import ConfigurationError
from . import money, tables
from .locked import LockedPayment
from .mixins import StripePaymentMixin, StripeTenantMixin
from .owned import HostKeys


@dataclass(frozen=True)
class Models:
    """The mapped classes of one ValetProStripe: the host's two, and the extension's own."""

    Tenant: type[StripeTenantMixin]
    Payment: type[StripePaymentMixin]
    #: The Payment's attribute that points to its tenant.
    payment_tenant: str
    Connection: type[tables.Connection]
    Secret: type[tables.Secret]
    WebhookEvent: type[tables.WebhookEvent]
    Operation: type[money.Operation]
    Refund: type[money.Refund]
    Dispute: type[money.Dispute]
    Customer: type[money.Customer]
    OAuthState: type[tables.OAuthState]
    AuditEntry: type[tables.AuditEntry]


TABLES: tuple[type[Any], ...] = (
    tables.Connection,
    tables.Secret,
    tables.WebhookEvent,
    money.Operation,
    money.Refund,
    money.Dispute,
    money.Customer,
    tables.OAuthState,
    tables.AuditEntry,
)


def declare_models(tenant: type[Any], payment: type[Any]) -> Models:
    """Return the extension's mapped classes, on the metadata of the host's.

    :raises ConfigurationError: if a class lacks its mixin, has no single primary key, or was bound before.
    """
    _require_mixin(tenant, StripeTenantMixin)
    _require_mixin(payment, StripePaymentMixin)
    if tables.Connection.__tablename__ in tenant.metadata.tables:
        raise ConfigurationError(
            f"{tenant.__name__} already belongs to a ValetProStripe. Make one for each database, and call "
            "init_app for each app that uses it."
        )

    keys = HostKeys(tenant=_single_key(tenant), payment=_single_key(payment))

    class Base(DeclarativeBase):
        # Our own base: the host's may be a dataclass, or carry columns that ours must not have.
        __abstract__ = True
        metadata = tenant.metadata
        host_keys = keys

    declared = {table.__name__: type(table.__name__, (table, Base), {}) for table in TABLES}
    connection: Any = declared["Connection"]
    tenant.stripe_connection = relationship(
        connection,
        primaryjoin=sa.and_(
            connection.tenant_id == keys.tenant, connection.mode == tenant.stripe_mode, connection.is_current
        ),
        viewonly=True,
        uselist=False,
    )
    _relate_disputes(payment, declared["Dispute"])
    _index_paid(payment)
    sa.event.listen(tenant.stripe_mode, "set", _forget_connection, propagate=True)
    return Models(Tenant=tenant, Payment=payment, payment_tenant=_tenant_attribute(payment, keys.tenant), **declared)


def _relate_disputes(payment: Any, dispute: Any) -> None:
    payment.stripe_disputes = relationship(dispute, viewonly=True, order_by=dispute.id.desc())


def _index_paid(payment: Any) -> None:
    """Let what a connection was paid lately be found among all that it ever was."""
    is_paid = payment.paid_at.is_not(None)
    name = f"ix_{payment.__table__.name}_stripe_paid"
    sa.Index(name, payment.connection_id, payment.created_at, postgresql_where=is_paid, sqlite_where=is_paid)


def _forget_connection(tenant: Any, *_: Any) -> None:
    """Let a tenant whose mode changes look up its connection again, in the new one."""
    seen = sa.inspect(tenant)
    if seen.session and seen.persistent:
        seen.session.expire(tenant, ["stripe_connection"])


def key_of(row: Any) -> Any:
    """Return the primary key of a host's tenant or payment, whatever its name and type."""
    if isinstance(row, LockedPayment):
        return row.key
    return sa.inspect(row).mapper.primary_key_from_instance(row)[0]


def _require_mixin(model: type[Any], mixin: type[Any]) -> None:
    if not issubclass(model, mixin):
        raise ConfigurationError(f"{model.__name__} must inherit from {mixin.__name__}, before db.Model.")


def _single_key(model: type[Any]) -> sa.Column[Any]:
    keys = list(model.__table__.primary_key.columns)
    if len(keys) != 1:
        raise ConfigurationError(f"{model.__name__} must have a primary key of one column; it has {len(keys)}.")
    key: sa.Column[Any] = keys[0]
    return key


def _tenant_attribute(payment: type[Any], tenant_key: sa.Column[Any]) -> str:
    pointing = [column for column in payment.__table__.columns if column.references(tenant_key)]
    if len(pointing) != 1:
        raise ConfigurationError(
            f"{payment.__name__} must have exactly one foreign key to {tenant_key.table.name}.{tenant_key.name}; "
            f"it has {len(pointing)}."
        )
    return str(sa.inspect(payment).get_property_by_column(pointing[0]).key)
