"""The most usual news, that a payment's Checkout Session was paid, applied by one guarded statement."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, cast

import sqlalchemy as sa

from ..enums import CaptureMethod, Mode, PaymentStatus
from ..models import Models
from ..models.locked import forget, is_watched
from ..state import State
from .agree import MAY_BE_PAID
from .apply import PAID_SESSION, snapshot
from .find import about, given, is_id

#: What no column for amounts holds.
_TOO_LARGE: Final = 2**63
_SET: Final = ("status", "paid_at", "stripe_checkout_session_id", "stripe_payment_intent_id", "stripe_object")


def mark_paid(
    state: State, tenant_id: Any, account_id: str | None, mode: Mode, session: Mapping[str, Any], at: datetime
) -> Any:
    """Return the key of the payment that a session turned COMPLETED, paid ``at``; None if nothing was changed.

    It does what :func:`.apply.apply_session` does with a paid session of a payment that is not paid yet, which is the
    usual way of things. Whatever else a session may say, or be about, is left to that. The caller commits.
    """
    intent, amount = session.get("payment_intent"), session.get("amount_total")
    same = {"stripe_payment_link_id": session.get("payment_link"), "stripe_checkout_session_id": session.get("id")}
    is_paid = session.get("object") == "checkout.session" and session.get("payment_status") == PAID_SESSION
    is_usual = is_paid and type(amount) is int and 0 <= amount < _TOO_LARGE
    if not is_usual or not all(map(is_id, [intent, session.get("currency"), *same.values()])):
        return None
    if tenant_id is None or account_id is None:
        return None
    model, database = state.models.Payment, state.session
    if is_watched(database, model, _SET):
        return None
    values = {
        **given(tenant_id, account_id, mode, same),
        "amount_": amount,
        "currency_": session.get("currency"),
        "status": PaymentStatus.COMPLETED,
        "paid_at_": at,
        "stripe_checkout_session_id": session["id"],
        "stripe_payment_intent_id": intent,
        "stripe_object": snapshot(session),
    }
    connection = database.connection({"mapper": sa.inspect(model)})
    key = connection.execute(_marking(state.models, tuple(same)), values).scalar()
    if key is not None:
        forget(database, model, key)
    return key


@lru_cache(maxsize=256)
def _marking(models: Models, names: tuple[str, ...]) -> Any:
    """Return the statement, which is built once."""
    mapper = sa.inspect(models.Payment)
    column: Any = mapper.columns
    set_ = {column[name]: sa.bindparam(name, type_=column[name].type) for name in _SET if name != "paid_at"}
    made, at = column.created_at, sa.bindparam("paid_at_", type_=column.paid_at.type)
    key = mapper.primary_key[0]
    other = cast(sa.Table, mapper.local_table).alias()
    meant = sa.select(key).where(*about(models, names, is_platforms=False, has_account=True)).limit(1)
    return (
        sa.update(mapper.local_table)
        .where(
            # One, as for all other news: a row with the session's link, and one with its id, may be two.
            key == meant.scalar_subquery(),
            column.amount == sa.bindparam("amount_"),
            column.currency == sa.bindparam("currency_"),
            # What is only held is not taken, whatever its session is called.
            column.capture_method == CaptureMethod.automatic,
            sa.or_(*(column.status == status for status in MAY_BE_PAID)),
            # An intent pays one of the tenant's payments, whatever the metadata of its session say.
            sa.not_(
                sa.exists().where(
                    other.c[column.stripe_payment_intent_id.name]
                    == sa.bindparam("stripe_payment_intent_id", type_=column.stripe_payment_intent_id.type),
                    other.c[column[models.payment_tenant].name] == sa.bindparam("tenant"),
                    other.c[key.name] != key,
                )
            ),
        )
        .values({**set_, column.paid_at: sa.func.coalesce(column.paid_at, sa.case((made > at, made), else_=at))})
        .returning(key)
    )
