"""Stripe events made by hand, for tests that post a body of their own."""

import time
from typing import Any

from .simulator.ids import new_id
from .simulator.versions import CURRENT


def make_event(
    type: str,
    object: dict[str, Any],
    *,
    account: str | None = None,
    livemode: bool = False,
    id: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Return an event of Stripe's shape around ``object``; ``extra`` adds or replaces top-level keys.

    ``account`` is left out unless given: only events of connected accounts carry it.
    """
    event: dict[str, Any] = {
        "id": id or new_id("evt"),
        "object": "event",
        "api_version": CURRENT,
        "created": int(time.time()),
        "data": {"object": object},
        "livemode": livemode,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type,
    }
    if account is not None:
        event["account"] = account
    return event | extra
