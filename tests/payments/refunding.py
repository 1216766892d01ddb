"""A paid payment, refunds of it, and what came of them here and at Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask_valetpro_stripe import payments, signals
from flask_valetpro_stripe.testing import LoggedRequest, Simulator
from tests.payments.desk import Desk, rows

REFUNDS = "/v1/refunds"


def paid(desk: Desk, *, card: str = "4242424242424242", **asked: Any) -> Any:
    """Return a payment that a guest has paid."""
    payment = desk.make(**asked)
    desk.simulator.pay(payment.stripe_payment_link_url, card=card)
    return desk.sync(payment)


def give_back(desk: Desk, payment: Any, **asked: Any) -> Any:
    """Make a refund, in an app context of its own as a request has, and return its row."""
    session = desk.host.db.session
    with desk.open():
        refund = payments.refund(session.get_one(desk.host.Payment, payment.id), **asked)
        session.refresh(refund)
        session.expunge_all()
        return refund


def refunds_of(desk: Desk, payment: Any) -> list[Any]:
    return rows(desk.host, desk.host.valetpro.models.Refund, payment_id=payment.id)


def asked_for(simulator: Simulator) -> list[LoggedRequest]:
    """The requests to make a refund."""
    return [request for request in simulator.requests if (request.method, request.path) == ("POST", REFUNDS)]


def at_stripe(simulator: Simulator, payment: Any) -> int:
    """What Stripe has given back of a payment."""
    amount: int = simulator.object(payment.stripe_charge_id)["amount_refunded"]
    return amount


def standing(desk: Desk, payment: Any) -> tuple[str, int]:
    now = desk.now(payment)
    return now.status, now.amount_refunded


@contextmanager
def hearing_refunds() -> Iterator[list[tuple[int, str, str]]]:
    """Give what the host is told about refunds in the block: id, word, and the tenant's name."""
    heard: list[tuple[int, str, str]] = []

    def receive(app: Any, *, tenant: Any, refund: Any) -> None:
        heard.append((refund.id, refund.status, tenant.name))

    with signals.refund_updated.connected_to(receive):
        yield heard
