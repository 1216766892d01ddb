"""Extras: put on the bill before the car goes, and asked for as the ticket stands."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import func, select

from flask_valetpro_stripe.testing import Simulator
from sample_app.extensions import db
from sample_app.models import Extra
from sample_app.sms import ConsoleSms

from .browser import Browser, field_of, text_of
from .money import charged, open_links, pay, seaside, texted

WASH = {"extra_name": "Car wash", "extra_amount": "15.00"}


def _add(staff: Browser, place: str, **fields: str) -> str:
    operation = field_of(staff.get(place).text, "operation")
    return text_of(staff.send_and_follow(f"{place}/extras", **{"operation": operation, **WASH, **fields}))


def test_an_extra_on_an_unpaid_ticket_closes_the_link_and_texts_one_for_all(
    app: Flask, staff: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms
) -> None:
    place = staff.open_ticket()
    shown = _add(staff, place)
    assert "Car wash is on the bill." in shown
    assert "Parking €25.00 Car wash €15.00 To pay €40.00" in shown
    assert open_links(app, simulator) == [4000]
    assert [text.split("Pay ")[1].split(":")[0] for _, text in sms.sent] == ["25.00 EUR", "40.00 EUR"]

    pay(app, simulator, visitor, texted(sms))
    assert charged(app, place)[-1] == ("COMPLETED", 4000, 0)
    assert "In all €40.00" in text_of(staff.get(place))


def test_an_extra_on_a_paid_ticket_is_a_payment_of_its_own(
    app: Flask, staff: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms
) -> None:
    place = staff.open_ticket()
    pay(app, simulator, visitor, texted(sms))

    shown = _add(staff, place)

    assert "Parking €25.00 Car wash €15.00 Paid -€25.00 To pay €15.00" in shown
    assert open_links(app, simulator)[-1] == 1500
    assert "Pay 15.00 EUR:" in sms.sent[-1][1]
    pay(app, simulator, visitor, texted(sms))
    assert charged(app, place) == [("COMPLETED", 2500, 0), ("COMPLETED", 1500, 0)]
    guest = text_of(visitor.get(texted(sms)))
    assert "Paid €40.00" in guest
    assert "See the receipt of €25.00" in guest
    assert "€40.00 Paid" in text_of(staff.get("/tickets/"))


def test_a_guest_who_pays_before_the_extra_comes_is_asked_for_the_extra_only(
    app: Flask, staff: Browser, simulator: Simulator, visitor: Browser, sms: ConsoleSms
) -> None:
    place = staff.open_ticket()
    guest = visitor.get(texted(sms)).text
    simulator.pay(guest.split('id="pay" href="')[1].split('"')[0])

    _add(staff, place)

    assert charged(app, place) == [("COMPLETED", 2500, 0), ("PENDING", 1500, 0)]


@pytest.mark.both
def test_a_form_sent_twice_adds_one_extra(app: Flask, staff: Browser, sms: ConsoleSms, simulator: Simulator) -> None:
    place = staff.open_ticket()
    operation = field_of(staff.get(place).text, "operation")
    for _ in range(2):
        staff.send_and_follow(f"{place}/extras", operation=operation, **WASH)
    with app.app_context():
        assert db.session.scalar(select(func.count()).where(Extra.ticket_id == 8)) == 1
    assert open_links(app, simulator) == [4000]
    assert len(sms.sent) == 2


def test_an_extra_that_was_a_mistake_is_taken_off_again(
    app: Flask, staff: Browser, simulator: Simulator, visitor: Browser, sms: ConsoleSms
) -> None:
    place = staff.open_ticket()
    _add(staff, place)
    remove = staff.get(place).text.split("/extras/")[1].split('"')[0]
    shown = text_of(staff.send_and_follow(f"{place}/extras/{remove}"))
    assert "Car wash is off the bill." in shown
    assert open_links(app, simulator) == [2500]

    pay(app, simulator, visitor, texted(sms))
    _add(staff, place)
    remove = staff.get(place).text.split("/extras/")[1].split('"')[0]
    shown = text_of(staff.send_and_follow(f"{place}/extras/{remove}"))
    assert open_links(app, simulator)[1:] == []
    assert "€25.00 Test mode" in shown
    assert "Make the payment link" not in shown


def test_an_extra_that_is_paid_stays(
    app: Flask, staff: Browser, simulator: Simulator, visitor: Browser, sms: ConsoleSms
) -> None:
    place = staff.open_ticket()
    _add(staff, place)
    pay(app, simulator, visitor, texted(sms))
    assert "/remove" not in staff.get(place).text
    with app.app_context():
        extra = db.session.scalar(select(Extra.id).where(Extra.ticket_id == 8))
    assert "Car wash is paid already." in text_of(staff.send_and_follow(f"{place}/extras/{extra}/remove"))
    assert "Car wash €15.00" in text_of(staff.get(place))


def test_nothing_is_added_once_the_car_is_gone(staff: Browser) -> None:
    place = staff.open_ticket()
    staff.send(f"{place}/state", state="delivered")
    assert 'id="add-extra"' not in staff.get(place).text
    shown = text_of(staff.send_and_follow(f"{place}/extras", **WASH))
    assert "The car was handed over, so nothing was added." in shown
    assert "Car wash" not in text_of(staff.get(place))


@pytest.mark.parametrize(
    "field, value, says",
    [
        ("extra_name", " ", "Write what the guest gets, for example Car wash."),
        ("extra_name", "x" * 61, "Write what the guest gets in at most 60 letters."),
        ("extra_amount", "lots", "Write the amount as digits"),
        ("extra_amount", "-5", "Write the amount as digits"),
        ("extra_amount", "999999.99", "The amount is above the largest that Stripe takes"),
        ("operation", "../..", "This form is out of date."),
    ],
)
def test_a_mistake_is_explained_and_changes_nothing(
    app: Flask, staff: Browser, simulator: Simulator, field: str, value: str, says: str
) -> None:
    place = staff.open_ticket()
    answer = staff.send(f"{place}/extras", **{**WASH, field: value})
    assert answer.status_code == 422
    assert says in text_of(answer)
    assert open_links(app, simulator) == [2500]


def test_an_extra_is_in_the_currency_of_its_ticket(app: Flask, staff: Browser, simulator: Simulator) -> None:
    place = staff.open_ticket(amount="2500", currency="jpy")
    assert "An amount in JPY has no decimals." in text_of(staff.send(f"{place}/extras", **WASH))
    _add(staff, place, extra_amount="1500")
    assert open_links(app, simulator) == [4000]

    staff.send(f"{place}/cancel-payment")
    answer = staff.send(f"{place}/link", amount="25.00", currency="eur")
    assert answer.status_code == 422
    assert "The extras are in JPY, so the price has to be, too." in text_of(answer)


def test_when_the_old_link_cannot_be_closed_the_ticket_says_so_and_it_can_be_made_anew(
    app: Flask, staff: Browser, simulator: Simulator
) -> None:
    place = staff.open_ticket()
    simulator.faults.add("POST", "/v1/payment_links/.*", "SERVER_ERROR", times=10)
    shown = _add(staff, place)
    simulator.faults.clear()
    assert "The bill has changed since this link was made." in shown
    assert open_links(app, simulator) == [2500]

    staff.send_and_follow(f"{place}/link")
    assert open_links(app, simulator) == [4000]


def test_another_hotel_s_extras_cannot_be_reached(
    app: Flask, staff: Browser, simulator: Simulator, people: Callable[[str], Browser]
) -> None:
    other = seaside(people("admin@seaside"), simulator)
    theirs = other.open_ticket()
    _add(other, theirs)
    remove = other.get(theirs).text.split("/extras/")[1].split('"')[0]

    assert staff.send(f"{theirs}/extras", **WASH).status_code == 404
    own = staff.open_ticket()
    staff.send_and_follow(f"{own}/extras/{remove}")

    assert "Car wash €15.00" in text_of(other.get(theirs))
    assert sorted(open_links(app, simulator)) == [2500, 4000]
