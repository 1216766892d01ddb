"""How a page is looked at: on which screens, and what must be true of every page on all of them."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}


def card(page: Page, mode: str = "test") -> Locator:
    return page.locator(f"#vp-card-{mode}")


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def assert_fits(page: Page) -> None:
    """Nothing is cut off at the side, and a finger hits every button and every field."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for target in page.locator(".vp :is(button, summary, .vp-input, .vp-check)").all():
        if target.is_visible():
            box = target.bounding_box()
            assert box
            assert box["height"] >= 44, target.inner_text()
