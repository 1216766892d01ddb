"""What was done with a tenant's connections, and by whom: its own audit entries in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from flask import Response, request

from ..context import get_tenant
from ..enums import Mode
from ..models import AuditEntry, key_of
from ..state import State, get_state
from .access import is_fragment, user_id
from .answers import render

#: How many entries a page shows.
PAGE: Final = 50
#: The largest number that every database takes for a sequence.
_LAST: Final = 2**31 - 1
_WORDS: Final[Mapping[str, str]] = {
    "account_made": "Had Stripe make an account",
    "became_ready": "Let the account take payments",
    "connected": "Connected the account",
    "disconnected": "Disconnected the account",
    "disconnected_endpoint_left": "Disconnected the account; remove its webhook endpoint in Stripe's dashboard",
    "endpoint_made": "Made the webhook endpoint",
    "given_up": "Gave up making an account",
    "key_brought_back": "Brought an earlier API key back",
    "key_checked": "Entered keys, to be checked",
    "key_rotated": "Exchanged the API key",
    "key_saved": "Saved the API key",
    "mode_switched": "Switched the mode",
    "moved": "Moved a secret to another store",
    "neutralized": "Cut this copy of the database off from Stripe",
    "onboarding_began": "Went to Stripe to set an account up",
    "onboarding_renewed": "Went back to Stripe to go on setting up",
    "platform_forbidden": "Ended payments on the platform's account",
    "prepared": "Began to connect an account",
    "revoked": "Withdrew our access to the account",
    "secret_destroyed": "Destroyed an archived secret",
    "webhook_secret_saved": "Saved a webhook secret",
}
_ACTORS: Final[Mapping[str, str]] = {"operator": "The operator", "stripe": "Stripe"}


@dataclass(frozen=True)
class Line:
    """One entry, in words."""

    sequence: int
    who: str
    at: datetime
    what: str
    mode: Mode | None
    account_id: str | None
    fingerprint: str | None


def show() -> Response:
    """Show the newest entries, or those before the one that the address names."""
    before = _asked_before()
    found = _entries(get_state(), get_tenant(), before)
    lines = [_line(entry, user_id()) for entry in found[:PAGE]]
    return render(
        "_history.html" if is_fragment() else "history.html",
        tenant=get_tenant(),
        lines=lines,
        is_newest=before == _LAST,
        before=lines[-1].sequence if len(found) > PAGE else None,
    )


def _asked_before() -> int:
    before = request.args.get("before", type=int)
    return min(before, _LAST) if before is not None else _LAST


def _entries(state: State, tenant: Any, before: int) -> list[AuditEntry]:
    """Return the tenant's entries before one, newest first: one more than a page shows, if there are."""
    model = state.models.AuditEntry
    own = sa.select(model).where(model.tenant_id == key_of(tenant), model.sequence < before)
    return list(state.session.scalars(own.order_by(model.sequence.desc()).limit(PAGE + 1)))


def _line(entry: AuditEntry, reader: str) -> Line:
    detail = entry.detail
    return Line(
        sequence=entry.sequence,
        who="You" if entry.actor == reader else _ACTORS.get(entry.actor, f"User {entry.actor}"),
        at=entry.at,
        what=_WORDS.get(entry.action, entry.action.replace("_", " ")),
        mode=next((mode for mode in Mode if mode == detail.get("mode")), None),
        account_id=_text(detail.get("account_id")),
        fingerprint=_text(detail.get("fingerprint")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
