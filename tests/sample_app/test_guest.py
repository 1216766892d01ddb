"""The guest's page: what it shows, what it hides, and when it says paid."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from flask_valetpro_stripe.testing import CardDeclined, Simulator
from sample_app.guest import masked
from sample_app.sms import ConsoleSms

from .browser import Browser, text_of


@pytest.fixture
def guest_page(staff: Browser, sms: ConsoleSms) -> str:
    """The path of the page of a guest who was just texted."""
    staff.open_ticket()
    return _texted(sms)


def _texted(sms: ConsoleSms) -> str:
    """Return the path of the page that the last text leads to."""
    return sms.sent[-1][1].split("http://desk.test")[1]


def _pay_link(html: str) -> str:
    found = re.search(r'id="pay" href="([^"]+)"', html)
    assert found, "The page has no link to pay by."
    return found[1]


def _live(html: str) -> str:
    found = re.search(r'hx-get="([^"]+)"', html)
    assert found, "The page does not refresh itself."
    return found[1].replace("&amp;", "&")


def test_the_guest_sees_the_hotel_the_car_and_the_price_and_nothing_private(visitor: Browser, guest_page: str) -> None:
    page = visitor.get(guest_page)
    shown = text_of(page)
    for part in ("Plaza Hotel", "Ticket 5", "••• 3CD", "Your car is parked", "Pay €25.00"):
        assert part in shown
    for private in ("Ada Lovelace", "612345678", "AB-123-CD", "Seaside"):
        assert private not in page.text


@pytest.mark.parametrize("plate, shown", [("AB-123-CD", "••• 3CD"), ("M-JW 2107", "••• 107"), ("X1", "••• X1")])
def test_a_plate_is_masked_to_its_end(plate: str, shown: str) -> None:
    assert masked(plate) == shown


def test_the_page_is_kept_out_of_search_engines_caches_and_referrers(visitor: Browser, guest_page: str) -> None:
    headers = visitor.get(guest_page).headers
    assert headers["X-Robots-Tag"] == "noindex, nofollow"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("token", ["x", "0" * 32, "%00", "é", "'--"])
def test_an_unknown_address_shows_nothing(visitor: Browser, token: str) -> None:
    for path in (f"/pay/{token}", f"/pay/{token}/live"):
        answer = visitor.get(path)
        assert answer.status_code == 404
        assert "There is nothing at this address." in text_of(answer)
    assert visitor.send(f"/pay/{token}/request").status_code == 404


@pytest.mark.both
@pytest.mark.oldest
def test_the_page_turns_paid_by_the_webhook_and_by_nothing_else(
    app: Flask, visitor: Browser, simulator: Simulator, guest_page: str
) -> None:
    page = visitor.get(guest_page).text
    assert "Waiting for confirmation" in text_of(visitor.get(f"{guest_page}?back=1"))

    simulator.pay(_pay_link(page))
    back = visitor.get(f"{guest_page}?back=1")
    assert "Waiting for confirmation" in text_of(back)
    assert "Paid" not in text_of(back)
    assert visitor.get(_live(back.text)).status_code == 204

    simulator.deliver_all(app)
    fresh = text_of(visitor.get(_live(back.text)))
    assert "Paid, thank you" in fresh
    assert "See the receipt" in fresh
    assert "Paid, thank you" in text_of(visitor.get(guest_page))


def test_a_declined_card_leaves_the_guest_a_way_to_try_again(
    app: Flask, visitor: Browser, simulator: Simulator, guest_page: str
) -> None:
    link = _pay_link(visitor.get(guest_page).text)
    with pytest.raises(CardDeclined):
        simulator.pay(link, card="4000000000000002")
    simulator.deliver_all(app)
    assert _pay_link(visitor.get(guest_page).text) == link


def test_whoever_comes_back_after_another_card_waits_and_is_not_told_of_the_declined_one(
    app: Flask, visitor: Browser, simulator: Simulator, guest_page: str
) -> None:
    link = _pay_link(visitor.get(guest_page).text)
    with pytest.raises(CardDeclined):
        simulator.pay(link, card="4000000000000002")
    simulator.deliver_all(app)
    assert "The payment did not go through" in text_of(visitor.get(guest_page))

    simulator.pay(link)
    back = visitor.get(f"{guest_page}?back=1")
    assert "Waiting for confirmation" in text_of(back)
    assert "Not paid yet?" in text_of(back)
    assert "did not go through" not in text_of(back)


def test_a_bank_debit_that_bounces_ends_the_link_and_the_desk_makes_another(
    app: Flask, visitor: Browser, staff: Browser, simulator: Simulator, guest_page: str
) -> None:
    first = _pay_link(visitor.get(guest_page).text)
    simulator.settle(simulator.pay(first, card="bank_debit")["id"], succeeded=False)
    simulator.deliver_all(app)

    for path in (guest_page, f"{guest_page}?back=1"):
        seen = visitor.get(path)
        assert "Please pay at the desk" in text_of(seen)
        assert 'id="pay"' not in seen.text
    ticket = staff.get("/tickets/8")
    for part in ("Payment failed", "This link has ended.", "Make payment link"):
        assert part in text_of(ticket)
    assert 'id="payment-link"' not in ticket.text
    assert "To be paid €0.00 0 waiting" in text_of(staff.get("/tickets/"))

    shown = text_of(staff.send_and_follow("/tickets/8/link", amount="25.00", currency="eur"))
    assert "Awaiting payment" in shown
    assert "This link has ended." not in shown
    second = _pay_link(visitor.get(guest_page).text)
    assert second != first
    simulator.pay(second)
    simulator.deliver_all(app)
    assert "Paid, thank you" in text_of(visitor.get(guest_page))


def test_the_guest_asks_for_the_car_and_the_desk_sees_it(visitor: Browser, staff: Browser, guest_page: str) -> None:
    shown = text_of(visitor.send_and_follow(f"{guest_page}/request"))
    assert "Your car is on its way" in shown
    assert "Bring my car" not in shown
    assert "Ada Lovelace" in text_of(staff.get("/tickets/?filter=requested"))


def test_a_guest_cannot_call_back_a_car_that_was_handed_over(
    visitor: Browser, staff: Browser, guest_page: str
) -> None:
    staff.send("/tickets/8/state", state="delivered")
    assert "Your car was handed over" in text_of(visitor.send_and_follow(f"{guest_page}/request"))


def test_a_cancelled_link_sends_the_guest_to_the_desk(visitor: Browser, staff: Browser, guest_page: str) -> None:
    staff.send("/tickets/8/cancel-payment")
    page = visitor.get(guest_page)
    assert "Please pay at the desk" in text_of(page)
    assert "nothing to pay" not in text_of(page)
    assert 'id="pay"' not in page.text
    assert "This link has ended." in text_of(staff.get("/tickets/8"))


def test_a_payment_of_a_disconnected_account_is_offered_nowhere_until_it_is_connected_again(
    visitor: Browser, people: Callable[[str], Browser], simulator: Simulator, guest_page: str, plaza_account: str
) -> None:
    admin = people("admin@plaza")
    seen = visitor.get(guest_page)
    board = admin.get("/tickets/").text
    link = _pay_link(seen.text)

    admin.send("/settings/payments/disconnect", mode="test")

    for page in (visitor.get(_live(seen.text)), visitor.get(guest_page), visitor.get(f"{guest_page}?back=1")):
        assert "The hotel no longer takes this payment online." in text_of(page)
        assert link not in page.text
    ticket = admin.get("/tickets/8")
    assert "The Stripe account of this payment is disconnected." in text_of(ticket)
    assert "Disconnected" in text_of(admin.get(_live(board)))
    assert 'id="cancel-payment"' not in ticket.text
    assert link not in ticket.text

    admin.connect_stripe(simulator, plaza_account)

    assert _pay_link(visitor.get(guest_page).text) == link
    assert 'id="cancel-payment"' in admin.get("/tickets/8").text


def test_disconnecting_one_hotel_leaves_the_guests_of_another_alone(
    visitor: Browser, people: Callable[[str], Browser], simulator: Simulator, guest_page: str
) -> None:
    seaside = people("admin@seaside")
    seaside.connect_stripe(simulator, simulator.create_account("Seaside SARL").id)

    seaside.send("/settings/payments/disconnect", mode="test")

    assert _pay_link(visitor.get(guest_page).text)


def test_the_page_stops_asking_when_all_is_done(
    app: Flask, visitor: Browser, staff: Browser, simulator: Simulator, guest_page: str
) -> None:
    simulator.pay(_pay_link(visitor.get(guest_page).text))
    simulator.deliver_all(app)
    staff.send("/tickets/8/state", state="delivered")
    assert "hx-get" not in visitor.get(guest_page).text


def test_two_hotels_guests_pay_each_on_their_own_account(
    app: Flask,
    visitor: Browser,
    staff: Browser,
    simulator: Simulator,
    sms: ConsoleSms,
    people: Callable[[str], Browser],
) -> None:
    seaside = people("admin@seaside")
    account = simulator.create_account("Seaside SARL").id
    seaside.connect_stripe(simulator, account)
    pages = []
    for desk in (staff, seaside):
        desk.open_ticket()
        pages.append(_texted(sms))

    simulator.pay(_pay_link(visitor.get(pages[1]).text))
    simulator.deliver_all(app)

    assert "Paid, thank you" not in text_of(visitor.get(pages[0]))
    assert "Paid, thank you" in text_of(visitor.get(pages[1]))
    assert "1 paid" in text_of(seaside.get("/tickets/"))
    assert "0 paid" in text_of(staff.get("/tickets/"))
