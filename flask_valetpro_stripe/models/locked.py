"""A payment as one locked row: read and written without the host's object, where nobody would miss it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

#: What Stripe's news are held against, and may change. Not the last JSON, which is only ever written.
READ: Final = (
    "amount",
    "currency",
    "status",
    "connection_id",
    "stripe_payment_link_id",
    "stripe_checkout_session_id",
    "checkout_url",
    "stripe_payment_intent_id",
    "stripe_charge_id",
    "receipt_url",
    "receipt_email",
    "capture_method",
    "amount_capturable",
    "capture_before",
    "amount_captured",
    "amount_refunded",
    "application_fee_amount",
    "created_at",
    "paid_at",
)
_KEY: Final = "valetpro_key"


class LockedPayment:
    """Some of a payment's attributes, by the names that they have on the host's object; what is set is remembered."""

    __slots__ = ("_values", "changed")

    def __init__(self, values: dict[str, Any]) -> None:
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "changed", {})

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._values[name] = self.changed[name] = value

    @property
    def amount_taken(self) -> int:
        """Return what the mixin's property of that name returns."""
        return int(self.amount if self.amount_captured is None else self.amount_captured)

    @property
    def key(self) -> Any:
        """Return the payment's primary key."""
        return self._values[_KEY]


def columns_of(model: Any, tenant: str) -> list[sa.ColumnElement[Any]]:
    """Return what to select for a :class:`LockedPayment`; ``tenant`` is the attribute that points to the tenant."""
    columns = sa.inspect(model).columns
    key = sa.inspect(model).primary_key[0]
    return [key.label(_KEY), *(columns[name].label(name) for name in (tenant, *READ))]


def save(session: Session, model: Any, payment: LockedPayment) -> None:
    """Write what was set, in the transaction that the row is locked in. The caller commits."""
    if not payment.changed:
        return
    if is_watched(session, model, tuple(payment.changed)):
        whole = session.get_one(model, payment.key, populate_existing=True)
        for name, value in payment.changed.items():
            setattr(whole, name, value)
        session.flush()
        return
    connection = session.connection({"mapper": sa.inspect(model)})
    connection.execute(_update(model, tuple(payment.changed)), {_KEY: payment.key, **payment.changed})
    forget(session, model, payment.key)


def forget(session: Session, model: Any, key: Any) -> None:
    """Let the session read the payment again, if it has it: its row was written without the object."""
    known = session.identity_map.get(sa.inspect(model).identity_key_from_primary_key((key,)))
    if known is not None:
        # What the host has changed of it is not lost.
        session.flush()
        session.expire(known)


def is_watched(session: Session, model: Any, names: tuple[str, ...]) -> bool:
    """Tell whether the host has something that acts when its object changes, and would miss it otherwise."""
    mapper, flush = sa.inspect(model), session.dispatch
    return bool(
        mapper.dispatch.before_update
        or mapper.dispatch.after_update
        or flush.before_flush
        or flush.after_flush
        or flush.after_flush_postexec
        or _is_more_than_a_row(model, names)
    )


@lru_cache(maxsize=256)
def _is_more_than_a_row(model: Any, names: tuple[str, ...]) -> bool:
    """Tell whether a payment is in several tables, counts its versions, or checks what is set; asked once."""
    mapper = sa.inspect(model)
    return bool(
        mapper.validators
        or mapper.version_id_col is not None
        or mapper.polymorphic_on is not None
        or len(mapper.tables) > 1
        or any(getattr(model, name).dispatch.set for name in names)
    )


@lru_cache(maxsize=256)
def _update(model: Any, names: tuple[str, ...]) -> sa.Update:
    """Return the statement, which is built once for each set of attributes."""
    columns = sa.inspect(model).columns
    key = sa.inspect(model).primary_key[0]
    # By parameters of our own names: SQLAlchemy keeps the columns' for itself.
    values = {columns[name]: sa.bindparam(name, type_=columns[name].type) for name in names}
    return sa.update(sa.inspect(model).local_table).where(key == sa.bindparam(_KEY, type_=key.type)).values(values)
