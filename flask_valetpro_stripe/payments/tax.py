"""Whether Stripe computes the tax of a payment: only where the account is set up for it, and never silently not."""

from __future__ import annotations

import logging
from typing import Any, Final

import stripe

from ..errors import MissingPermissionError, ValetProStripeError
from ..gateway import ask_stripe
from ..models import Connection
from ..state import State

log = logging.getLogger(__name__)
#: How long an account that was ready is not asked again, in seconds.
_READY_FOR: Final = 600.0


def decide(
    state: State,
    tenant: Any,
    connection: Connection,
    client: stripe.StripeClient,
    asked: bool | None,
    *,
    can_be: bool,
) -> bool:
    """Return whether the tax of a new payment is computed: as the call says, or the tenant's policy.

    :param can_be: whether Stripe computes it for such payments at all.
    :raises ValetProStripeError: if it should be computed and is not: with the code ``tax_not_computed`` where Stripe
        never does, with ``tax_not_ready`` where the account is not set up for it. By
        ``VALETPRO_STRIPE_TAX_NOT_READY = "warn"`` the latter is logged, and the payment says ``automatic_tax`` False.
    """
    wanted = tenant.stripe_automatic_tax if asked is None else asked
    if not wanted:
        return False
    if not can_be:
        raise ValetProStripeError(
            "This tenant's payments are taxed by Stripe, which it does not do for payment intents.",
            code="tax_not_computed",
            hint="Use a payment link or a checkout session, or pass automatic_tax=False if the amount has its tax.",
        )
    connection_id, owner = connection.id, connection.tenant_id
    # Nothing of the host's stays locked while the network is asked.
    state.session.commit()
    missing = find_missing(state, connection_id, client)
    if missing is None:
        return True
    if state.config.tax_not_ready == "warn":
        log.warning("a payment of tenant %s goes without tax: %s", owner, missing)
        return False
    raise ValetProStripeError(
        f"The Stripe account cannot compute tax: {missing}",
        code="tax_not_ready",
        hint="An admin of the account sets it up in the Stripe Dashboard under Tax, or automatic_tax=False is passed.",
    )


def find_missing(state: State, connection_id: int, client: stripe.StripeClient) -> str | None:
    """Return what an account lacks to compute tax, in a sentence, or None. Stripe is asked every ten minutes.

    Active settings without a registration compute a tax of zero (Stripe docs, "Tax settings").
    """
    if state.tax_ready.get(connection_id, -_READY_FOR) + _READY_FOR > state.clock():
        return None
    try:
        missing = _ask(client)
    except MissingPermissionError:
        return "its API key may not read the tax settings."
    if missing is None:
        state.tax_ready[connection_id] = state.clock()
    return missing


def _ask(client: stripe.StripeClient) -> str | None:
    settings = ask_stripe("Reading the tax settings", client.v1.tax.settings.retrieve).to_dict()
    if settings.get("status") != "active":
        fields = ((settings.get("status_details") or {}).get("pending") or {}).get("missing_fields") or []
        return f"its tax settings lack {', '.join(map(str, fields)) or 'something'}."
    params: Any = {"status": "active", "limit": 1}
    found = ask_stripe("Reading the tax registrations", client.v1.tax.registrations.list, params)
    return None if found.data else "it is registered nowhere, so the tax would be zero."
