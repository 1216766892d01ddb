"""Going live, coming back, and what an operator who has not set things up yet makes of the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flask_valetpro_stripe import payments
from flask_valetpro_stripe.testing import Simulator
from tests.connections.admin import PAGE, Admin, as_tenant, rows, text_of
from tests.hosts import make_host


def test_going_live_is_refused_with_what_is_missing(plaza: Admin, simulator: Simulator) -> None:
    plaza.connect(simulator.create_account("Plaza").id, "test")
    answer = plaza.switch("live")

    assert answer.status_code == 422
    assert "Live payments cannot be switched on yet." in text_of(answer)
    assert "Connect a Stripe account in live mode." in text_of(answer)
    assert plaza.row().stripe_mode == "test"
    assert [action for _, action in plaza.audit()] == ["connected"]


def test_going_live_lists_what_the_operator_must_set(database_url: str, simulator: Simulator) -> None:
    config: dict[str, Any] = {
        "WTF_CSRF_ENABLED": False,
        "VALETPRO_STRIPE_LIVE_SECRET_KEY": None,
        "VALETPRO_STRIPE_LIVE_CONNECT_WEBHOOK_SECRETS": [],
    }
    host = make_host(database_url, simulator=simulator, config=config)
    answer = Admin.of(host, host.make_tenant()).switch("live")

    assert answer.status_code == 422
    text = text_of(answer)
    assert "The operator must set VALETPRO_STRIPE_LIVE_SECRET_KEY." in text
    # The secrets for the platform's own account are there, but they do not cover connected ones.
    assert "VALETPRO_STRIPE_LIVE_CONNECT_WEBHOOK_SECRETS" in text
    assert "Connect a Stripe account in live mode." in text
    host.close()


def test_an_account_that_may_not_charge_yet_does_not_go_live(plaza: Admin, simulator: Simulator) -> None:
    plaza.connect(simulator.create_account("Plaza", charges_enabled=False).id, "live")
    answer = plaza.switch("live")

    assert answer.status_code == 422
    assert "Stripe still wants something before the live account may charge" in text_of(answer)


def test_going_live_and_back(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id, "live")
    assert plaza.switch("live").location == f"{PAGE}/?done=mode"

    assert (plaza.row().stripe_mode, plaza.row().stripe_account_id) == ("live", account.id)
    assert seaside.row().stripe_mode == "test"

    # The test mode needs nothing: without a connection there, nothing can be charged.
    assert plaza.switch("test").status_code == 303
    assert (plaza.row().stripe_mode, plaza.row().stripe_account_id) == ("test", None)
    assert [action for _, action in plaza.audit()] == ["connected", "mode_switched", "mode_switched"]


def test_switching_to_where_one_is_leaves_no_trace(plaza: Admin) -> None:
    assert plaza.switch("test").status_code == 303
    assert plaza.audit() == []


@pytest.mark.parametrize("word", ["", "LIVE", "production", None])
def test_a_mode_that_does_not_exist_is_refused(plaza: Admin, word: str | None) -> None:
    answer = plaza.browser.post(f"{PAGE}/mode", data={} if word is None else {"mode": word})

    assert answer.status_code == 422
    assert "The mode must be 'test' or 'live'." in text_of(answer)


def test_what_was_made_before_the_switch_stays_where_it_was_made(plaza: Admin, simulator: Simulator) -> None:
    test, live = simulator.create_account("Plaza"), simulator.create_account("Plaza")
    plaza.connect(test.id, "test")
    plaza.connect(live.id, "live")
    with as_tenant(plaza.host, plaza.tenant):
        payment = payments.create_payment_link(amount=1500, currency="eur", description="Parking", idempotency_key="a")
        key, link = payment.id, payment.stripe_payment_link_id
        simulator.pay(link)
    plaza.switch("live")

    with as_tenant(plaza.host, plaza.tenant):
        old = plaza.host.db.session.get_one(plaza.host.Payment, key)
        assert (old.stripe_payment_link_id, old.mode) == (link, "test")
        simulator.requests.clear()
        assert payments.sync(old).status == "COMPLETED"
        assert {(r.stripe_account, r.livemode) for r in simulator.requests} == {(test.id, False)}
        # As at Stripe, one key is two payments in the two modes: a live guest never gets a test link.
        new = payments.create_payment_link(amount=1500, currency="eur", description="Parking", idempotency_key="a")
        assert (new.mode, new.stripe_account_id) == ("live", live.id)
        assert simulator.requests[-1].livemode is True


@pytest.mark.both
def test_a_webhook_after_the_switch_finds_the_payment_of_before(plaza: Admin, simulator: Simulator) -> None:
    plaza.connect(simulator.create_account("Plaza").id, "test")
    plaza.connect(simulator.create_account("Plaza").id, "live")
    with as_tenant(plaza.host, plaza.tenant):
        payment = payments.create_payment_link(amount=1500, currency="eur", description="Parking")
        simulator.pay(payment.stripe_payment_link_id)
    plaza.switch("live")
    simulator.deliver_all(plaza.host.app)

    assert [p.status for p in rows(plaza.host, plaza.host.Payment)] == ["COMPLETED"]


@pytest.mark.parametrize(
    ("setting", "mode"),
    [
        ("VALETPRO_STRIPE_TEST_SECRET_KEY", "test"),
        ("VALETPRO_STRIPE_TEST_CLIENT_ID", "test"),
        ("VALETPRO_STRIPE_LIVE_SECRET_KEY", "live"),
        ("VALETPRO_STRIPE_LIVE_CLIENT_ID", "live"),
    ],
)
def test_a_platform_that_is_not_set_up_is_named_on_the_page_and_is_no_500(
    sqlite_url: str, simulator: Simulator, setting: str, mode: str
) -> None:
    host = make_host(sqlite_url, simulator=simulator, config={"WTF_CSRF_ENABLED": False, setting: None})
    admin = Admin.of(host, host.make_tenant())

    assert setting in admin.page()
    answer = admin.browser.post(f"{PAGE}/connect", data={"mode": mode})
    assert answer.status_code == 422
    assert f"The operator must set {setting}" in text_of(answer)
    assert rows(host, host.valetpro.models.OAuthState) == []
    other = "live" if mode == "test" else "test"
    assert admin.connect(simulator.create_account("Plaza").id, other).status_code == 303
    host.close()


def test_a_callback_to_a_platform_whose_key_was_taken_away_is_no_500(plaza: Admin, simulator: Simulator) -> None:
    back = plaza.agree(simulator.create_account("Plaza").id)
    configure(plaza, test_secret_key=None)
    answer = plaza.follow(back)

    assert answer.status_code == 422
    assert "The operator must set VALETPRO_STRIPE_TEST_SECRET_KEY" in text_of(answer)


@pytest.mark.parametrize("name", ["test_secret_key", "test_client_id"])
def test_disconnecting_without_the_platforms_setting_says_which(plaza: Admin, simulator: Simulator, name: str) -> None:
    plaza.connect(simulator.create_account("Plaza").id)
    configure(plaza, **{name: None})
    answer = plaza.disconnect()

    assert answer.status_code == 422
    assert f"The operator must set VALETPRO_STRIPE_{name.upper()}" in text_of(answer)
    assert plaza.row().stripe_onboarding_status == "CONNECTED"


def configure(admin: Admin, **fields: Any) -> None:
    """Change the operator's settings, as a deployment does."""
    admin.host.state.config = replace(admin.host.state.config, **fields)


def test_an_expired_platform_key_is_a_message_and_not_a_500(plaza: Admin, simulator: Simulator) -> None:
    simulator.expire_key(simulator.platform.test_secret_key)
    answer = plaza.connect(simulator.create_account("Plaza").id)

    assert answer.status_code == 422
    assert simulator.platform.test_secret_key not in answer.text
    assert plaza.connections() == []


def test_what_is_not_offered_is_refused(sqlite_url: str, simulator: Simulator) -> None:
    config = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_ALLOWED_ACCOUNT_TYPES": ["PLATFORM"]}
    host = make_host(sqlite_url, simulator=simulator, config=config)
    admin = Admin.of(host, host.make_tenant())
    answer = admin.browser.post(f"{PAGE}/connect")

    assert answer.status_code == 422
    assert "Accounts cannot be connected here." in text_of(answer)
    host.close()


def test_the_page_shows_each_tenant_its_own(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    mine, theirs = simulator.create_account("Plaza SARL"), simulator.create_account("Seaside Ltd")
    plaza.connect(mine.id)
    seaside.connect(theirs.id)

    assert "Plaza SARL" in plaza.page()
    assert mine.id in plaza.page()
    assert "Seaside" not in plaza.page()
    assert theirs.id not in plaza.page()


def test_the_status_is_a_fragment_for_the_tenant(plaza: Admin, simulator: Simulator) -> None:
    plaza.connect(simulator.create_account("Plaza").id)
    answer = plaza.browser.get(f"{PAGE}/status", headers={"HX-Request": "true"})

    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_mistake_comes_back_as_a_fragment_to_htmx(plaza: Admin) -> None:
    answer = plaza.browser.post(f"{PAGE}/mode", data={"mode": "live"}, headers={"HX-Request": "true"})

    assert answer.status_code == 422
    assert "<html" not in answer.text
    assert "Live payments cannot be switched on yet." in text_of(answer)
