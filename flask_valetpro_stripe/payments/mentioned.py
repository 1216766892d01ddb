"""The payments that many Stripe objects are about, looked up at once: to be named on a page, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..enums import Mode
from ..models import key_of
from ..money import format_amount
from ..state import State
from .find import OPERATION_METADATA, same_as

#: A Stripe object, and the account that it came for: None for the platform's own.
About = tuple[str | None, Mapping[str, Any]]


@dataclass(frozen=True)
class Mentioned:
    """What a list says of a payment. Nothing of it is the guest's."""

    reference: str | None
    amount: int
    currency: str

    def __str__(self) -> str:
        return format_amount(self.amount, self.currency)


def find_mentioned(state: State, tenant: Any, mode: Mode, about: Sequence[About]) -> list[Mentioned | None]:
    """Return for each object the tenant's payment that it is about, or None.

    By two statements at most, however many objects there are. Nothing is locked, and whatever an object says, only
    payments of that tenant, mode and account are found.
    """
    known = [same_as(object_) for _, object_ in about]
    wanted: dict[str, set[str]] = defaultdict(set)
    for same in known:
        for name, value in same.items():
            wanted[name].add(value)
    if not wanted:
        return [None] * len(about)
    by_operation = _payments_of(state, tenant, wanted.pop(OPERATION_METADATA, set()))
    by_id = _payments_by(state, tenant, mode, wanted, by_operation)
    return [_first(by_id, account, same) for (account, _), same in zip(about, known, strict=True)]


def _payments_of(state: State, tenant: Any, operations: Collection[str]) -> dict[Any, list[str]]:
    """Return the keys of the payments that these operations of ours are for, each with the operations' ids."""
    model = state.models.Operation
    found: dict[Any, list[str]] = defaultdict(list)
    own = sa.select(model.payment_id, model.id).where(model.tenant_id == key_of(tenant), model.id.in_(operations))
    for payment, operation in state.session.execute(own) if operations else ():
        found[payment].append(operation)
    return found


def _payments_by(
    state: State, tenant: Any, mode: Mode, wanted: Mapping[str, Collection[str]], by_operation: Mapping[Any, list[str]]
) -> dict[tuple[str | None, str, str], Mentioned]:
    """Return the payments that have any of these ids, by account and by each id that they have."""
    model: Any = state.models.Payment
    owner, key = getattr(model, state.models.payment_tenant), sa.inspect(model).primary_key[0]
    same = [getattr(model, name).in_(values) for name, values in wanted.items()]
    shown = [key.label("key"), model.stripe_account_id, model.reference, model.amount, model.currency]
    ids = [getattr(model, name).label(name) for name in wanted]
    own = sa.select(*shown, *ids).where(owner == key_of(tenant), model.mode == mode)
    found: dict[tuple[str | None, str, str], Mentioned] = {}
    for row in state.session.execute(own.where(sa.or_(*same, key.in_(by_operation)))).mappings():
        mentioned = Mentioned(row["reference"], row["amount"], row["currency"])
        known = [(name, row[name]) for name in wanted]
        known += [(OPERATION_METADATA, operation) for operation in by_operation.get(row["key"], ())]
        found |= {(row["stripe_account_id"], name, value): mentioned for name, value in known}
    return found


def _first(
    by_id: Mapping[tuple[str | None, str, str], Mentioned], account: str | None, same: Mapping[str, str]
) -> Mentioned | None:
    return next((by_id[account, name, value] for name, value in same.items() if (account, name, value) in by_id), None)
