"""Deposits: held when the car comes, taken in whole or in part or released when it goes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from flask_valetpro_stripe.testing import Simulator
from sample_app.sms import ConsoleSms

from .browser import GUEST, Browser, field_of, text_of
from .money import charged, open_links, pay, seaside, texted

HOLD = {"amount": "35.00", "collect": "hold", "deposit": "50.00"}


@pytest.fixture
def held(app: Flask, staff: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms) -> str:
    """The path of a ticket of €35.00 with €50.00 on hold."""
    place = staff.open_ticket(**HOLD)
    pay(app, simulator, visitor, texted(sms))
    return place


def test_a_deposit_is_asked_for_by_text_and_held(
    app: Flask, staff: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms
) -> None:
    place = staff.open_ticket(**HOLD)
    assert "Leave a deposit of 50.00 EUR: http://desk.test/pay/" in sms.sent[-1][1]
    assert simulator.requests[-1].params["payment_intent_data"]["capture_method"] == "manual"
    assert "Awaiting deposit" in text_of(staff.get(place))
    guest = text_of(visitor.get(texted(sms)))
    assert "Hold €50.00 on my card" in guest
    assert "It is only held on your card." in guest
    assert "A tip for the team?" not in guest

    pay(app, simulator, visitor, texted(sms))

    shown = text_of(staff.get(place))
    assert "Held €50.00 (until" in shown
    assert "€35.00 is due, €50.00 is held. €15.00 is let go." in shown
    assert "Your deposit is held, thank you" in text_of(visitor.get(texted(sms)))
    board = text_of(staff.get("/tickets/"))
    assert "Held €50.00 1 deposit" in board
    assert "Taken today €0.00 0 paid To be paid €0.00 0 waiting" in board


@pytest.mark.both
def test_handing_the_car_over_takes_what_is_due_and_lets_the_rest_go(
    app: Flask, staff: Browser, visitor: Browser, sms: ConsoleSms, held: str
) -> None:
    shown = text_of(staff.send_and_follow(f"{held}/take", amount="3500"))

    assert "€35.00 was taken." in shown
    assert "of a deposit of €50.00; the rest was let go" in shown
    assert "Not delivered: back to parked" in shown
    assert charged(app, held) == [("COMPLETED", 3500, 0)]
    guest = text_of(visitor.get(texted(sms)))
    assert "Paid €35.00" in guest
    assert "The rest of your deposit was let go." in guest
    assert "Taken today €35.00 1 paid" in text_of(staff.get("/tickets/"))


@pytest.mark.both
def test_taking_twice_takes_once(app: Flask, staff: Browser, simulator: Simulator, held: str) -> None:
    for _ in range(2):
        staff.send_and_follow(f"{held}/take", amount="3500")
    assert charged(app, held) == [("COMPLETED", 3500, 0)]
    assert len([request for request in simulator.requests if request.path.endswith("/capture")]) == 1


def test_an_amount_that_the_clerk_did_not_see_is_not_taken(
    app: Flask, staff: Browser, people: Callable[[str], Browser], held: str
) -> None:
    people("admin@plaza").send(f"{held}/extras", extra_name="Car wash", extra_amount="10.00")
    shown = text_of(staff.send_and_follow(f"{held}/take", amount="3500"))
    assert "The bill has changed since you looked." in shown
    assert "Take €45.00 and deliver" in shown
    assert charged(app, held) == [("PROCESSING", 5000, 5000)]


def test_what_the_deposit_does_not_cover_is_asked_for_by_text(
    app: Flask, staff: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms, held: str
) -> None:
    shown = text_of(staff.send_and_follow(f"{held}/extras", extra_name="Car wash", extra_amount="25.00"))
    assert len(sms.sent) == 1
    assert "€60.00 is due, €50.00 is held. €10.00 more is asked for by text." in shown

    shown = text_of(staff.send_and_follow(f"{held}/take", amount="5000"))

    assert "€50.00 was taken." in shown
    assert "Delivered" in shown
    assert "Pay 10.00 EUR:" in sms.sent[-1][1]
    again = text_of(staff.send_and_follow(f"{held}/take", amount="5000"))
    assert "No deposit is held" not in again
    assert len(sms.sent) == 2
    assert open_links(app, simulator)[-1] == 1000
    pay(app, simulator, visitor, texted(sms))
    assert charged(app, held) == [("COMPLETED", 5000, 0), ("COMPLETED", 1000, 0)]
    assert "Paid €60.00" in text_of(visitor.get(texted(sms)))


def test_a_car_with_a_deposit_is_not_handed_over_by_the_plain_button(staff: Browser, held: str) -> None:
    assert 'id="to-delivered"' not in staff.get(held).text
    shown = text_of(staff.send_and_follow(f"{held}/state", state="delivered", back="list"))
    assert "Take what is due of it, or release it" in shown
    assert "Not delivered: back to parked" not in shown


def test_a_released_deposit_takes_nothing_and_what_is_due_can_be_charged(
    app: Flask, staff: Browser, sms: ConsoleSms, simulator: Simulator, held: str
) -> None:
    shown = text_of(staff.send_and_follow(f"{held}/release"))
    assert "The deposit is released." in shown
    assert charged(app, held) == [("CANCELED", 5000, 0)]
    assert "The deposit is released." not in text_of(staff.send_and_follow(f"{held}/release"))

    assert "Awaiting payment" in text_of(staff.send_and_follow(f"{held}/link"))
    assert open_links(app, simulator) == [3500]


def test_a_ticket_without_a_deposit_has_none_to_take(staff: Browser) -> None:
    place = staff.open_ticket()
    shown = text_of(staff.send_and_follow(f"{place}/take", amount="2500"))
    assert "No deposit is held for this ticket now." in shown
    assert "Not delivered: back to parked" not in shown


def test_a_deposit_that_stripe_does_not_give_leaves_the_car_where_it_is(
    staff: Browser, simulator: Simulator, held: str
) -> None:
    simulator.faults.add("POST", "/v1/payment_intents/.*/capture", "lock_timeout", times=5)
    shown = text_of(staff.send_and_follow(f"{held}/take", amount="3500"))
    simulator.faults.clear()
    assert "was taken" not in shown
    assert "Not delivered: back to parked" not in shown
    assert "€35.00 was taken." in text_of(staff.send_and_follow(f"{held}/take", amount="3500"))


@pytest.mark.parametrize("deposit", ["", "lots", "0", "50.005"])
def test_a_mistake_in_the_deposit_is_explained(staff: Browser, deposit: str) -> None:
    answer = staff.send("/tickets/", **{**GUEST, "collect": "hold", "deposit": deposit})
    assert answer.status_code == 422
    assert 'id="deposit-mistake"' in answer.text
    assert 'value="hold" checked' in answer.text


def test_a_deposit_that_is_not_chosen_is_not_read(staff: Browser) -> None:
    operation = field_of(staff.get("/tickets/").text, "operation")
    answer = staff.send("/tickets/", operation=operation, **{**GUEST, "collect": "charge", "deposit": "lots"})
    assert answer.status_code == 303


def test_two_hotels_hold_each_their_own(
    app: Flask,
    staff: Browser,
    visitor: Browser,
    simulator: Simulator,
    sms: ConsoleSms,
    people: Callable[[str], Browser],
    held: str,
) -> None:
    other = seaside(people("admin@seaside"), simulator)
    place = other.open_ticket(**HOLD)
    pay(app, simulator, visitor, texted(sms))

    for action in ("take", "release"):
        assert staff.send(f"{place}/{action}", amount="3500").status_code == 404
    staff.send(f"{held}/take", amount="3500")

    assert charged(app, place) == [("PROCESSING", 5000, 5000)]
    assert "Held €50.00 1 deposit" in text_of(other.get("/tickets/"))
    assert "Held €0.00 0 deposits" in text_of(staff.get("/tickets/"))
