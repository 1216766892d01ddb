"""A browser, and stages for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.stage import HOSTS_LAYOUT, OWN_LAYOUT, Stage, staged

LAYOUTS = {"our layout, htmx 4": OWN_LAYOUT, "a host's layout, htmx 2": HOSTS_LAYOUT}


@pytest.fixture(scope="module")
def chromium(browser_type_launch_args: dict[str, Any]) -> Iterator[Browser]:
    """One browser for the module. Pytest-playwright's own lasts the session, and with it an event loop that other
    tests of the same process could not run theirs beside."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**browser_type_launch_args)
        yield browser
        browser.close()


@pytest.fixture(params=LAYOUTS.values(), ids=list(LAYOUTS))
def stage(request: pytest.FixtureRequest, sqlite_url: str) -> Iterator[Stage]:
    with staged(sqlite_url, request.param) as made:
        yield made


@pytest.fixture
def own_stage(sqlite_url: str) -> Iterator[Stage]:
    with staged(sqlite_url) as made:
        yield made
