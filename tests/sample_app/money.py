"""What the tests of deposits, extras, tips and refunds have in common: a guest who pays, and what is kept of it."""

from __future__ import annotations

import re

from flask import Flask
from sqlalchemy import select

from flask_valetpro_stripe.testing import Simulator
from sample_app.extensions import db
from sample_app.models import Payment, Ticket
from sample_app.sms import ConsoleSms

from .browser import Browser

ACCOUNT_OF_SEASIDE = "Seaside SARL"


def texted(sms: ConsoleSms) -> str:
    """Return the path of the page that the last text leads to."""
    return sms.sent[-1][1].split("http://desk.test")[1]


def pay_link(html: str) -> str:
    """Return where a guest's page leads to pay."""
    found = re.search(r'id="pay" href="([^"]+)"', html)
    assert found, "The page has no link to pay by."
    return found[1]


def pay(app: Flask, simulator: Simulator, visitor: Browser, page: str, card: str = "4242424242424242") -> None:
    """Pay what a guest's page asks for, and let Stripe tell the desk."""
    simulator.pay(pay_link(visitor.get(page).text), card=card)
    simulator.deliver_all(app)


def open_links(app: Flask, simulator: Simulator) -> list[int]:
    """Return what the links ask for that are open at Stripe."""
    with app.app_context():
        made = db.session.scalars(select(Payment).order_by(Payment.id)).all()
        found = [(payment.amount, payment.stripe_payment_link_id) for payment in made]
    return [amount for amount, link in found if link and simulator.object(link)["active"]]


def charged(app: Flask, place: str) -> list[tuple[str, int, int]]:
    """Return status, what was taken and what is held of a ticket's payments."""
    with app.app_context():
        ticket = db.session.get_one(Ticket, int(place.rpartition("/")[2]))
        return [(made.status.value, made.amount_taken, made.amount_capturable) for made in ticket.payments]


def seaside(browser: Browser, simulator: Simulator) -> Browser:
    """Return the other hotel's admin, with Stripe connected."""
    browser.connect_stripe(simulator, simulator.create_account(ACCOUNT_OF_SEASIDE).id)
    return browser
