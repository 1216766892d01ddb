"""Cancelling a payment: what it could be paid by is closed, and what was held on a card is let go."""

from __future__ import annotations

from typing import Any, cast

from ..context import get_tenant
from ..enums import OperationState
from ..state import State, get_state
from . import operations
from .close import close
from .create import finish
from .find import PaymentT, find_own
from .ways import WAYS


def cancel(payment: PaymentT) -> PaymentT:
    """Return ``payment`` after closing its link, page or intent at Stripe, so that nobody can pay it any more. Commits.

    What was only held on the guest's card is let go. A payment that was completed meanwhile comes back COMPLETED:
    money wins. Cancelling twice is harmless.

    :raises ValueError: if the payment is another tenant's.
    :raises ValetProStripeError: if Stripe could not be asked; nothing is changed.
    """
    state, tenant = get_state(), get_tenant()
    return close(state, tenant, _with_its_object(state, tenant, find_own(state, tenant, payment)))


def _with_its_object(state: State, tenant: Any, payment: PaymentT) -> PaymentT:
    """Return a payment whose object we know: if its making was never answered, it is asked for by the same key."""
    operation = operations.find_for(state, payment)
    if operation is None or operation.state not in (OperationState.new, OperationState.unknown):
        return payment
    return cast(PaymentT, finish(WAYS[operation.kind], state, tenant, operation))
