"""Fail a test that checks nothing: no assertion ran, not even in a helper that it calls.

What counts, while the test itself runs: an ``assert`` of a test or helper, ``pytest.raises`` and ``pytest.warns``, and
Playwright's ``expect``. A loop of assertions over an empty list is none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

_made = 0


def pytest_configure(config: pytest.Config) -> None:
    checks: list[tuple[type[Any], str]] = [
        (pytest.RaisesExc, "__exit__"),
        (pytest.WarningsRecorder, "__exit__"),
        (type(expect), "__call__"),
    ]
    for kind, method in checks:
        setattr(kind, method, _counted(getattr(kind, method)))


def pytest_assertion_pass() -> None:
    _count()


def _count() -> None:
    global _made
    _made += 1


def _counted(check: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(check)
    def counted(*arguments: Any, **named: Any) -> Any:
        _count()
        return check(*arguments, **named)

    return counted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    global _made
    _made = 0
    yield
    if not _made:
        pytest.fail(f"{item.name} asserted nothing: no assert, pytest.raises or expect ran.", pytrace=False)
