"""Two hotels that take money at Stripe: what the host, guests, banks and the accounts' owners do, one act at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

import pytest
import stripe

from flask_valetpro_stripe import Mode, payments
from flask_valetpro_stripe.errors import OutcomeUnknownError, ValetProStripeError
from flask_valetpro_stripe.models import types
from flask_valetpro_stripe.payments import patience, unfinished
from flask_valetpro_stripe.testing import CardDeclined, LinkInactive, Simulator
from tests.hosts import Host, make_host
from tests.openapi.clients import client_with
from tests.payments.desk import Desk
from tests.webhooks.stage import Stage

from .money_books import Books

#: How a guest pays on a host's own page, by the card's number: Stripe's names for its test cards.
METHODS: Final = {
    "4242424242424242": "pm_card_visa",
    "4000000000000002": "pm_card_chargeDeclined",
    "4000000000007726": "pm_card_pendingRefund",
    "4000000000000259": "pm_card_createDispute",
    "4000000000001976": "pm_card_createDisputeInquiry",
}
IBAN: Final = "AT611904300234573201"


class Clock:
    """The host's time, as far ahead as Stripe's; in the place of ``datetime`` where the package asks for the time."""

    ahead = timedelta()

    def now(self, zone: tzinfo) -> datetime:
        return datetime.now(zone) + self.ahead


@dataclass
class Hotel:
    """One tenant, its account at Stripe, and which of its events have been delivered."""

    desk: Desk
    client: stripe.StripeClient
    delivered: set[str] = field(default_factory=set)

    def waiting(self) -> list[dict[str, Any]]:
        """Return the events that have not been delivered, oldest first."""
        events = self.desk.simulator.events_of(self.desk.account)
        return [event for event in events if event["id"] not in self.delivered]


class MoneyStage:
    """Each method is one act. What the host is told is returned: ``done``, ``unknown``, or the error's code."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self.host, self.clock = host, clock
        self.hotels: dict[str, Hotel] = {}
        self.stories = 0

    @property
    def simulator(self) -> Simulator:
        assert self.host.simulator is not None
        return self.host.simulator

    def begin(self) -> Books:
        """Open two hotels that nobody knows yet, and return their books. Only Plaza pays the platform a fee."""
        self.stories += 1
        self._forget()
        self.hotels = {"plaza": self._open("Plaza", 150), "seaside": self._open("Seaside", 0)}
        return Books(self.host, {name: hotel.desk for name, hotel in self.hotels.items()})

    def _forget(self) -> None:
        """Let the simulator forget the stories before: it looks through all that it knows each time."""
        ledger = self.simulator._ledger
        old = [key for key, record in ledger.records.items() if record.account != ledger.platform_id]
        for key in old:
            del ledger.records[key]
        ledger.events.clear()
        self.simulator._mail._pending.clear()
        self.simulator.requests.clear()

    def _open(self, name: str, fee: int) -> Hotel:
        desk = Desk.of(self.host, f"{name} {self.stories}", modes=(Mode.test,), stripe_application_fee_bps=fee)
        account = self.simulator._ledger.accounts[str(desk.account)]
        return Hotel(desk, client_with(self.simulator, account.test_secret_key))

    # -- the host

    @contextmanager
    def failing(self, fault: tuple[str, str, int] | None, account: str | None) -> Iterator[None]:
        """Let the next calls that change something at Stripe fail: how, on which paths, and how often."""
        if fault is not None:
            kind, path, times = fault
            self.simulator.faults.add("POST", path, kind, times=times, account=account)
        try:
            yield
        finally:
            self.simulator.faults.clear()

    def make(self, hotel: Hotel, way: str, asked: dict[str, Any]) -> str:
        makers = {"link": hotel.desk.make, "session": hotel.desk.make_session, "intent": hotel.desk.make_intent}
        return told(lambda: makers[way](**asked))[0]

    def sync(self, hotel: Hotel, payment: Any) -> None:
        hotel.desk.sync(payment)

    def capture(self, hotel: Hotel, payment: Any, amount: int | None) -> str:
        return told(lambda: hotel.desk.capture(payment, amount))[0]

    def cancel(self, hotel: Hotel, payment: Any) -> tuple[str, Any]:
        """Return what came of it, and the payment's word then."""
        word, found = told(lambda: hotel.desk.cancel(payment))
        return word, found and found.status

    def refund(self, hotel: Hotel, payment: Any, amount: int | None, key: str) -> tuple[str, Any]:
        """Return what came of it, and the refund's id."""
        with hotel.desk.open():
            row = self.host.db.session.get_one(self.host.Payment, payment.id)
            word, found = told(lambda: payments.refund(row, amount=amount, idempotency_key=key))
            return word, found and found.id

    def finish(self, operation_id: str) -> str:
        """Do about one open call what the reconciling command does."""
        with self.host.app.app_context():
            word, outcome = told(lambda: unfinished.finish(self.host.state, operation_id))
            return str(outcome or word)

    def deliver(self, hotel: Hotel, event: dict[str, Any]) -> None:
        stage = Stage(self.host, self.simulator, None, None)
        answer = stage.deliver(event)
        assert answer.status_code == 200, (event["type"], answer.text)
        hotel.delivered.add(event["id"])

    def go_on(self, pause: timedelta) -> None:
        self.clock.ahead += pause
        self.simulator.advance(pause.total_seconds())

    # -- guests, banks, and the account's owner in Stripe's dashboard

    def pay(self, hotel: Hotel, payment: Any, card: str, *, authenticate: bool) -> str:
        page = payment.stripe_payment_link_url or payment.stripe_checkout_session_id
        if page is None:
            return self._confirm(hotel, payment.stripe_payment_intent_id, card)
        try:
            return str(self.simulator.pay(page, card=card, authenticate=authenticate)["payment_status"])
        except CardDeclined:
            return "declined"
        except LinkInactive:
            return "closed"

    def _confirm(self, hotel: Hotel, intent: str, card: str) -> str:
        debit: dict[str, Any] = {
            "type": "sepa_debit",
            "sepa_debit": {"iban": IBAN},
            "billing_details": {"name": "Ada Guest", "email": "guest@example.com"},
        }
        how = {"payment_method": METHODS[card]} if card in METHODS else {"payment_method_data": debit}
        params: Any = {**how, "return_url": "https://plaza.example/paid"}
        return self.at_stripe(lambda: hotel.client.v1.payment_intents.confirm(intent, params))

    def at_stripe(self, act: Callable[[], Any]) -> str:
        """Do what an account's owner does in the dashboard; Stripe may refuse it."""
        try:
            act()
        except stripe.StripeError as error:
            return str(error.code or "refused")
        return "done"

    def settle(self, id_: str, *, succeeded: bool) -> None:
        with suppress(LookupError):
            self.simulator.settle(id_, succeeded=succeeded)


def told(act: Callable[[], Any]) -> tuple[str, Any]:
    """Return ``done`` and the result, ``unknown``, or the code of the refusal; a mistake is raised."""
    try:
        return "done", act()
    except OutcomeUnknownError:
        return "unknown", None
    except ValetProStripeError as error:
        return error.code, None


@contextmanager
def make_money_stage(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MoneyStage]:
    """Give two hotels on a database, in a time that is moved by hand."""
    clock = Clock()
    monkeypatch.setattr(types, "datetime", clock)
    monkeypatch.setattr(patience, "_sleep", lambda seconds: None)
    logging.disable()
    try:
        with make_host(database_url, simulator=Simulator()) as host:
            yield MoneyStage(host, clock)
    finally:
        logging.disable(logging.NOTSET)
