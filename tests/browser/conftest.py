"""A browser, and stages for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.looks import Look
from tests.browser.stage import HOSTS_LAYOUT, OWN_LAYOUT, Stage, staged

LAYOUTS = {"ours, htmx 4": OWN_LAYOUT, "the host's, htmx 2": HOSTS_LAYOUT}


@pytest.fixture(scope="module")
def chromium(browser_type_launch_args: dict[str, Any]) -> Iterator[Browser]:
    """One browser for the module. Pytest-playwright's own lasts the session, and with it an event loop that other
    tests of the same process could not run theirs beside."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**browser_type_launch_args)
        yield browser
        browser.close()


@pytest.fixture
def stage(look: Look, sqlite_url: str) -> Iterator[Stage]:
    """A stage whose pages open in the test's look."""
    with staged(sqlite_url, LAYOUTS[look.layout]) as made:
        made.look = look.context
        yield made
