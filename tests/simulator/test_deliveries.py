"""Webhooks: who hears of what, signed how, retried when."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, Simulator, make_event, sign
from tests.simulator.helpers import Host, client_with, link_params

EVERYTHING: Any = {"enabled_events": ["*"]}


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def secrets(simulator: Simulator) -> dict[str, str]:
    """The platform's four endpoints, and their secrets by setting."""
    config = simulator.config()
    return {name.removeprefix("VALETPRO_STRIPE_"): value[0] for name, value in config.items() if "SECRETS" in name}


def _verified(body: bytes, headers: dict[str, str], secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body.decode(), headers["Stripe-Signature"], secret, 300)
    except stripe.SignatureVerificationError:
        return False
    return True


def test_connected_accounts_event_reaches_the_connect_endpoint_with_its_account(
    simulator: Simulator, host: Host, secrets: dict[str, str], plaza: Account, plaza_client: stripe.StripeClient
) -> None:
    simulator.deliver_all(host.app)
    host.received.clear()

    plaza_client.v1.customers.create({"email": "ada@example.com"}, {"idempotency_key": "k-1"})
    (delivery,) = simulator.deliver(host.app)

    ((body, headers),) = host.received
    event = json.loads(body)
    assert _verified(body, headers, secrets["TEST_CONNECT_WEBHOOK_SECRETS"])
    assert not _verified(body, headers, secrets["TEST_WEBHOOK_SECRETS"])
    assert (event["type"], event["account"], event["livemode"]) == ("customer.created", plaza.id, False)
    assert event["request"]["idempotency_key"] == "k-1"
    assert event["request"]["id"].startswith("req_")
    assert event["data"]["object"]["email"] == "ada@example.com"
    assert "Stripe-Account" not in headers
    assert (delivery.status, delivery.event_id) == (200, event["id"])


def test_platforms_own_event_carries_no_account(
    simulator: Simulator, host: Host, secrets: dict[str, str], platform_client: stripe.StripeClient
) -> None:
    platform_client.v1.customers.create({})

    simulator.deliver(host.app)

    ((body, headers),) = host.received
    assert "account" not in json.loads(body)
    assert _verified(body, headers, secrets["TEST_WEBHOOK_SECRETS"])


def test_unconnected_account_is_heard_by_its_own_endpoint_only(
    simulator: Simulator, host: Host, secrets: dict[str, str], seaside_client: stripe.StripeClient
) -> None:
    endpoint = seaside_client.v1.webhook_endpoints.create({"url": "http://app.test/api/webhooks/stripe", **EVERYTHING})

    seaside_client.v1.customers.create({})
    simulator.deliver(host.app)

    ((body, headers),) = host.received
    assert "account" not in json.loads(body)
    assert _verified(body, headers, endpoint.secret)


def test_live_connect_endpoint_also_gets_test_events_of_accounts_connected_live(
    simulator: Simulator, host: Host, secrets: dict[str, str], seaside: Account, seaside_client: stripe.StripeClient
) -> None:
    simulator.connect(seaside.id, livemode=True)
    simulator.deliver_all(host.app)
    host.received.clear()

    seaside_client.v1.customers.create({})
    simulator.deliver(host.app)

    ((body, headers),) = host.received
    assert json.loads(body)["livemode"] is False
    assert _verified(body, headers, secrets["LIVE_CONNECT_WEBHOOK_SECRETS"])


def test_test_endpoint_never_gets_live_events(
    simulator: Simulator, host: Host, secrets: dict[str, str], plaza: Account
) -> None:
    simulator.deliver_all(host.app)
    host.received.clear()

    client_with(simulator, plaza.live_secret_key).v1.customers.create({})
    simulator.deliver(host.app)

    assert host.received == []


def test_deauthorization_still_reaches_the_platform(
    simulator: Simulator, host: Host, secrets: dict[str, str], plaza: Account
) -> None:
    simulator.deliver_all(host.app)
    host.received.clear()

    simulator.disconnect(plaza.id)
    simulator.deliver(host.app)

    ((body, _),) = host.received
    event = json.loads(body)
    assert (event["type"], event["account"]) == ("account.application.deauthorized", plaza.id)


@pytest.mark.parametrize("answer", [500, 404, 302, 400])
def test_anything_but_2xx_is_retried_later_with_a_fresh_signature(
    simulator: Simulator, host: Host, secrets: dict[str, str], platform_client: stripe.StripeClient, answer: int
) -> None:
    host.answers = [answer]
    platform_client.v1.customers.create({})
    (failed,) = simulator.deliver(host.app)
    assert failed.status == answer
    assert simulator.deliver(host.app) == []

    simulator.advance(5)
    (retried,) = simulator.deliver(host.app)

    assert (retried.status, retried.attempt, retried.event_id) == (200, 2, failed.event_id)
    assert simulator.deliver(host.app) == []


def test_retries_grow_apart_and_end(
    simulator: Simulator, host: Host, secrets: dict[str, str], platform_client: stripe.StripeClient
) -> None:
    host.answers = [500] * 100
    platform_client.v1.customers.create({})

    attempts = 0
    for _ in range(4 * 24):
        attempts += len(simulator.deliver(host.app))
        simulator.advance(3600)

    assert attempts == 12
    assert simulator.deliver_all(host.app) == []


def test_pending_webhooks_counts_what_is_not_acknowledged(
    simulator: Simulator, host: Host, secrets: dict[str, str], platform_client: stripe.StripeClient
) -> None:
    host.answers = [500]
    platform_client.v1.customers.create({})
    simulator.deliver(host.app)
    (missed,) = platform_client.v1.events.list({"delivery_success": False})
    assert missed.pending_webhooks == 1

    simulator.deliver_all(host.app)

    assert platform_client.v1.events.retrieve(missed.id).pending_webhooks == 0
    assert len(platform_client.v1.events.list({"delivery_success": False})) == 0


def test_rolled_secret_signs_with_both_for_a_day(
    simulator: Simulator, host: Host, secrets: dict[str, str], platform_client: stripe.StripeClient
) -> None:
    old = secrets["TEST_WEBHOOK_SECRETS"]
    new = simulator.roll_secret(old)

    platform_client.v1.customers.create({})
    simulator.deliver(host.app)
    simulator.advance(86_400)
    platform_client.v1.customers.create({})
    simulator.deliver(host.app)

    (during, after) = host.received
    assert (_verified(*during, old), _verified(*during, new)) == (True, True)
    assert (_verified(*after, old), _verified(*after, new)) == (False, True)
    assert simulator.config()["VALETPRO_STRIPE_TEST_WEBHOOK_SECRETS"][0] == new


def test_deliveries_can_be_doubled_reordered_and_lost(
    simulator: Simulator, host: Host, secrets: dict[str, str], platform_client: stripe.StripeClient
) -> None:
    for _ in range(6):
        platform_client.v1.customers.create({})
    ids = [event["id"] for event in simulator.events]

    simulator.faults.duplicate_deliveries(2)
    simulator.faults.reorder_deliveries(seed=3)
    simulator.faults.drop_deliveries(1)
    attempts = simulator.deliver(host.app)

    received = [json.loads(body)["id"] for body, _ in host.received]
    assert len(attempts) == 12
    assert len(received) == 11
    assert set(received) == set(ids)
    assert list(dict.fromkeys(received)) != ids


def test_deleted_and_disabled_endpoints_hear_nothing(
    simulator: Simulator, host: Host, seaside_client: stripe.StripeClient
) -> None:
    params: Any = {"url": "http://app.test/api/webhooks/stripe", **EVERYTHING}
    deleted = seaside_client.v1.webhook_endpoints.create(params)
    disabled = seaside_client.v1.webhook_endpoints.create(params)
    seaside_client.v1.customers.create({})

    seaside_client.v1.webhook_endpoints.delete(deleted.id)
    seaside_client.v1.webhook_endpoints.update(disabled.id, {"disabled": True})

    assert simulator.deliver_all(host.app) == []


def test_endpoint_hears_the_types_it_asked_for(
    simulator: Simulator, host: Host, seaside_client: stripe.StripeClient
) -> None:
    seaside_client.v1.webhook_endpoints.create(
        {
            "url": "http://app.test/api/webhooks/stripe",
            "enabled_events": ["payment_link.created"],
            "api_version": "2026-10-28.endive",
        }
    )
    link = seaside_client.v1.payment_links.create(link_params())

    (delivery,) = simulator.deliver_all(host.app)

    assert delivery.event["data"]["object"]["id"] == link.id


def test_endpoints_secret_is_shown_once(seaside_client: stripe.StripeClient) -> None:
    made = seaside_client.v1.webhook_endpoints.create({"url": "http://app.test/hook", **EVERYTHING})

    assert made.secret.startswith("whsec_")
    assert len(made.secret) >= 38
    assert "secret" not in seaside_client.v1.webhook_endpoints.retrieve(made.id)


def test_endpoint_cannot_be_made_on_a_connected_account(plaza_client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.PermissionError, match="not permitted to configure webhook endpoints on a connected"):
        plaza_client.v1.webhook_endpoints.create({"url": "http://app.test/hook", **EVERYTHING})


def test_account_has_room_for_sixteen_endpoints(seaside_client: stripe.StripeClient) -> None:
    for number in range(16):
        seaside_client.v1.webhook_endpoints.create({"url": f"http://app.test/{number}", **EVERYTHING})

    with pytest.raises(stripe.InvalidRequestError, match="maximum of 16 test webhook endpoints"):
        seaside_client.v1.webhook_endpoints.create({"url": "http://app.test/17", **EVERYTHING})


def test_hand_made_event_passes_the_sdk() -> None:
    payout = {"id": "po_1", "object": "payout"}
    event = make_event("payout.paid", payout, account="acct_1", livemode=True, api_version="x")
    body = json.dumps(event).encode()

    read = stripe.StripeClient("sk_test_x").construct_event(body, sign(body, "whsec_1"), "whsec_1")

    assert (read.type, read.account, read.livemode, read.api_version) == ("payout.paid", "acct_1", True, "x")


def test_hand_made_signature_can_be_old() -> None:
    body = b"{}"

    assert sign(body, "whsec_1", timestamp=1_700_000_000).startswith("t=1700000000,v1=")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header("{}", sign(body, "whsec_1", timestamp=1_700_000_000), "whsec_1", 300)
