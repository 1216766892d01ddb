"""Signed deliveries of events to webhook endpoints, and their retries."""

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from ..signing import sign_with_all
from .faults import Faults
from .ledger import Emitted, Json, Ledger, Record

BACKOFF = (5, 30, 120, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600)
"""Seconds before each retry; after the last one Stripe gives up, three days in."""
_TIMEOUT = 15.0

Send = Callable[[str, bytes, dict[str, str]], int]
"""Posts a body to a URL and returns the status; raises OSError if nobody answers."""


@dataclass(frozen=True)
class Delivery:
    """One attempt to deliver. ``status`` is 0 if no answer came."""

    url: str
    endpoint: str
    event_id: str
    event_type: str
    headers: dict[str, str]
    body: bytes
    status: int
    attempt: int

    @property
    def event(self) -> Json:
        event: Json = json.loads(self.body)
        return event

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300


@dataclass
class _Pending:
    endpoint: Record
    emitted: Emitted
    next_at: float
    attempts: int = 0
    busy: bool = False


class Mailroom:
    """Knows which event still has to reach which endpoint."""

    def __init__(self, ledger: Ledger, faults: Faults, sign_clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._faults = faults
        self._sign_clock = sign_clock
        self._pending: list[_Pending] = []
        self.log: list[Delivery] = []
        ledger.on_event = self._enqueue

    def _enqueue(self, emitted: Emitted) -> None:
        now = self._ledger.now()
        listeners = [endpoint for endpoint in self._listeners(emitted) if _wants(endpoint, emitted.body["type"])]
        emitted.body["pending_webhooks"] = len(listeners)
        self._pending += [_Pending(endpoint, emitted, now) for endpoint in listeners]

    def _listeners(self, emitted: Emitted) -> Iterator[Record]:
        """Yield the account's own endpoints, then its platform's connect endpoints.

        A live connect endpoint also hears the test events of accounts that are connected live (connect/webhooks).
        """
        ledger, platform = self._ledger, self._ledger.platform_id
        if not emitted.platform_only:
            for endpoint in ledger.of_kind("webhook_endpoint", emitted.account, emitted.livemode):
                if not endpoint.private["connect"] and (endpoint.private["thin"] or not emitted.thin):
                    yield endpoint
        if emitted.account == platform:
            return
        for livemode in {emitted.livemode, True}:
            same_mode = livemode == emitted.livemode
            if (emitted.account, livemode) in ledger.connections or (emitted.platform_only and same_mode):
                for endpoint in ledger.of_kind("webhook_endpoint", platform, livemode):
                    if endpoint.private["connect"]:
                        yield endpoint

    @property
    def is_empty(self) -> bool:
        with self._ledger.lock:
            return not self._pending

    def deliver(self, send: Send, *, limit: int | None = None, early: bool = False) -> list[Delivery]:
        """Try each due delivery once and return the attempts; ``early`` doesn't wait for the retries' time."""
        with self._ledger.lock:
            now = self._ledger.now()
            due = [p for p in self._pending if not p.busy and (early or p.next_at <= now)]
            due = self._faults.arranged(due)[:limit]
            for pending in due:
                pending.busy = True
        attempts: list[Delivery] = []
        try:
            for pending in due:
                attempts += self._attempt(pending, send)
        finally:
            with self._ledger.lock:
                for pending in due:
                    pending.busy = False
        return attempts

    def _attempt(self, pending: _Pending, send: Send) -> list[Delivery]:
        if pending.endpoint.deleted or pending.endpoint.data["status"] != "enabled":
            self._forget(pending)
            return []
        attempts = [self._send_once(pending, send) for _ in range(self._faults.copies)]
        with self._ledger.lock:
            if any(attempt.succeeded for attempt in attempts):
                self._forget(pending)
                pending.emitted.body["pending_webhooks"] -= 1
            else:
                self._postpone(pending)
        return attempts

    def _send_once(self, pending: _Pending, send: Send) -> Delivery:
        with self._ledger.lock:
            pending.attempts += 1
            body = json.dumps(self._content(pending), indent=2).encode()
            headers = self._headers(pending.endpoint, body)
        url = pending.endpoint.data["url"]
        status = 0
        try:
            if not self._faults.loses_delivery():
                status = send(url, body, headers)
        except OSError:
            status = 0
        finally:
            event = pending.emitted.body
            attempt = Delivery(
                url, pending.endpoint.data["id"], event["id"], event["type"], headers, body, status, pending.attempts
            )
            with self._ledger.lock:
                self.log.append(attempt)
        return attempt

    def _content(self, pending: _Pending) -> Json:
        event = view(pending.emitted, through_platform=pending.endpoint.private["connect"])
        version = pending.endpoint.data["api_version"]
        return event | {"api_version": version} if version and not pending.emitted.thin else event

    def _headers(self, endpoint: Record, body: bytes) -> dict[str, str]:
        now = self._ledger.now()
        secrets = [secret for secret, until in endpoint.private["secrets"] if until is None or until > now]
        return {
            "Accept": "*/*; q=0.5, application/xml",
            "Cache-Control": "no-cache",
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign_with_all(body, reversed(secrets), timestamp=int(self._sign_clock())),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }

    def _forget(self, pending: _Pending) -> None:
        with self._ledger.lock:
            self._pending = [other for other in self._pending if other is not pending]

    def _postpone(self, pending: _Pending) -> None:
        if pending.attempts > len(BACKOFF):
            self._forget(pending)
        else:
            pending.next_at = self._ledger.now() + BACKOFF[pending.attempts - 1]


def _wants(endpoint: Record, type: str) -> bool:
    events = endpoint.data["enabled_events"]
    return endpoint.data["status"] == "enabled" and ("*" in events or type in events)


def view(emitted: Emitted, *, through_platform: bool) -> Json:
    """Return an event as its reader sees it: only a platform sees ``account``."""
    if through_platform and emitted.connected:
        return {**emitted.body, "account": emitted.account}
    if emitted.thin:
        return {name: value for name, value in emitted.body.items() if name != "pending_webhooks"}
    return dict(emitted.body)


def send_by_http(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Post to a real server. Redirects aren't followed: to Stripe they are failures."""
    parts = urlsplit(url)
    kind: Any = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_TIMEOUT)
    try:
        connection.request("POST", parts.path or "/", body, headers)
        return int(connection.getresponse().status)
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()


def send_in_process(app: Flask) -> Send:
    """Return a function that posts to ``app`` through its test client, whatever the URL's host."""

    def send(url: str, body: bytes, headers: dict[str, str]) -> int:
        parts = urlsplit(url)
        client = app.test_client(use_cookies=False)
        base_url = f"{parts.scheme}://{parts.netloc}"
        return int(client.post(parts.path, data=body, headers=headers, base_url=base_url).status_code)

    return send
