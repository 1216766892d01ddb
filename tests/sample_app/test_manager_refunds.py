"""Refunds at the desk: a manager gives money back, says why, and never twice."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select

from flask_valetpro_stripe.testing import Simulator
from sample_app.extensions import db
from sample_app.models import Payment
from sample_app.sms import ConsoleSms
from sample_app.valetpro import valetpro

from .browser import Browser, field_of, text_of
from .money import open_links, pay, seaside, texted

REASON = "Waited half an hour"


@pytest.fixture
def manager(plaza_account: str, people: Callable[[str], Browser]) -> Browser:
    """The manager of the Plaza Hotel, which takes payments."""
    return people("admin@plaza")


@pytest.fixture
def paid(app: Flask, manager: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms) -> str:
    """The path of a ticket that was paid with €25.00."""
    place = manager.open_ticket()
    pay(app, simulator, visitor, texted(sms))
    return place


def _form(browser: Browser, place: str) -> str:
    """Return the path of the refund of a ticket's payment, as the ticket's page links to it."""
    found = re.search(rf'href="({place}/payments/\d+/refund)"', browser.get(place).text)
    assert found, "The page offers no refund."
    return found[1]


def _refunds(app: Flask) -> list[tuple[int, str, str | None]]:
    with app.app_context():
        model = valetpro.models.Refund
        rows = db.session.scalars(select(model).order_by(model.id)).all()
        return [(row.amount, row.status, row.reason) for row in rows]


def _refund(manager: Browser, place: str, amount: str = "25.00", reason: str = REASON) -> str:
    form = _form(manager, place)
    operation = field_of(manager.get(form).text, "operation")
    return text_of(manager.send_and_follow(form, operation=operation, amount=amount, reason=reason))


@pytest.mark.both
def test_a_manager_gives_all_back_and_says_why(
    app: Flask, manager: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms, paid: str
) -> None:
    page = manager.get(_form(manager, paid))
    assert "Can be given back €25.00" in text_of(page)
    assert 'name="amount" inputmode="decimal" required maxlength="16" autocomplete="off" value="25.00"' in page.text

    shown = _refund(manager, paid)

    assert "€25.00 is on its way back to the guest." in shown
    assert f": {REASON}" in shown
    assert "Refunded" in shown
    assert "/refund" not in manager.get(paid).text
    assert [(amount, reason) for amount, _, reason in _refunds(app)] == [(2500, REASON)]
    simulator.deliver_all(app)
    assert "Your payment was refunded." in text_of(visitor.get(texted(sms)))
    # What was given back is not asked for again.
    assert open_links(app, simulator)[1:] == []
    assert "Make the payment link" not in text_of(manager.get(paid))


def test_a_part_leaves_the_rest_to_give_back(app: Flask, manager: Browser, paid: str) -> None:
    assert "€10.00 refunded" in _refund(manager, paid, "10")
    assert "Can be given back €15.00" in text_of(manager.get(_form(manager, paid)))
    _refund(manager, paid, "15.00", "The rest, too")
    assert [(amount, reason) for amount, _, reason in _refunds(app)] == [(1000, REASON), (1500, "The rest, too")]


@pytest.mark.both
def test_the_same_form_sent_twice_is_one_refund(app: Flask, manager: Browser, paid: str) -> None:
    form = _form(manager, paid)
    operation = field_of(manager.get(form).text, "operation")
    for _ in range(2):
        assert manager.send(form, operation=operation, amount="10.00", reason=REASON).status_code == 303
    assert len(_refunds(app)) == 1


def test_a_used_form_with_another_amount_is_not_taken_for_the_first_one(
    app: Flask, manager: Browser, paid: str
) -> None:
    form = _form(manager, paid)
    operation = field_of(manager.get(form).text, "operation")
    manager.send(form, operation=operation, amount="10.00", reason=REASON)
    answer = manager.send(form, operation=operation, amount="5.00", reason=REASON)
    assert answer.status_code == 422
    assert "This form has made another refund already." in text_of(answer)
    assert field_of(answer.text, "operation") != operation
    assert len(_refunds(app)) == 1


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"amount": "lots"}, "Write the amount as digits"),
        ({"amount": "0"}, "The amount must be more than zero."),
        ({"amount": "25.01"}, "€25.01 cannot be given back: only €25.00 of this payment is left."),
        ({"amount": "25.01"}, "Refund less, or leave the amount out"),
        ({"reason": "  "}, "Write why the money is given back"),
        ({"reason": "x" * 65}, "Write the reason in at most 64 letters."),
        ({"operation": "?"}, "This form is out of date."),
    ],
)
def test_a_mistake_is_explained_on_the_form_and_gives_nothing_back(
    app: Flask, manager: Browser, paid: str, fields: dict[str, str], says: str
) -> None:
    form = _form(manager, paid)
    answer = manager.send(form, **{"amount": "25.00", "reason": REASON, **fields})
    assert answer.status_code == 422
    assert says in text_of(answer)
    assert _refunds(app) == []


def test_what_stripe_refuses_is_told_in_plain_words(
    app: Flask, manager: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms
) -> None:
    place = manager.open_ticket()
    pay(app, simulator, visitor, texted(sms), card="4000000000000259")
    form = _form(manager, place)
    answer = manager.send(form, amount="25.00", reason=REASON)
    assert answer.status_code == 422
    assert "The guest disputes this payment at the bank, so it cannot be refunded." in text_of(answer)
    assert "Answer the dispute in the Stripe Dashboard" in text_of(answer)


def test_when_the_answer_is_lost_the_same_form_finishes_the_one_refund(
    app: Flask, manager: Browser, simulator: Simulator, paid: str
) -> None:
    form = _form(manager, paid)
    operation = field_of(manager.get(form).text, "operation")
    fields = {"operation": operation, "amount": "10.00", "reason": REASON}
    simulator.faults.add("POST", "/v1/refunds", "DROP_AFTER", times=10)
    lost = manager.send(form, **fields)
    simulator.faults.clear()
    assert lost.status_code == 422
    assert field_of(lost.text, "operation") == operation

    assert manager.send(form, **fields).status_code == 303
    assert [amount for amount, _, _ in _refunds(app)] == [1000]


def test_staff_see_no_refund_and_may_make_none(
    app: Flask, manager: Browser, people: Callable[[str], Browser], paid: str
) -> None:
    form = _form(manager, paid)
    staff = people("staff@plaza")
    assert "Refund" not in text_of(staff.get(paid))
    assert staff.get(form).status_code == 403
    assert staff.send(form, amount="25.00", reason=REASON).status_code == 403
    assert _refunds(app) == []


def test_another_hotel_s_payment_cannot_be_reached(
    app: Flask, manager: Browser, simulator: Simulator, people: Callable[[str], Browser], paid: str
) -> None:
    form = _form(manager, paid)
    other = seaside(people("admin@seaside"), simulator)
    own = other.open_ticket()
    for path in (form, own + form.removeprefix(paid)):
        assert other.get(path).status_code == 404
        assert other.send(path, amount="25.00", reason=REASON).status_code == 404
    assert _refunds(app) == []


def test_a_dispute_stands_on_the_ticket_with_its_deadline(
    app: Flask, manager: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms
) -> None:
    place = manager.open_ticket()
    pay(app, simulator, visitor, texted(sms), card="4000000000000259")
    shown = text_of(manager.get(place))
    assert "Disputed" in shown
    assert "The guest's bank wants €25.00 back; answer until" in shown
    assert "Charged €25.00 Held €0.00 Tips €0.00 Refunded €0.00 Disputed €25.00 Net €0.00" in text_of(
        manager.get("/tickets/?day=")
    )
    assert "Taken today €0.00 1 paid" in text_of(manager.get("/tickets/"))

    with app.app_context():
        dispute = db.session.scalar(select(valetpro.models.Dispute.stripe_dispute_id))
        assert db.session.scalar(select(Payment.status)) == "DISPUTED"
    simulator.settle_dispute(str(dispute), "won")
    simulator.deliver_all(app)
    assert "wants €25.00 back" not in text_of(manager.get(place))
    assert "Disputed €0.00 Net €25.00" in text_of(manager.get("/tickets/?day="))
    assert "Taken today €25.00 1 paid" in text_of(manager.get("/tickets/"))
