"""Which payment is meant: the tenant's own, read again or locked, or the one that a Stripe object is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ..enums import CollectedVia, Mode
from ..models import StripePaymentMixin, key_of
from ..state import State

PaymentT = TypeVar("PaymentT", bound=StripePaymentMixin)

#: Metadata that we write ourselves and believe when Stripe gives it back.
RESERVED_METADATA: Final = "valetpro_"
OPERATION_METADATA: Final = f"{RESERVED_METADATA}operation"


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
) -> StripePaymentMixin | None:
    """Return the payment that a Stripe object is about, locked, or None.

    Only payments of that tenant, account and mode are looked at: whatever an object's metadata says, it can never reach
    another tenant's. A ``tenant_id`` of None means the platform's own account, whose payments are those collected by
    the platform.
    """
    model: Any = state.models.Payment
    find = _SAME.get(str(object_.get("object")))
    same = find(state, object_) if find else []
    if not same:
        return None
    owner = model.collected_via == CollectedVia.PLATFORM if tenant_id is None else _owner(state) == tenant_id
    found: StripePaymentMixin | None = state.session.scalar(
        sa.select(model)
        .where(owner, model.mode == mode, model.stripe_account_id.is_not_distinct_from(account_id), sa.or_(*same))
        # Of the payment alone: what the host loads with it comes by outer joins, which cannot be locked.
        .with_for_update(of=model)
        .execution_options(populate_existing=True)
    )
    return found


def _is(column: Any, value: Any) -> list[sa.ColumnElement[bool]]:
    """Return a condition, or none for what is no id: an id that is missing must not match all that miss one."""
    return [column == value] if is_text(value) else []


def is_text(value: Any) -> bool:
    """Tell whether Stripe could have meant it as an id or an address; no database stores every string."""
    return isinstance(value, str) and value != "" and value.isprintable()


def _same_session(state: State, session: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    model = state.models.Payment
    return [
        *_is(model.stripe_payment_link_id, session.get("payment_link")),
        *_is(model.stripe_checkout_session_id, session.get("id")),
        *_same_operation(state, session),
    ]


def _same_intent(state: State, intent: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [*_is(state.models.Payment.stripe_payment_intent_id, intent.get("id")), *_same_operation(state, intent)]


def _same_charge(state: State, charge: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    model = state.models.Payment
    return [
        *_is(model.stripe_charge_id, charge.get("id")),
        *_is(model.stripe_payment_intent_id, charge.get("payment_intent")),
        *_same_operation(state, charge),
    ]


def _same_refund(state: State, refund: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    # Not by its metadata: whoever owns the account can write the ids of another payment into them.
    model = state.models.Payment
    return [
        *_is(model.stripe_charge_id, refund.get("charge")),
        *_is(model.stripe_payment_intent_id, refund.get("payment_intent")),
    ]


def _same_operation(state: State, object_: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """Tie what may arrive before we know its id: an intent before its session, a session before its link's answer."""
    metadata = object_.get("metadata")
    named = metadata.get(OPERATION_METADATA) if isinstance(metadata, Mapping) else None
    operation = state.models.Operation
    key: sa.ColumnElement[Any] = sa.inspect(state.models.Payment).primary_key[0]
    return [key == sa.select(operation.payment_id).where(same).scalar_subquery() for same in _is(operation.id, named)]


_SAME: Final[Mapping[str, Callable[[State, Mapping[str, Any]], list[sa.ColumnElement[bool]]]]] = {
    "checkout.session": _same_session,
    "payment_intent": _same_intent,
    "charge": _same_charge,
    "refund": _same_refund,
}


def _owner(state: State) -> sa.ColumnElement[Any]:
    column: sa.ColumnElement[Any] = getattr(state.models.Payment, state.models.payment_tenant)
    return column


def _owned_by(state: State, tenant: Any) -> sa.ColumnElement[bool]:
    same: sa.ColumnElement[bool] = _owner(state) == key_of(tenant)
    return same
