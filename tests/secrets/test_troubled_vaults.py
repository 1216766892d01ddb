"""What an admin, a guest and Stripe meet while a vault is slow, refusing, sealed or throttling, and right after it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask

from flask_valetpro_stripe import Mode, PaymentStatus, payments, tenant_context
from flask_valetpro_stripe.errors import SecretUnavailableError
from flask_valetpro_stripe.secrets.options import LONGEST
from flask_valetpro_stripe.testing import Simulator
from tests.connections.admin import PAGE, Admin, text_of
from tests.hosts import Host, make_host
from tests.secrets.answers import answering
from tests.secrets.relay import Relay, relay_to
from tests.secrets.stage import Vault
from tests.servers import OpenBao
from tests.timing import seconds, wait_until

#: Seconds that nobody may wait longer than.
PATIENCE = LONGEST + seconds(0.5)
SEALED = json.dumps({"errors": ["Vault is sealed"]})
THROTTLED = json.dumps({"errors": ["request path is rate limited"], "__type": "ThrottlingException"})


def vault_store(app: Flask) -> Any:
    (store,) = [each for each in app.extensions["valetpro_stripe"].stores.values() if each.name != "database"]
    return store


@dataclass
class Hotel:
    """A hotel with its own keys in a vault, and a second process of the app, which has not asked for them yet."""

    host: Host
    admin: Admin
    relay: Relay
    vault_port: int
    key: str
    hours: float = 0.0

    def let_the_pause_pass(self) -> None:
        """Nobody asks a vault again for some seconds after it failed; each of our steps shall ask it itself."""
        self.hours += 1.0
        for app in self.host.apps:
            store = vault_store(app)
            store._clock = lambda: time.monotonic() + self.hours * 3600

    def enter_key(self, key: str) -> Any:
        return self.admin.browser.post(f"{PAGE}/keys", data={"mode": "test", "secret_key": key})

    def make_payment(self) -> str:
        with self.host.apps[-1].app_context(), tenant_context(self.host.tenant(self.admin.tenant.id)):
            made = payments.create_payment_link(amount=2500, currency="eur", description="Valet parking")
            return str(made.stripe_payment_link_url)

    def deliver(self) -> list[int]:
        return [attempt.status for attempt in self.admin.simulator.deliver_all(self.host.apps[-1], rounds=1)]


@pytest.fixture
def hotel(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Hotel]:
    name = request.param
    openbao: OpenBao = request.getfixturevalue("openbao")
    vault: Vault = request.getfixturevalue({"aws": "aws", "gcp": "gcp_grpc", "vault": "vault_token"}[name])
    with relay_to(vault.port) as relay:
        options = {
            "aws": {"region": "eu-west-1", "endpoint_url": f"http://127.0.0.1:{relay.port}"},
            "gcp": {"project": "valet", "endpoint": f"127.0.0.1:{relay.port}"},
            "vault": {"address": f"http://127.0.0.1:{relay.port}", "token": openbao.token},
        }[name]
        config = {
            "WTF_CSRF_ENABLED": False,
            "VALETPRO_STRIPE_SECRET_STORE": name,
            "VALETPRO_STRIPE_SECRET_STORE_OPTIONS": options,
        }
        simulator = Simulator()
        database = f"sqlite:///{tmp_path / 'test.sqlite3'}"
        with make_host(database, simulator=simulator, config=config) as host:
            account = simulator.create_account("Plaza")
            admin = Admin.of(host, host.make_tenant("Hotel Plaza"))
            first = Hotel(host, admin, relay, vault.port, account.test_secret_key)
            assert first.enter_key(account.test_secret_key).status_code == 303
            link = first.make_payment()
            host.add_app(database, config=config)
            admin.browser = host.client_as(admin.user, app=host.apps[-1])
            simulator.pay(link)
            yield first


@contextmanager
def silent(hotel: Hotel) -> Iterator[None]:
    """Nothing answers, which costs the package's own limit: other tests' stores wait far longer."""
    hotel.relay.silence()
    stores = [vault_store(app)._store for app in hotel.host.apps]
    with pytest.MonkeyPatch.context() as patch:
        for store in stores:
            patch.setattr(store, "_longest", LONGEST)
        yield


@contextmanager
def refusing(hotel: Hotel) -> Iterator[None]:
    hotel.relay.refuse()
    yield


@contextmanager
def sealed(hotel: Hotel) -> Iterator[None]:
    with answering(503, SEALED) as port:
        hotel.relay.lead_to(port)
        yield


@contextmanager
def throttling(hotel: Hotel) -> Iterator[None]:
    with answering(429, THROTTLED) as port:
        hotel.relay.lead_to(port)
        yield


@contextmanager
def within_patience() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < PATIENCE


TROUBLES = [
    pytest.param(
        vault,
        trouble,
        id=f"{vault}-{trouble.__name__}",
        marks=[pytest.mark.thorough("test_failures.py has a silent vault of each kind, this test one of a kind")]
        if trouble is silent and vault != "vault"
        else [],
    )
    for vault in ("aws", "gcp", "vault")
    for trouble in (silent, refusing, sealed, throttling)
]


@pytest.mark.slow("waits for the end of our patience with a vault that says nothing")
@pytest.mark.parametrize(("hotel", "trouble"), TROUBLES, indirect=["hotel"])
def test_pages_say_so_within_three_seconds_webhooks_come_again_and_nothing_needs_a_restart(
    hotel: Hotel, trouble: Callable[[Hotel], Any]
) -> None:
    newer = hotel.admin.simulator.create_restricted_key(hotel.admin.connections()[0].account_id)
    with ExitStack() as troubles:
        troubles.enter_context(trouble(hotel))

        with within_patience():
            page = hotel.admin.browser.get(f"{PAGE}/")
        assert page.status_code == 200

        hotel.let_the_pause_pass()
        with within_patience():
            answer = hotel.enter_key(newer)
        assert answer.status_code == 422
        assert "cannot answer now" in text_of(answer)
        assert newer not in answer.text

        hotel.let_the_pause_pass()
        with within_patience(), pytest.raises(SecretUnavailableError, match="cannot answer now") as refused:
            hotel.make_payment()
        assert refused.value.code == "secret_unavailable"

        hotel.let_the_pause_pass()
        with within_patience():
            assert set(hotel.deliver()) == {503}

    hotel.relay.lead_to(hotel.vault_port)
    hotel.let_the_pause_pass()
    # gRPC looks again for a server that it lost once a second.
    wait_until(lambda: all_delivered(hotel), "the vault is used again", pause=1.1)
    assert status_of_the_payment(hotel) is PaymentStatus.COMPLETED
    hotel.make_payment()
    assert hotel.admin.simulator.requests[-1].api_key == hotel.key
    assert hotel.enter_key(newer).status_code == 303


def all_delivered(hotel: Hotel) -> bool:
    statuses = set(hotel.deliver())
    assert statuses <= {200, 503}
    hotel.let_the_pause_pass()
    return statuses == {200}


def status_of_the_payment(hotel: Hotel) -> PaymentStatus:
    with hotel.host.app.app_context():
        first = hotel.host.db.session.query(hotel.host.Payment).order_by(hotel.host.Payment.id).first()
        assert first is not None
        assert first.mode is Mode.test
        return PaymentStatus(first.status)
