"""Webhook endpoints that an account makes with its own key: made, listed, changed, switched off, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import DROP_AFTER, RATE_LIMIT, SERVER_ERROR, Account, Simulator
from tests.simulator.helpers import Host, client_with, link_params

VERSION = "2026-09-30.endive"
ENDPOINT: Any = {
    "url": "https://app.test/api/webhooks/stripe",
    "enabled_events": ["payment_link.created"],
    "api_version": VERSION,
    "metadata": {"tag": "valetpro"},
}


def make(client: stripe.StripeClient, **more: Any) -> stripe.WebhookEndpoint:
    return client.v1.webhook_endpoints.create({**ENDPOINT, **more})


def refusal(client: stripe.StripeClient, params: Mapping[str, Any]) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        make(client, **params)
    return caught.value


def test_endpoint_keeps_what_it_was_made_with(seaside_client: stripe.StripeClient) -> None:
    made = make(seaside_client)

    read = seaside_client.v1.webhook_endpoints.retrieve(made.id)

    assert made.secret.startswith("whsec_")
    assert "secret" not in read
    assert (read.api_version, read.status, read.metadata.to_dict()) == (VERSION, "enabled", {"tag": "valetpro"})


def test_everything_but_the_version_and_the_secret_can_change(seaside_client: stripe.StripeClient) -> None:
    made = make(seaside_client)
    changes: Any = {"url": "https://app.test/new", "enabled_events": ["*"], "metadata": {"tag": ""}, "disabled": True}

    changed = seaside_client.v1.webhook_endpoints.update(made.id, changes)

    assert (changed.url, changed.enabled_events, changed.status) == ("https://app.test/new", ["*"], "disabled")
    assert changed.metadata.to_dict() == {}
    assert "secret" not in changed
    with pytest.raises(stripe.InvalidRequestError, match="Received unknown parameter: api_version"):
        seaside_client.v1.webhook_endpoints.update(made.id, {**changes, "api_version": "2026-10-28.endive"})


def test_endpoints_are_listed_ten_at_a_time(seaside_client: stripe.StripeClient) -> None:
    made = [make(seaside_client, url=f"https://app.test/{number}").id for number in range(12)]

    first = seaside_client.v1.webhook_endpoints.list()
    rest = seaside_client.v1.webhook_endpoints.list({"starting_after": first.data[-1].id})

    assert (first.has_more, rest.has_more) == (True, False)
    assert [each.id for page in (first, rest) for each in page.data] == made[::-1]
    assert all("secret" not in each for each in first.data)


def test_neighbours_endpoint_does_not_exist(simulator: Simulator, plaza: Account, seaside: Account) -> None:
    own, neighbour = (client_with(simulator, account.test_secret_key) for account in (plaza, seaside))
    made = make(own)

    for call in (neighbour.v1.webhook_endpoints.retrieve, neighbour.v1.webhook_endpoints.delete):
        with pytest.raises(stripe.InvalidRequestError, match=f"No such webhook endpoint: '{made.id}'"):
            call(made.id)

    assert neighbour.v1.webhook_endpoints.list().data == []
    assert own.v1.webhook_endpoints.retrieve(made.id).status == "enabled"


def test_platform_sees_none_of_a_connected_accounts_endpoints(
    simulator: Simulator, plaza: Account, plaza_client: stripe.StripeClient
) -> None:
    make(client_with(simulator, plaza.test_secret_key))

    with pytest.raises(stripe.PermissionError) as caught:
        plaza_client.v1.webhook_endpoints.list()

    assert caught.value.user_message == (
        "You are not permitted to configure webhook endpoints on a connected account. Did you mean to create a "
        "Connect webhook on your account instead?"
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/hook",
        "https://127.0.0.1:5000/hook",
        "https://[::1]/hook",
        "https://10.1.2.3/hook",
        "https://192.168.0.7/hook",
        "https://169.254.169.254/hook",
        "https://desk/hook",
        "https://desk.local/hook",
        "http://hotel.localhost./hook",
    ],
)
def test_private_address_is_refused_where_the_simulator_is_told_to(url: str) -> None:
    simulator = Simulator(refuse_private_urls=True)
    client = client_with(simulator, simulator.create_account("Seaside Resort").test_secret_key)

    error = refusal(client, {"url": url})

    assert error.user_message == (
        "Invalid URL: URL must be publicly accessible. Consider using a tool like the Stripe CLI to test webhooks "
        "locally: https://github.com/stripe/stripe-cli"
    )
    assert (error.code, error.param) == ("url_invalid", "url")
    assert client.v1.webhook_endpoints.list().data == []


def test_live_address_must_be_https_where_the_simulator_is_told_to() -> None:
    simulator = Simulator(refuse_private_urls=True)
    account = simulator.create_account("Seaside Resort")
    url = "http://hotel.example/hook"

    error = refusal(client_with(simulator, account.live_secret_key), {"url": url})

    assert error.user_message == "Invalid URL: In live mode webhook URLs must start with https://."
    assert make(client_with(simulator, account.test_secret_key), url=url).status == "enabled"


def test_changed_address_is_looked_at_like_a_new_one() -> None:
    simulator = Simulator(refuse_private_urls=True)
    client = client_with(simulator, simulator.create_account("Seaside Resort").test_secret_key)
    made = make(client)

    with pytest.raises(stripe.InvalidRequestError, match="publicly accessible"):
        client.v1.webhook_endpoints.update(made.id, {"url": "http://localhost/hook"})

    assert client.v1.webhook_endpoints.retrieve(made.id).url == ENDPOINT["url"]


def test_any_address_will_do_otherwise(simulator: Simulator, seaside: Account) -> None:
    client = client_with(simulator, seaside.live_secret_key)

    assert make(client, url="http://127.0.0.1:5000/hook").status == "enabled"


def test_modes_and_accounts_have_room_for_sixteen_each(simulator: Simulator, plaza: Account, seaside: Account) -> None:
    client = client_with(simulator, seaside.live_secret_key)
    made = [make(client) for _ in range(16)]

    error = refusal(client, {})

    assert error.user_message == "You have reached the maximum of 16 live webhook endpoints."
    assert make(client_with(simulator, seaside.test_secret_key))
    assert make(client_with(simulator, plaza.live_secret_key))
    client.v1.webhook_endpoints.delete(made[0].id)
    assert make(client)


def test_event_comes_without_account_and_in_the_endpoints_version(simulator: Simulator, plaza: Account) -> None:
    client, host = client_with(simulator, plaza.test_secret_key), Host()
    made = make(client)
    client.v1.payment_links.create(link_params())
    client.v1.customers.create({"name": "Ada Guest"})

    [delivery] = simulator.deliver(host.app)

    assert (delivery.endpoint, delivery.event_type) == (made.id, "payment_link.created")
    assert delivery.event["api_version"] == VERSION
    assert "account" not in delivery.event
    assert stripe.WebhookSignature.verify_header(
        delivery.body.decode(), delivery.headers["Stripe-Signature"], str(made.secret)
    )


def test_neighbours_endpoint_hears_nothing(simulator: Simulator, plaza: Account, seaside: Account) -> None:
    own, neighbour = (client_with(simulator, account.test_secret_key) for account in (plaza, seaside))
    mine = make(own)
    make(neighbour)

    own.v1.payment_links.create(link_params())

    assert [delivery.endpoint for delivery in simulator.deliver(Host().app)] == [mine.id]


def test_endpoint_that_is_switched_off_hears_no_more(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    made, host = make(seaside_client), Host()
    host.answers = [500]
    seaside_client.v1.payment_links.create(link_params())
    assert [delivery.status for delivery in simulator.deliver(host.app)] == [500]

    simulator.disable_endpoint(made.id)
    seaside_client.v1.payment_links.create(link_params())

    assert seaside_client.v1.webhook_endpoints.retrieve(made.id).status == "disabled"
    assert simulator.deliver_all(host.app) == []


def test_endpoint_that_is_switched_on_again_hears_what_happens_from_then(
    simulator: Simulator, seaside_client: stripe.StripeClient
) -> None:
    made = make(seaside_client)
    simulator.disable_endpoint(made.id)
    seaside_client.v1.payment_links.create(link_params())

    seaside_client.v1.webhook_endpoints.update(made.id, {"disabled": False})
    later = seaside_client.v1.payment_links.create(link_params())

    assert [each.event["data"]["object"]["id"] for each in simulator.deliver_all(Host().app)] == [later.id]


def test_deleted_endpoint_gets_no_more_retries(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    made, host = make(seaside_client), Host()
    host.answers = [500]
    seaside_client.v1.payment_links.create(link_params())
    simulator.deliver(host.app)

    seaside_client.v1.webhook_endpoints.delete(made.id)

    assert simulator.deliver_all(host.app) == []
    assert len(host.received) == 1


@pytest.mark.parametrize("id", ["we_missing", "acct_missing"])
def test_only_an_endpoint_can_be_switched_off(simulator: Simulator, id: str) -> None:
    with pytest.raises(LookupError, match=f"^The simulator has no webhook endpoint '{id}'\\.$"):
        simulator.disable_endpoint(id)


def test_lost_answer_leaves_an_endpoint_that_its_metadata_finds(
    simulator: Simulator, seaside_client: stripe.StripeClient
) -> None:
    simulator.faults.add(method="POST", path="/v1/webhook_endpoints", fault=DROP_AFTER)

    with pytest.raises(stripe.APIConnectionError):
        make(seaside_client)

    [left] = seaside_client.v1.webhook_endpoints.list().data
    assert left.metadata.to_dict() == {"tag": "valetpro"}


def test_creation_is_replayed_with_its_secret_under_the_same_idempotency_key(
    simulator: Simulator, seaside_client: stripe.StripeClient
) -> None:
    simulator.faults.add(method="POST", path="/v1/webhook_endpoints", fault=DROP_AFTER)
    options: Any = {"idempotency_key": "endpoint-7"}
    with pytest.raises(stripe.APIConnectionError):
        seaside_client.v1.webhook_endpoints.create(ENDPOINT, options)

    again = seaside_client.v1.webhook_endpoints.create(ENDPOINT, options)

    assert again.secret.startswith("whsec_")
    assert [each.id for each in seaside_client.v1.webhook_endpoints.list().data] == [again.id]


def test_deleting_can_fail_as_any_call_can(simulator: Simulator, seaside_client: stripe.StripeClient) -> None:
    made = make(seaside_client)
    simulator.faults.add("DELETE", "/v1/webhook_endpoints", RATE_LIMIT)
    simulator.faults.add("DELETE", "/v1/webhook_endpoints", SERVER_ERROR)

    with pytest.raises(stripe.RateLimitError):
        seaside_client.v1.webhook_endpoints.delete(made.id)
    with pytest.raises(stripe.APIError):
        seaside_client.v1.webhook_endpoints.delete(made.id)

    assert seaside_client.v1.webhook_endpoints.delete(made.id).deleted
