"""Idempotency keys as Stripe keeps them: the first execution's answer, for a day, per account and mode."""

import json
from dataclasses import dataclass
from typing import Any

from .errors import ApiError, invalid
from .ledger import Json, Ledger

_LIFETIME = 86_400
_LONGEST = 255


@dataclass
class Saved:
    """One key. ``status`` is None while its first request is running."""

    path: str
    fingerprint: str
    expires: float
    status: int | None = None
    body: Json | None = None


class Idempotency:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._saved: dict[tuple[str, bool, str], Saved] = {}

    def begin(self, account: str, livemode: bool, key: str, path: str, params: Any) -> Saved | None:
        """Reserve ``key`` and return None, or return what was saved under it.

        :raises ApiError: 400 if the key was used for something else, 409 if its request is still running.
        """
        if len(key) > _LONGEST:
            raise invalid(f"Idempotency keys can be up to {_LONGEST} characters long.")
        fingerprint = json.dumps(params, sort_keys=True, default=str)
        with self._ledger.lock:
            now = self._ledger.now()
            saved = self._saved.get((account, livemode, key))
            if saved is None or saved.expires <= now:
                self._saved[account, livemode, key] = Saved(path, fingerprint, now + _LIFETIME)
                return None
            _require_same(saved, key, path, fingerprint)
            if saved.status is None:
                raise key_in_use(key)
            return saved

    def finish(self, account: str, livemode: bool, key: str, status: int, body: Json) -> None:
        """Save the answer, whatever it is."""
        with self._ledger.lock:
            saved = self._saved[account, livemode, key]
            saved.status, saved.body = status, body

    def release(self, account: str, livemode: bool, key: str) -> None:
        """Forget a key whose request was never executed."""
        with self._ledger.lock:
            self._saved.pop((account, livemode, key), None)


def _require_same(saved: Saved, key: str, path: str, fingerprint: str) -> None:
    if saved.path != path:
        message = (
            "Keys for idempotent requests can only be used for the same endpoint they were first used for "
            f"('{path}' vs '{saved.path}'). Try using a key other than '{key}' if you meant to execute a different "
            "request."
        )
        raise ApiError(400, message, type="idempotency_error")
    if saved.fingerprint != fingerprint:
        message = (
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try "
            f"using a key other than '{key}' if you meant to execute a different request."
        )
        raise ApiError(400, message, type="idempotency_error")


def key_in_use(key: str | None) -> ApiError:
    """Return Stripe's answer while another request under the key is running."""
    message = (
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted "
        f"twice, and the other request is still going through): {key}. Please try again later."
    )
    return ApiError(409, message, code="idempotency_key_in_use")
