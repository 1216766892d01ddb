"""The floors that the package's modules are on."""

from __future__ import annotations

# The floors of docs/2-how-it-works.md, from the ground up. A module may import from its own floor and from those below.
FLOORS = {
    "words": ["errors", "enums", "signals", "money", "counts", "waits"],
    "edges": ["config", "models", "crypto", "secrets"],
    "centre": ["state", "gateway", "custody", "credentials", "context", "events"],
    "shared features": ["audit", "endpoints", "parked", "connections", "rekey", "neutralize"],
    "features": ["payments", "onboarding", "insights"],
    # An event of the platform's own account is the tenant's whose payment it is about, so the inbox looks at payments.
    "inbox": ["webhooks"],
    "surfaces": "handlers webhooks.views ui doctor metrics monitoring cli cli_inbox celery".split(),
    "composition": ["extension"],
    "public names": [""],
}
