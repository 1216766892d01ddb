"""Makes the SDK's client for a simulator, with any key."""

from __future__ import annotations

import stripe

from flask_valetpro_stripe.testing import Simulator


def client_with(simulator: Simulator, key: str, *, account: str | None = None) -> stripe.StripeClient:
    """Return a client with this key, acting for a connected account if one is given."""
    return stripe.StripeClient(
        key,
        stripe_account=account,
        http_client=simulator.http_client(),
        base_addresses={"api": simulator.base_url, "connect": simulator.base_url},
    )
