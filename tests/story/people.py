"""What an admin, a clerk and a guest do in a browser, one step a function."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.timing import seconds

#: The desk's and the guest's pages look for news every five seconds.
PATIENCE = seconds(20) * 1000


@dataclass(frozen=True)
class Hotel:
    """One hotel's people and its guest."""

    name: str
    admin: str
    clerk: str
    account_id: str
    guest: str
    plate: str
    amount: str


class Camera:
    """Takes a picture of each page of one story; None as the folder takes none."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder, self._name, self._taken = folder, name, 0

    async def take(self, page: Page, what: str) -> None:
        """Keep what the page shows now."""
        if self._folder:
            self._taken += 1
            self._folder.mkdir(parents=True, exist_ok=True)
            await page.screenshot(path=self._folder / f"{self._name}-{self._taken:02}-{what}.png", full_page=True)


async def connect_stripe(page: Page, desk: str, hotel: Hotel, camera: Camera) -> None:
    """The admin signs in, opens the payment settings, and gives access at Stripe."""
    await sign_in(page, desk, hotel.admin, camera)
    await page.get_by_role("link", name="Payments", exact=True).click()
    await camera.take(page, "settings-before")
    form = page.locator("form[action$='/connect']:has(input[name=mode][value=test])")
    await form.get_by_role("button").click()
    await camera.take(page, "consent")
    await page.locator(f"input[name=account][value='{hotel.account_id}']").check()
    await page.get_by_role("button", name="Approve").click()
    await expect(page).to_have_url(re.compile(re.escape(desk)))
    await expect(page.get_by_text(hotel.account_id).first).to_be_visible()
    await camera.take(page, "settings-connected")


async def sign_in(page: Page, desk: str, email: str, camera: Camera) -> None:
    """Somebody of the hotel signs in."""
    await page.goto(f"{desk}/")
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password", exact=True).fill("demo")
    await camera.take(page, "sign-in")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_role("heading", name="Tickets", exact=True)).to_be_visible()


async def open_ticket(page: Page, desk: str, hotel: Hotel, camera: Camera) -> str:
    """The clerk takes a key, and the guest gets a text; return the address of the guest's page."""
    await page.goto(f"{desk}/tickets/")
    await page.get_by_label("Guest", exact=True).fill(hotel.guest)
    await page.get_by_label("Mobile phone").fill("+33 6 12 34 56 78")
    await page.get_by_label("Plate", exact=True).fill(hotel.plate)
    await page.get_by_label("Price", exact=True).fill(hotel.amount)
    await camera.take(page, "tickets-before")
    await page.get_by_role("button", name="Open and text the guest").click()
    await expect(page.get_by_role("heading", name=hotel.guest)).to_be_visible()
    await camera.take(page, "ticket")
    return await page.get_by_label("Guest's page").input_value()


async def pay(page: Page, address: str, hotel: Hotel, camera: Camera) -> None:
    """The guest opens the text's link, pays on Stripe's page, and sees that it arrived."""
    await page.goto(address)
    await camera.take(page, "guest-before")
    await page.locator("#pay").click()
    await page.get_by_label("E-mail").fill("guest@example.com")
    await page.get_by_label("Card number").fill("4242 4242 4242 4242")
    await page.get_by_label("Expiry").fill("12 / 40")
    await page.get_by_label("CVC").fill("123")
    await camera.take(page, "stripe")
    await page.get_by_role("button", name=re.compile("^Pay ")).click()
    await expect(page).to_have_url(re.compile(re.escape(address)), timeout=PATIENCE)
    await expect(page.get_by_text("Paid, thank you")).to_be_visible(timeout=PATIENCE)
    await camera.take(page, "guest-paid")


async def see_it_paid(page: Page, hotel: Hotel, camera: Camera) -> None:
    """The clerk's list, left open, shows the ticket paid by itself."""
    row = page.locator("li", has_text=hotel.guest)
    await expect(row.get_by_text("Paid")).to_be_visible(timeout=PATIENCE)
    await camera.take(page, "tickets-paid")


async def whole_way(browser: Browser, desk: str, hotel: Hotel, folder: Path | None = None, **look: object) -> str:
    """One hotel's whole story; return the address of the guest's page."""
    complaints: list[str] = []
    camera = Camera(folder, hotel.name.split()[0].lower())
    admins, clerks, guests = [await browser.new_context(**look) for _ in range(3)]  # type: ignore[arg-type]
    admin, clerk, board, guest = [await _page(context, complaints) for context in (admins, clerks, clerks, guests)]
    await connect_stripe(admin, desk, hotel, camera)
    await sign_in(clerk, desk, hotel.clerk, camera)
    await board.goto(f"{desk}/tickets/")
    address = await open_ticket(clerk, desk, hotel, camera)
    await pay(guest, address, hotel, camera)
    await see_it_paid(board, hotel, camera)
    for context in (admins, clerks, guests):
        await context.close()
    assert not complaints, complaints
    return address


async def _page(context: BrowserContext, complaints: list[str]) -> Page:
    page = await context.new_page()
    page.set_default_timeout(seconds(30) * 1000)
    # A page that breaks its own content security policy, or a script that fails, is a defect wherever it is.
    page.on("console", lambda said: complaints.append(f"{said.text} {said.location}") if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page
