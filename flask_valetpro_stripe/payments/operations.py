"""Calls that make something at Stripe: durable before they are sent, and keyed so that they happen once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ..enums import Mode, OperationState
from ..errors import OutcomeUnknownError, ValetProStripeError
from ..gateway import is_decision
from ..models import Operation, StripePaymentMixin, key_of
from ..models.types import utcnow
from ..state import State
from .patience import ask_patiently

#: Stripe forgets an idempotency key after 24 hours (Stripe docs, "Idempotent requests"). We stop an hour before.
KEY_LIFETIME: Final = timedelta(hours=23)
#: What may be done to a payment that is made: any number of times. One operation of another kind is its making.
CREATE_REFUND: Final = "refund.create"
CAPTURE: Final = "payment_intent.capture"
MAKE_INTENT: Final = "payment_intent.create"
#: Stripe knows the key, which is nobody's but one operation's, with a body that was encoded otherwise: by a release
#: before this one, for example. It says nothing about what came of that.
KEY_WAS_USED: Final = "IdempotencyError"


def find(state: State, tenant_id: Any, mode: Mode, kind: str, idempotency_key: str) -> Operation | None:
    """Return a tenant's operation of one mode and kind under the host's key."""
    model = state.models.Operation
    return state.session.scalar(
        sa.select(model).where(
            model.tenant_id == tenant_id,
            model.mode == mode,
            model.kind == kind,
            model.idempotency_key == idempotency_key,
        )
    )


def find_for(state: State, payment: StripePaymentMixin) -> Operation | None:
    """Return the operation that made a payment."""
    model = state.models.Operation
    return state.session.scalar(
        sa.select(model).where(model.payment_id == key_of(payment), model.kind.not_in([CREATE_REFUND, CAPTURE]))
    )


def insert(
    state: State, operation: Operation, payment: Any, make_params: Callable[[], dict[str, Any]]
) -> Operation | None:
    """Commit a new operation and the payment that it makes, by :func:`begin`.

    :param make_params: what the operation keeps, called when the payment has its key.
    """

    def write() -> None:
        state.session.add(payment)
        state.session.flush()
        operation.payment_id = key_of(payment)
        operation.params = make_params()
        state.session.add(operation)

    return begin(state, operation, write)


def begin(state: State, operation: Operation, write: Callable[[], None]) -> Operation | None:
    """Commit what ``write`` writes, a new operation among it; None if somebody was first with its key.

    What was pending in the session is committed either way: only what ``write`` wrote is taken back.
    """
    session, same = state.session, (operation.tenant_id, operation.mode, operation.kind, operation.idempotency_key)
    try:
        with session.begin_nested():
            write()
    except IntegrityError:
        if find(state, *same) is None:
            raise
        session.commit()
        return None
    session.commit()
    return operation


def run(state: State, operation: Operation, what: str, call: Callable[..., Any]) -> Mapping[str, Any]:
    """Make the operation's call and return Stripe's object as a dict. The caller applies it, and marks it done.

    :raises OutcomeUnknownError: if no answer arrived: the operation can be repeated, within 23 hours.
    :raises ValetProStripeError: if Stripe refused; the operation can be repeated.
    """
    _start(state, operation, what)
    key, attempt, params = operation.id, operation.attempt, operation.params["sent"]
    owner, options = operation.tenant_id, {"idempotency_key": operation.stripe_idempotency_key}
    # What Stripe will know must be on record first; and no transaction stays open while the network is asked.
    state.session.commit()
    try:
        found: Mapping[str, Any] = ask_patiently(state, owner, what, call, params, options).to_dict()
    except OutcomeUnknownError as error:
        error.hint = OutcomeUnknownError.default_hint
        _settle(state, key, attempt, {"state": OperationState.unknown, "error": "no answer"})
        raise
    except ValetProStripeError as error:
        if error.code == KEY_WAS_USED:
            _settle(state, key, attempt, {"state": OperationState.unknown, "error": error.code})
            raise _begun_before(what, key) from None
        _note_refusal(state, key, attempt, error)
        raise
    return found


def _begun_before(what: str, operation_id: str) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"{what} was begun before with other parameters, so Stripe may have made it. It is not repeated under a new "
        "key: it could be made twice.",
        code=KEY_WAS_USED,
        hint=f"'flask stripe reconcile' looks for it after a day; its metadata are valetpro_operation={operation_id}.",
    )


def finish(state: State, operation: Operation) -> bool:
    """Mark the operation done; False if another process applied the same answer before. The caller commits."""
    model = state.models.Operation
    done = OperationState.done
    mark = sa.update(model).where(model.id == operation.id, model.state != done).values(state=done, error=None)
    return state.session.scalar(mark.returning(model.id)) is not None


def never_made(state: State, operation: Operation) -> bool:
    """Mark an operation failed that Stripe knows nothing of; False if its outcome is known by now. The caller commits.

    Only for one whose key Stripe has forgotten, or saved a failure of its own under: the next try gets another.
    """
    model = state.models.Operation
    still_open = (
        model.id == operation.id,
        model.attempt == operation.attempt,
        model.state.in_([OperationState.new, OperationState.unknown]),
    )
    failed = {"state": OperationState.failed, "error": "never_made", **_next_attempt(operation.attempt)}
    mark = sa.update(model).where(*still_open).values(failed)
    return state.session.scalar(mark.returning(model.id)) is not None


def _start(state: State, operation: Operation, what: str) -> None:
    """Note that a call is under way: if its answer never comes, nobody may take the last refusal for its outcome."""
    too_old = utcnow() - operation.attempted_at > KEY_LIFETIME
    if too_old and operation.state is not OperationState.failed:
        raise OutcomeUnknownError(
            f"{what} was begun more than 23 hours ago and never answered. It is not repeated: it could be made twice.",
            hint=f"Look for metadata valetpro_operation={operation.id} in the Stripe Dashboard.",
        )
    if too_old:
        _settle(state, operation.id, operation.attempt, _next_attempt(operation.attempt))
    if operation.state is OperationState.failed:
        _settle(state, operation.id, operation.attempt, {"state": OperationState.new})


def _note_refusal(state: State, operation_id: str, attempt: int, error: ValetProStripeError) -> None:
    """Note that Stripe refused. What it saves under the key it would only repeat, so the next try gets another key.

    A refusal before execution is not saved (Stripe docs, "Idempotent requests"), and says nothing about an earlier
    call whose answer was lost: the key stays.
    """
    failed: dict[str, Any] = {"state": OperationState.failed, "error": error.code}
    if is_decision(error):
        _settle(state, operation_id, attempt, failed | _next_attempt(attempt))
    elif _state_of(state, operation_id) is OperationState.new:
        _settle(state, operation_id, attempt, failed)


def _next_attempt(attempt: int) -> dict[str, Any]:
    return {"attempt": attempt + 1, "attempted_at": utcnow()}


def _state_of(state: State, operation_id: str) -> OperationState | None:
    model = state.models.Operation
    return state.session.scalar(sa.select(model.state).where(model.id == operation_id))


def _settle(state: State, operation_id: str, attempt: int, values: dict[str, Any]) -> None:
    """Note how an attempt stands, unless another process has finished it or gone on to the next; and commit."""
    model = state.models.Operation
    still = (model.id == operation_id, model.attempt == attempt, model.state != OperationState.done)
    state.session.execute(sa.update(model).where(*still).values(values))
    state.session.commit()
