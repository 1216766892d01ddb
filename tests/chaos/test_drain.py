"""One tenant's poison, and twenty others whose events wait beside it: how much later are theirs handled?"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.servers import PostgreSQL

from .draining import HOTELS, NAP, WORKERS, Group, alternate, group
from .sizes import SCALE, size, tell

pytestmark = pytest.mark.alone

#: How many events wait, by what the poison does. A fifth of them is the poison's.
PENDING = {"fails": size("PENDING", middle=2_000, full=100_000)}
PENDING |= dict.fromkeys(["sleeps", "kills"], PENDING["fails"] // 4)
SLICE = 2.0 if SCALE == "full" else 0.5
#: How much later the others' events may be done, where there are enough of them to say.
MOST_LATER, ENOUGH = 1.10, 10_000


@contextmanager
def drained(postgresql: PostgreSQL, kind: str) -> Iterator[tuple[Group, Group]]:
    """Give two groups whose hotels had the same events, all handled by now, the second one's beside poison."""
    poison = PENDING[kind] // 5
    others = PENDING[kind] - poison
    with (
        postgresql.database() as url,
        postgresql.database() as other_url,
        group(url, hotels_events=others, poison_events=0, kind="none") as healthy,
        group(other_url, hotels_events=others, poison_events=poison, kind=kind) as poisoned,
    ):
        alternate([healthy, poisoned], SLICE)
        yield healthy, poisoned


def compared(healthy: Group, poisoned: Group, capsys: pytest.CaptureFixture[str]) -> float:
    """Return by what factor the 95th percentile of the hotels' events is later beside poison, and print the figures."""
    seconds = [group.seconds() for group in (healthy, poisoned)]
    percentiles = [statistics.quantiles(of, n=100) for of in seconds]
    ratio = percentiles[1][94] / percentiles[0][94]
    said = [
        f"{name}: {len(of) / of[-1]:.0f} events/s, p50 {percent[49]:.2f} s, p95 {percent[94]:.2f} s"
        for name, of, percent in zip(("alone", "beside it"), seconds, percentiles, strict=True)
    ]
    tell(
        capsys,
        f"{poisoned.kind}: {PENDING[poisoned.kind]} pending, a fifth of them poison, {WORKERS} workers; "
        f"{'; '.join(said)}; p95 {ratio:.3f} times as late; "
        f"{poisoned.signs.tries.value} tries of poison, {poisoned.deaths} workers replaced",
    )
    return ratio


def each_of_the_others_was_handled_once(group: Group) -> None:
    rows = group.rows(poison=False)
    assert Counter((row.status.value, row.attempts, row.generation) for row in rows) == {
        ("processed", 1, 1): group.hotels_events
    }
    assert group.signs.calls.value == group.hotels_events


@pytest.mark.slow("starts workers in processes of their own")
def test_a_tenant_whose_events_all_fail_keeps_nobody_waiting(
    postgresql: PostgreSQL, capsys: pytest.CaptureFixture[str]
) -> None:
    with drained(postgresql, "fails") as (healthy, poisoned):
        ratio = compared(healthy, poisoned, capsys)

        for each in (healthy, poisoned):
            each_of_the_others_was_handled_once(each)
        tried = [row for row in poisoned.rows(poison=True) if row.attempts]
        assert sum(row.attempts for row in tried) == poisoned.signs.tries.value > 0
        assert {(row.status.value, row.error) for row in tried} == {("failed", "ValueError: poison")}
        # In turn with twenty others, it had one try or so for a hundred of their events.
        assert poisoned.signs.tries_by_then.value < poisoned.hotels_events / 20
        assert ratio <= MOST_LATER or poisoned.hotels_events < ENOUGH


@pytest.mark.thorough("tests/engines/test_turns.py proves that a slow tenant gets its part of the time and no more")
@pytest.mark.slow("starts workers in processes of their own")
def test_a_tenant_whose_handler_takes_a_second_each_time_keeps_nobody_waiting(
    postgresql: PostgreSQL, capsys: pytest.CaptureFixture[str]
) -> None:
    with drained(postgresql, "sleeps") as (healthy, poisoned):
        ratio = compared(healthy, poisoned, capsys)

        for each in (healthy, poisoned):
            each_of_the_others_was_handled_once(each)
        assert {row.status.value for row in poisoned.rows(poison=True)} <= {"processed", "received"}
        # Of each worker's time what every other had, the second that it may be ahead, and the nap that brings it there.
        longest = sum(ended - began for began, ended in poisoned.slices) / HOTELS + 1.0 + 2 * NAP
        assert poisoned.signs.tries.value * NAP <= WORKERS * longest
        assert ratio <= MOST_LATER or poisoned.hotels_events < ENOUGH


@pytest.mark.slow("starts workers in processes of their own")
def test_a_tenant_whose_events_kill_their_worker_keeps_nobody_waiting_for_long(
    postgresql: PostgreSQL, capsys: pytest.CaptureFixture[str]
) -> None:
    with drained(postgresql, "kills") as (healthy, poisoned):
        compared(healthy, poisoned, capsys)

        for each in (healthy, poisoned):
            each_of_the_others_was_handled_once(each)
        tried = [row for row in poisoned.rows(poison=True) if row.attempts]
        assert sum(row.attempts for row in tried) == poisoned.signs.tries.value > 0
        assert {row.status.value for row in tried} == {"processing"}
        # Without a look at who died, one for each round of forty of the others' events or so.
        assert poisoned.deaths <= max(2 * WORKERS, poisoned.hotels_events // 200)
