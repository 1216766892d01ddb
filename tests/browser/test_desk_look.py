"""The sample desk's deposits, extras, tips and day, looked at on a phone and on a desktop, by day and by night."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page

from flask_valetpro_stripe.testing import Simulator
from sample_app import create_app
from sample_app.extensions import db
from sample_app.history import add_history
from sample_app.seed import seed
from sample_app.sms import ConsoleSms
from tests.browser.looking import assert_accessible
from tests.browser.looks import DESKTOP, PHONE
from tests.browser.stage import serving, simulating
from tests.hosts import Templates
from tests.sample_app.browser import Browser as Clerk
from tests.servers import free_port
from tests.timing import seconds


@dataclass
class Desk:
    """The desk, its texts, and where it is served."""

    app: Flask
    sms: ConsoleSms
    address: str

    def guest_page(self) -> str:
        """Return the page that the last text leads to."""
        return self.sms.sent[-1][1].rpartition(" ")[2]


@pytest.fixture
def desk(sqlite_url: str) -> Iterator[Desk]:
    address, stripe_address = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    simulator, sms = Simulator(base_url=stripe_address, public_url=address), ConsoleSms()
    app = create_app(
        {
            "TESTING": True,
            "DEMO": True,
            "PASSWORD_METHOD": "pbkdf2:sha256:1",
            "SECRET_KEY": "for tests",
            "SQLALCHEMY_DATABASE_URI": sqlite_url,
            "SMS": sms,
            "VALETPRO_STRIPE_ENCRYPTION_KEYS": [base64.b64encode(bytes(32)).decode()],
            **simulator.config(),
        }
    )
    app.jinja_env.bytecode_cache = Templates()
    with app.app_context():
        db.create_all()
        seed()
        add_history()
    with serving(app, address), simulating(simulator, stripe_address):
        admin = Clerk(app).sign_in("admin@plaza.example")
        there = admin.send("/settings/payments/connect", mode="test").headers["Location"]
        back = simulator.authorize(there, simulator.create_account("Plaza Hotel SAS").id)
        admin.get(back.removeprefix(address))
        yield Desk(app, sms, address)
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def window(chromium: Browser, desk: Desk) -> Iterator[Page]:
    """A browser window where an admin is signed in."""
    # Without motion: colours in the middle of their change would be measured.
    page = chromium.new_context(reduced_motion="reduce").new_page()
    page.set_default_timeout(seconds(30) * 1000)
    page.goto(f"{desk.address}/login")
    page.get_by_role("button", name="admin@plaza.example").click()
    yield page
    page.context.close()


def _assert_good(page: Page, look: tuple[dict[str, Any], Literal["light", "dark"]]) -> None:
    size, theme = look
    page.set_viewport_size(size["viewport"])
    page.emulate_media(color_scheme=theme)
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    cut = "e => e.scrollWidth > e.clientWidth + 1"
    assert not [button.inner_text() for button in page.locator("a.btn, button.btn").all() if button.evaluate(cut)]


_PHONE_BY_DAY, _DESKTOP_BY_NIGHT = (PHONE, "light"), (DESKTOP, "dark")


@pytest.mark.slow("walks through eight pages and has axe look at each")
@pytest.mark.parametrize(
    "by_turns",
    [
        pytest.param([_PHONE_BY_DAY, _DESKTOP_BY_NIGHT], id="phone first"),
        pytest.param(
            [_DESKTOP_BY_NIGHT, _PHONE_BY_DAY],
            id="desktop first",
            marks=pytest.mark.thorough("the pages share their layout and styles, and the other order sees both"),
        ),
    ],
)
def test_a_deposit_is_held_and_taken_and_a_tip_is_paid(window: Page, desk: Desk, by_turns: list[Any]) -> None:
    page, looks = window, itertools.cycle(by_turns)
    page.get_by_label("Guest", exact=True).fill("Ada Lovelace")
    page.get_by_label("Mobile phone").fill("06 12 34 56 78")
    page.get_by_label("Plate", exact=True).fill("AB-123-CD")
    page.get_by_label("Price", exact=True).fill("35")
    page.get_by_label("Hold a deposit on the card").check()
    page.get_by_label("Deposit", exact=True).fill("50")
    page.get_by_role("button", name="Open and text the guest").click()
    ticket = page.url

    page.goto(desk.guest_page())
    _assert_good(page, next(looks))
    page.get_by_role("link", name="Hold €50.00 on my card").click()
    _pay(page)
    page.get_by_text("Your deposit is held, thank you").wait_for()
    _assert_good(page, next(looks))

    page.goto(ticket)
    page.get_by_label("What", exact=True).fill("Car wash")
    page.get_by_label("EUR", exact=True).fill("25")
    page.get_by_role("button", name="Add to the bill").click()
    _assert_good(page, next(looks))
    page.get_by_role("button", name="Take €50.00 and deliver").click()
    page.get_by_text("€50.00 was taken.").wait_for()
    _assert_good(page, next(looks))

    page.goto(desk.guest_page())
    page.get_by_role("button", name="10 %").click()
    _assert_good(page, next(looks))
    page.get_by_role("link", name="Pay €11.00").click()
    _pay(page)
    page.get_by_text("Paid, thank you").wait_for()

    page.goto(f"{desk.address}/tickets/?day=")
    _assert_good(page, next(looks))
    page.goto(ticket)
    page.get_by_role("link", name="Refund of €11.00").click()
    _assert_good(page, next(looks))


def _pay(page: Page) -> None:
    page.get_by_label("E-mail").fill("guest@example.com")
    page.get_by_label("Card number").fill("4242 4242 4242 4242")
    page.get_by_label("Expiry").fill("12 / 34")
    page.get_by_label("CVC").fill("123")
    page.get_by_role("button", name="Pay").click()
