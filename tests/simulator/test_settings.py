"""The settings that join a host app and the simulator."""

from __future__ import annotations

from types import SimpleNamespace

import stripe
from flask import Flask

from flask_valetpro_stripe.testing import Simulator


def test_config_names_everything_and_registers_endpoints_once(
    simulator: Simulator, platform_client: stripe.StripeClient
) -> None:
    config = simulator.config()

    assert simulator.config() == config
    assert config["VALETPRO_STRIPE_API_BASE"] == config["VALETPRO_STRIPE_CONNECT_BASE"] == simulator.base_url
    assert config["VALETPRO_STRIPE_PUBLIC_URL"] == "http://app.test"
    assert config["VALETPRO_STRIPE_LIVE_CLIENT_ID"].startswith("ca_")
    assert {endpoint.url for endpoint in platform_client.v1.webhook_endpoints.list()} == {
        "http://app.test/api/webhooks/stripe"
    }
    assert len(platform_client.v1.webhook_endpoints.list().data) == 2


def test_simulator_takes_over_a_host_apps_settings() -> None:
    host = Simulator(public_url="http://desk.test").config("/hooks/stripe")
    host["VALETPRO_STRIPE_WEBHOOK_URL"] = "/hooks/stripe"

    simulator = Simulator.for_config(host, base_url="http://127.0.0.1:4242")

    same = {name: value for name, value in host.items() if not name.endswith(("_BASE", "_WEBHOOK_URL"))}
    config = simulator.config("/hooks/stripe")
    assert {name: config[name] for name in same} == same
    assert config["VALETPRO_STRIPE_API_BASE"] == "http://127.0.0.1:4242"
    client = stripe.StripeClient(host["VALETPRO_STRIPE_TEST_SECRET_KEY"], http_client=simulator.http_client())
    assert client.v1.accounts.retrieve_current().id == simulator.platform.id


def test_settings_that_are_missing_are_made_up() -> None:
    simulator = Simulator.for_config({"VALETPRO_STRIPE_TEST_SECRET_KEY": None}, base_url="http://127.0.0.1:4242")

    assert simulator.platform.test_secret_key.startswith("sk_test_")
    assert simulator.public_url == "http://127.0.0.1:5000"


def test_install_gives_the_extension_a_transport(simulator: Simulator) -> None:
    app = Flask("host")
    app.extensions["valetpro_stripe"] = state = SimpleNamespace(http_client=None)

    simulator.install(app)

    assert isinstance(state.http_client, stripe.HTTPClient)


def test_two_simulators_share_nothing(simulator: Simulator) -> None:
    other = Simulator()
    account = simulator.create_account("Plaza Hotel", id="acct_same")
    other.create_account("Other Hotel", id="acct_same")

    simulator.connect(account.id)

    assert other.is_connected("acct_same") is False
    assert other.events == []
    assert other.object("acct_same")["business_profile"]["name"] == "Other Hotel"


def test_account_can_lose_its_readiness(simulator: Simulator) -> None:
    account = simulator.create_account("Plaza Hotel")
    simulator.connect(account.id)

    simulator.update_account(account.id, charges_enabled=False)

    event = simulator.events[-1]
    assert (event["type"], event["data"]["object"]["charges_enabled"]) == ("account.updated", False)
    assert event["data"]["object"]["requirements"]["past_due"]
