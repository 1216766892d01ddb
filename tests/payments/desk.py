"""The desk of one tenant: makes payments, and looks at what came of them here and at Stripe."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from flask_valetpro_stripe import Mode, current_stripe, payments, signals, tenant_context
from flask_valetpro_stripe.testing import LoggedRequest, Simulator
from tests.hosts import Host

LINKS = "/v1/payment_links"
#: What most tests ask for; each says what it changes.
USUAL: Mapping[str, Any] = {"amount": 2500, "currency": "eur", "description": "Valet parking, ticket 7"}


@dataclass
class Desk:
    """One tenant with an account. Payments are given as detached rows; :meth:`now` reads one again."""

    host: Host
    tenant: Any
    account: str | None

    @classmethod
    def of(cls, host: Host, name: str, *, modes: tuple[Mode, ...] = tuple(Mode), **columns: Any) -> Desk:
        """Return the desk of a new tenant, connected to a new account in these modes."""
        assert host.simulator is not None
        tenant = host.make_tenant(name, **columns)
        account = host.simulator.create_account(name).id if modes else None
        for mode in modes:
            host.simulator.connect(str(account), livemode=mode.livemode)
            host.connect(tenant, account, mode)
        return cls(host, tenant, account)

    @property
    def simulator(self) -> Simulator:
        assert self.host.simulator is not None
        return self.host.simulator

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Enter an app context in which the tenant is the current one, and give its row."""
        with self.host.app.app_context():
            row = self.host.tenant(self.tenant.id)
            with tenant_context(row):
                yield row

    def make(self, **asked: Any) -> Any:
        """Make a payment link, in an app context of its own as a request has."""
        with self.open():
            return self._detached(payments.create_payment_link(**{**USUAL, **asked}))

    def make_session(self, **asked: Any) -> Any:
        """Make a checkout session, in the same way."""
        pages = {"success_url": "https://plaza.example/paid", "cancel_url": "https://plaza.example/ticket/7"}
        with self.open():
            return self._detached(payments.create_checkout_session(**{**USUAL, **pages, **asked}))

    def make_intent(self, **asked: Any) -> Any:
        """Make a payment intent, in the same way."""
        with self.open():
            return self._detached(payments.create_payment_intent(**{**USUAL, **asked}))

    def confirm(self, payment: Any, method: str = "pm_card_visa") -> None:
        """Pay an intent as the guest's browser does: with a card of Stripe's for tests."""
        with self.open():
            current_stripe.client.v1.payment_intents.confirm(
                payment.stripe_payment_intent_id,
                {"payment_method": method, "return_url": "https://plaza.example/paid"},
            )

    def capture(self, payment: Any, amount: int | None = None) -> Any:
        with self.open():
            return self._detached(payments.capture(self._attached(payment), amount=amount))

    def refund(self, payment: Any, **asked: Any) -> Any:
        with self.open():
            return self._detached(payments.refund(self._attached(payment), **asked))

    def hear(self) -> None:
        """Let Stripe deliver what there is to tell."""
        self.simulator.deliver_all(self.host.app)

    def sync(self, payment: Any) -> Any:
        with self.open():
            return self._detached(payments.sync(self._attached(payment)))

    def cancel(self, payment: Any) -> Any:
        with self.open():
            return self._detached(payments.cancel(self._attached(payment)))

    def now(self, payment: Any) -> Any:
        """The payment as the database has it now."""
        with self.open():
            return self._detached(self._attached(payment))

    def _attached(self, payment: Any) -> Any:
        return self.host.db.session.get_one(self.host.Payment, payment.id)

    def _detached(self, payment: Any) -> Any:
        self.host.db.session.refresh(payment)
        self.host.db.session.expunge_all()
        return payment

    def payments(self) -> list[Any]:
        return rows(self.host, self.host.Payment, tenant_id=self.tenant.id)

    def operations(self) -> list[Any]:
        return rows(self.host, self.host.valetpro.models.Operation, tenant_id=self.tenant.id)

    def change(self, row: Any, **columns: Any) -> None:
        """Change a row in the database, as somebody else does it meanwhile."""
        with self.host.app.app_context():
            key = sa.inspect(type(row)).primary_key[0]
            self.host.db.session.execute(sa.update(type(row)).where(key == row.id).values(**columns))
            self.host.db.session.commit()


def rows(host: Host, model: Any, **same: Any) -> list[Any]:
    """Return the rows of a model, oldest first, detached, with all their columns."""
    with host.app.app_context():
        found = list(host.db.session.scalars(sa.select(model).filter_by(**same).order_by(model.created_at)))
        host.db.session.expunge_all()
        return found


def made(simulator: Simulator) -> list[LoggedRequest]:
    """The requests to make a link."""
    return [request for request in simulator.requests if (request.method, request.path) == ("POST", LINKS)]


def links_at(simulator: Simulator, account: str | None) -> list[dict[str, Any]]:
    """The links that an account has at Stripe, in both modes."""
    events = simulator.events_of(account)
    return [simulator.object(e["data"]["object"]["id"]) for e in events if e["type"] == "payment_link.created"]


@contextmanager
def listening(*names: str) -> Iterator[list[tuple[str, Any]]]:
    """Give the signals that are sent in the block, each as its name and the id of its payment."""
    heard: list[tuple[str, Any]] = []
    receivers = [_receiver(name, heard) for name in names]
    for name, receiver in receivers:
        getattr(signals, name).connect(receiver)
    try:
        yield heard
    finally:
        for name, receiver in receivers:
            getattr(signals, name).disconnect(receiver)


def _receiver(name: str, heard: list[tuple[str, Any]]) -> tuple[str, Any]:
    def receive(app: Any, *, tenant: Any, payment: Any) -> None:
        heard.append((name, payment.id))

    return name, receive


def in_parallel(count: int, act: Any) -> list[Any]:
    """Return what ``count`` threads got, started together; an error is returned like an answer."""
    start, answers = threading.Barrier(count), []

    def run() -> None:
        start.wait()
        try:
            answers.append(act())
        except Exception as error:
            answers.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
