"""Rows that belong to a host's tenant or payment, by foreign keys that follow the host's in type."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, declared_attr, mapped_column


@dataclass(frozen=True)
class HostKeys:
    """The host's primary keys, which our foreign keys follow in type."""

    tenant: sa.Column[Any]
    payment: sa.Column[Any]


class Hosted:
    """A row of ours beside a host's."""

    #: Set by :mod:`.declare`.
    host_keys: ClassVar[HostKeys]

    if TYPE_CHECKING:

        def __init__(self, **columns: Any) -> None: ...


def pointing_to(column: sa.Column[Any], **options: Any) -> Mapped[Any]:
    """Return a column that points to a host's key, and is of its type."""
    return mapped_column(column.type, sa.ForeignKey(column), **options)


class TenantOwned(Hosted):
    """A row that belongs to one tenant."""

    @declared_attr
    def tenant_id(cls) -> Mapped[Any]:
        """Return the column that points to the host's tenant."""
        return pointing_to(cls.host_keys.tenant, nullable=False, index=True)


class PaymentOwned(TenantOwned):
    """A row that belongs to one payment of one tenant."""

    @declared_attr
    def payment_id(cls) -> Mapped[Any]:
        """Return the column that points to the host's payment."""
        return pointing_to(cls.host_keys.payment, nullable=False, index=True)
