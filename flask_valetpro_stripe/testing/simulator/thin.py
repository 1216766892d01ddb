"""Thin events of the v2 API: who changed, not how; only the platform itself hears of them."""

from .accounts import Account
from .ids import new_id
from .ledger import Emitted, Json, Ledger
from .v2 import iso

REQUIREMENTS_UPDATED = "v2.core.account[requirements].updated"
CAPABILITY_UPDATED = "v2.core.account[configuration.merchant].capability_status_updated"


def emit_thin(ledger: Ledger, type: str, account: Account, *, livemode: bool) -> Json:
    """Record a thin event about an account, and hand it to the platform's own event destinations."""
    body: Json = {
        "id": new_id("evt"),
        "object": "v2.core.event",
        "context": None,
        "created": iso(ledger.now()),
        "livemode": livemode,
        "reason": None,
        "related_object": {
            "id": account.id,
            "type": "v2.core.account",
            "url": f"/v2/core/accounts/{account.id}",
        },
        "type": type,
    }
    emitted = Emitted(ledger.platform_id, livemode, body, connected=False, thin=True)
    ledger.events.append(emitted)
    ledger.on_event(emitted)
    return body
