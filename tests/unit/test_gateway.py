"""The one door to Stripe: what goes out, what never goes out, and what carries over (nothing)."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import responses
import stripe

from flask_valetpro_stripe import Mode
from flask_valetpro_stripe.errors import ConfigurationError
from flask_valetpro_stripe.gateway import Credentials, SharedHTTPClient, make_client, make_platform_client
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.state import State
from tests.children import run_program
from tests.hosts import Host, make_host
from tests.unit.wire import Wire, listening

KEY = "sk_test_platform4242"
OTHER_KEY = "sk_test_other4242"
PLAZA = Credentials(Secret(KEY), "acct_plaza", Mode.test)
SEASIDE = Credentials(Secret(KEY), "acct_seaside", Mode.test)
API = "https://api.stripe.com"


@pytest.fixture(scope="module")
def gateway_host() -> Iterator[Host]:
    config = {"VALETPRO_STRIPE_TEST_SECRET_KEY": KEY, "VALETPRO_STRIPE_TEST_CLIENT_ID": "ca_test"}
    with make_host("sqlite://", config=config) as host:
        yield host


@pytest.fixture
def state(gateway_host: Host) -> State:
    """An app's state with a transport of its own, on Stripe's real addresses."""
    return dataclasses.replace(gateway_host.state, http_client=SharedHTTPClient())


@pytest.fixture
def stripe_api() -> Iterator[responses.RequestsMock]:
    """Whatever is sent to Stripe's addresses; nothing leaves the machine."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def wire() -> Iterator[Wire]:
    with listening() as wire:
        yield wire


def on(wire: Wire, state: State) -> State:
    """Return ``state`` with Stripe at the address of ``wire``."""
    return dataclasses.replace(state, config=dataclasses.replace(state.config, api_base=wire.url))


# -- the wire format


def test_a_call_carries_the_key_the_account_and_the_version(state: State, stripe_api: responses.RequestsMock) -> None:
    stripe_api.post(f"{API}/v1/payment_links", json={"id": "plink_1", "object": "payment_link"})

    make_client(state, PLAZA).v1.payment_links.create(
        {"line_items": [{"price": "price_1", "quantity": 1}]}, {"idempotency_key": "valetpro-1-1"}
    )

    [call] = stripe_api.calls
    headers = call.request.headers
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Stripe-Account"] == "acct_plaza"
    assert headers["Stripe-Version"] == stripe.api_version == "2026-10-28.endive"
    assert headers["Idempotency-Key"] == "valetpro-1-1"
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert call.request.body == "line_items[0][price]=price_1&line_items[0][quantity]=1"


def test_the_configured_version_is_sent(state: State, stripe_api: responses.RequestsMock) -> None:
    config = dataclasses.replace(state.config, stripe_version="2026-09-30.endive")
    stripe_api.get(f"{API}/v1/balance", json={"object": "balance"})
    make_client(dataclasses.replace(state, config=config), PLAZA).v1.balance.retrieve()
    assert stripe_api.calls[0].request.headers["Stripe-Version"] == "2026-09-30.endive"


def test_the_platform_acts_as_nobody_else(state: State, stripe_api: responses.RequestsMock) -> None:
    stripe_api.get(f"{API}/v1/balance", json={"object": "balance"})
    make_platform_client(state, Mode.test).v1.balance.retrieve()
    assert "Stripe-Account" not in stripe_api.calls[0].request.headers


def test_a_platform_without_a_key_says_what_the_operator_must_set(state: State) -> None:
    with pytest.raises(ConfigurationError) as error:
        make_platform_client(state, Mode.live)
    assert str(error.value) == (
        "The operator must set VALETPRO_STRIPE_LIVE_SECRET_KEY before anything works in live mode."
    )
    assert error.value.code == "platform_not_configured"


def test_pages_and_refreshes_stay_on_the_account(state: State, stripe_api: responses.RequestsMock) -> None:
    first = {"object": "list", "url": "/v1/payment_links", "has_more": True, "data": [{"id": "plink_1"}]}
    last = {"object": "list", "url": "/v1/payment_links", "has_more": False, "data": [{"id": "plink_2"}]}
    for page in (first, last):
        page["data"][0]["object"] = "payment_link"  # type: ignore[index]
        stripe_api.get(f"{API}/v1/payment_links", json=page)
    stripe_api.get(f"{API}/v1/payment_links/plink_1", json=first["data"][0])  # type: ignore[index]

    client = make_client(state, PLAZA)
    found = list(client.v1.payment_links.list({"limit": 1}).auto_paging_iter())
    found[0].refresh()

    assert [link.id for link in found] == ["plink_1", "plink_2"]
    assert len(stripe_api.calls) == 3
    assert {call.request.headers["Stripe-Account"] for call in stripe_api.calls} == {"acct_plaza"}


def test_a_mistyped_option_does_not_reach_the_platform(state: State, stripe_api: responses.RequestsMock) -> None:
    """The SDK drops an unknown option in silence; the client is bound, so nothing changes."""
    stripe_api.get(f"{API}/v1/balance", json={"object": "balance"})
    client = make_client(state, PLAZA)
    for options in ({"stripe_acount": "acct_seaside"}, {"stripe_account": None}, {}, None):
        client.v1.balance.retrieve(None, options)  # type: ignore[arg-type]
    assert [call.request.headers["Stripe-Account"] for call in stripe_api.calls] == ["acct_plaza"] * 4


# -- what a bound client refuses

FOREIGN: dict[str, dict[str, Any]] = {
    "another key": {"api_key": OTHER_KEY},
    "another account": {"stripe_account": "acct_seaside"},
    "a context": {"stripe_context": "acct_seaside"},
    "a key in a header": {"headers": {"Authorization": f"Bearer {OTHER_KEY}"}},
    "an account in a header": {"headers": {"Stripe-Account": "acct_seaside"}},
    "a context in a header": {"headers": {"Stripe-Context": "acct_seaside"}},
    # The SDK keeps both spellings; on the wire one would take the other's place.
    "a key in a header of other case": {"headers": {"authorization": f"Bearer {OTHER_KEY}"}},
    "an account in a header of other case": {"headers": {"stripe-account": "acct_seaside"}},
    "a context in a header of other case": {"headers": {"STRIPE-CONTEXT": "acct_seaside"}},
    # The SDK takes it for "act as the platform".
    "an empty account": {"stripe_account": ""},
    "an empty account in a header": {"headers": {"Stripe-Account": ""}},
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_call_with_anything_foreign_never_leaves(
    case: str, state: State, stripe_api: responses.RequestsMock
) -> None:
    stripe_api.get(f"{API}/v1/balance", json={"object": "balance"})
    with pytest.raises(ConfigurationError) as refused:
        make_client(state, PLAZA).v1.balance.retrieve(None, FOREIGN[case])  # type: ignore[arg-type]
    assert str(refused.value).startswith("This Stripe client is bound to one account")
    assert "sk_test" not in str(refused.value)
    assert len(stripe_api.calls) == 0


def test_the_platforms_client_cannot_be_turned_to_a_tenant(state: State, stripe_api: responses.RequestsMock) -> None:
    client = make_platform_client(state, Mode.test)
    with pytest.raises(ConfigurationError, match="bound to one account"):
        client.v1.balance.retrieve(None, {"stripe_account": "acct_plaza"})
    assert len(stripe_api.calls) == 0


def test_a_tenants_client_cannot_speak_to_oauth_or_other_addresses(
    state: State, stripe_api: responses.RequestsMock
) -> None:
    """With OAuth it could disconnect any account of the platform."""
    client = make_client(state, PLAZA)
    with pytest.raises(ConfigurationError, match="bound to one account"):
        client.oauth.deauthorize({"stripe_user_id": "acct_seaside"})
    with pytest.raises(ConfigurationError, match="bound to one account"):
        client.raw_request("post", "/v1/files", base="files")
    assert len(stripe_api.calls) == 0


def test_an_address_that_only_begins_like_ours_is_another(state: State, stripe_api: responses.RequestsMock) -> None:
    config = dataclasses.replace(state.config, api_base="https://api.stripe.com.evil.example")
    transport: Any = make_client(state, PLAZA)._requestor._client
    with pytest.raises(ConfigurationError, match="bound to one account"):
        transport.request(
            "get",
            f"{config.api_base}/v1/balance",
            {"Authorization": f"Bearer {KEY}", "Stripe-Account": "acct_plaza"},
        )


def test_ids_cannot_climb_out_of_their_path(state: State, stripe_api: responses.RequestsMock) -> None:
    stripe_api.get(f"{API}/v1/payment_links/plink_1%2F..%2F..%2Fbalance", json={"object": "balance"})
    make_client(state, PLAZA).v1.payment_links.retrieve("plink_1/../../balance")
    assert len(stripe_api.calls) == 1


# -- what carries over from one call to the next


def test_no_telemetry_tells_stripe_about_another_tenants_call(
    state: State, stripe_api: responses.RequestsMock
) -> None:
    stripe_api.get(f"{API}/v1/balance", json={"object": "balance"}, headers={"Request-Id": "req_of_plaza"})
    for credentials in (PLAZA, SEASIDE, PLAZA):
        client = make_client(state, credentials)
        for _ in range(2):
            client.v1.balance.retrieve()

    sent = [{name.lower(): value for name, value in call.request.headers.items()} for call in stripe_api.calls]
    assert len(sent) == 6
    assert not any("x-stripe-client-telemetry" in headers for headers in sent)
    assert not any("req_of_plaza" in str(headers) for headers in sent)


def test_cookies_are_not_carried_to_another_tenant(state: State, wire: Wire) -> None:
    wire.answer = lambda path: (200, {"Set-Cookie": "session=plaza; Path=/"}, b'{"object": "balance"}')
    for credentials in (PLAZA, SEASIDE):
        make_client(on(wire, state), credentials).v1.balance.retrieve()
    assert len(wire.seen) == 2
    assert not any("Cookie" in request.headers for request in wire.seen)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirects_are_not_followed_with_the_key(state: State, wire: Wire, status: int, method: str) -> None:
    wire.answer = lambda path: (status, {"Location": f"{wire.url}/elsewhere"}, b"{}")
    client = make_client(on(wire, state), PLAZA)
    with pytest.raises(stripe.StripeError):
        client.raw_request(method.lower(), "/v1/balance", max_network_retries=0)
    assert [(request.method, request.path) for request in wire.seen] == [(method, "/v1/balance")]


def test_a_netrc_file_does_not_replace_the_key(
    state: State, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    make_client(on(wire, state), PLAZA).v1.balance.retrieve()

    assert wire.seen[0].headers["Authorization"] == f"Bearer {KEY}"


def test_the_environments_proxy_is_not_used(
    state: State, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps ~/.netrc out keeps it out, too."""
    with listening() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        make_client(on(wire, state), PLAZA).v1.balance.retrieve()
        assert (len(wire.seen), len(proxy.seen)) == (1, 0)


# -- the pool


def test_clients_of_all_tenants_share_connections(state: State, wire: Wire) -> None:
    here = on(wire, state)
    for number in range(20):
        make_client(here, PLAZA if number % 2 else SEASIDE).v1.balance.retrieve()
    assert len(wire.seen) == 20
    assert len(wire.connections) == 1
    assert [request.headers["Stripe-Account"] for request in wire.seen] == ["acct_seaside", "acct_plaza"] * 10


def test_threads_share_connections_too(state: State, wire: Wire) -> None:
    """The SDK would keep one session for each thread, and a threaded server makes one for each request."""
    here = on(wire, state)
    for _ in range(5):
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: make_client(here, PLAZA).v1.balance.retrieve()).result()
    assert len(wire.seen) == 5
    assert len(wire.connections) == 1


def test_a_forked_worker_shares_no_connection_with_its_parent(wire: Wire, tmp_path: Path) -> None:
    """Two processes on one TLS connection would read each other's answers."""
    script = textwrap.dedent(
        f"""
        import os
        from flask_valetpro_stripe.gateway import SharedHTTPClient

        shared = SharedHTTPClient()
        ask = lambda who: shared.request("get", "{wire.url}/" + who, {{}})
        ask("parent")
        child = os.fork()
        if child == 0:
            ask("child")
            ask("child")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        ask("parent")
        """
    )
    run_program([sys.executable, "-c", script])

    by = {who: {s.connection for s in wire.seen if s.path == f"/{who}"} for who in ("parent", "child")}
    assert [len(connections) for connections in by.values()] == [1, 1]
    assert by["parent"] != by["child"]
