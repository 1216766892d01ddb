"""Refunds: reserved here before Stripe hears of them, made once, and never more than was paid."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
import stripe

from .. import signals
from ..context import get_tenant
from ..credentials import acting_for, client_for
from ..enums import AccountType, OperationState, PaymentStatus
from ..errors import OutcomeUnknownError, RefundError, ValetProStripeError
from ..gateway import is_decision
from ..models import Connection, Operation, Refund, StripePaymentMixin, key_of
from ..money import check_amount, format_amount
from ..state import State, get_state
from . import operations
from .agree import ContradictionError
from .apply_refunds import apply_refund
from .find import OPERATION_METADATA, RESERVED_METADATA, connection_of, find_own, is_text, lock_own
from .operations import CREATE_REFUND
from .refunded import FREED, left_of

#: The reasons that Stripe knows (Stripe API reference, "Create a refund"); any other text stays here.
_STRIPES_REASONS: Final = frozenset({"duplicate", "fraudulent", "requested_by_customer"})
_LONGEST_REASON: Final = 64
_LONGEST_KEY: Final = 255
_WITH_MONEY: Final = frozenset(
    {PaymentStatus.COMPLETED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.REFUNDED, PaymentStatus.DISPUTED}
)
#: Where nobody takes a fee, and where whoever took one is not the one that acts.
_WITHOUT_FEES: Final = frozenset({AccountType.PLATFORM, AccountType.RAW_KEYS})
_ALL_GIVEN_BACK: Final = "charge_already_refunded"
#: Whether a call was made by the account's own key, and not by the platform: in an operation's parameters.
_BY_KEY: Final = "by_key"
_SYNC: Final = "payments.sync(payment) brings the payment to what Stripe knows."
#: Stripe's refusals (Stripe docs, "Error codes") in plain words, with what to do about them.
_PLAIN: Final[Mapping[str, tuple[str, str]]] = {
    _ALL_GIVEN_BACK: ("At Stripe all of this payment has been given back already.", _SYNC),
    "charge_disputed": (
        "The guest disputes this payment at the bank, so it cannot be refunded.",
        "Answer the dispute in the Stripe Dashboard; accepting it gives the money back.",
    ),
    "refund_disputed_payment": (
        "The guest disputes this payment at the bank, so it cannot be refunded.",
        "Answer the dispute in the Stripe Dashboard; accepting it gives the money back.",
    ),
    "charge_not_refundable": ("Stripe does not refund this payment.", "Look at it in the Stripe Dashboard."),
    "balance_insufficient": (
        "The Stripe account has too little money to give this back.",
        "Add funds in the Stripe Dashboard, or wait for the next payments, and try again.",
    ),
}


class KeyUsedError(ValueError):
    """An idempotency key was used with other arguments before."""


def refund(
    payment: StripePaymentMixin,
    *,
    amount: int | None = None,
    reason: str | None = None,
    idempotency_key: str | None = None,
) -> Refund:
    """Return a new refund of ``payment``, made on the account and in the mode that took the money. Commits.

    The amount is reserved before Stripe hears of it, so that however many calls at once give back no more than was
    paid. The platform gives back its fee in proportion. A refund may be ``pending`` for days, and one that
    ``succeeded`` may fail up to 30 days later: the row, the payment and ``signals.refund_updated`` tell.

    :param amount: how much, in minor units of the payment's currency; None is all that is left.
    :param reason: ``duplicate``, ``fraudulent`` or ``requested_by_customer``, which Stripe is told; or the host's own
        text of at most 64 characters, which it is not.
    :param idempotency_key: the same key returns the same refund, from however many processes. Without one each call is
        a refund of its own.
    :raises ValueError: for an argument that cannot work, or another tenant's payment; nothing is written.
    :raises KeyUsedError: (a ``ValueError``) for a key that was used with other arguments; nothing is written.
    :raises RefundError: if nothing, or less than ``amount``, is left to give back, or Stripe refused; nothing stays
        reserved.
    :raises ConnectionRevokedError: if that account can no longer be reached.
    :raises OutcomeUnknownError: if Stripe's answer did not arrive: the amount stays reserved, and the same key
        finishes it.
    """
    state, tenant = get_state(), get_tenant()
    payment = find_own(state, tenant, payment)
    _check(payment, amount, reason, idempotency_key)
    key = idempotency_key if idempotency_key is not None else uuid.uuid4().hex
    asked = {"payment": str(key_of(payment)), "amount": amount, "reason": reason}
    known = operations.find(state, key_of(tenant), payment.mode, CREATE_REFUND, key)
    if known is not None and known.state is OperationState.done:
        return refund_of(state, known, asked)
    acting = acting_for(state, connection_of(state, payment, tenant))
    client = client_for(state, acting)
    # From here on only our own writes are taken back; and a vault is not asked while the payment is locked.
    state.session.commit()
    try:
        operation = _reserve(state, tenant, payment, acting, key, asked)
        _require_same_caller(operation, acting)
        return _make(state, tenant, client, operation)
    except OutcomeUnknownError as error:
        if idempotency_key is None:
            error.hint = "The amount stays reserved until Stripe tells. Another call would be another refund."
        raise


def _require_same_caller(operation: Operation, acting: Connection) -> None:
    """Return if a call is repeated by whom it was made: whether Stripe knows its key of another one is said nowhere.

    :raises OutcomeUnknownError: if not.
    """
    by_key = operation.params.get(_BY_KEY, _is_by_key(acting))
    if operation.state is not OperationState.done and by_key != _is_by_key(acting):
        error = OutcomeUnknownError(
            "The refund was begun through another connection to the account, so it is not repeated: it could be made "
            "twice.",
            hint="'flask stripe reconcile' looks for it.",
        )
        # Lists tell what came of it, whoever asks.
        error.is_saved = True
        raise error


def _is_by_key(acting: Connection) -> bool:
    return acting.account_type is AccountType.RAW_KEYS


def _check(payment: StripePaymentMixin, amount: Any, reason: Any, idempotency_key: Any) -> None:
    if amount is not None:
        check_amount(amount, payment.currency)
    if reason is not None and not (is_text(reason) and len(reason) <= _LONGEST_REASON):
        raise ValueError(f"The reason must be a printable text of 1 to {_LONGEST_REASON} characters, or None.")
    if idempotency_key is not None and not (is_text(idempotency_key) and len(idempotency_key) <= _LONGEST_KEY):
        raise ValueError(f"The idempotency_key must be a printable text of 1 to {_LONGEST_KEY} characters.")


def refund_of(state: State, operation: Operation, asked: Mapping[str, Any]) -> Refund:
    """Return the operation's refund, if that is the one that was asked for."""
    if operation.params["asked"] != asked:
        raise KeyUsedError("This idempotency_key was used for another refund. Use a new key for each refund.")
    model = state.models.Refund
    same = sa.select(model).where(model.operation_id == operation.id)
    return state.session.scalars(same.execution_options(populate_existing=True)).one()


def _reserve(
    state: State, tenant: Any, payment: StripePaymentMixin, acting: Connection, key: str, asked: Mapping[str, Any]
) -> Operation:
    """Return the refund's operation, ours or that of whoever was first with the key, with its amount reserved."""
    payment = lock_own(state, tenant, payment)
    known = operations.find(state, key_of(tenant), payment.mode, CREATE_REFUND, key)
    try:
        if known is not None:
            state.session.refresh(known)
            _reserve_again(payment, known, refund_of(state, known, asked))
            return known
        amount = _require_left(payment, asked["amount"])
    except (ValueError, RefundError):
        # Lets the payment go. Not by a rollback: of a handler, that would be a failure.
        state.session.commit()
        raise
    begun = _begin(state, payment, acting, key, asked, amount)
    # Somebody used the key for another payment meanwhile: look at what there is now.
    return begun or _reserve(state, tenant, payment, acting, key, asked)


def _reserve_again(payment: StripePaymentMixin, operation: Operation, refund: Refund) -> None:
    """Reserve what a refusal has freed: the call is made once more, under a new key at Stripe."""
    is_refused = operation.state is OperationState.failed and refund.stripe_refund_id is None
    if is_refused and refund.status in FREED:
        _require_left(payment, refund.amount)
        refund.status = "pending"


def _require_left(payment: StripePaymentMixin, amount: int | None) -> int:
    """Return how much is to be given back of a locked payment.

    :raises RefundError: if that is more than is left.
    """
    if payment.status not in _WITH_MONEY:
        raise RefundError(
            "This payment has not been paid, so there is nothing to give back.",
            code="not_paid",
            hint="payments.cancel(payment) keeps it from being paid.",
        )
    left = left_of(payment)
    if left <= 0:
        raise RefundError(
            "All of this payment has been given back already, or is about to be.", code=_ALL_GIVEN_BACK, hint=_SYNC
        )
    if amount is not None and amount > left:
        wanted, rest = format_amount(amount, payment.currency), format_amount(left, payment.currency)
        raise RefundError(
            f"{wanted} cannot be given back: only {rest} of this payment is left.",
            code="refund_too_large",
            hint="Refund less, or leave the amount out to give back all that is left.",
        )
    return left if amount is None else amount


def _begin(
    state: State, payment: StripePaymentMixin, acting: Connection, key: str, asked: Mapping[str, Any], amount: int
) -> Operation | None:
    """Commit the refund and its operation, and return the operation; None if somebody was first with the key."""
    owned = {
        "tenant_id": getattr(payment, state.models.payment_tenant),
        "payment_id": key_of(payment),
        "connection_id": payment.connection_id,
    }
    operation = state.models.Operation(
        id=uuid.uuid4().hex, mode=payment.mode, kind=CREATE_REFUND, idempotency_key=key, params={}, **owned
    )
    refund = state.models.Refund(
        operation_id=operation.id,
        amount=amount,
        currency=payment.currency,
        status="pending",
        reason=asked["reason"],
        **owned,
    )
    sent = _params(payment, acting, amount, asked["reason"])

    def write() -> None:
        # The refund points to its operation, which sends the refund's id along.
        for row in (operation, refund):
            state.session.add(row)
            state.session.flush()
        metadata = {
            OPERATION_METADATA: operation.id,
            f"{RESERVED_METADATA}payment": asked["payment"],
            f"{RESERVED_METADATA}refund": str(refund.id),
        }
        operation.params = {"asked": dict(asked), "sent": sent | {"metadata": metadata}, _BY_KEY: _is_by_key(acting)}

    return operations.begin(state, operation, write)


def _params(payment: StripePaymentMixin, acting: Connection, amount: int, reason: str | None) -> dict[str, Any]:
    """Return the body of ``POST /v1/refunds`` (Stripe API reference, "Create a refund"), but for its metadata."""
    intent = payment.stripe_payment_intent_id
    params: dict[str, Any] = {"payment_intent": intent} if intent else {"charge": payment.stripe_charge_id}
    params["amount"] = amount
    if reason in _STRIPES_REASONS:
        params["reason"] = reason
    if payment.application_fee_amount and acting.account_type not in _WITHOUT_FEES:
        # An error where there is no fee; and without it, the hotel would pay the fee on money that it gave back.
        # Only the platform that took a fee gives it back (Stripe docs, "Collect application fees"): an account that
        # is reached by its own key since cannot.
        params["refund_application_fee"] = True
    return params


def _make(state: State, tenant: Any, client: stripe.StripeClient, operation: Operation) -> Refund:
    """Return the operation's refund, making it at Stripe unless that is done. Commits, and so frees the payment."""
    asked = operation.params["asked"]
    if operation.state is OperationState.done:
        state.session.commit()
        return refund_of(state, operation, asked)
    try:
        found = operations.run(state, operation, "Making the refund", client.v1.refunds.create)
    except OutcomeUnknownError:
        follow(state, tenant, operation)
        raise
    except ValetProStripeError as error:
        follow(state, tenant, operation)
        refused = _in_plain_words(error) if is_decision(error) else error
        raise refused from None
    note_refund(state, tenant, operation, found)
    return refund_of(state, operation, asked)


def lock_payment(state: State, tenant: Any, operation: Operation) -> StripePaymentMixin:
    return lock_own(state, tenant, state.session.get_one(state.models.Payment, operation.payment_id))


#: What a refund's row says until Stripe has it, by how its operation stands.
_BY_OPERATION: Final = {OperationState.unknown: "pending", OperationState.failed: "failed"}


def follow(state: State, tenant: Any, operation: Operation) -> None:
    """Free what was reserved if the operation failed, and reserve it again while its outcome is unknown. Commits.

    Other processes with the same key may have been told otherwise meanwhile, and Stripe may have it after all.
    """
    lock_payment(state, tenant, operation)
    state.session.refresh(operation)
    refund = refund_of(state, operation, operation.params["asked"])
    if refund.stripe_refund_id is None:
        refund.status = _BY_OPERATION.get(operation.state, refund.status)
    state.session.commit()


def _in_plain_words(error: ValetProStripeError) -> RefundError:
    message, hint = _PLAIN.get(error.code, (str(error), _SYNC))
    return RefundError(message, code=error.code, hint=hint)


def note_refund(state: State, tenant: Any, operation: Operation, found: Mapping[str, Any]) -> None:
    """Commit what Stripe answered, and tell the host, unless a webhook was first."""
    payment = lock_payment(state, tenant, operation)
    before = payment.amount_refunded, payment.status
    try:
        changed = apply_refund(payment, found)
    except ContradictionError as error:
        state.session.rollback()
        # It is done at Stripe, whatever it means here: nobody has to look for it.
        operations.finish(state, operation)
        state.session.commit()
        raise ValetProStripeError(str(error), code="contradiction", hint=_SYNC) from None
    is_news = before != (payment.amount_refunded, payment.status)
    state.session.commit()
    if changed is not None:
        state.tell(signals.refund_updated, tenant=tenant, refund=changed)
    if is_news:
        state.tell(signals.payment_updated, tenant=tenant, payment=payment)
