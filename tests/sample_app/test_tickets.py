"""Opening tickets: what a clerk types, what Stripe and the guest get, and what happens when something fails."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from flask_valetpro_stripe import Mode
from flask_valetpro_stripe.testing import Simulator
from sample_app.extensions import db
from sample_app.models import Payment, Tenant, Ticket
from sample_app.sms import ConsoleSms, SmsError

from .browser import GUEST, Browser, field_of, text_of
from .money import pay_link, texted


def _links_made(simulator: Simulator) -> list[tuple[str | None, int, str]]:
    """Return account, amount and currency of every payment link that Stripe was asked for."""
    made = []
    for request in simulator.requests:
        if request.method == "POST" and request.path == "/v1/payment_links" and request.status == 200:
            price = request.params["line_items"][0]["price_data"]
            made.append((request.stripe_account, int(price["unit_amount"]), price["currency"]))
    return made


def _count(app: Flask, model: type[Ticket] | type[Payment]) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(model)) or 0


def test_a_new_ticket_has_a_link_on_the_hotel_s_account_and_a_text_to_the_guest(
    staff: Browser, simulator: Simulator, sms: ConsoleSms, plaza_account: str
) -> None:
    page = staff.get(staff.open_ticket(phone="06 12 34 56 78", plate="ab-123-cd", amount="25,00", currency="EUR"))

    assert _links_made(simulator) == [(plaza_account, 2500, "eur")]
    [(to, text)] = sms.sent
    assert to == "+33612345678"
    assert text.startswith("Plaza Hotel valet: ticket 5, AB-123-CD. Pay 25.00 EUR: http://desk.test/pay/")
    shown = text_of(page)
    assert "The payment link was texted to +33612345678." in shown
    assert text in shown
    assert "Awaiting payment" in shown
    assert "€25.00" in shown


def test_the_guest_comes_back_from_stripe_to_the_guest_s_page(staff: Browser, simulator: Simulator) -> None:
    staff.open_ticket()
    after = simulator.requests[-1].params["after_completion"]
    assert after["type"] == "redirect"
    assert after["redirect"]["url"].startswith("http://desk.test/pay/")
    assert after["redirect"]["url"].endswith("?back=1")


@pytest.mark.both
def test_a_form_sent_twice_makes_one_ticket_one_link_and_one_text(
    app: Flask, staff: Browser, simulator: Simulator, sms: ConsoleSms
) -> None:
    before = _count(app, Ticket)
    operation = field_of(staff.get("/tickets/").text, "operation")
    first = staff.send("/tickets/", operation=operation, **GUEST)
    again = staff.send("/tickets/", operation=operation, **GUEST)
    assert first.headers["Location"] == again.headers["Location"]
    assert _count(app, Ticket) == before + 1
    assert len(_links_made(simulator)) == len(sms.sent) == 1


@pytest.mark.both
def test_clerks_who_click_at_the_same_moment_make_one_ticket_per_form(
    app: Flask, staff: Browser, people: Callable[[str], Browser]
) -> None:
    before = _count(app, Ticket)
    clerks = [staff, people("admin@plaza"), people("staff@plaza"), people("staff@plaza")]
    forms = [field_of(staff.get("/tickets/").text, "operation") for _ in range(4)]
    tokens = {id(clerk): clerk.token() for clerk in clerks}

    def click(job: tuple[Browser, str]) -> str:
        clerk, operation = job
        client = app.test_client()
        for cookie in [clerk.client.get_cookie("valet_desk")]:
            assert cookie
            client.set_cookie("valet_desk", cookie.value)
        fields = {"csrf_token": tokens[id(clerk)], "operation": operation, **GUEST}
        answer = client.post("/tickets/", data=fields)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["Location"])

    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(click, [(clerk, operation) for operation in forms for clerk in clerks]))
    assert len(set(places)) == 4
    assert _count(app, Ticket) == before + 4
    with app.app_context():
        numbers = db.session.scalars(select(Ticket.number).where(Ticket.tenant_id == 1).order_by(Ticket.number)).all()
    assert list(numbers) == list(range(1, 9))


def test_a_used_form_with_another_car_in_it_is_not_taken_for_the_first_one(app: Flask, staff: Browser) -> None:
    operation = field_of(staff.get("/tickets/").text, "operation")
    staff.send("/tickets/", operation=operation, **GUEST)
    before = _count(app, Ticket)

    answer = staff.send("/tickets/", operation=operation, **{**GUEST, "guest_name": "Grace Hopper"})
    assert answer.status_code == 422
    assert "This form has already made ticket 5 for Ada Lovelace." in text_of(answer)
    assert _count(app, Ticket) == before

    fresh = field_of(answer.text, "operation")
    assert fresh != operation
    assert staff.send("/tickets/", operation=fresh, **{**GUEST, "guest_name": "Grace Hopper"}).status_code == 303


@pytest.mark.parametrize("other", [{"amount": "35.00"}, {"currency": "usd"}])
def test_a_used_form_with_another_price_in_it_is_not_taken_for_the_first_one(
    app: Flask, staff: Browser, simulator: Simulator, other: dict[str, str]
) -> None:
    operation = field_of(staff.get("/tickets/").text, "operation")
    staff.send("/tickets/", operation=operation, **GUEST)
    before = _count(app, Ticket)

    answer = staff.send("/tickets/", operation=operation, **{**GUEST, **other})
    assert answer.status_code == 422
    assert "This form has already made ticket 5 for Ada Lovelace." in text_of(answer)
    assert field_of(answer.text, "operation") != operation
    assert _count(app, Ticket) == before
    assert len(_links_made(simulator)) == 1


@pytest.mark.parametrize(
    "typed, currency, amount",
    [("25", "eur", 2500), ("25.00", "eur", 2500), ("25,5", "EUR", 2550), (" 0.50 ", "usd", 50), ("2500", "jpy", 2500)],
)
def test_an_amount_is_understood_as_a_person_types_it(
    staff: Browser, simulator: Simulator, typed: str, currency: str, amount: int
) -> None:
    staff.open_ticket(amount=typed, currency=currency)
    assert [made[1:] for made in _links_made(simulator)] == [(amount, currency.lower())]


DIGITS = "Write the amount as digits with at most one decimal point, for example 25 or 25.00."
MISTAKES = [
    ({"amount": ""}, DIGITS),
    ({"amount": "abc"}, DIGITS),
    ({"amount": "1e3"}, DIGITS),
    ({"amount": "NaN"}, DIGITS),
    ({"amount": "Infinity"}, DIGITS),
    ({"amount": "-5"}, DIGITS),
    ({"amount": "1,000.00"}, DIGITS),
    ({"amount": "0x10"}, DIGITS),
    ({"amount": "٢٥"}, DIGITS),
    ({"amount": "25.005"}, "An amount in EUR has at most 2 digits after the point."),
    ({"amount": "10.5", "currency": "jpy"}, "An amount in JPY has no decimals."),
    ({"amount": "0"}, "The amount must be more than zero."),
    ({"amount": "0.00"}, "The amount must be more than zero."),
    ({"amount": "99999999999"}, "The amount is above the largest that Stripe takes"),
    ({"currency": "xyz"}, "The currency is not one that Stripe charges in."),
    ({"currency": "euros"}, "The currency is not one that Stripe charges in."),
    ({"guest_name": "  "}, "Write the guest's name."),
    ({"guest_name": "\x00\x07"}, "Write the guest's name."),
    ({"guest_name": "x" * 81}, "Write the guest's name in at most 80 letters."),
    ({"phone": ""}, "Write the phone number with its country code, for example +33 6 12 34 56 78."),
    ({"phone": "call me"}, "Write the phone number with its country code"),
    ({"phone": "+0123456789"}, "Write the phone number with its country code"),
    ({"phone": "+336123456789012345"}, "Write the phone number with its country code"),
    ({"plate": ""}, "Write the plate as on the car"),
    ({"plate": "<script>"}, "Write the plate as on the car"),
    ({"plate": "A" * 17}, "Write the plate as on the car"),
    ({"operation": "../../etc"}, "This form is out of date. Check what it says and send it again."),
]


def test_every_mistake_is_explained_on_the_form_and_changes_nothing(
    app: Flask, staff: Browser, simulator: Simulator
) -> None:
    before = _count(app, Ticket)
    token = staff.token()
    asked = len(simulator.requests)
    for wrong, says in MISTAKES:
        fields = {**GUEST, "currency": "eur", **wrong}
        answer = staff.client.post("/tickets/", data={"csrf_token": token, **fields})
        assert (wrong, answer.status_code) == (wrong, 422)
        assert says in text_of(answer), wrong
        if "guest_name" not in wrong:
            assert 'value="Ada Lovelace"' in answer.text
    assert _count(app, Ticket) == before
    assert len(simulator.requests) == asked


def test_a_mistake_keeps_the_form_s_own_token_so_that_mending_it_makes_one_ticket(staff: Browser) -> None:
    operation = field_of(staff.get("/tickets/").text, "operation")
    answer = staff.send("/tickets/", operation=operation, **{**GUEST, "amount": "lots"})
    assert field_of(answer.text, "operation") == operation


def test_what_a_guest_is_called_is_text_and_never_markup(staff: Browser) -> None:
    page = staff.get(staff.open_ticket(guest_name='<img src=x onerror="alert(1)">'))
    assert "<img src=x" not in page.text
    assert '<img src=x onerror="alert(1)">' in text_of(page)


@pytest.mark.both
def test_each_hotel_numbers_its_own_tickets(
    staff: Browser, people: Callable[[str], Browser], simulator: Simulator
) -> None:
    seaside = people("admin@seaside")
    account = simulator.create_account("Seaside SARL").id
    seaside.connect_stripe(simulator, account)
    assert "Ticket 5" in text_of(staff.get(staff.open_ticket()))
    assert "Ticket 4" in text_of(seaside.get(seaside.open_ticket()))
    assert _links_made(simulator)[-1][0] == account


def test_without_stripe_the_ticket_is_kept_and_the_page_says_what_to_do(
    simulator: Simulator, people: Callable[[str], Browser], sms: ConsoleSms
) -> None:
    admin, staff = people("admin@plaza"), people("staff@plaza")
    assert "Stripe is not connected yet" in text_of(staff.get("/tickets/"))
    place = staff.open_ticket()
    page = staff.get(place)
    assert "No Stripe account is connected in test mode." in text_of(page)
    assert "Open payment settings" not in text_of(page)
    assert "Make payment link" in text_of(page)
    assert not sms.sent

    admin.open_ticket()
    told = text_of(admin.get("/tickets/"))
    assert "Open payment settings" in told
    assert "http://" not in told

    account = simulator.create_account("Plaza Hotel SAS").id
    admin.connect_stripe(simulator, account)
    assert "Stripe is not connected yet" not in text_of(staff.get("/tickets/"))
    shown = text_of(staff.send_and_follow(f"{place}/link", amount="25.00", currency="eur"))
    assert "Awaiting payment" in shown
    assert _links_made(simulator) == [(account, 2500, "eur")]
    assert len(sms.sent) == 1


def test_a_price_that_stripe_refuses_can_be_mended_on_the_ticket(staff: Browser, simulator: Simulator) -> None:
    place = staff.open_ticket(amount="0.10")
    assert "No payment link" in text_of(staff.get(place))

    wrong = staff.send(f"{place}/link", amount="ten", currency="eur")
    assert wrong.status_code == 422
    assert DIGITS in text_of(wrong)
    assert 'value="ten"' in wrong.text

    shown = text_of(staff.send_and_follow(f"{place}/link", amount="10.00", currency="eur"))
    assert "Awaiting payment" in shown
    assert "€10.00" in shown


def test_when_stripe_s_answer_is_lost_asking_again_finds_the_one_link(
    app: Flask, staff: Browser, simulator: Simulator
) -> None:
    simulator.faults.add(method="POST", path="/v1/payment_links", fault="DROP_AFTER", times=10)
    place = staff.open_ticket()
    assert "No payment link" in text_of(staff.get(place))
    simulator.faults.clear()

    assert "Awaiting payment" in text_of(staff.send_and_follow(f"{place}/link", amount="25.00", currency="eur"))
    made = [event for event in simulator.events if event["type"] == "payment_link.created"]
    assert len(made) == 1
    assert _count(app, Payment) == 1


def test_a_ticket_that_has_a_link_gets_no_second_one(staff: Browser, simulator: Simulator) -> None:
    place = staff.open_ticket()
    staff.send_and_follow(f"{place}/link", amount="99.00", currency="eur")
    assert len(_links_made(simulator)) == 1


def test_a_cancelled_link_is_closed_at_stripe_and_can_be_made_anew(staff: Browser, simulator: Simulator) -> None:
    place = staff.open_ticket()
    shown = text_of(staff.send_and_follow(f"{place}/cancel-payment"))
    assert "The payment link is cancelled." in shown
    assert "Link cancelled" in shown
    assert simulator.object(_links_of(simulator)[0])["active"] is False

    shown = text_of(staff.send_and_follow(f"{place}/link", amount="30.00", currency="eur"))
    assert "Awaiting payment" in shown
    assert "€30.00" in shown
    assert len(_links_made(simulator)) == 2


def _links_of(simulator: Simulator) -> list[str]:
    return [event["data"]["object"]["id"] for event in simulator.events if event["type"] == "payment_link.created"]


def test_a_paid_ticket_cannot_be_cancelled(app: Flask, staff: Browser, simulator: Simulator) -> None:
    place = staff.open_ticket()
    simulator.pay(_links_of(simulator)[0])
    simulator.deliver_all(app)
    shown = text_of(staff.send_and_follow(f"{place}/cancel-payment"))
    assert "Paid" in shown
    assert "cancelled" not in shown


def test_a_guest_who_pays_before_the_clerk_cancels_has_paid(app: Flask, staff: Browser, simulator: Simulator) -> None:
    place = staff.open_ticket()
    assert "Yes, cancel the link" in text_of(staff.get(place))
    simulator.pay(_links_of(simulator)[0])

    shown = text_of(staff.send_and_follow(f"{place}/cancel-payment"))
    assert "The guest has paid meanwhile, so the payment stays." in shown
    assert "cancelled" not in shown
    assert "Paid" in shown
    with app.app_context():
        assert db.session.scalar(select(Ticket.link_attempt).where(Ticket.number == 5)) == 1


def test_stripe_can_be_asked_when_no_webhook_came(staff: Browser, simulator: Simulator) -> None:
    place = staff.open_ticket()
    simulator.pay(_links_of(simulator)[0])
    assert "Awaiting payment" in text_of(staff.get(place))
    shown = text_of(staff.send_and_follow(f"{place}/refresh-payment"))
    assert "This is how the payment stands at Stripe." in shown
    assert "Paid" in shown


class NoSms:
    """A way to text guests that never works."""

    def send(self, to: str, text: str) -> None:
        raise SmsError(f"{to} is not a valid phone number. Correct it and send the text again.")


def test_a_text_that_fails_never_loses_the_ticket(app: Flask, staff: Browser, sms: ConsoleSms) -> None:
    app.extensions["sample_sms"] = NoSms()
    place = staff.open_ticket(phone="+15005550001")
    shown = text_of(staff.get(place))
    assert "The text was not sent. +15005550001 is not a valid phone number." in shown
    assert "Awaiting payment" in shown

    app.extensions["sample_sms"] = sms
    wrong = staff.send(f"{place}/sms", phone="nobody")
    assert wrong.status_code == 422
    assert "Write the phone number with its country code" in text_of(wrong)
    assert "was texted to +15005550006" in text_of(staff.send_and_follow(f"{place}/sms", phone="+15005550006"))
    assert [to for to, _ in sms.sent] == ["+15005550006"]
    assert "text it to" not in shown


def test_nothing_is_texted_about_a_ticket_that_has_nothing_to_pay(staff: Browser, sms: ConsoleSms) -> None:
    place = staff.open_ticket()
    staff.send_and_follow(f"{place}/cancel-payment")
    sms.sent.clear()
    assert "no text was sent" in text_of(staff.send_and_follow(f"{place}/sms"))
    assert not sms.sent


def test_test_money_pays_no_ticket_of_a_hotel_that_went_live(
    app: Flask,
    staff: Browser,
    people: Callable[[str], Browser],
    visitor: Browser,
    simulator: Simulator,
    sms: ConsoleSms,
) -> None:
    place = staff.open_ticket()
    page = texted(sms)
    open_link = pay_link(visitor.get(page).text)
    with app.app_context():
        account = db.session.scalars(select(Tenant).where(Tenant.slug == "plaza")).one().stripe_account_id
    people("admin@plaza").connect_stripe(simulator, account, mode="live")
    with app.app_context():
        db.session.execute(update(Tenant).where(Tenant.slug == "plaza").values(stripe_mode=Mode.live))
        db.session.commit()

    simulator.pay(open_link)
    simulator.deliver_all(app)
    assert "Paid" not in text_of(visitor.get(page))
    assert "No payment link" in text_of(staff.get("/tickets/"))
    assert "Make payment link" in text_of(staff.get(place))

    staff.send(f"{place}/link")
    with app.app_context():
        payments = db.session.scalars(select(Payment).order_by(Payment.id)).all()
        assert [str(each.mode) for each in payments][-2:] == ["test", "live"]
