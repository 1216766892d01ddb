"""Tips: added by the guest before paying, on a line of their own, in whatever units the currency has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select

from flask_valetpro_stripe.testing import Simulator
from sample_app.extensions import db
from sample_app.models import Payment
from sample_app.sms import ConsoleSms
from sample_app.tips import share

from .browser import Browser, text_of
from .money import charged, open_links, pay, pay_link, seaside, texted


def _tips(app: Flask) -> list[tuple[str, int, int]]:
    """Return status, amount and tip of all payments."""
    with app.app_context():
        made = db.session.scalars(select(Payment).order_by(Payment.id)).all()
        return [(payment.status.value, payment.amount, payment.tip) for payment in made]


@pytest.fixture
def guest_page(staff: Browser, sms: ConsoleSms) -> str:
    """The path of the page of a guest who has €25.00 to pay."""
    staff.open_ticket()
    return texted(sms)


@pytest.mark.parametrize(
    "amount, percent, currency, tip",
    [
        (2500, 5, "eur", 125),
        (2550, 5, "eur", 128),
        (2510, 5, "eur", 126),
        (990, 10, "jpy", 99),
        (995, 10, "jpy", 100),
        (10_010, 5, "kwd", 500),
        (10_100, 5, "kwd", 510),
        (250_000, 15, "isk", 37_500),
        (251_000, 5, "ugx", 12_600),
        (1, 5, "eur", 0),
    ],
)
def test_a_share_is_rounded_to_what_the_currency_has(amount: int, percent: int, currency: str, tip: int) -> None:
    assert share(amount, percent, currency) == tip


def test_a_tip_is_a_line_of_its_own_and_paid_with_the_rest(
    app: Flask, staff: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms, guest_page: str
) -> None:
    first = pay_link(visitor.get(guest_page).text)
    shown = visitor.send_and_follow(f"{guest_page}/tip", tip="10")
    assert "Parking €25.00 Tip €2.50 A tip for the team?" in text_of(shown)
    assert "Pay €27.50" in text_of(shown)
    assert pay_link(shown.text) != first
    assert open_links(app, simulator) == [2750]
    assert len(sms.sent) == 1

    pay(app, simulator, visitor, guest_page)

    assert _tips(app) == [("CANCELED", 2500, 0), ("COMPLETED", 2750, 250)]
    with app.app_context():
        descriptions = db.session.scalars(select(Payment.description).order_by(Payment.id)).all()
    assert descriptions[-1] == "Plaza Hotel valet parking, ticket 5, with a tip of €2.50"
    assert "Parking €25.00 Tip €2.50 In all €27.50" in text_of(staff.get("/tickets/8"))


def test_a_tip_can_be_changed_and_taken_off_before_paying(
    app: Flask, visitor: Browser, simulator: Simulator, guest_page: str
) -> None:
    for tip, own, amount in (("15", "", 2875), ("own", "4,20", 2920), ("own", "4.20", 2920), ("none", "", 2500)):
        visitor.send_and_follow(f"{guest_page}/tip", tip=tip, own=own)
        assert open_links(app, simulator) == [amount]
    # The same tip again made no other link.
    assert len(_tips(app)) == 4


@pytest.mark.both
def test_a_form_sent_twice_makes_one_link(app: Flask, visitor: Browser, guest_page: str) -> None:
    for _ in range(2):
        visitor.send_and_follow(f"{guest_page}/tip", tip="5")
    assert _tips(app) == [("CANCELED", 2500, 0), ("PENDING", 2625, 125)]


def test_after_paying_no_tip_is_taken(
    app: Flask, visitor: Browser, simulator: Simulator, staff: Browser, guest_page: str
) -> None:
    # Paid, but no webhook has told the desk so.
    simulator.pay(pay_link(visitor.get(guest_page).text))
    shown = text_of(visitor.send_and_follow(f"{guest_page}/tip", tip="10"))
    assert "Paid, thank you" in shown
    assert "A tip for the team?" not in shown
    visitor.send_and_follow(f"{guest_page}/tip", tip="15")
    assert _tips(app) == [("COMPLETED", 2500, 0)]


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"tip": "own", "own": "lots"}, "Write the amount as digits"),
        ({"tip": "own", "own": "-1"}, "Write the amount as digits"),
        ({"tip": "own", "own": "0"}, "The amount must be more than zero."),
        ({"tip": "own", "own": "2.505"}, "An amount in EUR has at most 2 digits after the point."),
        ({"tip": "own", "own": "999990"}, "That is more than can be paid at once."),
        ({"tip": "20"}, "Choose one of the tips"),
        ({}, "Choose one of the tips"),
    ],
)
def test_a_mistake_is_explained_and_leaves_the_link(
    app: Flask, visitor: Browser, simulator: Simulator, guest_page: str, fields: dict[str, str], says: str
) -> None:
    answer = visitor.send(f"{guest_page}/tip", **fields)
    assert answer.status_code == 422
    assert says in text_of(answer)
    assert open_links(app, simulator) == [2500]


@pytest.mark.parametrize("currency, price, own, amount", [("jpy", "2500", "300", 2800), ("kwd", "5", "0.250", 5250)])
def test_an_amount_of_ones_own_has_the_currency_s_units(
    app: Flask,
    staff: Browser,
    visitor: Browser,
    simulator: Simulator,
    sms: ConsoleSms,
    currency: str,
    price: str,
    own: str,
    amount: int,
) -> None:
    staff.open_ticket(amount=price, currency=currency)
    visitor.send_and_follow(f"{texted(sms)}/tip", tip="own", own=own)
    assert open_links(app, simulator) == [amount]


def test_an_extra_keeps_the_tip_that_the_guest_chose(
    app: Flask, staff: Browser, visitor: Browser, simulator: Simulator, guest_page: str
) -> None:
    visitor.send_and_follow(f"{guest_page}/tip", tip="10")
    staff.send_and_follow("/tickets/8/extras", extra_name="Car wash", extra_amount="15.00")
    assert open_links(app, simulator) == [4250]
    pay(app, simulator, visitor, guest_page)

    # What was paid as a tip is not asked for again.
    shown = text_of(staff.send_and_follow("/tickets/8/extras", extra_name="Charging", extra_amount="8.00"))
    assert open_links(app, simulator)[-1] == 800
    assert "Tip €2.50 Paid -€42.50 To pay €8.00" in shown
    assert charged(app, "/tickets/8")[-2:] == [("COMPLETED", 4250, 0), ("PENDING", 800, 0)]


def test_when_the_new_link_cannot_be_made_the_guest_can_try_again(
    app: Flask, visitor: Browser, simulator: Simulator, guest_page: str
) -> None:
    simulator.faults.add("POST", "/v1/payment_links$", "SERVER_ERROR", times=10)
    answer = visitor.send(f"{guest_page}/tip", tip="10")
    simulator.faults.clear()
    assert answer.status_code == 422
    assert "The payment page could not be made just now." in text_of(answer)
    assert "The payment page is not ready" in text_of(visitor.get(guest_page))

    assert "Pay €27.50" in text_of(visitor.send_and_follow(f"{guest_page}/tip", tip="10"))
    assert open_links(app, simulator) == [2750]


def test_a_ticket_that_the_desk_has_closed_takes_no_tip(
    app: Flask, visitor: Browser, staff: Browser, guest_page: str
) -> None:
    staff.send("/tickets/8/cancel-payment")
    assert "A tip for the team?" not in text_of(visitor.get(guest_page))
    visitor.send_and_follow(f"{guest_page}/tip", tip="10")
    assert _tips(app) == [("CANCELED", 2500, 0)]


def test_a_guest_s_tip_is_asked_for_on_the_account_of_the_guest_s_hotel(
    app: Flask, staff: Browser, simulator: Simulator, sms: ConsoleSms, people: Callable[[str], Browser]
) -> None:
    staff.open_ticket()
    other = seaside(people("admin@seaside"), simulator)
    other.open_ticket()

    # Even in the browser of somebody who is signed in at the other hotel.
    staff.send_and_follow(f"{texted(sms)}/tip", tip="10")

    made = [request for request in simulator.requests if f"{request.method} {request.path}" == "POST /v1/payment_links"]
    assert made[-1].stripe_account == made[-2].stripe_account != made[0].stripe_account
    assert sorted(open_links(app, simulator)) == [2500, 2750]


def test_a_tip_is_not_as_many_of_another_currency(
    app: Flask, staff: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms
) -> None:
    place = staff.open_ticket(amount="5000", currency="jpy")
    page = texted(sms)
    visitor.send(f"{page}/tip", tip="own", own="2000")
    pay(app, simulator, visitor, page, card="bank_debit_fails")
    with app.app_context():
        intent = db.session.scalars(select(Payment.stripe_payment_intent_id).order_by(Payment.id.desc())).first()
    simulator.settle(str(intent), succeeded=False)
    simulator.deliver_all(app)

    shown = text_of(staff.send_and_follow(f"{place}/link", amount="25.00", currency="eur", collect="charge"))
    assert "€25.00" in shown
    assert "€45.00" not in shown


def test_nobody_has_links_made_without_end(
    staff: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms
) -> None:
    staff.open_ticket()
    page = texted(sms)
    answers = [visitor.send(f"{page}/tip", tip="own", own=f"1.{number:02d}") for number in range(25)]

    assert "Please ask at the desk." in text_of(answers[-1])
    assert len([request for request in simulator.requests if request.path == "/v1/payment_links"]) <= 20
