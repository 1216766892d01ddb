"""Keep the tests fast: print where the time went, and fail what takes too long without saying why."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from tests import timing

#: Seconds of CPU, its own and its child processes', that a case may take, unless marked ``slow``.
LIMIT = 3.0
#: How much more of it the same work may take where others use the same cores and their caches.
NOISE = 2.0
SLOWEST = 20

_seconds: Counter[str] = Counter()


def _cpu_seconds() -> float:
    """Return what this process has worked: unlike the time on the clock, it does not grow with others' load."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    began = _cpu_seconds()
    yield
    spent, limit = _cpu_seconds() - began, timing.seconds(LIMIT) * NOISE
    if spent > limit and not item.get_closest_marker("slow"):
        pytest.fail(
            f"{item.nodeid} took {spent:.1f} s of CPU; {limit:.1f} s are allowed on this machine. "
            'Make it faster, or mark it with @pytest.mark.slow("why it must take longer").',
            pytrace=False,
        )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    folders: Counter[str] = Counter()
    for case, seconds in _seconds.items():
        folders["/".join(case.partition("::")[0].split("/")[:2])] += seconds
    if not folders:
        return
    terminalreporter.section(f"seconds per folder, and the {SLOWEST} slowest cases")
    for name, seconds in folders.most_common() + _seconds.most_common(SLOWEST):
        terminalreporter.line(f"{seconds:8.1f}  {name}")


def main(installing: int, running: int, budget: int) -> int:
    """Print what `make test` took, and return 1 if that is over its budget on CI's machine."""
    # Two workers keep two cores busy; what waits beside them is not ours.
    busy = max(timing.FACTOR, os.getloadavg()[2] / (os.cpu_count() or 1) / 1.5)
    print(f"Installing took {installing} s, checks and tests {running} s. The machine's time factor is {busy:.1f}.")
    if os.environ.get("CI") == "true" and 0 < budget * busy < running:
        print(f"They may take {budget} s on an idle machine. Make them faster, or set TIME_BUDGET=0.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
