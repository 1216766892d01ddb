"""The simulator as a server: real sockets, real webhooks."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest
import stripe
from werkzeug.serving import make_server

from flask_valetpro_stripe.testing import DROP_AFTER, Simulator
from tests.simulator.helpers import Host, link_params
from tests.timing import seconds, wait_until


@pytest.fixture
def host() -> Iterator[tuple[Host, str]]:
    """A host app on a free port."""
    host = Host()
    server = make_server("127.0.0.1", 0, host.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield host, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def simulator(host: tuple[Host, str], unused_port: int) -> Iterator[Simulator]:
    simulator = Simulator(base_url=f"http://127.0.0.1:{unused_port}", public_url=host[1])
    simulator.config()
    ready = threading.Event()
    options = {"ready": ready, "settle_after": 0.0}
    thread = threading.Thread(target=simulator.serve, args=(unused_port,), kwargs=options)
    thread.start()
    assert ready.wait(seconds(10))
    yield simulator
    simulator.stop()
    thread.join(seconds(20))
    assert not thread.is_alive()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def client(simulator: Simulator) -> Iterator[stripe.StripeClient]:
    http = stripe.RequestsClient()
    bases = {"api": simulator.base_url, "connect": simulator.base_url}
    key = simulator.platform.test_secret_key
    yield stripe.StripeClient(key, http_client=http, base_addresses=bases)  # type: ignore[arg-type]
    http.close()


def test_webhooks_arrive_by_themselves_and_are_retried(
    simulator: Simulator, client: stripe.StripeClient, host: tuple[Host, str]
) -> None:
    host[0].answers = [503]
    client.v1.customers.create({})
    wait_until(lambda: len(simulator.deliveries) == 1, "the webhook is delivered")
    assert simulator.deliveries[0].status == 503

    simulator.advance(5)

    wait_until(lambda: len(simulator.deliveries) == 2, "it is delivered again")
    assert simulator.deliveries[1].status == 200
    assert len(host[0].received) == 2


def test_bank_debits_settle_by_themselves(simulator: Simulator, client: stripe.StripeClient) -> None:
    link = client.v1.payment_links.create(link_params())
    good, bad = simulator.pay(link.url, card="bank_debit"), simulator.pay(link.url, card="bank_debit_fails")

    wait_until(lambda: simulator.object(good["id"])["payment_status"] == "paid", "the debit is paid")
    intent = bad["payment_intent"]
    wait_until(lambda: simulator.object(intent)["status"] == "requires_payment_method", "the other debit fails")


def test_dropped_connection_is_a_connection_error_on_the_wire(
    simulator: Simulator, client: stripe.StripeClient
) -> None:
    simulator.faults.add("POST", "/v1/customers", DROP_AFTER)

    with pytest.raises(stripe.APIConnectionError):
        client.v1.customers.create({})

    assert len(client.v1.customers.list().data) == 1


def test_front_page_is_served(simulator: Simulator) -> None:
    with urllib.request.urlopen(simulator.base_url) as page:
        assert b"Stripe simulator" in page.read()
