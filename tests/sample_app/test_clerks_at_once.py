"""Two clerks at one ticket: whatever they press at once, the guest sees one price, one open link, and pays that."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from flask_valetpro_stripe.testing import Simulator
from sample_app import tickets
from sample_app.extensions import db
from sample_app.models import Payment, Ticket
from sample_app.sms import ConsoleSms

from .browser import Browser, text_of

pytestmark = pytest.mark.both

TICKET = "/tickets/2"


@pytest.fixture
def other(people: Callable[[str], Browser]) -> Browser:
    """A second clerk, with the page open."""
    clerk = people("admin@plaza")
    clerk.token()
    return clerk


def _elsewhere(act: Callable[[], Any]) -> None:
    """Do something as another request does it: inside this one's context it would share its session and its user."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(act).result()


def _while_stripe_answers(app: Flask, simulator: Simulator, act: Callable[[], Any]) -> None:
    """Do something once, when Stripe has done what it is asked next but the answer is still on its way."""
    state = app.extensions["valetpro_stripe"]
    real = state.http_client

    class SlowAnswer(type(real)):  # type: ignore[misc]
        def request(self, *args: Any, **kwargs: Any) -> Any:
            state.http_client = real
            answer = real.request(*args, **kwargs)
            _elsewhere(act)
            return answer

    state.http_client = SlowAnswer(simulator)


def _open_prices(app: Flask, simulator: Simulator) -> list[int]:
    """Return what the links ask for that are open at Stripe."""
    with app.app_context():
        made = db.session.scalars(select(Payment).where(Payment.stripe_payment_link_id.is_not(None))).all()
        return [payment.amount for payment in made if simulator.object(str(payment.stripe_payment_link_id))["active"]]


def _guest_page(app: Flask, visitor: Browser) -> str:
    with app.app_context():
        token = db.session.scalar(select(Ticket.public_token).where(Ticket.id == 2))
    return visitor.get(f"/pay/{token}").text


def _make(clerk: Browser, price: str) -> str:
    return text_of(clerk.send_and_follow(f"{TICKET}/link", amount=price, currency="eur"))


def test_of_two_prices_the_later_one_is_shown_and_charged_and_the_slow_link_is_closed(
    app: Flask, staff: Browser, other: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms
) -> None:
    _while_stripe_answers(app, simulator, lambda: _make(other, "20.00"))
    late = _make(staff, "35.00")

    assert "Somebody else changed ticket 2 meanwhile. This is how it stands now." in late
    assert "€20.00" in late
    assert "€35.00" not in late
    assert _open_prices(app, simulator) == [2000]
    assert [text.split("Pay ")[1].split(":")[0] for _, text in sms.sent] == ["20.00 EUR"]

    page = _guest_page(app, visitor)
    assert "Pay €20.00" in page
    link = page.split('id="pay" href="')[1].split('"')[0]
    simulator.pay(link)
    simulator.deliver_all(app)
    assert "€20.00" in text_of(staff.get(TICKET))
    assert "Paid" in text_of(staff.get(TICKET))


def test_two_clicks_at_one_price_make_one_link_and_take_it_away_from_nobody(
    app: Flask, staff: Browser, other: Browser, simulator: Simulator
) -> None:
    _while_stripe_answers(app, simulator, lambda: _make(other, "35.00"))
    assert "Awaiting payment" in _make(staff, "35.00")
    assert _open_prices(app, simulator) == [3500]


def test_a_second_click_that_stripe_puts_off_does_not_close_the_first_one_s_link(
    app: Flask, staff: Browser, other: Browser, simulator: Simulator
) -> None:
    def click_while_stripe_is_busy() -> None:
        simulator.faults.add("POST", "/v1/payment_links", "lock_timeout", times=3)
        _make(other, "35.00")
        simulator.faults.clear()

    _while_stripe_answers(app, simulator, click_while_stripe_is_busy)
    assert "Awaiting payment" in _make(staff, "35.00")
    assert _open_prices(app, simulator) == [3500]


def test_a_price_from_an_old_look_does_not_replace_a_link_that_was_made_meanwhile(
    app: Flask, staff: Browser, simulator: Simulator
) -> None:
    with app.app_context():
        seen = db.session.get_one(Ticket, 2)
        _elsewhere(lambda: _make(staff, "35.00"))
        with pytest.raises(tickets.ChangedMeanwhileError):
            tickets.change_price(seen, 2000, "eur")
    assert "€35.00" in text_of(staff.get(TICKET))
    assert _open_prices(app, simulator) == [3500]


def test_every_page_and_text_show_the_price_of_the_link_and_not_the_ticket_s_next_one(
    app: Flask, staff: Browser, visitor: Browser, sms: ConsoleSms
) -> None:
    _make(staff, "35.00")
    with app.app_context():
        db.session.execute(update(Ticket).where(Ticket.id == 2).values(amount=99900, currency="usd"))
        db.session.commit()

    staff.send(f"{TICKET}/sms")
    assert "Pay 35.00 EUR:" in sms.sent[-1][1]
    for page in (staff.get("/tickets/").text, staff.get(TICKET).text, _guest_page(app, visitor)):
        assert "€35.00" in page
        assert "999" not in page


def test_a_link_that_was_made_in_test_mode_says_so_after_the_hotel_went_live(
    app: Flask, staff: Browser, other: Browser, simulator: Simulator, plaza_account: str
) -> None:
    _make(staff, "35.00")
    other.connect_stripe(simulator, plaza_account, mode="live")
    assert other.send("/settings/payments/mode", mode="live").status_code == 303

    shown = text_of(staff.send_and_follow(f"{TICKET}/refresh-payment"))
    assert "€35.00 Test mode" in shown
    assert "Awaiting payment" in shown
    assert "Make payment link" not in shown
    staff.send_and_follow(f"{TICKET}/link", amount="35.00", currency="eur")
    assert _open_prices(app, simulator) == [3500]
    assert "The payment link is cancelled." in text_of(staff.send_and_follow(f"{TICKET}/cancel-payment"))


def test_a_tip_and_an_extra_at_the_same_moment_leave_one_link_that_asks_for_both(
    app: Flask, staff: Browser, visitor: Browser, simulator: Simulator
) -> None:
    _make(staff, "35.00")
    with app.app_context():
        token = db.session.scalar(select(Ticket.public_token).where(Ticket.id == 2))
    visitor.token()

    _while_stripe_answers(app, simulator, lambda: visitor.send(f"/pay/{token}/tip", tip="10"))
    late = text_of(staff.send_and_follow(f"{TICKET}/extras", extra_name="Car wash", extra_amount="15.00"))

    assert "Somebody else changed ticket 2 meanwhile." in late
    assert _open_prices(app, simulator) == [5500]
    assert "Pay €55.00" in _guest_page(app, visitor)


def test_two_clerks_who_take_one_deposit_take_it_once(
    app: Flask, staff: Browser, other: Browser, visitor: Browser, simulator: Simulator
) -> None:
    fields = {"amount": "35.00", "currency": "eur", "collect": "hold", "deposit": "50.00"}
    staff.send_and_follow(f"{TICKET}/link", **fields)
    simulator.pay(_guest_page(app, visitor).split('id="pay" href="')[1].split('"')[0])
    simulator.deliver_all(app)

    _while_stripe_answers(app, simulator, lambda: other.send(f"{TICKET}/take", amount="3500"))
    shown = text_of(staff.send_and_follow(f"{TICKET}/take", amount="3500"))

    assert "€35.00 was taken." in shown
    assert "Not delivered: back to parked" in shown
    simulator.deliver_all(app)
    with app.app_context():
        [payment] = db.session.scalars(select(Payment)).all()
        assert (payment.status, payment.amount_taken) == ("COMPLETED", 3500)
