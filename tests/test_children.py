"""The tests' own helpers: a child's failure reaches the test, and a time limit is the same in all processes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

import pytest

from tests import timing
from tests.children import Child, ChildFailedError, conversation, run_children, run_forked, run_program

PRINT_FACTOR = "from tests import timing; print(timing.FACTOR)"
DIE = "import os, sys; print('a last word', file=sys.stderr, flush=True); os._exit(3)"


def divide(number: int) -> float:
    return 1 / number


def die() -> None:
    os.write(2, b"a last word\n")
    os._exit(3)


def factor() -> float:
    return timing.FACTOR


def test_a_child_returns_what_its_function_returned() -> None:
    assert run_forked(lambda: divide(2)) == 0.5
    assert run_children(2, divide, 4) == [0.25, 0.25]


@pytest.mark.parametrize("run", [lambda: run_forked(lambda: divide(0)), lambda: Child(divide, 0).result()])
def test_a_childs_exception_fails_the_test_with_its_traceback(run: Callable[[], object]) -> None:
    with pytest.raises(ChildFailedError, match=r"in divide\n.*\n(.*\n)?ZeroDivisionError"):
        run()


@pytest.mark.parametrize("run", [lambda: run_forked(die), lambda: Child(die).result()])
def test_a_child_that_dies_silently_fails_the_test_with_its_exit_code_and_stderr(run: Callable[[], object]) -> None:
    with pytest.raises(ChildFailedError, match="with exit code 3. It wrote:\na last word"):
        run()


def test_a_program_that_fails_or_ends_early_does_so_too() -> None:
    with pytest.raises(ChildFailedError, match="with exit code 3. It wrote:\na last word"):
        run_program([sys.executable, "-c", DIE])
    with conversation("tests.secrets.other_process") as nothing, pytest.raises(ChildFailedError, match="IndexError"):
        nothing.read()


def test_every_process_has_the_same_time_limits() -> None:
    assert timing.FACTOR >= 1
    assert timing.seconds(2) == 2 * timing.FACTOR
    assert Child(factor).result() == timing.FACTOR
    assert float(run_program([sys.executable, "-c", PRINT_FACTOR]).stdout) == timing.FACTOR


def test_a_wait_in_vain_names_what_it_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "FACTOR", 1.0)
    with pytest.raises(AssertionError, match=re.escape("Waited 0 s in vain until the moon is blue")):
        timing.wait_until(lambda: False, "the moon is blue", limit=0.01)
    assert timing.wait_until(iter([0, 0, 7]).__next__, "it is 7") == 7
