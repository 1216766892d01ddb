"""What can go wrong on purpose: at the API, and on the way of a webhook."""

import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """One way to fail. ``should_retry`` adds a ``Stripe-Should-Retry`` header to the answer."""

    kind: str
    seconds: float = 0.0
    should_retry: bool | None = None


RATE_LIMIT = Fault("rate_limit")
"""429, nothing done, nothing saved under the idempotency key."""
LOCK_TIMEOUT = Fault("lock_timeout")
"""429 because another request holds the object."""
SERVER_ERROR = Fault("server_error")
"""500, nothing done, saved under the idempotency key as Stripe saves it."""
SERVER_ERROR_AFTER = Fault("server_error_after")
"""500 although Stripe acted, saved like the other: the same key never tells what was done."""
KEY_IN_USE = Fault("idempotency_key_in_use")
"""409 as if another request under the same key were running; nothing done, nothing saved."""
DROP_BEFORE = Fault("drop_before")
"""The connection drops before Stripe acts."""
DROP_AFTER = Fault("drop_after")
"""Stripe acts, then the connection drops: the caller can't know."""


def DELAY(seconds: float) -> Fault:
    """The answer takes ``seconds`` longer; the idempotency key is in use meanwhile."""
    return Fault("delay", seconds=seconds)


def RETRY_HEADER(fault: Fault, should_retry: bool) -> Fault:
    """``fault`` with a ``Stripe-Should-Retry`` header."""
    return replace(fault, should_retry=should_retry)


def dropped(moment: Fault) -> ConnectionResetError:
    """Return what to raise where a connection drops; ``moment`` is DROP_BEFORE or DROP_AFTER."""
    return ConnectionResetError(f"The simulator dropped the connection {moment.kind.removeprefix('drop_')} acting.")


_NAMED = (RATE_LIMIT, LOCK_TIMEOUT, KEY_IN_USE, SERVER_ERROR, SERVER_ERROR_AFTER, DROP_BEFORE, DROP_AFTER)
_BY_NAME = {fault.kind: fault for fault in _NAMED}


@dataclass
class _Planned:
    method: str | None
    path: str
    fault: Fault
    times: int
    account: str | None

    def hits(self, method: str, path: str, account: str | None) -> bool:
        return (
            self.times > 0
            and self.method in (None, method)
            and self.account in (None, account)
            and (path.startswith(self.path) or re.fullmatch(self.path, path) is not None)
        )


class Faults:
    """The faults of one simulator; empty until you add some. ``sleep`` is what a delay calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[_Planned] = []
        self._copies = 1
        self._random: random.Random | None = None
        self._to_drop = 0
        self.sleep: Callable[[float], object] = time.sleep

    def add(
        self,
        method: str | None = None,
        path: str = "/",
        fault: Fault | str = SERVER_ERROR,
        times: int = 1,
        account: str | None = None,
    ) -> None:
        """Let the next ``times`` matching requests fail.

        :param path: the beginning of a path, or a regular expression for all of it.
        :param fault: one of this module's faults, or its name ("rate_limit", "drop_after", …).
        :param account: only requests that act on this account (its own key, or ``Stripe-Account``).
        """
        chosen = _BY_NAME[fault.lower()] if isinstance(fault, str) else fault
        with self._lock:
            self._planned.append(_Planned(method and method.upper(), path, chosen, times, account))

    def take(self, method: str, path: str, account: str | None) -> Fault | None:
        """Return the fault for this request, if any, and count it."""
        with self._lock:
            for planned in self._planned:
                if planned.hits(method, path, account):
                    planned.times -= 1
                    return planned.fault
        return None

    def clear(self) -> None:
        """Forget every fault, of requests and of deliveries."""
        with self._lock:
            self._planned.clear()
            self._copies, self._random, self._to_drop = 1, None, 0

    def duplicate_deliveries(self, n: int = 2) -> None:
        """Deliver every event ``n`` times from now on."""
        self._copies = n

    def reorder_deliveries(self, seed: int = 0) -> None:
        """Deliver in an order that ``seed`` decides from now on."""
        self._random = random.Random(seed)  # noqa: S311 - the order must be the same for the same seed

    def drop_deliveries(self, n: int = 1) -> None:
        """Lose the next ``n`` attempts on the way; they are retried like any failed one."""
        self._to_drop = n

    @property
    def copies(self) -> int:
        return self._copies

    def arranged(self, due: Sequence[T]) -> list[T]:
        """Return ``due`` in the order to deliver it in."""
        return self._random.sample(due, len(due)) if self._random else list(due)

    def loses_delivery(self) -> bool:
        with self._lock:
            lost = self._to_drop > 0
            self._to_drop -= lost
            return lost
