"""The board: which tickets it shows, what it adds up, and how it keeps itself fresh."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from flask_valetpro_stripe.testing import CardDeclined, Simulator
from sample_app.sms import ConsoleSms

from .browser import Browser, text_of


def _guests(browser: Browser, query: str = "") -> list[str]:
    return re.findall(r"<span class=\"visually-hidden\">Ticket \d+: </span><strong>([^<]+)", _page(browser, query))


def _page(browser: Browser, query: str = "") -> str:
    return browser.get(f"/tickets/{query}").text


def _live(html: str) -> str:
    """Return the address that the page asks by itself for what is new."""
    found = re.search(r'hx-get="([^"]+)"', html)
    assert found
    return found[1].replace("&amp;", "&")


@pytest.mark.both
def test_requested_cars_come_first_and_delivered_ones_last(people: Callable[[str], Browser]) -> None:
    assert _guests(people("staff@plaza")) == ["Priya Nair", "Mateo Ruiz", "Jonas Weber", "Amélie Laurent"]


NARROWED = [
    ("?filter=parked", ["Mateo Ruiz", "Jonas Weber"]),
    ("?filter=requested", ["Priya Nair"]),
    ("?filter=delivered", ["Amélie Laurent"]),
    ("?filter=nonsense", ["Priya Nair", "Mateo Ruiz", "Jonas Weber", "Amélie Laurent"]),
    ("?q=weber", ["Jonas Weber"]),
    ("?q=ld71", ["Priya Nair"]),
    ("?q=%231", ["Amélie Laurent"]),
    ("?q=weber&filter=requested", []),
    ("?q=%25", []),
    ("?q=_", []),
    ("?q=%00", ["Priya Nair", "Mateo Ruiz", "Jonas Weber", "Amélie Laurent"]),
]


@pytest.mark.both
def test_the_list_is_narrowed_by_state_and_by_words(people: Callable[[str], Browser]) -> None:
    staff = people("staff@plaza")
    assert [(query, _guests(staff, query)) for query, _ in NARROWED] == NARROWED


def test_a_car_goes_from_parked_to_requested_to_delivered(people: Callable[[str], Browser]) -> None:
    staff = people("staff@plaza")
    shown = text_of(staff.send_and_follow("/tickets/2/state", state="requested"))
    assert "Deliver the car" in shown
    shown = text_of(staff.send_and_follow("/tickets/2/state", state="delivered"))
    assert "Not delivered: back to parked" in shown


def test_a_button_of_an_old_page_does_not_call_a_delivered_car(people: Callable[[str], Browser]) -> None:
    shown = text_of(people("staff@plaza").send_and_follow("/tickets/1/state", state="requested"))
    assert "Ticket 1 is delivered now, so it was left as it is." in shown


def test_a_state_that_does_not_exist_is_refused(people: Callable[[str], Browser]) -> None:
    answer = people("staff@plaza").send("/tickets/2/state", state="stolen")
    assert answer.status_code == 422
    assert "Choose parked, requested or delivered." in text_of(answer)


def test_a_button_on_the_list_leads_back_to_the_list_as_it_was(people: Callable[[str], Browser]) -> None:
    answer = people("staff@plaza").send("/tickets/2/state", state="requested", back="list", filter="parked", q="web")
    assert answer.headers["Location"] == "/tickets/?filter=parked&q=web"


def test_the_board_answers_nothing_while_nothing_changed_and_itself_when_something_did(
    people: Callable[[str], Browser],
) -> None:
    staff = people("staff@plaza")
    live = _live(_page(staff, "?filter=parked"))
    assert staff.get(live).status_code == 204

    staff.send("/tickets/2/state", state="requested")
    fresh = staff.get(live)
    assert fresh.status_code == 200
    assert "Jonas Weber" not in fresh.text
    assert "2 cars requested, 0 tickets paid today." in text_of(fresh)
    assert "<html" not in fresh.text
    assert staff.get(_live(fresh.text)).status_code == 204


@pytest.mark.both
@pytest.mark.oldest
def test_the_desk_sees_a_ticket_paid_without_asking(app: Flask, staff: Browser, simulator: Simulator) -> None:
    place = staff.open_ticket()
    board, ticket = _live(_page(staff)), _live(staff.get(place).text)
    assert "To be paid €25.00 1 waiting" in text_of(staff.get("/tickets/"))

    simulator.pay(simulator.events_of(_account(simulator))[-1]["data"]["object"]["id"])
    simulator.deliver_all(app)

    assert "Taken today €25.00 1 paid To be paid €0.00 0 waiting" in text_of(staff.get(board))
    assert "Paid" in text_of(staff.get(ticket))


def test_a_declined_card_is_still_to_be_paid(app: Flask, staff: Browser, simulator: Simulator) -> None:
    staff.open_ticket()
    link = simulator.events_of(_account(simulator))[-1]["data"]["object"]["id"]
    with pytest.raises(CardDeclined):
        simulator.pay(link, card="4000000000000002")
    simulator.deliver_all(app)
    shown = text_of(staff.get("/tickets/"))
    assert "Payment failed" in shown
    assert "To be paid €25.00 1 waiting" in shown


def test_a_receipt_that_arrives_after_the_money_reaches_pages_that_are_open(
    app: Flask, staff: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms
) -> None:
    place = staff.open_ticket()
    guest_page = sms.sent[-1][1].split("http://desk.test")[1]
    simulator.deliver_all(app)
    before = simulator.events_of(_account(simulator))

    simulator.pay(before[-1]["data"]["object"]["id"])
    news = [event["type"] for event in simulator.events_of(_account(simulator))[len(before) :]]
    # All up to the charge, which has the receipt, are lost on the way, and come again after the others.
    simulator.faults.drop_deliveries(news.index("charge.succeeded") + 1)
    simulator.deliver(app)
    desk, guest = staff.get(place), visitor.get(guest_page)
    assert "Paid" in text_of(desk)
    assert "receipt" not in text_of(desk)
    assert "Paid, thank you" in text_of(guest)

    simulator.deliver_all(app)
    assert "receipt" in text_of(staff.get(_live(desk.text)))
    assert "See the receipt" in text_of(visitor.get(_live(guest.text)))


def _account(simulator: Simulator) -> str:
    made = [request for request in simulator.requests if request.path == "/v1/payment_links"]
    assert made[-1].stripe_account
    return made[-1].stripe_account


def test_an_empty_hotel_is_told_how_to_begin(app: Flask, people: Callable[[str], Browser]) -> None:
    from sample_app.extensions import db
    from sample_app.models import Extra, Ticket

    with app.app_context():
        db.session.query(Extra).delete()
        db.session.query(Ticket).delete()
        db.session.commit()
    assert "Open the first ticket when a guest hands over the key." in text_of(people("staff@plaza").get("/tickets/"))
