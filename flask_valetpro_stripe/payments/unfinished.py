"""Calls to Stripe whose outcome nobody knows: repeated while that is safe, then looked for, and never made twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from .. import signals
from ..context import tenant_context
from ..credentials import client_for
from ..enums import Mode, OperationState, PaymentStatus
from ..errors import OutcomeUnknownError, RefundError, ValetProStripeError
from ..gateway import ask_stripe, is_decision
from ..models import Operation
from ..models.types import utcnow
from ..state import State
from . import operations, refunds
from .apply import apply_status
from .capture import note_captured, repeat
from .close import close
from .create import finish as finish_making
from .create import note_made
from .find import OPERATION_METADATA, connection_of, is_text, lock_own
from .operations import CAPTURE, CREATE_REFUND, KEY_LIFETIME
from .pages import each_of
from .ways import WAYS

#: How long a call is left to whoever makes it: it may be answered at any moment.
UNANSWERED: Final = timedelta(minutes=1)
#: After which a call is looked for. By then nobody repeats it any more, and what was under way has arrived.
GONE: Final = KEY_LIFETIME + timedelta(hours=1)
#: Calls that one run finishes, the oldest of each account first.
MOST: Final = 500
#: Pages of a hundred objects that are looked through for one.
_MOST_PAGES: Final = 50
_OPEN: Final = (OperationState.new, OperationState.unknown)


class Outcome(StrEnum):
    """What became of an unfinished call."""

    done = "done"
    refused = "refused"
    #: Stripe has nothing of it, and never will.
    never_made = "never made"
    #: Nothing can be said yet.
    left = "left"


def find_unfinished(
    state: State, tenant_id: Any = None, mode: Mode | None = None, *, most: int = MOST
) -> Sequence[tuple[str, Any, Mode]]:
    """Return the ids of calls that have waited too long for their outcome, with their tenants and modes.

    :param most: how many of all connections together.
    """
    model = state.models.Operation
    which = _waited(state)
    which += [] if tenant_id is None else [model.tenant_id == tenant_id]
    which += [] if mode is None else [model.mode == mode]
    # In turn: an account that nobody can ask any more has its own waiting for ever.
    turn = sa.func.row_number().over(partition_by=model.connection_id, order_by=model.attempted_at).label("turn")
    wanted = sa.select(model.id, model.tenant_id, model.mode, turn).where(*which).order_by(turn).limit(most)
    return [(row.id, row.tenant_id, row.mode) for row in state.session.execute(wanted)]


def count(state: State) -> dict[Mode, int]:
    """Return how many calls have waited too long for their outcome, in each mode."""
    model = state.models.Operation
    wanted = sa.select(model.mode, sa.func.count().label("calls")).where(*_waited(state))
    return {row.mode: row.calls for row in state.session.execute(wanted.group_by(model.mode))}


def _waited(state: State) -> list[sa.ColumnElement[bool]]:
    model = state.models.Operation
    # In the statement itself: of parameters, PostgreSQL cannot know that the index has all that fits.
    is_open = sa.bindparam(None, _OPEN, type_=model.state.type, expanding=True, literal_execute=True)
    return [model.state.in_(is_open), model.attempted_at < utcnow() - UNANSWERED]


def finish(state: State, operation_id: str) -> Outcome:
    """Find out what became of a call, and bring its payment or refund to that. Commits.

    Within 23 hours it is made again under its key, so that Stripe makes one object or repeats its answer. After 24
    it is looked for by the id in its metadata: it is there, or it was never made, and what it reserved is free.

    :raises OutcomeUnknownError: if no answer came this time either.
    :raises ValetProStripeError: if Stripe, or the store of the tenant's key, cannot be asked.
    """
    operation = state.session.get_one(state.models.Operation, operation_id, populate_existing=True)
    if operation.state not in _OPEN:
        return Outcome.done
    age, tenant = utcnow() - operation.attempted_at, state.session.get_one(state.models.Tenant, operation.tenant_id)
    ways = _REPEAT if age <= KEY_LIFETIME else _LOOK_FOR if age > GONE else {}
    if operation.kind not in ways:
        return Outcome.left
    with tenant_context(tenant):
        try:
            return ways[operation.kind](state, tenant, operation)
        except OutcomeUnknownError as error:
            if not error.is_saved:
                raise
        # Stripe would only repeat its failure, for a day: what it did before that, its lists tell.
        return _LOOK_FOR[operation.kind](state, tenant, operation)


def _repeat_making(state: State, tenant: Any, operation: Operation) -> Outcome:
    try:
        finish_making(WAYS[operation.kind], state, tenant, operation)
    except ValetProStripeError as error:
        if not _is_refused(operation, error):
            raise
        return Outcome.refused
    # For a payment that was cancelled nothing is made; whether there is something is looked for later.
    return Outcome.done if operation.state is OperationState.done else Outcome.left


def _repeat_refund(state: State, tenant: Any, operation: Operation) -> Outcome:
    asked, payment = operation.params["asked"], state.session.get_one(state.models.Payment, operation.payment_id)
    same: Any = {"amount": asked["amount"], "reason": asked["reason"], "idempotency_key": operation.idempotency_key}
    try:
        refunds.refund(payment, **same)
    except RefundError:
        return Outcome.refused
    return Outcome.done


def _repeat_capture(state: State, tenant: Any, operation: Operation) -> Outcome:
    try:
        repeat(state, tenant, operation)
    except ValetProStripeError as error:
        if not _is_refused(operation, error):
            raise
        return Outcome.refused
    return Outcome.done


def _is_refused(operation: Operation, error: ValetProStripeError) -> bool:
    """Tell whether it was Stripe that refused, and not we who could not even ask."""
    return is_decision(error) and operation.state is OperationState.failed


def _look_for_made(state: State, tenant: Any, operation: Operation) -> Outcome:
    way, client = WAYS[operation.kind], client_for(state, connection_of(state, operation, tenant))
    payment = state.session.get_one(state.models.Payment, operation.payment_id)
    made = _find(state, operation, way.service(client).list, _around(operation) if way.is_listed_by_time else {})
    if made is not None:
        payment = note_made(way, state, tenant, operation, payment, made)
        if payment.status is PaymentStatus.CANCELED:
            close(state, tenant, payment)
        return Outcome.done
    payment = lock_own(state, tenant, payment)
    is_news = operations.never_made(state, operation) and apply_status(payment, PaymentStatus.FAILED)
    state.session.commit()
    if is_news:
        state.tell(signals.payment_updated, tenant=tenant, payment=payment)
    return Outcome.never_made


def _around(operation: Operation) -> dict[str, Any]:
    """Return when its object may have been made, with some room for clocks that differ."""
    began, ended = operation.created_at - timedelta(hours=1), operation.attempted_at + GONE
    return {"created": {"gte": int(began.timestamp()), "lte": int(ended.timestamp())}}


def _look_for_capture(state: State, tenant: Any, operation: Operation) -> Outcome:
    """Ask what became of the intent: it is captured once, or it never was."""
    client = client_for(state, connection_of(state, operation, tenant))
    payment = state.session.get_one(state.models.Payment, operation.payment_id)
    intent = str(payment.stripe_payment_intent_id)
    state.session.commit()
    found = ask_stripe("Asking for the payment", client.v1.payment_intents.retrieve, intent).to_dict()
    if found.get("status") == "succeeded":
        note_captured(state, tenant, operation, found)
        return Outcome.done
    operations.never_made(state, operation)
    state.session.commit()
    return Outcome.never_made


def _look_for_refund(state: State, tenant: Any, operation: Operation) -> Outcome:
    client = client_for(state, connection_of(state, operation, tenant))
    of_payment = {
        name: value for name, value in operation.params["sent"].items() if name in ("payment_intent", "charge")
    }
    found = _find(state, operation, client.v1.refunds.list, of_payment)
    if found is not None:
        refunds.note_refund(state, tenant, operation, found)
        return Outcome.done
    refunds.lock_payment(state, tenant, operation)
    is_news = operations.never_made(state, operation)
    refunds.follow(state, tenant, operation)
    if is_news:
        freed = refunds.refund_of(state, operation, operation.params["asked"])
        state.tell(signals.refund_updated, tenant=tenant, refund=freed)
    return Outcome.never_made


def _find(
    state: State, operation: Operation, list_: Callable[..., Any], asked: dict[str, Any]
) -> Mapping[str, Any] | None:
    """Return the object that an operation made, or None if Stripe has none. Commits.

    :param asked: what narrows the list; if nothing does, it is looked through until what was made before.
    :raises OutcomeUnknownError: if there are too many objects to look through.
    """
    # Read now: no transaction stays open while the network is asked.
    id_, began = operation.id, operation.created_at
    state.session.commit()
    for object_ in each_of(list_, asked, what="Looking for what was made", most_pages=_MOST_PAGES):
        maker: Any = (object_.get("metadata") or {}).get(OPERATION_METADATA)
        if maker == id_:
            return object_
        if not asked and is_text(maker) and _was_done_before(state, maker, began):
            return None
    return None


def _was_done_before(state: State, maker: str, moment: datetime) -> bool:
    """Tell whether an operation was done before a moment, with some room for clocks that differ. Commits."""
    model = state.models.Operation
    is_before = model.attempted_at < moment - timedelta(hours=1)
    done = sa.select(model.id).where(model.id == maker, model.state == OperationState.done, is_before)
    found = state.session.scalar(done) is not None
    state.session.commit()
    return found


_Way = Callable[[State, Any, Operation], Outcome]
_REPEAT: Final[Mapping[str, _Way]] = {
    **dict.fromkeys(WAYS, _repeat_making),
    CREATE_REFUND: _repeat_refund,
    CAPTURE: _repeat_capture,
}
_LOOK_FOR: Final[Mapping[str, _Way]] = {
    **dict.fromkeys(WAYS, _look_for_made),
    CREATE_REFUND: _look_for_refund,
    CAPTURE: _look_for_capture,
}
