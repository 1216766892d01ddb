"""Accounts v2: JSON in and out, what is included, readiness, errors, thin events."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe
from werkzeug.test import Client

from flask_valetpro_stripe.testing import SERVER_ERROR, Account, Simulator
from tests.simulator.helpers import Host, client_with, code_of

REFRESH, RETURN = "http://app.test/again", "http://app.test/back"
HOTEL: Any = {
    "dashboard": "full",
    "contact_email": "desk@plaza.example",
    "display_name": "Plaza Hotel",
    "identity": {"country": "de"},
    "configuration": {"merchant": {"capabilities": {"card_payments": {"requested": True}}}},
    "defaults": {
        "currency": "eur",
        "locales": ["de-DE"],
        "responsibilities": {"fees_collector": "stripe", "losses_collector": "stripe"},
    },
    "metadata": {"tenant": "7"},
}
PLATFORM_BEARS_ALL: Any = {"responsibilities": {"fees_collector": "application", "losses_collector": "application"}}
READINESS: Any = {"include": ["configuration.merchant", "requirements"]}
REQUIREMENTS = "v2.core.account[requirements].updated"
CAPABILITY = "v2.core.account[configuration.merchant].capability_status_updated"


@pytest.fixture
def v2(platform_client: stripe.StripeClient) -> Any:
    """The platform's client for /v2/core; Any, as some of the dicts given to it are wrong."""
    return platform_client.v2.core


@pytest.fixture
def hotel(v2: Any) -> str:
    """An account that the platform made through v2."""
    return str(v2.accounts.create(HOTEL).id)


def _link_params(account: str, **changed: Any) -> Any:
    options = {"refresh_url": REFRESH, "return_url": RETURN, **changed}
    return {"account": account, "use_case": {"type": "account_onboarding", "account_onboarding": options}}


def _onboard(simulator: Simulator, v2: Any, account: str) -> str:
    return simulator.onboard(v2.account_links.create(_link_params(account)).url)


def _card_payments(v2: Any, account: str) -> dict[str, Any]:
    read = v2.accounts.retrieve(account, READINESS)
    found: dict[str, Any] = read.configuration.merchant.capabilities.card_payments.to_dict()
    return found


def test_request_is_json_and_the_answer_has_what_was_included(simulator: Simulator, v2: Any) -> None:
    made = v2.accounts.create({**HOTEL, "include": ["identity", "defaults"]})

    request = simulator.requests[-1]
    assert request.headers["Content-Type"] == "application/json"
    assert request.params["configuration"]["merchant"]["capabilities"] == {"card_payments": {"requested": True}}
    assert (made.object, made.display_name, made.dashboard) == ("v2.core.account", "Plaza Hotel", "full")
    assert made.applied_configurations == ["merchant"]
    assert (made.identity.country, made.defaults.currency, made.defaults.locales) == ("de", "eur", ["de-DE"])
    assert made.defaults.responsibilities.to_dict() == {
        "fees_collector": "stripe",
        "losses_collector": "stripe",
        "requirements_collector": "stripe",
    }
    assert made.configuration is made.requirements is made.future_requirements is None
    assert simulator.is_connected(made.id)


def test_new_account_is_restricted_until_it_is_onboarded(simulator: Simulator, v2: Any, hotel: str) -> None:
    before = v2.accounts.retrieve(hotel, READINESS)

    back = _onboard(simulator, v2, hotel)

    after = v2.accounts.retrieve(hotel, READINESS)
    assert back == RETURN
    assert before.configuration.merchant.capabilities.card_payments.status == "restricted"
    assert [entry.description for entry in before.requirements.entries] == [
        "business_profile.url",
        "external_account",
        "tos_acceptance.date",
    ]
    assert before.requirements.entries[0].minimum_deadline.status == "past_due"
    assert before.requirements.entries[0].awaiting_action_from == "user"
    assert after.configuration.merchant.capabilities.card_payments.status == "active"
    assert after.requirements.entries == []


@pytest.mark.parametrize(
    ("changes", "status", "details"),
    [
        (
            {"charges_enabled": False, "due": []},
            "pending",
            [{"code": "requirements_pending_verification", "resolution": "no_resolution"}],
        ),
        (
            {"charges_enabled": False, "due": ["external_account"]},
            "restricted",
            [{"code": "requirements_past_due", "resolution": "provide_info"}],
        ),
        (
            {"charges_enabled": False, "disabled_reason": "rejected.fraud"},
            "rejected",
            [{"code": "rejected_fraud", "resolution": "contact_stripe"}],
        ),
    ],
)
def test_readiness_is_the_capabilitys_status(
    simulator: Simulator, v2: Any, hotel: str, changes: dict[str, Any], status: str, details: list[Any]
) -> None:
    _onboard(simulator, v2, hotel)
    simulator.update_account(hotel, **changes)

    assert _card_payments(v2, hotel) == {"status": status, "status_details": details}


def test_deadline_is_in_the_summary(simulator: Simulator, v2: Any, hotel: str) -> None:
    _onboard(simulator, v2, hotel)
    simulator.update_account(hotel, due=["external_account"], deadline=1_900_000_000)

    wanted = v2.accounts.retrieve(hotel, READINESS).requirements

    assert wanted.entries[0].minimum_deadline.status == "currently_due"
    assert wanted.summary.minimum_deadline.time == "2030-03-17T17:46:40.000Z"
    assert _card_payments(v2, hotel)["status"] == "active"


def test_v1_reads_the_account_in_its_own_shape(
    simulator: Simulator, v2: Any, platform_client: stripe.StripeClient, hotel: str
) -> None:
    _onboard(simulator, v2, hotel)

    by_id = platform_client.v1.accounts.retrieve(hotel)
    as_account = platform_client.v1.accounts.retrieve_current({}, {"stripe_account": hotel})

    assert by_id.to_dict() == as_account.to_dict()
    assert (by_id.object, by_id.charges_enabled, by_id.country) == ("account", True, "DE")
    assert by_id.business_profile is not None
    assert by_id.business_profile.name == "Plaza Hotel"


def test_express_account_of_a_marketplace(v2: Any) -> None:
    transfers = {"capabilities": {"stripe_balance": {"stripe_transfers": {"requested": True}}}}
    params = {
        **HOTEL,
        "dashboard": "express",
        "defaults": PLATFORM_BEARS_ALL,
        "configuration": {**HOTEL["configuration"], "recipient": transfers},
        "include": ["configuration.merchant", "configuration.recipient", "defaults"],
    }

    made = v2.accounts.create(params)

    assert made.applied_configurations == ["merchant", "recipient"]
    assert made.configuration.recipient.capabilities.stripe_balance.stripe_transfers.status == "restricted"
    assert made.defaults.responsibilities.losses_collector == "application"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"dashboard": "express"}, "account_controller_express_dash_without_application_losses_or_fees"),
        (
            {"defaults": {"responsibilities": {"fees_collector": "stripe", "losses_collector": "application"}}},
            "account_controller_stripe_pricing_platform_liable",
        ),
        ({"identity": {}}, "identity_country_required"),
        ({"controller": {}}, "parameter_unknown"),
    ],
)
def test_impossible_accounts_are_refused(simulator: Simulator, v2: Any, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v2.accounts.create({**HOTEL, **changes})

    assert (caught.value.http_status, caught.value.code) == (400, code)
    assert set(simulator.requests[-1].response["error"]) <= {"code", "doc_url", "message", "type", "user_message"}


def test_account_connected_by_oauth_is_none_of_v2s(v2: Any, plaza: Account) -> None:
    for ask in (lambda: v2.accounts.retrieve(plaza.id), lambda: v2.account_links.create(_link_params(plaza.id))):
        with pytest.raises(stripe.InvalidRequestError, match="V1 Account ID cannot be used in V2") as caught:
            ask()

        assert (caught.value.http_status, caught.value.code) == (400, "v1_account_instead_of_v2_account")


def test_account_made_through_v1_is_known_to_v2_after_ten_minutes(
    simulator: Simulator, v2: Any, platform_client: stripe.StripeClient
) -> None:
    made = platform_client.v1.accounts.create({})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v2.accounts.retrieve(made.id)

    simulator.advance(600)

    assert caught.value.code == "account_not_yet_compatible_with_v2"
    assert v2.accounts.retrieve(made.id).id == made.id


def test_nobody_but_the_platform_uses_v2(simulator: Simulator, hotel: str, seaside_client: stripe.StripeClient) -> None:
    for ask in (
        lambda: seaside_client.v2.core.accounts.create(HOTEL),
        lambda: seaside_client.v2.core.accounts.retrieve(hotel),
        lambda: seaside_client.v2.core.account_links.create(_link_params(hotel)),
    ):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            ask()

        assert caught.value.code == "non_connect_platform_accounts_v2_access_blocked"


def test_other_mode_does_not_know_the_account(simulator: Simulator, hotel: str) -> None:
    live = client_with(simulator, simulator.platform.live_secret_key)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        live.v2.core.accounts.retrieve(hotel)

    assert (caught.value.http_status, caught.value.code) == (404, "not_found")


def test_unknown_key_is_refused_in_v2s_form(simulator: Simulator) -> None:
    with pytest.raises(stripe.AuthenticationError) as caught:
        client_with(simulator, "sk_test_nobody").v2.core.accounts.create(HOTEL)

    assert caught.value.http_status == 401
    assert code_of(caught.value) == "unauthenticated"


def test_form_bodies_and_broken_json_are_refused(simulator: Simulator) -> None:
    browser, key = Client(simulator), simulator.platform.test_secret_key
    headers = {"Authorization": f"Bearer {key}"}

    form = browser.post("/v2/core/accounts", data={"dashboard": "full"}, headers=headers)
    broken = browser.post("/v2/core/accounts", data="[", content_type="application/json", headers=headers)

    assert (form.status_code, broken.status_code) == (400, 400)
    assert "application/json" in form.get_json()["error"]["message"]
    assert broken.get_json()["error"]["message"] == "The request body is not a JSON object."


def test_same_key_makes_one_account(simulator: Simulator, v2: Any, platform_client: stripe.StripeClient) -> None:
    first, second = (v2.accounts.create(HOTEL, {"idempotency_key": "tenant-7"}) for _ in range(2))

    assert first.id == second.id
    assert len(platform_client.v1.accounts.list()) == 1
    with pytest.raises(stripe.IdempotencyError):
        v2.accounts.create({**HOTEL, "display_name": "Other"}, {"idempotency_key": "tenant-7"})


def test_failed_request_runs_again_under_its_key(simulator: Simulator, v2: Any) -> None:
    simulator.faults.add("POST", "/v2/core/accounts", SERVER_ERROR)
    with pytest.raises(stripe.APIError):
        v2.accounts.create(HOTEL, {"idempotency_key": "tenant-7"})

    assert v2.accounts.create(HOTEL, {"idempotency_key": "tenant-7"}).id.startswith("acct_")


def test_link_says_what_it_is_for(v2: Any, hotel: str) -> None:
    link = v2.account_links.create(_link_params(hotel, collection_options={"fields": "eventually_due"}))

    assert (link.object, link.account, link.livemode) == ("v2.core.account_link", hotel, False)
    assert link.use_case.account_onboarding.refresh_url == REFRESH
    assert link.use_case.account_onboarding.collection_options.fields == "eventually_due"
    assert link.created < link.expires_at


def test_link_takes_no_configurations_any_more(v2: Any, hotel: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="unknown parameter.*configurations"):
        v2.account_links.create(_link_params(hotel, configurations=["merchant"]))


def test_link_needs_the_options_of_its_use_case(v2: Any, hotel: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Missing required param: use_case.account_onboarding"):
        v2.account_links.create({"account": hotel, "use_case": {"type": "account_onboarding"}})


def test_link_without_a_return_address_ends_at_stripe(simulator: Simulator, v2: Any, hotel: str) -> None:
    params = _link_params(hotel)
    del params["use_case"]["account_onboarding"]["return_url"]

    assert simulator.onboard(v2.account_links.create(params).url) == "http://stripe.test/"


def test_used_link_leads_to_the_refresh_address(simulator: Simulator, v2: Any, hotel: str) -> None:
    url = v2.account_links.create(_link_params(hotel)).url

    assert (simulator.onboard(url, complete=False), simulator.onboard(url)) == (RETURN, REFRESH)
    assert _card_payments(v2, hotel)["status"] == "restricted"


def test_onboarding_tells_the_platform_by_thin_events_and_the_connect_endpoint_by_v1(
    simulator: Simulator, v2: Any, platform_client: stripe.StripeClient
) -> None:
    host, config = Host(), simulator.config()
    hotel = v2.accounts.create(HOTEL).id
    _onboard(simulator, v2, hotel)

    simulator.deliver_all(host.app)

    by_type = {json.loads(body)["type"]: (body, headers) for body, headers in host.received}
    assert set(by_type) == {"account.updated", REQUIREMENTS, CAPABILITY}
    body, headers = by_type[CAPABILITY]
    assert set(json.loads(body)) == {
        "id", "object", "type", "livemode", "created", "context", "reason", "related_object",
    }  # fmt: skip
    secret = config["VALETPRO_STRIPE_TEST_WEBHOOK_SECRETS"][0]
    notification = platform_client.parse_event_notification(body, headers["Stripe-Signature"], secret)
    assert (notification.type, notification.livemode, notification.context) == (CAPABILITY, False, None)
    assert notification.related_object.id == hotel
    assert notification.fetch_related_object().id == hotel
    body, headers = by_type["account.updated"]
    secret = config["VALETPRO_STRIPE_TEST_CONNECT_WEBHOOK_SECRETS"][0]
    assert platform_client.construct_event(body, headers["Stripe-Signature"], secret).account == hotel


def test_two_hotels_thin_events_name_their_own_account(simulator: Simulator, v2: Any) -> None:
    first, second = v2.accounts.create(HOTEL).id, v2.accounts.create(HOTEL).id
    _onboard(simulator, v2, first)
    simulator.update_account(second, due=["external_account"])

    thin = [event for event in simulator.events if event["object"] == "v2.core.event"]

    assert [(event["type"], event["related_object"]["id"]) for event in thin] == [
        (REQUIREMENTS, first),
        (CAPABILITY, first),
        (REQUIREMENTS, second),
    ]


def test_change_that_asks_for_nothing_new_sends_no_thin_event(simulator: Simulator, hotel: str) -> None:
    simulator.update_account(hotel, name="Grand Plaza")

    assert [event["type"] for event in simulator.events] == ["account.updated"]


def test_accounts_not_made_through_v2_send_none(simulator: Simulator, plaza: Account) -> None:
    simulator.update_account(plaza.id, charges_enabled=False)

    assert [(event["object"], event["type"]) for event in simulator.events] == [
        ("event", "account.application.authorized"),
        ("event", "account.updated"),
    ]


def test_live_accounts_thin_events_reach_the_live_endpoint_only(simulator: Simulator) -> None:
    host, config = Host(), simulator.config()
    live = client_with(simulator, simulator.platform.live_secret_key)
    hotel = live.v2.core.accounts.create(HOTEL).id
    simulator.update_account(hotel, livemode=True, due=["external_account"])

    simulator.deliver_all(host.app)

    thin = [(body, headers) for body, headers in host.received if b"v2.core.event" in body]
    ((body, headers),) = thin
    assert json.loads(body)["livemode"] is True
    secret = config["VALETPRO_STRIPE_LIVE_WEBHOOK_SECRETS"][0]
    assert live.parse_event_notification(body, headers["Stripe-Signature"], secret).type == REQUIREMENTS


def test_thin_events_reach_no_endpoint_of_v1s_and_are_retried(
    simulator: Simulator, platform_client: stripe.StripeClient, v2: Any
) -> None:
    everything: Any = {"url": "http://app.test/other", "enabled_events": ["*"]}
    platform_client.v1.webhook_endpoints.create(everything)
    host = Host()
    simulator.config()
    hotel = v2.accounts.create(HOTEL).id
    host.answers = [500, 500]
    simulator.update_account(hotel, due=["external_account"])

    simulator.deliver(host.app)
    simulator.advance(5)
    simulator.deliver(host.app)

    tries = [each for each in simulator.deliveries if each.event_type == REQUIREMENTS]
    assert [(each.status, each.attempt) for each in tries] == [(500, 1), (200, 2)]
    assert {each.url for each in tries} == {"http://app.test/api/webhooks/stripe"}


def test_v1_lists_no_thin_events(
    simulator: Simulator, v2: Any, platform_client: stripe.StripeClient, hotel: str
) -> None:
    _onboard(simulator, v2, hotel)

    assert {event["object"] for event in simulator.events} >= {"v2.core.event"}
    assert [event.object for event in platform_client.v1.events.list({"limit": 100})] == []
