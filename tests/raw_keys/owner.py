"""A hotel that pastes its own Stripe keys, and what it has at Stripe and with us."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Barrier, Thread
from typing import Any

import sqlalchemy as sa
import stripe
from flask import Flask
from werkzeug.test import TestResponse

from flask_valetpro_stripe import Mode, custody, errors, payments, tenant_context
from flask_valetpro_stripe.connections import disconnect
from flask_valetpro_stripe.custody import WEBHOOK_SECRET
from flask_valetpro_stripe.onboarding import key_check, raw_keys, rotation
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.testing import Account, LoggedRequest, Simulator, make_event, sign
from tests.connections.admin import rows
from tests.hosts import Host
from tests.simulator.helpers import client_with

ENDPOINTS = "/v1/webhook_endpoints"
#: What a key must be allowed, by the simulator's words, and what the dashboard calls it.
REQUIRED = {
    "payment_links": "Payment Links: Write",
    "checkout": "Checkout Sessions: Write",
    "payment_intents": "PaymentIntents: Write",
    "refunds": "Charges and Refunds: Write",
    "products": "Products: Write",
    "prices": "Prices: Write",
}
OPTIONAL = {
    "webhook_endpoints": "Webhook Endpoints: Write",
    "events": "Events: Read",
    "balance": "Balance: Read",
    "payouts": "Payouts: Read",
    "balance_transactions": "Balance Transaction Sources: Read",
    "customers": "Customers: Read",
    "billing_portal": "Customer Portal: Read",
    "tax": "Tax Calculations and Transactions: Read",
}
PASTED = "whsec_pastedByHandFromTheDashboard42"


@dataclass
class Owner:
    """One hotel with its account at Stripe."""

    host: Host
    tenant: Any
    account: Account
    name: str = "the admin"

    @classmethod
    def of(cls, host: Host, name: str) -> Owner:
        assert host.simulator is not None
        return cls(host, host.make_tenant(name), host.simulator.create_account(name))

    @property
    def simulator(self) -> Simulator:
        assert self.host.simulator is not None
        return self.host.simulator

    # -- what the admin does

    def save(self, secret_key: str = "", *, mode: Mode = Mode.test, app: Flask | None = None, **fields: str) -> None:
        """Fill in the form and send it, in a request of its own."""
        with self.acting(app) as (state, tenant):
            typed = {name: Secret(text) for name, text in {"secret_key": secret_key, **fields}.items()}
            pasted = key_check.read_form(state, mode, typed)
            raw_keys.save(state, tenant, mode, pasted, actor=self.name)

    def connect(self, mode: Mode = Mode.test) -> str:
        """Save the account's secret key, and return it."""
        key = self.account.live_secret_key if mode.livemode else self.account.test_secret_key
        self.save(key, mode=mode)
        return key

    def new_key(self, *without: str, account: Account | None = None) -> str:
        """Return a new restricted key that may do all that we can use, but these things."""
        allowed = [word for word in ("account:read", "tokens:read", *REQUIRED, *OPTIONAL) if word not in without]
        return self.simulator.create_restricted_key((account or self.account).id, allow=allowed)

    def refused(self, secret_key: str = "", **fields: Any) -> errors.ValetProStripeError:
        """Send the form, and return the error that it must end in."""
        try:
            self.save(secret_key, **fields)
        except errors.ValetProStripeError as error:
            return error
        raise AssertionError("The form was taken.")

    def roll_back(self, mode: Mode = Mode.test) -> None:
        with self.acting() as (state, tenant):
            rotation.roll_back(state, tenant, mode, actor=self.name)

    def destroy(self, mode: Mode = Mode.test) -> int:
        with self.acting() as (state, tenant):
            return rotation.destroy_archived(state, tenant, mode, actor=self.name)

    def disconnect(self, mode: Mode = Mode.test) -> None:
        with self.acting() as (state, tenant):
            disconnect(state, tenant, mode, actor=self.name)

    def make_payment(self) -> Any:
        with self.acting() as (_, tenant), tenant_context(tenant):
            payment = payments.create_payment_link(amount=2500, currency="eur", description="Valet parking")
            self.host.db.session.refresh(payment)
            self.host.db.session.expunge(payment)
            return payment

    @contextmanager
    def acting(self, app: Flask | None = None) -> Iterator[tuple[Any, Any]]:
        """Enter an app context of its own, as each request does; what failed is rolled back."""
        app = app or self.host.app
        with app.app_context():
            yield app.extensions["valetpro_stripe"], self.host.tenant(self.tenant.id)

    # -- what there is

    @property
    def connections(self) -> list[Any]:
        return rows(self.host, self.host.valetpro.models.Connection, tenant_id=self.tenant.id)

    @property
    def living(self) -> list[Any]:
        return [connection for connection in self.connections if connection.ended_at is None]

    @property
    def connection(self) -> Any:
        """The only one that has not ended."""
        (found,) = self.living
        return found

    @property
    def current(self) -> Any:
        (found,) = [each for each in self.connections if each.is_current]
        return found

    def secrets(self, purpose: str = custody.API_KEY) -> list[Any]:
        """The rows of the versions of a secret, oldest first."""
        return rows(self.host, self.host.valetpro.models.Secret, tenant_id=self.tenant.id, purpose=purpose)

    def in_use(self, purpose: str = custody.API_KEY, connection: Any = None) -> str:
        """The secret that is in use, as the database and its store have it."""
        with self.acting() as (state, _):
            key = (connection or self.connection).id
            own = self.host.db.session.get_one(self.host.valetpro.models.Connection, key)
            row = custody.find_present(state, own, purpose)
            assert row is not None
            return custody.read(state, own, row).reveal()

    @property
    def audit(self) -> list[str]:
        entries = rows(self.host, self.host.valetpro.models.AuditEntry, tenant_id=self.tenant.id)
        return [entry.action for entry in entries]

    @property
    def events(self) -> list[Any]:
        model = self.host.valetpro.models.WebhookEvent
        return [row for row in rows(self.host, model) if row.scope in {f"tenant:{c.id}" for c in self.connections}]

    # -- what Stripe has

    def stripe(self, account: Account | None = None) -> stripe.StripeClient:
        """A client of the account's own, that we know nothing of."""
        return client_with(self.simulator, (account or self.account).test_secret_key)

    def endpoints(self, account: Account | None = None) -> list[Any]:
        """The account's endpoints at Stripe, oldest first."""
        page = self.stripe(account).v1.webhook_endpoints.list({"limit": 100})
        found = [each.to_dict() for each in page.auto_paging_iter()]
        return found[::-1]

    def add_endpoint(self, **fields: Any) -> str:
        """Make an endpoint as the merchant does."""
        body: Any = {"url": "https://shop.example/hook", "enabled_events": ["charge.succeeded"], **fields}
        return str(self.stripe().v1.webhook_endpoints.create(body).id)

    # -- what Stripe sends

    def path(self, connection: Any = None) -> str:
        return f"/api/webhooks/stripe/{(connection or self.connection).endpoint_token}"

    def deliver(
        self, event: Mapping[str, Any], *, secret: str | None = None, path: str | None = None, app: Flask | None = None
    ) -> TestResponse:
        """Deliver an event to the hotel's own address, signed with its secret."""
        body = json.dumps(event).encode()
        signature = sign(body, secret or self.in_use(custody.WEBHOOK_SECRET))
        headers = {"Stripe-Signature": signature, "Content-Type": "application/json"}
        return (app or self.host.app).test_client().post(path or self.path(), data=body, headers=headers)


def ping(**fields: Any) -> dict[str, Any]:
    """Return an event that the extension itself does nothing about."""
    return make_event("customer.created", {"id": "cus_1", "object": "customer"}, **fields)


def asked(simulator: Simulator, method: str, path: str = ENDPOINTS) -> list[LoggedRequest]:
    return [each for each in simulator.requests if each.method == method and each.path == path]


def at_once(*acts: Callable[[], object]) -> list[Any]:
    """Do all at the same moment; return what each returned or raised."""
    start, results = Barrier(len(acts)), dict[int, Any]()

    def run(number: int, act: Callable[[], object]) -> None:
        start.wait()
        try:
            results[number] = act()
        except Exception as error:
            results[number] = error

    threads = [Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(acts))]


@contextmanager
def statements(host: Host) -> Iterator[list[str]]:
    """Collect every SQL statement that the app sends."""
    seen: list[str] = []

    def note(*arguments: Any) -> None:
        seen.append(arguments[2])

    with host.app.app_context():
        engine = host.db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


class Shelf:
    """A host's own secret store. ``meanwhile`` is called before each step: it may raise, or do what others do then."""

    name = "shelf"

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.meanwhile: Callable[[str], object] = lambda step: None

    @property
    def secrets(self) -> list[str]:
        """What is in the texts that it keeps."""
        return [json.loads(text)["secret"] for text in self.kept.values()]

    def put(self, label: Any, secret: Secret) -> str:
        self.meanwhile("put")
        reference = f"entry-{len(self.kept)}-{label.version}-{id(secret)}"
        self.kept[reference] = secret.reveal()
        return reference

    def get(self, label: Any, stored: str) -> Secret:
        self.meanwhile("get")
        return Secret(self.kept[stored])

    def delete(self, label: Any, stored: str) -> None:
        self.meanwhile("delete")
        self.kept.pop(stored, None)


class Transport(stripe.HTTPClient):
    """The way to the simulator, on which things happen: ``before`` and ``after`` each request."""

    name = "transport"

    def __init__(self, inner: stripe.HTTPClient) -> None:
        super().__init__()
        self._inner = inner
        self.before: Callable[[str, str], object] = lambda method, url: None
        self.after: Callable[[str, str, str], str] = lambda method, url, body: body

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **_: Any) -> Any:
        self.before(method.upper(), url)
        body, status, answered = self._inner.request(method, url, headers, post_data)
        return self.after(method.upper(), url, body), status, answered

    def close(self) -> None:
        pass


def put_transport(host: Host) -> Transport:
    """Put a transport between the host's app and the simulator."""
    transport = Transport(host.state.http_client)
    host.state.http_client = transport
    return transport


class Crash(BaseException):
    """The process dies here: nothing that follows runs, no clean-up either."""


def is_sound(owner: Owner) -> bool:
    """Tell whether there is one endpoint, and it is the one that we know, at its address, with the secret we have."""
    connection, (found,) = owner.connection, owner.endpoints()
    assert found["id"] == connection.endpoint_id
    assert found["url"].endswith(connection.endpoint_token)
    private = owner.simulator._ledger.records[found["id"]].private["secrets"][-1][0]
    assert owner.in_use(WEBHOOK_SECRET) == private
    return bool(connection.status == "CONNECTED" and connection.requirements is None)
