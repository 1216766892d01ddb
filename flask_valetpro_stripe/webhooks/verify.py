"""Is this really from Stripe, and by which endpoint: signature over the raw bytes, both time bounds, strict JSON."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from ..config import Config
from ..counts import Reason
from ..enums import Mode
from ..secrets import Secret

#: Seconds that a signature may be old, or ahead of our clock (Stripe docs, "Receive Stripe events", replay attacks;
#: the second bound is ours: the SDK has none).
TOLERANCE: Final = 300
#: How the scope of an endpoint in a raw-key tenant's own account begins.
TENANTS_OWN: Final = "tenant:"
_MAX_HEADER: Final = 4096
_MAX_SIGNATURES: Final = 10
#: Levels of lists and objects. Stripe's events have a dozen; what Python could but just read, it could not write again.
_DEEPEST: Final = 100
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)
_TYPE: Final = re.compile(r"(?!v[0-9]\.)[a-z0-9_.]{1,255}", re.ASCII)
#: Thin events have types of their own: v2.core.account[requirements].updated (Stripe docs, "Event destinations").
_THIN_TYPE: Final = re.compile(r"(?=.{1,255}$)v[0-9]\.[a-z0-9_.]+(?:\[[a-z0-9_.]+\])?[a-z0-9_.]*", re.ASCII)
_RELATED_TYPE: Final = re.compile(r"[a-z0-9_.]{1,255}", re.ASCII)
_V2_ACCOUNT: Final = "v2.core.account"
_ACCOUNT: Final = re.compile(r"acct_[A-Za-z0-9_-]{1,59}", re.ASCII)


@dataclass(frozen=True)
class Endpoint:
    """One webhook endpoint at Stripe: what it may speak about, and the secrets that it signs with."""

    scope: str
    mode: Mode
    #: True: events of connected accounts. Only these may name an ``account``.
    connect: bool
    secrets: tuple[Secret, ...]
    #: The connection whose own account it stands in, for an endpoint of a raw-key tenant.
    connection_id: int | None = None
    #: That account: the only one that its events may name.
    account_id: str | None = None


class RefusedError(Exception):
    """The delivery is not a genuine event. Nothing about why is told to the sender."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def platform_endpoints(config: Config) -> tuple[Endpoint, ...]:
    """Return the four endpoints that share the platform's webhook URL: each scope in each mode has its own secrets."""
    return tuple(
        Endpoint(
            scope=f"platform:{mode}:{'connect' if connect else 'account'}",
            mode=mode,
            connect=connect,
            secrets=config.webhook_secrets(mode, connect=connect),
        )
        for connect in (True, False)
        for mode in Mode
    )


def verify(body: bytes, header: str | None, endpoints: Sequence[Endpoint], *, now: float | None = None) -> Endpoint:
    """Return the endpoint whose secret signed ``body``.

    :param now: seconds since the epoch; the present if None.
    :raises RefusedError: if none did, or the signature is older or newer than :data:`TOLERANCE` seconds.
    """
    timestamp, signatures = check_header(header, now=now)
    signed = timestamp.encode() + b"." + body
    for endpoint in endpoints:
        for secret in endpoint.secrets:
            expected = hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()
            # Every signature is tried: while a secret is rolled, Stripe signs with the old and the new.
            if any(hmac.compare_digest(expected, signature) for signature in signatures):
                return endpoint
    raise RefusedError("signature")


def check_header(header: str | None, *, now: float | None = None) -> tuple[str, list[str]]:
    """Return the timestamp and the signatures of a ``Stripe-Signature`` header that a secret might fit.

    :raises RefusedError: if none can.
    """
    timestamp, signatures = _parse(header)
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE:
        raise RefusedError("timestamp")
    return timestamp, signatures


def is_thin(event: Mapping[str, Any]) -> bool:
    """Tell whether it is an event of Stripe's v2 API, which names an object and says nothing about it."""
    return bool(event["object"] == "v2.core.event")


def account_of(endpoint: Endpoint, event: Mapping[str, Any]) -> str | None:
    """Return the account that an event is about, as far as its endpoint may speak about accounts."""
    if endpoint.connection_id is not None:
        # It need not name its account: it is the one that the endpoint stands in.
        return endpoint.account_id
    if not is_thin(event):
        return event.get("account")
    related = event.get("related_object")
    return related["id"] if related and related["type"] == _V2_ACCOUNT and not endpoint.connect else None


def refuse_foreign(endpoint: Endpoint, event: dict[str, Any]) -> None:
    """Return if the endpoint may speak about the account that the event names: a tenant signs whatever it likes.

    :raises RefusedError: if a tenant's endpoint names another account than its own.
    """
    if endpoint.connection_id is not None and event.get("account") not in (None, endpoint.account_id):
        raise RefusedError("account")


def _parse(header: str | None) -> tuple[str, list[str]]:
    """Return the timestamp and the v1 signatures of ``t=…,v1=…[,v1=…][,v0=…]`` (Stripe docs, "Verify manually")."""
    if not header or len(header) > _MAX_HEADER or not header.isascii():
        raise RefusedError("header")
    pairs = [part.partition("=")[::2] for part in header.split(",")]
    timestamps = [value for name, value in pairs if name == "t"]
    signatures = [value for name, value in pairs if name == "v1"]
    if len(timestamps) != 1 or not re.fullmatch(r"[0-9]{1,12}", timestamps[0]):
        raise RefusedError("header")
    if not 1 <= len(signatures) <= _MAX_SIGNATURES:
        raise RefusedError("header")
    return timestamps[0], signatures


def parse_event(body: bytes) -> dict[str, Any]:
    """Return a signed body as an event that has all that we rely on.

    :raises RefusedError: if it is not a JSON object with the shape of an event.
    """
    try:
        event = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_no_infinity,
        )
    except (ValueError, RecursionError):
        raise RefusedError("json") from None
    # What does not open so often is not so deep.
    if body.count(b"{") + body.count(b"[") > _DEEPEST and _is_deeper(event, _DEEPEST):
        raise RefusedError("json")
    if not isinstance(event, dict) or not _has_shape(event):
        raise RefusedError("shape")
    return event


def _is_deeper(value: Any, most: int) -> bool:
    """Tell whether lists and objects are nested in more than ``most`` levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_is_deeper(each, most - 1) for each in inner)


def _has_shape(event: dict[str, Any]) -> bool:
    looks_like = {"event": _is_snapshot, "v2.core.event": _is_thin}.get(str(event.get("object")))
    return (
        looks_like is not None
        and _matches(_ID, event.get("id"))
        and isinstance(event.get("livemode"), bool)
        and looks_like(event)
    )


def _is_thin(event: dict[str, Any]) -> bool:
    related = event.get("related_object")
    return (
        _matches(_THIN_TYPE, event.get("type"))
        and isinstance(event.get("created"), str)
        # They have no such thing; whoever sends it means something else.
        and "account" not in event
        and (related is None or (isinstance(related, dict) and _is_related(related)))
    )


def _is_related(related: dict[str, Any]) -> bool:
    pattern = _ACCOUNT if related.get("type") == _V2_ACCOUNT else _ID
    return _matches(_RELATED_TYPE, related.get("type")) and _matches(pattern, related.get("id"))


def _is_snapshot(event: dict[str, Any]) -> bool:
    data = event.get("data")
    return (
        _matches(_TYPE, event.get("type"))
        and isinstance(data, dict)
        and isinstance(data.get("object"), dict)
        and (event.get("account") is None or _matches(_ACCOUNT, event["account"]))
    )


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _no_infinity(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        # Kept with its payment, 1e999 would be written as Infinity, which PostgreSQL refuses for ever.
        raise ValueError("no float holds it")
    return number
