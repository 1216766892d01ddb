"""Taking what was held on a guest's card: a deposit, or a part of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, cast

import stripe

from .. import signals
from ..context import get_tenant
from ..credentials import client_for
from ..enums import OperationState
from ..errors import ValetProStripeError
from ..models import Operation, StripePaymentMixin, key_of
from ..money import check_amount, format_amount, smallest_step
from ..state import State, get_state
from . import operations
from .agree import ContradictionError
from .apply import apply_intent
from .find import PaymentT, connection_of, find_own, lock_own
from .operations import CAPTURE

_SYNC: Final = "payments.sync(payment) brings the payment to what Stripe knows."


def capture(payment: PaymentT, *, amount: int | None = None) -> PaymentT:
    """Return ``payment`` after taking what is held on the guest's card, or ``amount`` of it. Commits.

    Stripe captures once: what is not taken then is let go (Stripe docs, "Place a hold on a payment method"). The
    platform's fee shrinks in proportion, rounded down, but not to nothing. The same call again, from however many
    processes, takes nothing twice and returns the same payment.

    :param amount: how much, in minor units of the payment's currency; None is all that is held.
    :raises ValueError: for an amount that cannot be taken, or another tenant's payment; nothing is written.
    :raises ValetProStripeError: with the code ``not_held`` if nothing is held, or if Stripe refused.
    :raises ConnectionRevokedError: if that account can no longer be reached.
    :raises OutcomeUnknownError: if Stripe's answer did not arrive: call again with the same amount.
    """
    state, tenant = get_state(), get_tenant()
    payment = find_own(state, tenant, payment)
    if amount is not None:
        check_amount(amount, payment.currency)
    client = client_for(state, connection_of(state, payment, tenant))
    operation = _begin(state, tenant, payment, amount)
    if operation.state is not OperationState.done:
        _run(state, tenant, operation, client, payment)
    return find_own(state, tenant, payment)


def repeat(state: State, tenant: Any, operation: Operation) -> None:
    """Make the call of a capture again whose answer did not arrive. Commits.

    :raises ValetProStripeError: as :func:`capture` does.
    """
    payment = state.session.get_one(state.models.Payment, operation.payment_id)
    _run(state, tenant, operation, client_for(state, connection_of(state, payment, tenant)), payment)


def _run(
    state: State, tenant: Any, operation: Operation, client: stripe.StripeClient, payment: StripePaymentMixin
) -> None:
    call = partial(client.v1.payment_intents.capture, str(payment.stripe_payment_intent_id))
    note_captured(state, tenant, operation, operations.run(state, operation, "Taking the deposit", call))


def _begin(state: State, tenant: Any, payment: StripePaymentMixin, amount: int | None) -> Operation:
    """Commit the capture's operation and return it: ours, or that of whoever asked for the same before."""
    # One payment is captured once, so its key says which capture it is.
    key = f"{key_of(payment)}:{amount if amount is not None else 'all'}"
    known = operations.find(state, key_of(tenant), payment.mode, CAPTURE, key)
    if known is not None:
        return known
    taken = _require_held(payment, amount)
    operation = state.models.Operation(
        id=uuid.uuid4().hex,
        tenant_id=key_of(tenant),
        payment_id=key_of(payment),
        connection_id=payment.connection_id,
        mode=payment.mode,
        kind=CAPTURE,
        idempotency_key=key,
        params={"asked": {"amount": amount}, "sent": _params(payment, taken)},
    )
    begun = operations.begin(state, operation, lambda: state.session.add(operation))
    return begun or cast(Operation, operations.find(state, key_of(tenant), payment.mode, CAPTURE, key))


def _require_held(payment: StripePaymentMixin, amount: int | None) -> int:
    """Return how much is to be taken.

    :raises ValueError: if that is more than is held.
    """
    held = payment.amount_capturable
    if not held:
        raise ValetProStripeError(
            "Nothing is held on a card for this payment, so nothing can be taken.", code="not_held", hint=_SYNC
        )
    if amount is not None and amount > held:
        wanted, most = format_amount(amount, payment.currency), format_amount(held, payment.currency)
        raise ValueError(f"{wanted} cannot be taken: only {most} is held.")
    return held if amount is None else amount


def _params(payment: StripePaymentMixin, amount: int) -> dict[str, Any]:
    """Return the body of ``POST /v1/payment_intents/…/capture`` (Stripe API reference, "Capture a PaymentIntent")."""
    params: dict[str, Any] = {"amount_to_capture": amount, "expand": ["latest_charge"]}
    if payment.application_fee_amount and amount < payment.amount:
        # Without one Stripe would take the fee of the whole; that it takes a fee of 0 here is said nowhere.
        step, fee = smallest_step(payment.currency), payment.application_fee_amount * amount // payment.amount
        params["application_fee_amount"] = max(fee - fee % step, min(step, payment.application_fee_amount))
    return params


def note_captured(state: State, tenant: Any, operation: Operation, found: Mapping[str, Any]) -> None:
    """Commit what Stripe answered, and tell the host, unless a webhook was first."""
    payment = lock_own(state, tenant, state.session.get_one(state.models.Payment, operation.payment_id))
    try:
        changed = apply_intent(payment, found)
    except ContradictionError as error:
        state.session.rollback()
        # It is done at Stripe, whatever it means here: nobody has to look for it.
        operations.finish(state, operation)
        state.session.commit()
        raise ValetProStripeError(str(error), code="contradiction", hint=_SYNC) from None
    operations.finish(state, operation)
    state.session.commit()
    if changed:
        state.tell(signals.payment_updated, tenant=tenant, payment=payment)
