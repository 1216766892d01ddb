"""Which payment is meant: the tenant's own, read again or locked, or the one that a Stripe object is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ..enums import CollectedVia, Mode
from ..errors import ValetProStripeError
from ..models import Connection, Models, StripePaymentMixin, key_of
from ..models.locked import LockedPayment, columns_of
from ..state import State, get_state

PaymentT = TypeVar("PaymentT", bound=StripePaymentMixin)

#: Metadata that we write ourselves and believe when Stripe gives it back.
RESERVED_METADATA: Final = "valetpro_"
OPERATION_METADATA: Final = f"{RESERVED_METADATA}operation"
#: Stripe's own are no longer (Stripe docs, "Upgrades", what counts as backward-compatible).
LONGEST_ID: Final = 255


def find_own(state: State, tenant: Any, payment: PaymentT) -> PaymentT:
    """Return ``payment``, read again, if it is the tenant's.

    :raises ValueError: if it is not: the text is the same as for one that does not exist.
    """
    model: Any = state.models.Payment
    found = state.session.scalar(
        sa.select(model)
        .where(_owned_by(state, tenant), sa.inspect(model).primary_key[0] == key_of(payment))
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise ValueError("The current tenant has no such payment.")
    own: PaymentT = found
    return own


def connection_of(state: State, row: Any, tenant: Any) -> Connection:
    """Return the connection that a payment or an operation of ``tenant`` was made through.

    :raises ValetProStripeError: if it is another tenant's: such a row was changed by hand, and is acted on by nobody.
    """
    connection = state.session.get_one(state.models.Connection, row.connection_id)
    if connection.tenant_id != key_of(tenant):
        raise ValetProStripeError(
            "This payment was made through another tenant's connection, so nothing is done with it.",
            code="foreign_connection",
            hint="The row was changed in the database. Ask the operator of this service.",
        )
    return connection


def lock_own(state: State, tenant: Any, payment: PaymentT) -> PaymentT:
    """Return ``payment``, read again, and locked until the next commit, if it is the tenant's.

    :raises ValueError: if it is not.
    """
    model: Any = state.models.Payment
    # An update that changes nothing: SQLite has no FOR UPDATE.
    state.session.execute(
        sa.update(model)
        .where(_owned_by(state, tenant), sa.inspect(model).primary_key[0] == key_of(payment))
        .values(updated_at=model.updated_at)
        .execution_options(synchronize_session=False)
    )
    return find_own(state, tenant, payment)


def find_for_object(
    state: State, tenant_id: Any, account_id: str | None, mode: Mode, object_: Mapping[str, Any]
) -> LockedPayment | None:
    """Return the payment that a Stripe object is about, locked, or None. What is set of it, ``save`` writes.

    Only payments of that tenant, account and mode are looked at: whatever an object's metadata says, it can never reach
    another tenant's. A ``tenant_id`` of None means the platform's own account, whose payments are those collected by
    the platform.
    """
    same = same_as(object_)
    if not same:
        return None
    finding = _finding(state.models, tuple(same), is_platforms=tenant_id is None, has_account=account_id is not None)
    values = given(tenant_id, account_id, mode, same)
    connection = state.session.connection({"mapper": sa.inspect(state.models.Payment)})
    found = connection.execute(finding, values).first()
    return None if found is None else LockedPayment(found._asdict())


def find_row(payment: StripePaymentMixin, model: Any, *which: sa.ColumnElement[bool]) -> Any:
    """Return a payment's own row of a model, a refund or a dispute, as it is in the database; None if it has none."""
    same = sa.select(model).where(model.payment_id == key_of(payment), *which)
    return get_state().session.scalar(same.execution_options(populate_existing=True))


def given(tenant_id: Any, account_id: str | None, mode: Mode, same: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of :func:`about`. A column's own name is SQLAlchemy's, where the column is also set."""
    ids = {f"same_{name}": value for name, value in same.items()}
    return {"tenant": tenant_id, "mode_": mode, "account": account_id, **ids}


@lru_cache(maxsize=256)
def _finding(models: Models, names: tuple[str, ...], *, is_platforms: bool, has_account: bool) -> Any:
    """Return the statement, which is built once: each delivery runs it, and building costs as much as running."""
    finding = (
        sa.select(*columns_of(models.Payment, models.payment_tenant))
        .select_from(sa.inspect(models.Payment).selectable)
        .where(*about(models, names, is_platforms=is_platforms, has_account=has_account))
        .with_for_update()
    )
    ids = [_same(models, name) for name in names if name != OPERATION_METADATA]
    # Whoever owns the account can write another payment's operation into the metadata: an id of Stripe's goes first.
    return finding.order_by(sa.case((sa.or_(*ids), 0), else_=1)).limit(1) if ids else finding


def about(
    models: Models, names: tuple[str, ...], *, is_platforms: bool, has_account: bool
) -> list[sa.ColumnElement[bool]]:
    """Return which payments may be meant: their parameters come from :func:`given`."""
    column: Any = sa.inspect(models.Payment).columns
    tenant, account = column[models.payment_tenant], column.stripe_account_id
    return [
        column.collected_via == CollectedVia.PLATFORM if is_platforms else tenant == sa.bindparam("tenant"),
        column.mode == sa.bindparam("mode_"),
        account == sa.bindparam("account") if has_account else account.is_(None),
        sa.or_(*(_same(models, name) for name in names)),
    ]


def _same(models: Models, name: str) -> sa.ColumnElement[bool]:
    mapper = sa.inspect(models.Payment)
    if name != OPERATION_METADATA:
        same: sa.ColumnElement[bool] = mapper.columns[name] == sa.bindparam(f"same_{name}")
        return same
    operation = sa.inspect(models.Operation).columns
    of_operation = sa.select(operation.payment_id).where(operation.id == sa.bindparam(f"same_{name}"))
    key: sa.ColumnElement[Any] = mapper.primary_key[0]
    return key == of_operation.scalar_subquery()


def same_as(object_: Mapping[str, Any]) -> dict[str, str]:
    """Return by what a payment is known that a Stripe object is about: by any of these columns, or by our operation."""
    find = _SAME.get(str(object_.get("object")))
    # Only what is an id: one that is missing must not match all that miss one.
    return {name: value for name, value in find(object_).items() if is_text(value)} if find else {}


def is_text(value: Any) -> bool:
    """Tell whether Stripe could have meant it as an id or an address; no database stores every string."""
    return isinstance(value, str) and value != "" and value.isprintable()


def is_address(value: Any) -> bool:
    """Tell whether a page may link to it: whoever owns a raw-key account can sign anything as one."""
    return is_text(value) and value.startswith(("https://", "http://"))


def is_id(value: Any) -> bool:
    """Tell whether it is a text that a column for ids holds."""
    return is_text(value) and len(value) <= LONGEST_ID


def _same_session(session: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stripe_payment_link_id": session.get("payment_link"),
        "stripe_checkout_session_id": session.get("id"),
        **_same_operation(session),
    }


def _same_intent(intent: Mapping[str, Any]) -> dict[str, Any]:
    return {"stripe_payment_intent_id": intent.get("id"), **_same_operation(intent)}


def _same_charge(charge: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stripe_charge_id": charge.get("id"),
        "stripe_payment_intent_id": charge.get("payment_intent"),
        **_same_operation(charge),
    }


def _same_paying(object_: Mapping[str, Any]) -> dict[str, Any]:
    # Not by its metadata: whoever owns the account can write the ids of another payment into them.
    return {
        "stripe_charge_id": object_.get("charge"),
        "stripe_payment_intent_id": object_.get("payment_intent"),
    }


def _same_operation(object_: Mapping[str, Any]) -> dict[str, Any]:
    """Tie what may arrive before we know its id: an intent before its session, a session before its link's answer."""
    metadata = object_.get("metadata")
    return {OPERATION_METADATA: metadata.get(OPERATION_METADATA)} if isinstance(metadata, Mapping) else {}


#: By what a payment is known, for each kind of Stripe object: columns, and our operation's id.
_SAME: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "checkout.session": _same_session,
    "payment_intent": _same_intent,
    "charge": _same_charge,
    "refund": _same_paying,
    "dispute": _same_paying,
}


def _owner(state: State) -> sa.ColumnElement[Any]:
    column: sa.ColumnElement[Any] = getattr(state.models.Payment, state.models.payment_tenant)
    return column


def _owned_by(state: State, tenant: Any) -> sa.ColumnElement[bool]:
    same: sa.ColumnElement[bool] = _owner(state) == key_of(tenant)
    return same
