"""Two hotels on connected accounts, and Stripe's side of the webhook: events, signed and delivered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from werkzeug.test import TestResponse

from flask_valetpro_stripe import Mode, current_tenant, payments, tenant_context
from flask_valetpro_stripe.testing import Simulator, make_event, sign
from tests.hosts import Host, make_host

URL = "/api/webhooks/stripe"
PLAZA, SEASIDE = "acct_plaza", "acct_seaside"
TAKEN = (200, "Taken.")
#: Every refusal says this and nothing else.
REFUSED = (400, "This is not a signed Stripe event.")


@dataclass
class Stage:
    """A host with Hotel Plaza and Hotel Seaside, each with its own account in test mode."""

    host: Host
    simulator: Simulator
    plaza: Any
    seaside: Any

    # -- Stripe's side

    def secret(self, *, connect: bool, mode: Mode = Mode.test) -> str:
        """Return the newest signing secret of one of the platform's four endpoints."""
        scope = "CONNECT_WEBHOOK_SECRETS" if connect else "WEBHOOK_SECRETS"
        found: str = self.host.app.config[f"VALETPRO_STRIPE_{mode.upper()}_{scope}"][0]
        return found

    def deliver(
        self,
        event: Mapping[str, Any],
        *,
        connect: bool | None = None,
        mode: Mode | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> TestResponse:
        """Deliver an event as Stripe does; by another endpoint than the one that fits if told so."""
        connect = "account" in event if connect is None else connect
        mode = Mode.of(event["livemode"]) if mode is None else mode
        body = json.dumps(event).encode()
        return self.post(body, sign(body, self.secret(connect=connect, mode=mode)), headers=headers)

    def post(
        self, body: bytes, signature: str | None, *, url: str = URL, headers: Mapping[str, str] | None = None
    ) -> TestResponse:
        """Post any bytes with any signature."""
        sent = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
        if signature is not None:
            sent["Stripe-Signature"] = signature
        return self.host.app.test_client().post(url, data=body, headers=sent)

    def events_while(self, account_id: str | None = PLAZA) -> _Events:
        """Return a block that collects the events of an account at the simulator, by type."""
        return _Events(self.simulator, account_id)

    # -- the host's side

    def make_payment(self, tenant: Any, *, amount: int = 2500, currency: str = "eur") -> Any:
        """Return a payment with a link, made by the public call."""
        with self.host.app.app_context(), tenant_context(self.host.tenant(tenant.id)):
            payment = payments.create_payment_link(amount=amount, currency=currency, description="Valet parking")
            self.host.db.session.refresh(payment)
            return payment

    def payment(self, payment: Any) -> Any:
        """Return a payment as it is in the database now."""
        with self.host.app.app_context():
            return self.host.db.session.get(self.host.Payment, payment.id)

    def rows(self, name: str = "WebhookEvent") -> list[Any]:
        """Return all rows of one of the extension's tables, oldest first."""
        model = getattr(self.host.valetpro.models, name)
        with self.host.app.app_context():
            return list(self.host.db.session.scalars(sa.select(model).order_by(model.id)))

    def row(self) -> Any:
        """Return the only row of the inbox."""
        (row,) = self.rows()
        return row

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Collect every SQL statement that the app sends."""
        seen: list[str] = []

        def note(*arguments: Any) -> None:
            seen.append(arguments[2])

        with self.host.app.app_context():
            engine = self.host.db.engine
        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)


class _Events:
    """The events of one account that were made inside a ``with`` block."""

    def __init__(self, simulator: Simulator, account_id: str | None) -> None:
        self._simulator = simulator
        self._account_id = account_id
        self.made: list[dict[str, Any]] = []

    def __enter__(self) -> _Events:
        self._before = len(self._simulator.events_of(self._account_id))
        return self

    def __exit__(self, *_: object) -> None:
        self.made = self._simulator.events_of(self._account_id)[self._before :]

    def of(self, event_type: str) -> dict[str, Any]:
        """Return the only event of a type."""
        (found,) = (event for event in self.made if event["type"] == event_type)
        return found


def answer(response: TestResponse) -> tuple[int, str]:
    """Return the status and the text of an answer."""
    return response.status_code, response.text


def ping(event_type: str = "customer.created", *, account: str | None = PLAZA, **extra: Any) -> dict[str, Any]:
    """Return an event that the extension itself does nothing about."""
    return make_event(event_type, {"id": "cus_1", "object": "customer"}, account=account, **extra)


@contextmanager
def make_stage(
    database_url: str, *, app: Mapping[str, Any] | None = None, own_models: bool = False, **config: Any
) -> Iterator[Stage]:
    """Give a stage on an empty database; ``config`` are settings without their prefix, ``app`` are Flask's."""
    simulator = Simulator()
    settings = {f"VALETPRO_STRIPE_{name}": value for name, value in config.items()} | dict(app or {})
    with make_host(database_url, simulator=simulator, config=settings, own_models=own_models) as host:
        plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
        for tenant, account_id in [(plaza, PLAZA), (seaside, SEASIDE)]:
            simulator.create_account(tenant.name, id=account_id)
            simulator.connect(account_id)
            host.connect(tenant, account_id)
        yield Stage(host, simulator, plaza, seaside)


def seen_by_handlers(stage: Stage) -> list[tuple[str, Any]]:
    """Return a list that fills with each event that reaches the host's handlers, and its tenant's name."""
    seen: list[tuple[str, Any]] = []

    @stage.host.valetpro.on("*")
    def note(event: Any) -> None:
        seen.append((event.event_id, current_tenant.name if current_tenant else None))

    return seen
