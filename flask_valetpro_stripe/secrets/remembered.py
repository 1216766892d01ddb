"""A vault's answers, remembered for a minute, and its failures for a few seconds."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from ..errors import SecretUnavailableError
from . import Secret
from .asking import OncePerProcess
from .store import Label, SecretStore, StoreDownError, down

#: Seconds that a secret is served without asking the vault again. Whether it may be used at all is the database's to
#: say, on each use: only what the vault holds is remembered, never that it is valid.
REMEMBERED: Final = 60.0
#: Seconds in which a vault that is down is not asked again, so that nobody waits for it twice.
PAUSE: Final = 5.0
_MOST: Final = 10_000
T = TypeVar("T")


class RememberingStore:
    """A vault that is asked at most once a minute for each version of each secret, and not while it is down."""

    def __init__(
        self,
        store: SecretStore,
        clock: Callable[[], float] = time.monotonic,
        *,
        on_error: Callable[[str], object] = lambda _: None,
        most: int = _MOST,
    ) -> None:
        self.name = store.name
        self._on_error = on_error
        self._store = store
        self._clock = clock
        self._most = most
        # A worker that is forked while a thread holds it would wait forever.
        self._lock = OncePerProcess(threading.Lock)
        self._known: OrderedDict[tuple[Label, str], tuple[float, Secret]] = OrderedDict()
        self._down_until = 0.0

    def put(self, label: Label, secret: Secret) -> str:
        """Put a secret into the vault; see :class:`SecretStore`."""
        return self._asking(lambda: self._store.put(label, secret))

    def get(self, label: Label, stored: str) -> Secret:
        """Return a secret, from memory if the vault gave it within :data:`REMEMBERED` seconds."""
        with self._lock.get():
            seen, secret = self._known.get((label, stored), (0.0, None))
        if secret is not None and self._clock() - seen < REMEMBERED:
            return secret
        found = self._asking(lambda: self._store.get(label, stored))
        with self._lock.get():
            self._known[label, stored] = (self._clock(), found)
            self._known.move_to_end((label, stored))
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return found

    def delete(self, label: Label, stored: str) -> None:
        """Destroy a secret in the vault, and forget it here."""
        self.forget(label, stored)
        self._asking(lambda: self._store.delete(label, stored))

    def forget(self, label: Label, stored: str) -> None:
        """Ask the vault the next time."""
        with self._lock.get():
            self._known.pop((label, stored), None)

    def _asking(self, ask: Callable[[], T]) -> T:
        try:
            if self._clock() < self._down_until:
                raise down(self.name, "it did not answer a moment ago")
            return self._ask(ask)
        except SecretUnavailableError:
            self._on_error(self.name)
            raise

    def _ask(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except StoreDownError:
            # Nothing less: what is wrong with one tenant's secret must not keep another tenant from its own.
            self._down_until = self._clock() + PAUSE
            raise
