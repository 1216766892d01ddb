"""What one process did to a key, another one with a warm memory knows on its very next request."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from flask_valetpro_stripe.testing import Simulator
from tests.children import Conversation, conversation
from tests.connections.admin import PAGE, Admin
from tests.hosts import Host, make_host
from tests.servers import OpenBao, free_port
from tests.timing import seconds

pytestmark = pytest.mark.both


@dataclass
class Worker:
    """Another process of the same app."""

    process: Conversation

    def pay(self, tenant: Any) -> str:
        """Return what came of a request there that makes a payment."""
        return self.process.ask(str(tenant.id))


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    port, is_up = free_port(), threading.Event()
    simulator = Simulator(base_url=f"http://127.0.0.1:{port}", public_url="http://127.0.0.1:9")
    thread = threading.Thread(target=simulator.serve, args=(port,), kwargs={"ready": is_up})
    thread.start()
    assert is_up.wait(seconds(10))
    yield simulator
    simulator.stop()
    thread.join()


@pytest.fixture(params=["database", "vault"])
def settings(request: pytest.FixtureRequest, simulator: Simulator) -> dict[str, Any]:
    config = {**simulator.config(), "WTF_CSRF_ENABLED": False}
    if request.param == "vault":
        openbao: OpenBao = request.getfixturevalue("openbao")
        options = {"address": openbao.address, "token": openbao.token}
        config |= {"VALETPRO_STRIPE_SECRET_STORE": "vault", "VALETPRO_STRIPE_SECRET_STORE_OPTIONS": options}
    return config


@pytest.fixture
def host(database_url: str, settings: dict[str, Any], simulator: Simulator) -> Iterator[Host]:
    with make_host(database_url, config=settings) as host:
        host.simulator = simulator
        yield host


@pytest.fixture
def worker(host: Host, database_url: str, settings: dict[str, Any]) -> Iterator[Worker]:
    with conversation("tests.secrets.other_process", json.dumps([database_url, settings])) as process:
        assert process.read() == "ready"
        yield Worker(process)


@dataclass
class Hotel:
    admin: Admin
    account: Any

    def enter(self, key: str) -> None:
        assert self.admin.browser.post(f"{PAGE}/keys", data={"mode": "test", "secret_key": key}).status_code == 303


def connected(host: Host, simulator: Simulator, name: str) -> Hotel:
    account = simulator.create_account(name)
    hotel = Hotel(Admin.of(host, host.make_tenant(name)), account)
    hotel.enter(account.test_secret_key)
    return hotel


def keys_used(simulator: Simulator) -> list[str | None]:
    made = [r for r in simulator.requests if (r.method, r.path, r.status) == ("POST", "/v1/payment_links", 200)]
    return [request.api_key for request in made]


def test_a_key_that_was_disconnected_here_is_not_used_there_one_request_later(
    host: Host, simulator: Simulator, worker: Worker
) -> None:
    plaza, seaside = connected(host, simulator, "Plaza"), connected(host, simulator, "Seaside")
    assert [worker.pay(plaza.admin.tenant), worker.pay(seaside.admin.tenant)] == ["made", "made"]

    assert plaza.admin.disconnect().status_code == 303
    calls = len(simulator.requests)

    assert worker.pay(plaza.admin.tenant) == "NotConnectedError"
    assert len(simulator.requests) == calls
    assert worker.pay(seaside.admin.tenant) == "made"


def test_a_key_that_was_exchanged_here_is_not_used_there_one_request_later(
    host: Host, simulator: Simulator, worker: Worker
) -> None:
    plaza, seaside = connected(host, simulator, "Plaza"), connected(host, simulator, "Seaside")
    worker.pay(plaza.admin.tenant)
    newer = simulator.create_restricted_key(plaza.account.id)

    plaza.enter(newer)
    worker.pay(plaza.admin.tenant)
    plaza.admin.browser.post(f"{PAGE}/keys/rollback", data={"mode": "test"})
    worker.pay(plaza.admin.tenant)
    worker.pay(seaside.admin.tenant)

    old = plaza.account.test_secret_key
    assert keys_used(simulator) == [old, newer, old, seaside.account.test_secret_key]
