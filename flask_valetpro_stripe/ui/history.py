"""What was done with a tenant's connections, and by whom: its own audit entries in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from flask import Response, request

from .. import audit
from ..context import get_tenant
from ..enums import Mode
from ..models import AuditEntry, Connection, key_of
from ..money import format_amount
from ..state import get_state
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
    "dashboard_opened": "Opened the Express dashboard",
    "disconnected": "Disconnected the account",
    "disconnected_endpoint_left": "Disconnected the account; remove its webhook endpoint in Stripe's dashboard",
    "endpoint_made": "Made the webhook endpoint",
    "endpoint_mended": "Mended the webhook endpoint",
    "event_replayed": "Had an event handled again",
    "given_up": "Gave up a connection that was never finished",
    "key_brought_back": "Brought an earlier API key back",
    "key_checked": "Entered keys, to be checked",
    "key_rotated": "Exchanged the API key",
    "key_saved": "Saved the API key",
    "mode_switched": "Switched the mode",
    "moved": "Moved the connection to the app's present address",
    "neutralized": "Cut this copy of the database off from Stripe",
    "onboarding_began": "Went to Stripe to set an account up",
    "onboarding_renewed": "Went back to Stripe to go on setting up",
    "platform_forbidden": "Ended payments on the platform's account",
    "prepared": "Began to connect an account",
    "refund_asked": "Asked for a refund",
    "revoked": "Withdrew our access to the account",
    "secret_destroyed": "Destroyed an archived secret",
    "webhook_secret_saved": "Saved a webhook secret",
}
_ACTORS: Final[Mapping[str, str]] = {
    "operator": "The operator",
    "reconcile": "The regular comparison with Stripe",
    "stripe": "Stripe",
}


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
    #: The key's ends, as the card shows them, as long as its row is there.
    masked: str | None


def show() -> Response:
    """Show the newest entries, or those before the one that the address names."""
    before = _asked_before()
    # One more than a page shows, if there are: whether the page has an end.
    found = audit.history(get_state(), get_tenant(), before=before, limit=PAGE + 1)
    lines = _lines(found[:PAGE])
    return render(
        "_history.html" if is_fragment() else "history.html",
        tenant=get_tenant(),
        lines=lines,
        is_newest=before is None,
        before=lines[-1].sequence if len(found) > PAGE else None,
    )


def _asked_before() -> int | None:
    before = request.args.get("before", type=int)
    return None if before is None or before > _LAST else max(before, 0)


def _lines(entries: list[AuditEntry]) -> list[Line]:
    masks, connections = _masks(entries), _connections(entries)
    return [_line(entry, user_id(), connections.get(entry.connection_id), masks) for entry in entries]


def _masks(entries: list[AuditEntry]) -> dict[str, str]:
    """Return what may be shown of the tenant's keys that the entries name, by fingerprint."""
    state, fingerprints = get_state(), {_text(entry.detail.get("fingerprint")) for entry in entries} - {None}
    model = state.models.Secret
    own = sa.select(model.fingerprint, model.masked).where(model.tenant_id == key_of(get_tenant()))
    return {
        row.fingerprint: row.masked for row in state.session.execute(own.where(model.fingerprint.in_(fingerprints)))
    }


def _connections(entries: list[AuditEntry]) -> dict[int | None, Connection]:
    """Return the tenant's connections that the entries are about: not every entry repeats mode and account."""
    state, ids = get_state(), {entry.connection_id for entry in entries} - {None}
    model = state.models.Connection
    own = sa.select(model).where(model.tenant_id == key_of(get_tenant()), model.id.in_(ids))
    return {connection.id: connection for connection in state.session.scalars(own)}


def _line(entry: AuditEntry, reader: str, about: Connection | None, masks: Mapping[str, str]) -> Line:
    detail, fingerprint = entry.detail, _text(entry.detail.get("fingerprint"))
    mode = next((mode for mode in Mode if mode == detail.get("mode")), None)
    account_id = _text(detail.get("account_id"))
    return Line(
        sequence=entry.sequence,
        who="You" if entry.actor == reader else _ACTORS.get(entry.actor, f"User {entry.actor}"),
        at=entry.at,
        what=_what(entry),
        mode=mode or (about.mode if about else None),
        account_id=account_id or (about.account_id if about else None),
        fingerprint=fingerprint,
        masked=masks.get(fingerprint or ""),
    )


def _what(entry: AuditEntry) -> str:
    words, told = _WORDS.get(entry.action, entry.action.replace("_", " ")), _text(entry.detail.get("event_id"))
    if entry.action == "refund_asked":
        amount = entry.detail["amount"]
        told = "all that was left" if amount is None else format_amount(amount, entry.detail["currency"])
    return f"{words}: {told}" if told else words


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
