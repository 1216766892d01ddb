"""Connecting an account by OAuth: who may, once, for ten minutes, and for what they began."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import signals
from flask_valetpro_stripe.testing import Simulator
from tests.connections.admin import PAGE, Admin, asked, change, query_of, rows, text_of
from tests.hosts import Host, make_host

USED_UP = "This way back from Stripe was used before, is too old, or was begun by somebody else. Nothing changed."


def states(host: Host) -> list[Any]:
    return rows(host, host.valetpro.models.OAuthState)


def exchanges(simulator: Simulator) -> int:
    return len(asked(simulator, "/oauth/token"))


def assert_refused(answer: Any, admin: Admin) -> None:
    assert answer.status_code == 422
    assert USED_UP in text_of(answer)
    assert admin.connections() == []
    assert exchanges(admin.simulator) == 0


def test_an_admin_connects_and_comes_back_to_a_connected_tenant(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Hotel Plaza SARL")
    told: list[Any] = []
    with signals.tenant_connected.connected_to(lambda app, **facts: told.append((app, facts)), plaza.host.app):
        answer = plaza.connect(account.id)

    assert (answer.status_code, answer.location) == (303, f"{PAGE}/?done=connected")
    row = plaza.row()
    assert (row.stripe_account_id, row.stripe_onboarding_status) == (account.id, "CONNECTED")
    assert (row.stripe_account_type, row.stripe_mode) == ("CONNECT_STANDARD", "test")
    assert plaza.audit() == [(str(plaza.user.id), "connected")]
    assert len(told) == 1
    assert told[0][0] is plaza.host.app
    assert "Your Stripe account is connected." in text_of(plaza.browser.get(answer.location))


@pytest.mark.parametrize("key", ["uuid", "str"])
def test_any_type_of_key_works(database_url: str, simulator: Simulator, key: str) -> None:
    host = make_host(database_url, key=key, simulator=simulator, config={"WTF_CSRF_ENABLED": False})
    admin = Admin.of(host, host.make_tenant())
    account = simulator.create_account("Hotel Plaza")

    assert admin.connect(account.id).status_code == 303
    assert admin.row().stripe_account_id == account.id
    assert admin.disconnect().status_code == 303
    host.close()


@pytest.mark.both
def test_two_hotels_connect_at_once_and_each_gets_its_own(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    at_plaza, at_seaside = simulator.create_account("Plaza"), simulator.create_account("Seaside")
    back_to_plaza, back_to_seaside = plaza.agree(at_plaza.id), seaside.agree(at_seaside.id)

    assert seaside.follow(back_to_seaside).status_code == 303
    assert plaza.follow(back_to_plaza).status_code == 303
    assert (plaza.row().stripe_account_id, seaside.row().stripe_account_id) == (at_plaza.id, at_seaside.id)


def test_stripe_is_asked_for_what_we_need_and_told_where_to_return(plaza: Admin, simulator: Simulator) -> None:
    query = query_of(plaza.press_connect())

    assert query.pop("state")
    assert query == {
        "response_type": "code",
        "scope": "read_write",
        "client_id": simulator.platform.test_client_id,
        "redirect_uri": f"http://app.test{PAGE}/connect/callback",
        "stripe_user[business_name]": "Hotel Plaza",
    }


def test_a_forged_host_does_not_move_the_way_back(plaza: Admin) -> None:
    session = plaza.browser.get_cookie("session")
    assert session
    plaza.browser.set_cookie("session", session.value, domain="evil.test")
    forged = {"X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "ftp"}
    answer = plaza.browser.post(f"{PAGE}/connect", base_url="http://evil.test", headers=forged)

    assert query_of(answer.location)["redirect_uri"] == f"http://app.test{PAGE}/connect/callback"


def test_what_the_address_asks_for_never_becomes_a_redirect(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    wishes = "next=//evil.test&redirect_uri=http://evil.test&return_url=%09//evil.test&done=http://evil.test"
    consent = plaza.browser.post(f"{PAGE}/connect?{wishes}", data={"mode": "test", "next": "//evil.test"}).location
    assert consent.startswith("http://stripe.test/oauth/authorize?")
    assert "evil" not in consent

    answer = plaza.follow(f"{simulator.authorize(consent, account.id)}&{wishes}")
    assert answer.location == f"{PAGE}/?done=connected"


def test_htmx_is_told_to_go_to_stripe_as_a_whole_page(plaza: Admin) -> None:
    answer = plaza.browser.post(f"{PAGE}/connect", headers={"HX-Request": "true"})

    assert answer.status_code == 200
    assert answer.headers["HX-Redirect"].startswith("http://stripe.test/oauth/authorize?")


def test_a_second_callback_is_refused_and_the_connection_stays(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    back = plaza.agree(account.id)
    plaza.follow(back)
    again = plaza.follow(back)

    assert again.status_code == 422
    assert USED_UP in text_of(again)
    assert exchanges(simulator) == 1
    assert plaza.row().stripe_onboarding_status == "CONNECTED"
    assert simulator.is_connected(account.id)


@pytest.mark.both
def test_parallel_callbacks_exchange_the_code_once(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    back = plaza.agree(account.id)
    with plaza.browser.session_transaction() as stored:
        session = dict(stored)
    start, answers = threading.Barrier(8), []

    def open_it() -> None:
        twin = plaza.elsewhere()
        with twin.browser.session_transaction() as stored:
            stored.update(session)
        start.wait()
        answers.append(twin.follow(back).status_code)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [303] + [422] * 7
    assert exchanges(simulator) == 1
    assert len(plaza.connections()) == 1
    assert simulator.is_connected(account.id)


def test_two_tabs_of_one_admin_are_independent(plaza: Admin, simulator: Simulator) -> None:
    test, live = simulator.create_account("Plaza"), simulator.create_account("Plaza")
    in_test, in_live = plaza.agree(test.id, "test"), plaza.agree(live.id, "live")

    plaza.follow(in_live)
    plaza.follow(in_test)
    assert {c.mode: c.account_id for c in plaza.connections()} == {"test": test.id, "live": live.id}


def test_another_tenants_admin_cannot_use_the_way_back(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    """An attacker sends a victim the way back with the attacker's own account in it."""
    back = plaza.agree(simulator.create_account("Attacker").id)

    assert_refused(seaside.follow(back), seaside)


def test_a_colleague_cannot_use_the_way_back(plaza: Admin, simulator: Simulator) -> None:
    back = plaza.agree(simulator.create_account("Plaza").id)
    colleague = Admin.of(plaza.host, plaza.tenant)

    assert_refused(colleague.follow(back), plaza)


def test_another_user_in_the_same_browser_cannot_use_the_way_back(plaza: Admin, simulator: Simulator) -> None:
    back = plaza.agree(simulator.create_account("Plaza").id)
    sign_in(plaza, plaza.host.make_user(plaza.tenant))

    assert_refused(plaza.follow(back), plaza)


def test_the_same_user_in_another_browser_cannot_use_the_way_back(plaza: Admin, simulator: Simulator) -> None:
    back = plaza.agree(simulator.create_account("Plaza").id)

    assert_refused(plaza.elsewhere().follow(back), plaza)


def test_somebody_signed_out_is_asked_to_sign_in(plaza: Admin, simulator: Simulator) -> None:
    back = plaza.agree(simulator.create_account("Plaza").id)
    sign_in(plaza, None)

    answer = plaza.follow(back)
    assert answer.status_code == 302
    assert answer.location.startswith("/sign-in")
    assert exchanges(simulator) == 0


def test_working_for_another_tenant_in_between_refuses(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    back = plaza.agree(simulator.create_account("Plaza").id)
    change(plaza.host, plaza.user, tenant_id=seaside.tenant.id)

    assert_refused(plaza.follow(back), seaside)
    assert plaza.connections() == []


def test_losing_the_permission_in_between_refuses(plaza: Admin, simulator: Simulator) -> None:
    back = plaza.agree(simulator.create_account("Plaza").id)
    change(plaza.host, plaza.user, role="member")

    assert plaza.follow(back).status_code == 403
    assert exchanges(simulator) == 0
    assert plaza.connections() == []


def sign_in(admin: Admin, user: Any) -> None:
    """Sign another user in, in the same browser session."""
    with admin.browser.session_transaction() as stored:
        stored.pop("_user_id")
        if user is not None:
            stored["_user_id"] = str(user.id)


@pytest.mark.both
def test_the_way_back_is_open_for_ten_minutes(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    back = plaza.agree(account.id)
    grow_older(plaza.host, timedelta(minutes=9, seconds=50))
    assert plaza.follow(back).status_code == 303


def test_after_ten_minutes_the_way_back_is_closed(plaza: Admin, simulator: Simulator) -> None:
    back = plaza.agree(simulator.create_account("Plaza").id)
    grow_older(plaza.host, timedelta(minutes=10, seconds=1))

    assert_refused(plaza.follow(back), plaza)


@pytest.mark.both
def test_old_states_are_swept_when_somebody_begins(plaza: Admin) -> None:
    plaza.press_connect()
    grow_older(plaza.host, timedelta(minutes=11))
    plaza.press_connect()

    assert len(states(plaza.host)) == 1


def grow_older(host: Host, by: timedelta) -> None:
    model = host.valetpro.models.OAuthState
    with host.app.app_context():
        for state in host.db.session.scalars(sa.select(model)):
            state.expires_at -= by
        host.db.session.commit()


def test_the_database_and_the_cookie_hold_no_state(plaza: Admin) -> None:
    token = query_of(plaza.press_connect())["state"]
    (row,) = states(plaza.host)

    assert len(token) >= 43
    assert row.state_hash == hashlib.sha256(token.encode()).hexdigest()
    assert token not in repr(vars(row))
    with plaza.browser.session_transaction() as stored:
        assert token not in repr(dict(stored))


DAMAGED: dict[str, Any] = {
    "no state": lambda query: {"code": query["code"]},
    "empty state": lambda query: {**query, "state": ""},
    "shorter state": lambda query: {**query, "state": query["state"][:-1]},
    "state twice": lambda query: {**query, "state": [query["state"], query["state"]]},
    "two states": lambda query: {**query, "state": ["other", query["state"]]},
    "two codes": lambda query: {**query, "code": [query["code"], "ac_other"]},
    "no code": lambda query: {"state": query["state"]},
    "empty code": lambda query: {**query, "code": ""},
    "rubbish": lambda query: {**query, "state": "\x00é" * 5000},
    "nothing": lambda query: {},
}


def test_a_damaged_way_back_changes_nothing_and_asks_stripe_nothing(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    for name, damage in DAMAGED.items():
        query = query_of(plaza.agree(account.id))
        answer = plaza.browser.get(f"{PAGE}/connect/callback", query_string=damage(query))
        assert answer.status_code == 422, name
        assert_refused(answer, plaza)


def test_declining_at_stripe_keeps_the_connection_there_was(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    answer = plaza.follow(plaza.agree(None, deny=True))

    assert answer.location == f"{PAGE}/?done=declined"
    assert "You declined at Stripe. Nothing was changed." in text_of(plaza.browser.get(answer.location))
    assert plaza.row().stripe_account_id == account.id
    assert states(plaza.host) == []


def test_declining_without_a_state_is_declining_too(plaza: Admin) -> None:
    answer = plaza.browser.get(f"{PAGE}/connect/callback?error=access_denied")

    assert answer.location == f"{PAGE}/?done=declined"


def test_another_error_of_stripes_is_not_called_declining(plaza: Admin) -> None:
    state = query_of(plaza.press_connect())["state"]
    answer = plaza.browser.get(
        f"{PAGE}/connect/callback?state={state}&error=<b>invalid_scope&error_description=<script>alert(1)</script>"
    )

    assert answer.status_code == 422
    assert "Stripe did not give access to the account. Nothing was changed." in text_of(answer)
    assert "<script>alert" not in answer.text
    assert "<b>invalid_scope" not in answer.text


def test_a_declined_way_back_cannot_be_used_afterwards(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    consent = plaza.press_connect()
    plaza.follow(simulator.authorize(consent, None, deny=True))

    assert_refused(plaza.follow(simulator.authorize(consent, account.id)), plaza)


def test_get_does_not_begin_anything(plaza: Admin) -> None:
    assert plaza.browser.get(f"{PAGE}/connect").status_code == 405
    assert states(plaza.host) == []


def test_a_mode_that_does_not_exist_is_refused(plaza: Admin) -> None:
    answer = plaza.browser.post(f"{PAGE}/connect", data={"mode": "LIVE"})

    assert answer.status_code == 422
    assert "The mode must be 'test' or 'live'." in text_of(answer)
    assert states(plaza.host) == []


@pytest.mark.parametrize("path", ["connect", "disconnect", "mode"])
def test_every_write_needs_its_csrf_token(plaza: Admin, path: str) -> None:
    plaza.host.app.config["WTF_CSRF_ENABLED"] = True

    assert plaza.browser.post(f"{PAGE}/{path}", data={"mode": "test"}).status_code == 400
    assert states(plaza.host) == []

    token = plaza.host.csrf_token(plaza.browser)
    answer = plaza.browser.post(f"{PAGE}/{path}", data={"mode": "test", "csrf_token": token})
    assert answer.status_code == 303
