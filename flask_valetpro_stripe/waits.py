"""How often calls have waited for Stripe lately: whoever waits keeps a worker from the guests of all others."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

#: Waits of one tenant in :data:`WINDOW` seconds, in one process.
MOST_WAITS: Final = 6
WINDOW: Final = 10.0


class Waits:
    """What one process counts of one app. Threads that count at the same moment may lose one, which does no harm."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = 0.0
        self._counts: dict[Any, int] = {}

    def may(self, tenant_id: Any, most: int = MOST_WAITS) -> bool:
        """Tell whether a call of a tenant may wait, and count that it does."""
        now = self._clock()
        if now - self._since >= WINDOW:
            self._since, self._counts = now, {}
        count = self._counts[tenant_id] = self._counts.get(tenant_id, 0) + 1
        return count <= most
