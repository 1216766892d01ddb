"""Every road out of a connection: the admin's, Stripe's and the operator's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from flask_valetpro_stripe import Mode, errors, payments, signals
from flask_valetpro_stripe.connections import allow_platform, forbid_platform
from flask_valetpro_stripe.testing import Simulator, make_event, sign
from tests.connections.admin import PAGE, Admin, as_tenant, asked, rows, text_of
from tests.hosts import Host, make_host


@pytest.fixture
def sharing(database_url: str, simulator: Simulator) -> Iterator[list[Admin]]:
    """Two hotels of a group on one account."""
    config = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_ALLOW_SHARED_ACCOUNTS": True}
    host = make_host(database_url, simulator=simulator, config=config)
    account = simulator.create_account("A group", id="acct_1Group")
    admins = [Admin.of(host, host.make_tenant(name)) for name in ("Plaza", "Seaside")]
    for admin in admins:
        admin.connect(account.id)
    yield admins
    host.close()


@pytest.mark.both
def test_disconnecting_withdraws_our_access_at_stripe(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    mine, theirs = simulator.create_account("Plaza"), simulator.create_account("Seaside")
    plaza.connect(mine.id)
    seaside.connect(theirs.id)
    told: list[Any] = []
    with signals.tenant_disconnected.connected_to(lambda app, **facts: told.append(facts), plaza.host.app):
        answer = plaza.disconnect()

    assert (answer.status_code, answer.location) == (303, f"{PAGE}/?done=disconnected")
    assert not simulator.is_connected(mine.id)
    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"
    assert plaza.row().stripe_account_id is None
    assert plaza.audit() == [(str(plaza.user.id), "connected"), (str(plaza.user.id), "disconnected")]
    assert len(told) == 1
    assert seaside.row().stripe_account_id == theirs.id
    assert simulator.is_connected(theirs.id)


def test_nothing_can_be_done_with_a_disconnected_account(plaza: Admin, simulator: Simulator) -> None:
    plaza.connect(simulator.create_account("Plaza").id)
    with as_tenant(plaza.host, plaza.tenant):
        payment = payments.create_payment_link(amount=1500, currency="eur", description="Parking").id
    plaza.disconnect()
    simulator.requests.clear()

    with as_tenant(plaza.host, plaza.tenant):
        with pytest.raises(errors.NotConnectedError, match="No Stripe account is connected in test mode"):
            payments.create_payment_link(amount=1500, currency="eur", description="Parking")
        with pytest.raises(errors.ConnectionRevokedError):
            payments.sync(plaza.host.db.session.get_one(plaza.host.Payment, payment))
    assert simulator.requests == []
    assert len(rows(plaza.host, plaza.host.Payment)) == 1


def test_disconnecting_one_mode_leaves_the_other(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id, "test")
    plaza.connect(account.id, "live")
    plaza.disconnect("test")

    assert not simulator.is_connected(account.id, livemode=False)
    assert simulator.is_connected(account.id, livemode=True)
    assert [(c.mode, c.status) for c in plaza.connections()] == [("test", "NOT_CONNECTED"), ("live", "CONNECTED")]


def test_disconnecting_ends_the_accounts_switched_away_from_too(plaza: Admin, simulator: Simulator) -> None:
    first, second = simulator.create_account("Plaza"), simulator.create_account("Plaza two")
    plaza.connect(first.id)
    plaza.connect(second.id)
    plaza.disconnect()

    assert not simulator.is_connected(first.id)
    assert not simulator.is_connected(second.id)
    assert [(c.account_id, c.ended_at is not None) for c in plaza.connections()] == [
        (first.id, True),
        (second.id, True),
    ]


def test_disconnecting_what_is_not_connected_is_no_mistake(plaza: Admin, simulator: Simulator) -> None:
    assert plaza.disconnect().status_code == 303
    assert plaza.disconnect("live").status_code == 303
    assert simulator.requests == []
    assert plaza.audit() == []


def test_stripe_saying_not_connected_is_success(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    simulator.disconnect(account.id)

    assert plaza.disconnect().status_code == 303
    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "server_error", "rate_limit"])
def test_if_stripe_cannot_be_reached_nothing_changes_and_the_page_says_so(
    plaza: Admin, simulator: Simulator, fault: str
) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    # Lost each time; Stripe may have acted at the first.
    simulator.faults.add("POST", "/oauth/deauthorize", fault, times=3)
    answer = plaza.disconnect()

    assert answer.status_code == 422
    assert "Disconnecting" in text_of(answer)
    assert "ry again in a moment." in text_of(answer)
    assert "idempotency_key" not in text_of(answer)
    assert plaza.row().stripe_onboarding_status == "CONNECTED"
    assert plaza.audit() == [(str(plaza.user.id), "connected")]
    simulator.faults.clear()
    assert plaza.disconnect().status_code == 303
    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"
    assert not simulator.is_connected(account.id)


def test_a_platform_key_that_stripe_does_not_take_is_not_a_disconnection(plaza: Admin, simulator: Simulator) -> None:
    """Stripe answers invalid_client to it too."""
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    simulator.expire_key(simulator.platform.test_secret_key)

    assert plaza.disconnect().status_code == 422
    assert plaza.row().stripe_onboarding_status == "CONNECTED"
    assert simulator.is_connected(account.id)


def test_a_client_id_that_is_not_ours_is_not_a_disconnection(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    plaza.host.state.config = replace(plaza.host.state.config, test_client_id="ca_Another")
    answer = plaza.disconnect()

    assert answer.status_code == 422
    assert "VALETPRO_STRIPE_TEST_CLIENT_ID" in text_of(answer)
    assert plaza.row().stripe_onboarding_status == "CONNECTED"


@pytest.mark.both
def test_the_page_says_how_many_payments_stay_open(plaza: Admin, simulator: Simulator) -> None:
    plaza.connect(simulator.create_account("Plaza").id)
    with as_tenant(plaza.host, plaza.tenant):
        for _ in range(2):
            payments.create_payment_link(amount=1500, currency="eur", description="Parking")

    assert "2 payments are still open." in plaza.page()


@pytest.mark.both
def test_two_clicks_at_once_disconnect_once(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    told: list[Any] = []
    with signals.tenant_disconnected.connected_to(lambda app, **facts: told.append(facts), plaza.host.app):
        assert at_once(plaza.elsewhere().disconnect, plaza.elsewhere().disconnect) == [303, 303]

    assert plaza.audit() == [(str(plaza.user.id), "connected"), (str(plaza.user.id), "disconnected")]
    assert len(told) == 1
    assert not simulator.is_connected(account.id)


def at_once(*acts: Any) -> list[int]:
    start, answers = threading.Barrier(len(acts)), []

    def run(act: Any) -> None:
        start.wait()
        answers.append(act().status_code)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_a_shared_account_stays_with_the_other_tenant(sharing: list[Admin], simulator: Simulator) -> None:
    plaza, seaside = sharing
    assert plaza.disconnect().status_code == 303

    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"
    assert seaside.row().stripe_onboarding_status == "CONNECTED"
    assert simulator.is_connected("acct_1Group")
    assert asked(simulator, "/oauth/deauthorize") == []

    assert seaside.disconnect().status_code == 303
    assert not simulator.is_connected("acct_1Group")


@pytest.mark.both
def test_two_tenants_that_share_and_leave_at_once_withdraw_the_access(
    sharing: list[Admin], simulator: Simulator
) -> None:
    assert at_once(*(admin.disconnect for admin in sharing)) == [303, 303]

    assert not simulator.is_connected("acct_1Group")
    assert [admin.row().stripe_onboarding_status for admin in sharing] == ["NOT_CONNECTED", "NOT_CONNECTED"]


@pytest.mark.both
def test_a_shared_account_is_revoked_for_all_who_share_it(sharing: list[Admin], simulator: Simulator) -> None:
    simulator.disconnect("acct_1Group")
    simulator.deliver_all(sharing[0].host.app)

    assert [admin.row().stripe_onboarding_status for admin in sharing] == ["REVOKED", "REVOKED"]


def test_the_owner_cuts_us_off_at_stripe(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    mine, theirs = simulator.create_account("Plaza"), simulator.create_account("Seaside")
    plaza.connect(mine.id)
    seaside.connect(theirs.id)
    told: list[Any] = []
    with signals.tenant_disconnected.connected_to(lambda app, **facts: told.append(facts["tenant"].id)):
        simulator.disconnect(mine.id)
        simulator.deliver_all(plaza.host.app)

    assert plaza.row().stripe_onboarding_status == "REVOKED"
    assert plaza.audit()[-1] == ("stripe", "revoked")
    assert told == [plaza.tenant.id]
    assert "Stripe no longer lets us act for this account." in plaza.page()
    assert seaside.row().stripe_onboarding_status == "CONNECTED"
    with as_tenant(plaza.host, plaza.tenant), pytest.raises(errors.ConnectionRevokedError, match="/settings/payments/"):
        payments.create_payment_link(amount=1500, currency="eur", description="Parking")


def test_a_revoked_tenant_may_disconnect_and_connect_again(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    simulator.disconnect(account.id)
    simulator.deliver_all(plaza.host.app)

    assert plaza.disconnect().status_code == 303
    assert plaza.connect(account.id).status_code == 303
    assert plaza.row().stripe_onboarding_status == "CONNECTED"


def test_the_event_of_our_own_disconnect_changes_nothing_more(plaza: Admin, simulator: Simulator) -> None:
    plaza.connect(simulator.create_account("Plaza").id)
    plaza.disconnect()
    simulator.deliver_all(plaza.host.app)

    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"
    assert [action for _, action in plaza.audit()] == ["connected", "disconnected"]


def test_a_test_deauthorization_does_not_cut_live_off(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id, "test")
    plaza.connect(account.id, "live")
    simulator.disconnect(account.id, livemode=False)
    simulator.deliver_all(plaza.host.app)

    assert [(c.mode, c.status) for c in plaza.connections()] == [("test", "REVOKED"), ("live", "CONNECTED")]


def test_a_late_deauthorization_does_not_end_the_connection_that_came_after_it(
    plaza: Admin, simulator: Simulator
) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    application = {"id": simulator.platform.test_client_id, "object": "application", "name": "ValetPro"}
    connected_at = int(plaza.connections()[0].connected_at.timestamp())
    deliver(plaza.host, application, account.id, created=connected_at - 60)
    assert plaza.row().stripe_onboarding_status == "CONNECTED"

    deliver(plaza.host, application, account.id, created=connected_at + 60)
    assert plaza.row().stripe_onboarding_status == "REVOKED"


def test_the_deauthorization_of_another_application_is_not_ours(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    deliver(plaza.host, {"id": "ca_Another", "object": "application", "name": "Another"}, account.id)

    assert plaza.row().stripe_onboarding_status == "CONNECTED"


def deliver(host: Host, application: dict[str, Any], account: str, **fields: Any) -> None:
    """Deliver an account.application.deauthorized, signed as Stripe signs it."""
    event = make_event("account.application.deauthorized", application, account=account, **fields)
    body = json.dumps(event).encode()
    secret = host.app.config["VALETPRO_STRIPE_TEST_CONNECT_WEBHOOK_SECRETS"][0]
    headers = {"Stripe-Signature": sign(body, secret), "Content-Type": "application/json"}
    answer = host.app.test_client().post("/api/webhooks/stripe", data=body, headers=headers)
    assert answer.status_code == 200


def test_the_operator_lends_and_withdraws_the_platforms_account(plaza: Admin, simulator: Simulator) -> None:
    with as_tenant(plaza.host, plaza.tenant) as tenant:
        assert [c.mode for c in allow_platform(plaza.host.state, tenant, actor="operator")] == list(Mode)
        payment = payments.create_payment_link(amount=1500, currency="eur", description="Parking")
        assert (payment.collected_via, payment.stripe_account_id) == ("PLATFORM", None)
        assert simulator.requests[-1].stripe_account is None
        assert forbid_platform(plaza.host.state, tenant, actor="operator") == 2
        with pytest.raises(errors.NotConnectedError):
            payments.create_payment_link(amount=1500, currency="eur", description="Parking")
    assert asked(simulator, "/oauth/deauthorize") == []
    assert [action for _, action in plaza.audit()] == ["connected"] * 2 + ["platform_forbidden"] * 2
    assert {actor for actor, _ in plaza.audit()} == {"operator"}


def test_lending_does_not_replace_a_tenants_own_account(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    with as_tenant(plaza.host, plaza.tenant) as tenant:
        assert [c.mode for c in allow_platform(plaza.host.state, tenant, actor="operator")] == [Mode.live]
    assert plaza.row().stripe_account_id == account.id
