"""Whose refund it is, where Stripe tells of it before anything that ties its intent to a payment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from ..enums import Mode
from ..models import Connection, StripePaymentMixin
from ..state import State
from .apply import may_be_let_go
from .fetch import fetch
from .find import find_for_object

_INTENT: Final = re.compile(r"pi_[A-Za-z0-9_]{1,252}", re.ASCII)


def fetch_intent_of_refund(
    state: State, connection: Connection | None, event: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return the PaymentIntent that an event's refund is of, or None if its payment is known, or we may not see it.

    A refund's own metadata are not believed, and name nothing where it was made in the dashboard. Those of its intent
    are what we gave it. Of a known deposit that was not taken, as far as we know, Stripe is asked too: it may have been
    let go. Commits.

    :param connection: whose account it is; None for the platform's own.
    :raises ValetProStripeError: if Stripe, or the store of the tenant's key, cannot be asked now.
    """
    refund, mode = event["data"]["object"], Mode.of(event["livemode"])
    account = connection.account_id if connection is not None else None
    owner = connection.tenant_id if connection is not None and account is not None else None
    known = find_for_object(state, owner, account, mode, refund)
    # Nothing stays locked while the network is asked, nor before the event's own row is written.
    state.session.commit()
    intent = refund.get("payment_intent")
    is_clear = known is not None and not may_be_let_go(cast(StripePaymentMixin, known))
    if is_clear or not isinstance(intent, str) or not _INTENT.fullmatch(intent):
        return None
    return fetch(state, connection, event, lambda client: client.v1.payment_intents, intent)
