"""What must be true of every page, whatever it is looked at with."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

#: In one step: a page has hundreds of targets.
SMALL_TARGETS = """() => [...document.querySelectorAll(".vp :is(button, summary, .vp-input, .vp-check, .vp-choice)")]
  .filter(target => target.checkVisibility() && target.getBoundingClientRect().height < 44)
  .map(target => target.outerHTML)"""


def card(page: Page, mode: str = "test") -> Locator:
    return page.locator(f"#vp-card-{mode}")


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def assert_fits(page: Page) -> None:
    """Nothing is cut off at the side, and a finger hits every button and every field."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(SMALL_TARGETS) == []
