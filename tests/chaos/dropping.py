"""Calls that change something at Stripe, as the host makes them, and what there must be of each in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from flask_valetpro_stripe import payments
from flask_valetpro_stripe.testing import CardDeclined
from tests.payments.desk import Desk, rows
from tests.payments.refunding import give_back, refunds_of


@dataclass(frozen=True)
class Call:
    """One kind of call, on something of its own each time."""

    #: What is acted on, made before anything fails; None if the call itself makes it.
    prepare: Callable[[Desk], Any]
    #: The host's call, of what was prepared, with the host's key. It returns the id of our row.
    act: Callable[[Desk, Any, str], Any]
    #: How many objects, or acts, Stripe has of it, by the id of our row.
    count: Callable[[Desk, Any], int]
    #: The state of its operation, or "done" if it has none and everything is as it should be.
    state: Callable[[Desk, Any], str]


def nothing(desk: Desk) -> None:
    """Prepare nothing."""


def held(desk: Desk) -> Any:
    payment = desk.make_intent(capture_method="manual")
    desk.confirm(payment)
    return desk.sync(payment)


def paid(desk: Desk) -> Any:
    payment = desk.make()
    desk.simulator.pay(payment.stripe_payment_link_url)
    return desk.sync(payment)


def left_open(desk: Desk) -> Any:
    """Prepare a link whose page a guest has open, after a card was declined."""
    payment = desk.make()
    with suppress(CardDeclined):
        desk.simulator.pay(payment.stripe_payment_link_url, card="4000000000000002")
    return payment


def objects(desk: Desk, kind: str, name: str, value: str) -> list[dict[str, Any]]:
    """Return the objects of a kind that carry this of our metadata."""
    found = desk.simulator._ledger.of_kind(kind, str(desk.account), False)
    return [record.data for record in found if record.data["metadata"].get(name) == value]


def count_of(kind: str) -> Callable[[Desk, Any], int]:
    return lambda desk, key: len(objects(desk, kind, "valetpro_payment", str(key)))


def count_refunds(desk: Desk, key: Any) -> int:
    (row,) = rows(desk.host, desk.host.valetpro.models.Refund, id=key)
    made = objects(desk, "refund", "valetpro_refund", str(key))
    assert len(refunds_of(desk, Keyed(row.payment_id))) == 1
    assert [each["id"] for each in made] == [row.stripe_refund_id]
    return len(made)


@dataclass(frozen=True)
class Keyed:
    """A row of which only the key is known."""

    id: Any


def count_captures(desk: Desk, key: Any) -> int:
    """Return how often money was taken: the event tells of each time."""
    payment = desk.now(Keyed(key))
    events = [e for e in desk.simulator.events_of(desk.account) if e["type"] == "charge.captured"]
    mine = [e for e in events if e["data"]["object"]["payment_intent"] == payment.stripe_payment_intent_id]
    assert (payment.status, payment.amount_taken, payment.amount_capturable) == ("COMPLETED", 1000, 0)
    assert [e["data"]["object"]["amount_captured"] for e in mine] == [1000]
    return len(mine)


def count_closed(desk: Desk, key: Any) -> int:
    """Return 1 if what the payment could be paid by is closed at Stripe, and the payment is cancelled here."""
    payment = desk.now(Keyed(key))
    ids = (payment.stripe_payment_link_id, payment.stripe_checkout_session_id, payment.stripe_payment_intent_id)
    (made,) = [desk.simulator.object(id_) for id_ in ids if id_]
    pages = objects(desk, "checkout.session", "valetpro_payment", str(key))
    assert {page["status"] for page in pages} <= {"expired"}
    assert payment.status == "CANCELED"
    return int(made.get("active") is False or made.get("status") in ("expired", "canceled"))


def count_customers(desk: Desk, key: Any) -> int:
    return len(objects(desk, "customer", "valetpro_customer", str(key)))


def operation_of(**same: Any) -> Callable[[Desk, Any], str]:
    def state(desk: Desk, key: Any) -> str:
        model = desk.host.valetpro.models.Operation
        (operation,) = rows(desk.host, model, payment_id=key, **same)
        return str(operation.state)

    return state


def state_of_refund(desk: Desk, key: Any) -> str:
    (row,) = rows(desk.host, desk.host.valetpro.models.Refund, id=key)
    return operation_of(kind="refund.create")(desk, row.payment_id)


def has_none(desk: Desk, key: Any) -> str:
    return "done"


def get_customer(desk: Desk, _: Any, key: str) -> Any:
    with desk.open():
        return payments.get_customer(key, email="guest@example.com").id


CALLS: Final[Mapping[str, Call]] = {
    "link": Call(
        nothing,
        lambda desk, _, key: desk.make(idempotency_key=key).id,
        count_of("payment_link"),
        operation_of(kind="payment_link.create"),
    ),
    "session": Call(
        nothing,
        lambda desk, _, key: desk.make_session(idempotency_key=key).id,
        count_of("checkout.session"),
        operation_of(kind="checkout_session.create"),
    ),
    "intent": Call(
        nothing,
        lambda desk, _, key: desk.make_intent(idempotency_key=key).id,
        count_of("payment_intent"),
        operation_of(kind="payment_intent.create"),
    ),
    "capture": Call(
        held,
        lambda desk, payment, _: desk.capture(payment, 1000).id,
        count_captures,
        operation_of(kind="payment_intent.capture"),
    ),
    "cancel link": Call(left_open, lambda desk, payment, _: desk.cancel(payment).id, count_closed, has_none),
    "cancel session": Call(
        lambda desk: desk.make_session(), lambda desk, payment, _: desk.cancel(payment).id, count_closed, has_none
    ),
    "cancel intent": Call(
        lambda desk: desk.make_intent(), lambda desk, payment, _: desk.cancel(payment).id, count_closed, has_none
    ),
    "let go": Call(held, lambda desk, payment, _: desk.cancel(payment).id, count_closed, has_none),
    "refund": Call(
        paid,
        lambda desk, payment, key: give_back(desk, payment, amount=1000, idempotency_key=key).id,
        count_refunds,
        state_of_refund,
    ),
    "customer": Call(nothing, get_customer, count_customers, has_none),
}
