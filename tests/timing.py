"""Time limits that scale with the speed of the machine, and one way to wait for a condition."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: The environment variable that hands the factor to xdist's workers and to child processes; it can also be set by hand.
VARIABLE = "TEST_TIME_FACTOR"
#: Seconds that the piece of work of :func:`measure` takes on an idle machine of 2024.
REFERENCE = 0.04
MOST = 20.0


def measure() -> float:
    """Return how many times slower than the reference this machine is now: at least 1.0, at most :data:`MOST`."""
    began = time.perf_counter()
    sum(number * number for number in range(500_000))
    slowness = (time.perf_counter() - began) / REFERENCE
    # The wall time shows the load of this moment, the load average that of the last minute.
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(max(1.0, slowness, load), MOST)


FACTOR = round(float(os.environ.get(VARIABLE) or measure()), 2)
os.environ[VARIABLE] = str(FACTOR)


def seconds(limit: float) -> float:
    """Return a time limit for this machine, given the one for an idle, fast machine."""
    return limit * FACTOR


def wait_until(
    condition: Callable[[], T],
    what: str | Callable[[], str],
    *,
    limit: float = 30.0,
    check: Callable[[], object] | None = None,
    pause: float = 0.02,
) -> T:
    """Return the first true answer of ``condition``, which is asked again and again.

    :param what: what is waited for, as in "the server answers", or a function that describes it on failure.
    :param limit: seconds, scaled by :func:`seconds`, after which an AssertionError names what was waited for.
    :param check: called before each pause; it raises if waiting has become pointless, say as a process has ended.
    """
    allowed = seconds(limit)
    deadline = time.monotonic() + allowed
    while True:
        # Read before the condition is asked: an answer that comes late is still an answer.
        is_last = time.monotonic() > deadline
        if found := condition():
            return found
        if check is not None:
            check()
        if is_last:
            raise AssertionError(f"Waited {allowed:.0f} s in vain until {what if isinstance(what, str) else what()}")
        time.sleep(pause)
