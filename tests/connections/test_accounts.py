"""Which account a tenant may connect, what it becomes, and what stays of the one before."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
import stripe

from flask_valetpro_stripe import payments, signals
from flask_valetpro_stripe.onboarding import oauth
from flask_valetpro_stripe.testing import Simulator
from tests.connections.admin import PAGE, Admin, as_tenant, asked, rows, text_of
from tests.hosts import make_host

TAKEN = "This Stripe account is already in use here, so it was not connected."


def test_an_account_of_another_tenant_is_refused_and_stays_with_it(
    plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    account = simulator.create_account("Seaside Resort Ltd")
    seaside.connect(account.id)
    answer = plaza.connect(account.id)

    assert answer.status_code == 422
    assert TAKEN in text_of(answer)
    assert "Seaside" not in answer.text
    assert account.id not in answer.text
    assert plaza.connections() == []
    # Deauthorizing to clean up would cut the rightful tenant off.
    assert simulator.is_connected(account.id)
    assert asked(simulator, "/oauth/deauthorize") == []
    assert seaside.row().stripe_onboarding_status == "CONNECTED"


def test_a_refused_account_leaves_the_connection_there_was(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    mine, theirs = simulator.create_account("Plaza"), simulator.create_account("Seaside")
    plaza.connect(mine.id)
    seaside.connect(theirs.id)

    assert plaza.connect(theirs.id).status_code == 422
    assert plaza.row().stripe_account_id == mine.id
    assert plaza.audit() == [(str(plaza.user.id), "connected")]


def test_the_same_account_may_serve_two_tenants_in_two_modes(
    plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    account = simulator.create_account("A group")

    assert plaza.connect(account.id, "test").status_code == 303
    assert seaside.connect(account.id, "live").status_code == 303


@pytest.mark.both
def test_two_tenants_that_race_for_an_account_do_not_both_get_it(
    plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    account = simulator.create_account("A group")
    backs = [(plaza, plaza.agree(account.id)), (seaside, seaside.agree(account.id))]
    start, answers = threading.Barrier(2), []

    def come_back(admin: Admin, back: str) -> None:
        start.wait()
        answers.append(admin.follow(back).status_code)

    threads = [threading.Thread(target=come_back, args=pair) for pair in backs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [303, 422]
    assert len(plaza.connections()) + len(seaside.connections()) == 1
    assert simulator.is_connected(account.id)


@pytest.mark.both
def test_a_tenant_that_connects_two_accounts_at_once_ends_with_one_of_them(plaza: Admin, simulator: Simulator) -> None:
    accounts = [simulator.create_account(name) for name in ("One", "Two")]
    backs = [plaza.agree(account.id) for account in accounts]
    with plaza.browser.session_transaction() as stored:
        session = dict(stored)
    start, answers = threading.Barrier(2), []

    def come_back(back: str) -> None:
        twin = plaza.elsewhere()
        with twin.browser.session_transaction() as stored:
            stored.update(session)
        start.wait()
        answers.append(twin.follow(back).status_code)

    threads = [threading.Thread(target=come_back, args=(back,)) for back in backs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [303, 303]
    assert [c.is_current for c in plaza.connections()].count(True) == 1
    assert {c.account_id for c in plaza.connections()} == {account.id for account in accounts}


@pytest.mark.both
def test_shared_accounts_are_shared_on_purpose(database_url: str, simulator: Simulator) -> None:
    config = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_ALLOW_SHARED_ACCOUNTS": True}
    host = make_host(database_url, simulator=simulator, config=config)
    account = simulator.create_account("A group")
    admins = [Admin.of(host, host.make_tenant(name)) for name in ("Plaza", "Seaside")]

    assert [admin.connect(account.id).status_code for admin in admins] == [303, 303]
    assert [admin.row().stripe_account_id for admin in admins] == [account.id, account.id]
    host.close()


def test_the_platforms_own_account_is_refused(plaza: Admin, simulator: Simulator) -> None:
    answer = plaza.connect(simulator.platform.id)

    assert answer.status_code == 422
    assert "This is the platform's own Stripe account, which cannot be connected to itself." in text_of(answer)
    assert plaza.connections() == []


def test_a_scope_that_is_less_than_asked_for_is_refused(plaza: Admin, simulator: Simulator) -> None:
    """The address of the consent page is the admin's to change."""
    account = simulator.create_account("Plaza")
    consent = plaza.press_connect().replace("read_write", "read_only")
    answer = plaza.follow(simulator.authorize(consent, account.id))

    assert answer.status_code == 422
    assert "Stripe gave access of another kind than was asked for (test mode, read_write)." in text_of(answer)
    assert plaza.connections() == []


def test_a_code_of_the_other_mode_is_refused(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    consent = plaza.press_connect("live").replace(simulator.platform.live_client_id, simulator.platform.test_client_id)
    answer = plaza.follow(simulator.authorize(consent, account.id))

    assert answer.status_code == 422
    assert "Connecting failed: Stripe answered invalid_grant." in text_of(answer)
    assert plaza.connections() == []


class Rewritten(stripe.HTTPClient):
    """Stripe, but one field of what it answers to the exchange is another."""

    name = "rewritten"

    def __init__(self, real: stripe.HTTPClient, **fields: Any) -> None:
        super().__init__()
        self._real, self._fields = real, fields

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **_: Any) -> Any:
        body, status, answer_headers = self._real.request(method, url, headers, post_data)
        if url.endswith("/oauth/token"):
            body = json.dumps({**json.loads(body), **self._fields})
        return body, status, answer_headers

    def close(self) -> None:
        """Nothing is open."""


OTHER_ANSWERS: list[Mapping[str, Any]] = [
    {"livemode": True},
    {"livemode": None},
    {"livemode": 0},
    {"livemode": "false"},
    {"scope": "read_only"},
    {"scope": None},
    {"stripe_user_id": None},
    {"stripe_user_id": ""},
    {"stripe_user_id": "sk_test_notanaccount"},
    {"stripe_user_id": "acct_1/../../v1/balance"},
    {"stripe_user_id": ["acct_1"]},
]


def test_an_answer_that_is_not_what_was_asked_for_connects_nothing(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    for fields in OTHER_ANSWERS:
        plaza.host.state.http_client = Rewritten(simulator.http_client(), **fields)
        assert plaza.connect(account.id).status_code == 422, fields

    assert plaza.connections() == []
    assert {request.stripe_account for request in asked(simulator, "/v1/account")} == {None}, "only the platform's own"


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "server_error", "rate_limit"])
def test_an_exchange_that_fails_is_not_tried_again_and_changes_nothing(
    plaza: Admin, simulator: Simulator, fault: str
) -> None:
    first, second = simulator.create_account("Plaza"), simulator.create_account("Plaza two")
    plaza.connect(first.id)
    back = plaza.agree(second.id)
    simulator.faults.add("POST", "/oauth/token", fault, times=9)
    before = len(asked(simulator, "/oauth/token"))
    answer = plaza.follow(back)

    assert answer.status_code == 422
    assert "Connecting" in text_of(answer)
    assert "idempotency_key" not in text_of(answer)
    assert len(asked(simulator, "/oauth/token")) == before + 1
    assert plaza.row().stripe_account_id == first.id

    simulator.faults.clear()
    assert plaza.follow(back).status_code == 422, "the state was used up before the exchange"
    assert plaza.connect(second.id).status_code == 303
    assert plaza.row().stripe_account_id == second.id


def test_stripe_being_away_before_the_exchange_leaves_nothing_behind(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza", charges_enabled=False)
    simulator.faults.add("GET", "/v1/account", "drop_before", times=9)
    answer = plaza.connect(account.id)

    assert answer.status_code == 422
    assert "did not get an answer from Stripe." in text_of(answer)
    assert plaza.connections() == []
    assert asked(simulator, "/oauth/token") == []
    assert not simulator.is_connected(account.id)

    simulator.faults.clear()
    assert plaza.connect(account.id).location.endswith("?done=pending")


@pytest.mark.parametrize("fault", ["drop_before", "rate_limit", "server_error"])
def test_an_account_that_cannot_be_read_after_the_exchange_is_connected_all_the_same(
    plaza: Admin, simulator: Simulator, fault: str
) -> None:
    account = simulator.create_account("Plaza")
    simulator.faults.add("GET", "/v1/account", fault, times=9, account=account.id)

    assert plaza.connect(account.id).location.endswith("?done=connected")
    assert plaza.row().stripe_account_id == account.id


@pytest.mark.both
def test_access_that_is_withdrawn_while_connecting_is_not_connected(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    back = plaza.agree(account.id)

    class Withdrawing(Rewritten):
        """Stripe tells of the withdrawal just after the exchange."""

        def request(self, method: str, url: str, headers: Any, post_data: Any = None, **_: Any) -> Any:
            if url.endswith("/v1/account") and (headers or {}).get("Stripe-Account"):
                simulator.disconnect(account.id)
                simulator.deliver_all(plaza.host.app)
                raise stripe.APIConnectionError("away")
            return super().request(method, url, headers, post_data)

    plaza.host.state.http_client = Withdrawing(simulator.http_client())
    answer = plaza.follow(back)

    assert answer.status_code == 422
    assert "was withdrawn while it was being connected" in text_of(answer)
    assert plaza.connections() == []


@pytest.mark.both
def test_a_tenant_cannot_fill_the_table_of_begun_connections(plaza: Admin, simulator: Simulator) -> None:
    for _ in range(oauth.MOST_BEGUN):
        plaza.press_connect()

    answer = plaza.browser.post(f"{PAGE}/connect", data={"mode": "test"})

    assert answer.status_code == 422
    assert "never finished" in text_of(answer)


@pytest.mark.both
def test_a_name_that_no_database_stores_is_shown_without_what_is_wrong_with_it(
    plaza: Admin, simulator: Simulator
) -> None:
    account = simulator.create_account("Pla\0za \ud800 Hotel")

    assert plaza.connect(account.id).status_code == 303
    assert plaza.connections()[0].account_name == "Plaza ? Hotel"


def test_a_link_preview_does_not_use_the_way_back_up(plaza: Admin, simulator: Simulator) -> None:
    back = plaza.agree(simulator.create_account("Plaza").id)
    parts = urlsplit(back)

    assert plaza.browser.head(f"{parts.path}?{parts.query}").status_code == 405
    assert plaza.follow(back).status_code == 303


def test_coming_back_is_not_being_ready(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza", charges_enabled=False)
    told: list[Any] = []
    with signals.tenant_connected.connected_to(lambda app, **facts: told.append(facts), plaza.host.app):
        answer = plaza.connect(account.id)

    assert answer.location.endswith("?done=pending")
    assert plaza.row().stripe_onboarding_status == "PENDING"
    assert plaza.connections()[0].requirements == ["business_profile.url", "external_account", "tos_acceptance.date"]
    assert told == []
    assert "Acceptance of Stripe's terms" in plaza.page()


def test_an_account_becomes_ready_when_stripe_says_so(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza", charges_enabled=False)
    plaza.connect(account.id)
    simulator.update_account(account.id, charges_enabled=True)
    simulator.deliver_all(plaza.host.app)

    assert plaza.row().stripe_onboarding_status == "CONNECTED"
    assert plaza.connections()[0].requirements is None


def test_an_account_stops_being_ready_when_stripe_says_so(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    simulator.update_account(account.id, charges_enabled=False)
    simulator.deliver_all(plaza.host.app)

    assert plaza.row().stripe_onboarding_status == "PENDING"


def test_a_stale_account_event_does_not_win_over_what_stripe_says_now(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    simulator.update_account(account.id, charges_enabled=False)
    simulator.update_account(account.id, charges_enabled=True)
    simulator.faults.reorder_deliveries(seed=3)
    simulator.deliver_all(plaza.host.app)

    assert plaza.row().stripe_onboarding_status == "CONNECTED"


def test_an_accounts_name_is_text_on_the_page(plaza: Admin, simulator: Simulator) -> None:
    name = """<img src=x onerror=alert(1)>" hx-get="/steal" x='"""
    plaza.connect(simulator.create_account(name).id)
    page = plaza.browser.get("/settings/payments/").text

    assert "<img src=x" not in page
    assert '" hx-get="/steal"' not in page
    assert name in plaza.page()


def test_reconnecting_the_same_account_makes_a_new_connection(
    plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id)
    plaza.connect(account.id)

    old, new = plaza.connections()
    assert (old.is_current, new.is_current) == (False, True)
    assert (old.ended_at, old.status) == (None, "CONNECTED")
    assert plaza.row().stripe_account_id == account.id
    assert seaside.connect(account.id).status_code == 422, "the claim went over to the new connection"


@pytest.mark.both
def test_switching_the_account_keeps_the_old_one_for_what_it_took(plaza: Admin, simulator: Simulator) -> None:
    first, second = simulator.create_account("Plaza"), simulator.create_account("Plaza two")
    plaza.connect(first.id)
    with as_tenant(plaza.host, plaza.tenant):
        paid = payments.create_payment_link(amount=1500, currency="eur", description="Parking").id
        left = payments.create_payment_link(amount=1600, currency="eur", description="Parking").id
    simulator.pay(rows(plaza.host, plaza.host.Payment, id=paid)[0].stripe_payment_link_id)
    plaza.connect(second.id)

    with as_tenant(plaza.host, plaza.tenant):
        new = payments.create_payment_link(amount=1700, currency="eur", description="Parking")
        assert new.stripe_account_id == second.id
        assert simulator.requests[-1].stripe_account == second.id
        simulator.requests.clear()
        get = plaza.host.db.session.get_one
        assert payments.sync(get(plaza.host.Payment, paid)).status == "COMPLETED"
        assert payments.cancel(get(plaza.host.Payment, left)).status == "CANCELED"
    assert {request.stripe_account for request in simulator.requests} == {first.id}
    assert {p.stripe_account_id for p in rows(plaza.host, plaza.host.Payment)} == {first.id, second.id}


def test_a_link_of_the_account_before_is_still_heard_of(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    """Its link stays open at Stripe, so what a guest pays there must not be lost."""
    first, second = simulator.create_account("Plaza"), simulator.create_account("Plaza two")
    plaza.connect(first.id)
    seaside.connect(simulator.create_account("Seaside").id)
    with as_tenant(plaza.host, plaza.tenant):
        link = payments.create_payment_link(amount=1500, currency="eur", description="Parking").stripe_payment_link_id
    plaza.connect(second.id)
    simulator.pay(link)
    simulator.deliver_all(plaza.host.app)

    (payment,) = rows(plaza.host, plaza.host.Payment)
    assert (payment.status, payment.stripe_account_id) == ("COMPLETED", first.id)


def test_an_account_that_was_switched_away_from_is_still_not_another_tenants(
    plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    first, second = simulator.create_account("Plaza"), simulator.create_account("Plaza two")
    plaza.connect(first.id)
    plaza.connect(second.id)

    assert seaside.connect(first.id).status_code == 422
    assert seaside.connect(second.id).status_code == 422


def test_an_account_is_free_again_after_its_tenant_disconnected(
    plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    account = simulator.create_account("A group")
    plaza.connect(account.id)
    plaza.disconnect()

    assert seaside.connect(account.id).status_code == 303
    assert plaza.row().stripe_account_id is None


@pytest.mark.both
def test_test_and_live_stand_side_by_side(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id, "test")
    plaza.connect(account.id, "live")

    assert [(c.mode, c.is_current) for c in plaza.connections()] == [("test", True), ("live", True)]
    assert (plaza.row().stripe_mode, plaza.row().stripe_account_id) == ("test", account.id)
    keys = {(request.api_key, request.livemode) for request in asked(simulator, "/v1/account")}
    assert keys == {(simulator.platform.test_secret_key, False), (simulator.platform.live_secret_key, True)}


@pytest.mark.both
def test_a_commit_that_fails_after_the_exchange_leaves_no_half_connection(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    back = plaza.agree(account.id)
    rename(plaza, "stripe_audit_entry", "stripe_audit_entry_gone")
    with pytest.raises(sa.exc.DBAPIError):
        plaza.follow(back)
    rename(plaza, "stripe_audit_entry_gone", "stripe_audit_entry")

    assert plaza.connections() == []
    assert plaza.connect(account.id).status_code == 303


def rename(admin: Admin, table: str, to: str) -> None:
    with admin.host.app.app_context():
        admin.host.db.session.execute(sa.text(f"ALTER TABLE {table} RENAME TO {to}"))
        admin.host.db.session.commit()
