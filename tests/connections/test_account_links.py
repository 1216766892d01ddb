"""Connecting by Account Links: an account made for a tenant, and its admin's way to Stripe and back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask_login import UserMixin, login_user

from flask_valetpro_stripe import AccountType, Mode, errors, payments, signals
from flask_valetpro_stripe.gateway import make_account_client, to_stripe
from flask_valetpro_stripe.onboarding import account_links
from flask_valetpro_stripe.onboarding.presets import DUTIES, PRESETS
from flask_valetpro_stripe.onboarding.status import settle
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.testing import Simulator
from flask_valetpro_stripe.ui.access import user_id
from tests.connections.admin import Admin, as_tenant, asked, rows
from tests.connections.onboarding import (
    ACCOUNTS,
    REFRESH,
    RETURN,
    begin,
    come_back,
    made_at_stripe,
    onboard,
    renew,
    use,
)


@pytest.fixture(params=["v2", "v1"])
def api(request: pytest.FixtureRequest, plaza: Admin) -> str:
    """Each of the two APIs that make accounts."""
    return use(plaza, str(request.param))


def open_dashboard(admin: Admin, mode: str = "test") -> str:
    with as_tenant(admin.host, admin.tenant) as tenant:
        return account_links.dashboard_link(admin.host.state, tenant, Mode(mode), user_id="7")


def make_payment(admin: Admin) -> Any:
    with as_tenant(admin.host, admin.tenant):
        payment = payments.create_payment_link(amount=1500, currency="eur", description="Parking")
        admin.host.db.session.refresh(payment)
        return payment


def account_ids(simulator: Simulator) -> set[str]:
    return {request.response["id"] for request in made_at_stripe(simulator) if "id" in request.response}


@contextmanager
def listening(admin: Admin, signal: Any) -> Iterator[list[Any]]:
    told: list[Any] = []
    with signal.connected_to(lambda app, **facts: told.append(facts["tenant"].id), admin.host.app):
        yield told


# -- there and back


@pytest.mark.both
def test_an_account_is_made_finished_at_stripe_and_takes_payments(
    api: str, plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    theirs = simulator.create_account("Seaside")
    seaside.connect(theirs.id)
    with listening(plaza, signals.tenant_connected) as told:
        address = begin(plaza)

        [connection] = plaza.connections()
        assert plaza.row().stripe_onboarding_status == "PENDING"
        assert (connection.is_current, connection.accounts_api) == (True, api)
        assert connection.requirements == ["business_profile.url", "external_account", "tos_acceptance.date"]
        with pytest.raises(errors.NotConnectedError, match="Stripe wants: business_profile.url"):
            make_payment(plaza)

        assert simulator.onboard(address) == RETURN
        assert come_back(plaza) == "CONNECTED"

    assert told == [plaza.tenant.id]
    [connection] = plaza.connections()
    assert (connection.status, connection.requirements) == ("CONNECTED", None)
    assert connection.connected_at is not None
    assert make_payment(plaza).stripe_account_id == connection.account_id
    assert simulator.requests[-1].stripe_account == connection.account_id
    assert simulator.requests[-1].api_key == simulator.platform.test_secret_key
    assert seaside.row().stripe_account_id == theirs.id
    user = str(plaza.user.id)
    assert plaza.audit() == [
        (user, "prepared"),
        (user, "onboarding_began"),
        (user, "account_made"),
        ("stripe", "became_ready"),
    ]


@pytest.mark.parametrize("account_type", PRESETS)
def test_each_type_is_made_on_its_own_terms(
    account_type: AccountType, api: str, plaza: Admin, simulator: Simulator
) -> None:
    begin(plaza, account_type)

    [request] = made_at_stripe(simulator)
    dashboard, payer, bearer, collector = {
        "CONNECT_STANDARD": ("full", "stripe", "stripe", "stripe"),
        "CONNECT_EXPRESS": ("express", "application", "application", "stripe"),
        "CONNECT_CUSTOM": ("none", "application", "application", "application"),
    }[account_type]
    if api == "v2":
        assert request.params["dashboard"] == dashboard
        assert request.params["defaults"] == {"responsibilities": {"fees_collector": payer, "losses_collector": bearer}}
    else:
        assert "type" not in request.params
        assert request.params["controller"] == {
            "stripe_dashboard": {"type": dashboard},
            "fees": {"payer": "account" if payer == "stripe" else payer},
            "losses": {"payments": bearer},
            "requirement_collection": collector,
        }
    assert request.stripe_account is None
    assert request.params["metadata"] == {"valetpro_connection": str(plaza.connections()[0].id)}
    assert plaza.row().stripe_account_type == account_type


def test_leaving_for_now_is_not_being_done(api: str, plaza: Admin, simulator: Simulator) -> None:
    assert simulator.onboard(begin(plaza), complete=False) == RETURN

    assert come_back(plaza) == "PENDING"
    assert plaza.row().stripe_onboarding_status == "PENDING"


def test_coming_back_without_having_left_is_nothing(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    """The address says nothing: whoever opens it gets the account that their own tenant began with, if any."""
    simulator.onboard(begin(seaside))

    assert come_back(plaza) is None
    assert plaza.connections() == []
    assert seaside.row().stripe_onboarding_status == "PENDING"


def test_if_stripe_cannot_tell_the_page_says_what_was_known(plaza: Admin, simulator: Simulator) -> None:
    simulator.onboard(begin(plaza))
    simulator.faults.add("GET", "/v1/account", "drop_before", times=3)

    assert come_back(plaza) == "PENDING"
    simulator.deliver_all(plaza.host.app)
    assert plaza.row().stripe_onboarding_status == "CONNECTED"


def test_the_event_may_be_faster_than_the_browser(api: str, plaza: Admin, simulator: Simulator) -> None:
    address = begin(plaza)
    with listening(plaza, signals.tenant_connected) as told:
        simulator.onboard(address)
        simulator.deliver_all(plaza.host.app)
        assert come_back(plaza) == "CONNECTED"

    assert told == [plaza.tenant.id]
    assert plaza.audit().count(("stripe", "became_ready")) == 1


@pytest.mark.both
def test_the_browser_and_the_event_at_once_make_it_ready_once(plaza: Admin, simulator: Simulator) -> None:
    old = simulator.create_account("Plaza")
    plaza.connect(old.id)
    simulator.onboard(begin(plaza))
    with listening(plaza, signals.tenant_connected) as told:
        answers = at_once(
            lambda: come_back(plaza), lambda: come_back(plaza), lambda: simulator.deliver_all(plaza.host.app)
        )

    assert len(answers) == 3
    assert plaza.audit().count(("stripe", "became_ready")) == 1
    assert told == [plaza.tenant.id]
    assert [(c.is_current, c.status) for c in plaza.connections()] == [(False, "CONNECTED"), (True, "CONNECTED")]


def test_test_and_live_are_two_accounts(plaza: Admin, simulator: Simulator) -> None:
    plaza.host.state.config = replace(plaza.host.state.config, public_url="https://app.test")
    begin(plaza, mode="test")
    with as_tenant(plaza.host, plaza.tenant) as tenant:
        there = {"return_url": RETURN.replace("http:", "https:"), "refresh_url": REFRESH.replace("http:", "https:")}
        account_links.begin(plaza.host.state, tenant, Mode.live, AccountType.CONNECT_EXPRESS, user_id="1", **there)

    assert [request.livemode for request in made_at_stripe(simulator)] == [False, True]
    assert len({connection.account_id for connection in plaza.connections()}) == 2


# -- links


def test_a_link_works_once_and_the_refresh_gives_another(api: str, plaza: Admin, simulator: Simulator) -> None:
    address = begin(plaza)
    simulator.onboard(address, complete=False)
    assert simulator.onboard(address) == REFRESH

    assert simulator.onboard(renew(plaza)) == RETURN
    assert come_back(plaza) == "CONNECTED"
    assert len(account_ids(simulator)) == 1


def test_a_link_expires_and_is_renewed(plaza: Admin, simulator: Simulator) -> None:
    address = begin(plaza)
    simulator.advance(3600)

    assert simulator.onboard(address) == REFRESH
    assert simulator.onboard(renew(plaza)) == RETURN


def test_a_refresh_is_for_what_the_tenant_itself_began(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    begin(seaside)
    simulator.requests.clear()

    with pytest.raises(errors.ValetProStripeError) as refused:
        renew(plaza)
    assert (str(refused.value), refused.value.code) == (
        "There is nothing to be finished at Stripe now.",
        "nothing_begun",
    )
    assert simulator.requests == []


def test_a_refresh_is_of_the_mode_that_was_begun(plaza: Admin) -> None:
    begin(plaza, mode="test")
    with pytest.raises(errors.ValetProStripeError, match="nothing to be finished"):
        renew(plaza, "live")


def test_nothing_is_left_to_refresh_once_it_is_done(plaza: Admin) -> None:
    onboard(plaza)
    with pytest.raises(errors.ValetProStripeError, match="nothing to be finished"):
        renew(plaza)


def test_what_stripe_wants_by_a_day_can_be_told_while_payments_go_on(plaza: Admin, simulator: Simulator) -> None:
    account_id = onboard(plaza).account_id
    deadline = datetime.now(UTC).replace(microsecond=0) + timedelta(days=14)
    simulator.update_account(account_id, due=["company.tax_id"], deadline=int(deadline.timestamp()))
    simulator.deliver_all(plaza.host.app)

    assert (plaza.connections()[0].status, plaza.connections()[0].requirements_due_at) == ("CONNECTED", deadline)
    assert simulator.onboard(renew(plaza)) == RETURN
    assert come_back(plaza) == "CONNECTED"
    assert plaza.connections()[0].requirements_due_at is None


def test_links_run_out_for_the_tenant_that_asks_too_often(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    begin(plaza)
    for _ in range(account_links.MOST_LINKS - 1):
        renew(plaza)
    simulator.requests.clear()

    for once_more in (renew, begin):
        with pytest.raises(errors.ValetProStripeError) as refused:
            once_more(plaza)
        assert str(refused.value) == "Links to Stripe were asked for 10 times in the last ten minutes."
        assert refused.value.code == "too_many"
    assert simulator.requests == []
    begin(seaside)
    entries = rows(plaza.host, plaza.host.valetpro.models.AuditEntry, tenant_id=plaza.tenant.id)
    assert [entry.action for entry in entries].count("onboarding_renewed") == 9


# -- one account, whatever happens


def test_pressing_again_goes_on_with_the_same_account(api: str, plaza: Admin, simulator: Simulator) -> None:
    first, second = begin(plaza), begin(plaza)

    assert first != second
    assert len(made_at_stripe(simulator)) == 1
    assert len(plaza.connections()) == 1
    assert simulator.onboard(second) == RETURN
    assert come_back(plaza) == "CONNECTED"


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do things at the same moment, and return what came of them."""
    start, answers = threading.Barrier(len(acts)), []

    def run(act: Callable[[], Any]) -> None:
        start.wait()
        answers.append(act())

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.both
def test_two_clicks_at_once_make_one_account(api: str, plaza: Admin, simulator: Simulator) -> None:
    addresses = at_once(lambda: begin(plaza), lambda: begin(plaza))

    assert len(addresses) == 2
    assert len(account_ids(simulator)) == 1
    [connection] = plaza.connections()
    assert {connection.account_id} == account_ids(simulator)
    assert plaza.audit().count((str(plaza.user.id), "account_made")) == 1


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_lost_answer_makes_no_second_account(fault: str, api: str, plaza: Admin, simulator: Simulator) -> None:
    simulator.faults.add("POST", ACCOUNTS[api], fault, times=3)
    with pytest.raises(errors.OutcomeUnknownError, match="Making the account did not get an answer from Stripe"):
        begin(plaza)
    assert plaza.connections()[0].account_id is None

    # Renamed meanwhile: what is asked for stays the same.
    rename(plaza, "Grand Plaza")
    begin(plaza)
    [connection] = plaza.connections()
    assert len({request.idempotency_key for request in made_at_stripe(simulator)}) == 1
    assert account_ids(simulator) == {connection.account_id}
    assert connection.account_name == "Hotel Plaza"


@pytest.mark.parametrize("fault", ["rate_limit", "lock_timeout"])
def test_being_limited_after_a_lost_answer_makes_no_second_account(
    fault: str, api: str, plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    """That refusal says nothing about the call before it, which made the account."""
    simulator.faults.add("POST", ACCOUNTS[api], "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        begin(plaza)
    simulator.faults.add("POST", ACCOUNTS[api], fault, times=3)
    with pytest.raises(errors.ValetProStripeError, match="Stripe is limiting requests") as limited:
        begin(plaza)
    assert limited.value.code == "rate_limit"
    simulator.faults.clear()
    begin(plaza)

    [connection] = plaza.connections()
    assert account_ids(simulator) == {connection.account_id}
    assert len({request.idempotency_key for request in made_at_stripe(simulator)}) == 1
    begin(seaside)
    assert seaside.connections()[0].account_id != connection.account_id


def test_a_key_that_was_rolled_after_a_lost_answer_makes_no_second_account(
    api: str, plaza: Admin, simulator: Simulator
) -> None:
    simulator.faults.add("POST", ACCOUNTS[api], "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        begin(plaza, country="FR")
    config = plaza.host.state.config
    plaza.host.state.config = replace(config, test_secret_key=Secret("sk_test_thatIsRolledSince4242"))
    with pytest.raises(errors.InvalidKeyError):
        begin(plaza, country="FR")
    plaza.host.state.config = config
    begin(plaza, country="FR")

    [connection] = plaza.connections()
    assert account_ids(simulator) == {connection.account_id}


def test_an_address_that_was_changed_after_a_lost_answer_begins_afresh_and_the_log_names_the_other(
    api: str,
    plaza: Admin,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(plaza.host.Tenant, "email", "office@plaza.example", raising=False)
    simulator.faults.add("POST", ACCOUNTS[api], "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        begin(plaza)
    monkeypatch.setattr(plaza.host.Tenant, "email", "desk@plaza.example", raising=False)
    begin(plaza)

    given_up, connection = plaza.connections()
    assert (given_up.status, given_up.account_id, connection.status) == ("NOT_CONNECTED", None, "PENDING")
    left = f"if Stripe made an account with metadata valetpro_connection={given_up.id}, nobody uses it"
    assert left in caplog.text


def test_what_became_ready_is_told_with_its_account_and_mode(plaza: Admin, seaside: Admin) -> None:
    mine, theirs = onboard(plaza), onboard(seaside)

    entries = rows(plaza.host, plaza.host.valetpro.models.AuditEntry, action="became_ready")
    assert [entry.detail for entry in entries] == [
        {"account_id": connection.account_id, "mode": "test"} for connection in (mine, theirs)
    ]


def rename(admin: Admin, name: str) -> None:
    with as_tenant(admin.host, admin.tenant) as tenant:
        tenant.name = name
        admin.host.db.session.commit()


def test_another_request_under_the_same_key_begins_afresh(api: str, plaza: Admin, simulator: Simulator) -> None:
    """The answer was lost, and then another country is chosen: Stripe refuses, and the next account is the one."""
    simulator.faults.add("POST", ACCOUNTS[api], "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        begin(plaza, country="FR")

    begin(plaza, country="IT")
    given_up, connection = plaza.connections()
    assert (given_up.status, given_up.account_id, given_up.is_current) == ("NOT_CONNECTED", None, False)
    assert given_up.ended_at is not None
    assert (connection.status, connection.is_current) == ("PENDING", True)
    assert connection.account_id == made_at_stripe(simulator)[-1].response["id"]
    assert made_at_stripe(simulator)[-1].status == 200


def test_a_refusal_is_not_repeated_for_ever(plaza: Admin, simulator: Simulator) -> None:
    """Stripe answers a key that it has refused with the same refusal."""
    use(plaza, "v1")
    simulator._ledger.accounts_v1 = False
    with pytest.raises(errors.ConfigurationError):
        begin(plaza)
    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"

    simulator._ledger.accounts_v1 = True
    begin(plaza)
    assert plaza.row().stripe_onboarding_status == "PENDING"
    assert len({request.idempotency_key for request in made_at_stripe(simulator)}) == 2


@pytest.mark.both
def test_disconnecting_while_stripe_makes_the_account_keeps_it_for_the_next_time(
    plaza: Admin, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.faults.add("POST", "/v2/core/accounts", "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        begin(plaza)
    assert plaza.disconnect().status_code == 303
    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"

    begin(plaza)
    assert plaza.row().stripe_onboarding_status == "PENDING"


# -- beside other connections


def test_what_takes_payments_goes_on_until_the_new_account_may_charge(
    api: str, plaza: Admin, simulator: Simulator
) -> None:
    old = simulator.create_account("Plaza")
    plaza.connect(old.id)
    payment = make_payment(plaza)
    address = begin(plaza)

    assert plaza.row().stripe_account_id == old.id
    assert make_payment(plaza).stripe_account_id == old.id

    simulator.onboard(address)
    simulator.deliver_all(plaza.host.app)
    first, second = plaza.connections()
    assert (first.is_current, first.status, first.ended_at) == (False, "CONNECTED", None)
    assert (second.is_current, second.status) == (True, "CONNECTED")
    assert make_payment(plaza).stripe_account_id == second.account_id
    with as_tenant(plaza.host, plaza.tenant):
        payments.sync(plaza.host.db.session.get_one(plaza.host.Payment, payment.id))
    assert simulator.requests[-1].stripe_account == old.id
    assert plaza.audit()[-1] == ("stripe", "became_ready")


def test_an_account_that_was_switched_away_from_does_not_come_back_by_itself(
    plaza: Admin, simulator: Simulator
) -> None:
    made = onboard(plaza)
    newer = simulator.create_account("Plaza")
    plaza.connect(newer.id)
    for charges_enabled in (False, True):
        simulator.update_account(made.account_id, charges_enabled=charges_enabled)
        simulator.deliver_all(plaza.host.app)

    assert plaza.row().stripe_account_id == newer.id


@pytest.mark.both
def test_pressing_for_an_account_that_is_ready_makes_it_the_current_one(plaza: Admin, simulator: Simulator) -> None:
    made = onboard(plaza)
    plaza.connect(simulator.create_account("Plaza").id)

    begin(plaza)
    assert plaza.row().stripe_account_id == made.account_id
    assert len(made_at_stripe(simulator)) == 1


def test_of_two_unfinished_types_the_one_pressed_last_is_shown(plaza: Admin, simulator: Simulator) -> None:
    begin(plaza, "CONNECT_CUSTOM")
    address = begin(plaza, "CONNECT_EXPRESS")
    assert plaza.row().stripe_account_type == "CONNECT_EXPRESS"

    simulator.onboard(address)
    assert come_back(plaza) == "CONNECTED"
    assert [(c.account_type, c.is_current) for c in plaza.connections()] == [
        ("CONNECT_CUSTOM", False),
        ("CONNECT_EXPRESS", True),
    ]


def test_disconnecting_ends_it_here_and_connecting_again_takes_the_same_account(
    api: str, plaza: Admin, simulator: Simulator
) -> None:
    made = onboard(plaza)
    assert plaza.disconnect().status_code == 303

    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"
    assert asked(simulator, "/oauth/deauthorize") == []
    assert simulator.is_connected(made.account_id)

    begin(plaza)
    assert come_back(plaza) == "CONNECTED"
    first, second = plaza.connections()
    assert first.ended_at is not None
    assert (second.account_id, second.accounts_api) == (made.account_id, api)
    assert len(made_at_stripe(simulator)) == 1
    assert make_payment(plaza).stripe_account_id == made.account_id


def test_another_tenant_gets_an_account_of_its_own(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    mine = onboard(plaza)
    plaza.disconnect()

    assert onboard(seaside).account_id != mine.account_id


def test_an_account_that_is_gone_is_ended_and_the_next_press_makes_a_new_one(
    api: str, plaza: Admin, simulator: Simulator
) -> None:
    begin(plaza)
    gone = plaza.connections()[0].account_id
    simulator.disconnect(gone)

    with pytest.raises(errors.ConnectionRevokedError) as refused:
        begin(plaza)
    assert refused.value.hint == "Press the button again: a new account is made."
    assert plaza.row().stripe_onboarding_status == "REVOKED"

    begin(plaza)
    assert plaza.row().stripe_onboarding_status == "PENDING"
    assert plaza.connections()[-1].account_id != gone


def test_a_late_answer_about_the_account_is_not_applied(plaza: Admin, simulator: Simulator) -> None:
    connection = onboard(plaza)
    early = connection.asked_at - timedelta(seconds=1)
    with plaza.host.app.app_context():
        living = plaza.host.db.session.get_one(plaza.host.valetpro.models.Connection, connection.id)
        assert not settle(plaza.host.state, living, {"charges_enabled": False}, early)
        plaza.host.db.session.commit()

    assert plaza.row().stripe_onboarding_status == "CONNECTED"


# -- what is refused


def test_live_needs_https(plaza: Admin, simulator: Simulator) -> None:
    with pytest.raises(errors.ConfigurationError) as refused:
        begin(plaza, mode="live")
    assert str(refused.value) == (
        "In live mode Stripe sends people back to https addresses only. The operator must set "
        "VALETPRO_STRIPE_PUBLIC_URL to this app's https address."
    )
    assert (simulator.requests, plaza.connections()) == ([], [])


@pytest.mark.parametrize("account_type", ["PLATFORM", "RAW_KEYS", "CONNECT_CUSTOM"])
def test_only_what_the_operator_offers_and_stripe_makes_can_be_begun(
    account_type: str, plaza: Admin, simulator: Simulator
) -> None:
    allowed = frozenset(AccountType) - {AccountType.CONNECT_CUSTOM}
    plaza.host.state.config = replace(plaza.host.state.config, allowed_account_types=allowed)
    with pytest.raises(errors.ValetProStripeError, match="cannot be connected here") as refused:
        begin(plaza, account_type)
    assert refused.value.code == "account_type"
    assert (simulator.requests, plaza.connections()) == ([], [])


def test_without_the_platforms_key_the_text_says_what_to_set(plaza: Admin) -> None:
    plaza.host.state.config = replace(plaza.host.state.config, test_secret_key=None)
    with pytest.raises(errors.ConfigurationError, match="VALETPRO_STRIPE_TEST_SECRET_KEY"):
        begin(plaza)
    assert plaza.connections() == []


@pytest.mark.parametrize("country", ["France", "F", "1A", "F\n"])
def test_a_country_is_two_letters(country: str, plaza: Admin) -> None:
    with pytest.raises(errors.ValetProStripeError, match="two letters, such as FR"):
        begin(plaza, country=country)


def test_no_message_and_no_entry_holds_a_link(plaza: Admin, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    links = [begin(plaza), renew(plaza)]
    entries = rows(plaza.host, plaza.host.valetpro.models.AuditEntry)
    kept = caplog.text + "".join(str(entry.detail) for entry in entries)

    assert (len(entries), bool(caplog.text)) == (4, True)
    assert not any(link.rsplit("/", 1)[-1] in kept for link in links)


# -- the Express dashboard


def test_the_express_dashboard_is_opened_by_a_new_link_on_each_click(
    api: str, plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    mine, theirs = onboard(plaza), onboard(seaside)

    first, second = open_dashboard(plaza), open_dashboard(plaza)
    assert first != second
    assert mine.account_id in first
    assert theirs.account_id in open_dashboard(seaside)


@pytest.mark.parametrize("account_type", ["CONNECT_STANDARD", "CONNECT_CUSTOM"])
def test_only_express_accounts_have_a_dashboard_here(account_type: str, plaza: Admin, simulator: Simulator) -> None:
    onboard(plaza, account_type)
    simulator.requests.clear()
    with pytest.raises(errors.ValetProStripeError, match="There is no Express account in test mode"):
        open_dashboard(plaza)
    assert simulator.requests == []


def test_a_disconnected_express_account_has_no_dashboard_here(plaza: Admin) -> None:
    onboard(plaza)
    plaza.disconnect()
    with pytest.raises(errors.ValetProStripeError, match="There is no Express account in test mode"):
        open_dashboard(plaza)


def test_a_dashboard_before_the_account_is_finished_is_refused_in_stripes_words(plaza: Admin) -> None:
    begin(plaza)
    with pytest.raises(errors.ValetProStripeError, match="Opening the Express dashboard was refused by Stripe"):
        open_dashboard(plaza)


@pytest.mark.parametrize(
    "reach",
    [
        lambda client, id: client.v1.accounts.login_links.create(id),
        lambda client, id: client.v1.account_links.create({"account": id, "type": "account_onboarding"}),
        lambda client, id: client.v1.account_sessions.create({"account": id, "components": {}}),
        lambda client, id: client.v1.accounts.list(),
        lambda client, id: client.v1.accounts.create({}),
        lambda client, id: client.v2.core.accounts.retrieve(id),
        lambda client, id: client.v2.core.account_links.create({"account": id, "use_case": {}}),
    ],
)
def test_whoever_is_lent_the_platforms_account_does_not_reach_the_tenants_accounts(
    reach: Any, plaza: Admin, simulator: Simulator
) -> None:
    account_id = onboard(plaza).account_id
    simulator.requests.clear()
    with plaza.host.app.app_context():
        lent = make_account_client(plaza.host.state, Mode.test, None)
        with pytest.raises(errors.ConfigurationError, match="bound to one account"):
            reach(lent, account_id)
    assert simulator.requests == []


def test_every_preset_has_its_duties() -> None:
    assert set(DUTIES) == set(PRESETS)
    assert DUTIES[AccountType.CONNECT_STANDARD] == ()
    assert {duty.startswith(("The platform", "Tenants")) for duty in DUTIES[AccountType.CONNECT_CUSTOM]} == {True}


@pytest.mark.both
def test_the_dashboard_is_opened_ten_times_in_ten_minutes_and_each_stands_in_the_history(
    plaza: Admin, seaside: Admin
) -> None:
    onboard(plaza)
    onboard(seaside)
    for _ in range(account_links.MOST_LINKS):
        open_dashboard(plaza)

    with pytest.raises(errors.ValetProStripeError, match="asked for 10 times in the last ten minutes"):
        open_dashboard(plaza)
    assert [action for _, action in plaza.audit()].count("dashboard_opened") == 10
    assert open_dashboard(seaside)


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "//evil.test", "https://stripe.com.evil.test/x", "data:text/html,x", None, "http://stripe.com/x",
     "https://stripe.com/a\r\nX: y", "https://evil.test/?https://stripe.com/"],
)  # fmt: skip
def test_a_browser_is_sent_to_stripe_and_nowhere_else(plaza: Admin, address: object) -> None:
    with pytest.raises(errors.ValetProStripeError, match="leads somewhere else than to Stripe"):
        to_stripe(plaza.host.state.config, address)


@pytest.mark.parametrize("address", ["https://connect.stripe.com/setup/e/x", "http://stripe.test/setup/x"])
def test_stripe_is_stripe_and_the_fake_in_its_place(plaza: Admin, address: str) -> None:
    assert to_stripe(plaza.host.state.config, address) == address


def test_an_account_that_is_gone_does_not_lock_its_tenant_out(api: str, plaza: Admin, simulator: Simulator) -> None:
    first = onboard(plaza).account_id
    plaza.disconnect()
    simulator.disconnect(first)
    with pytest.raises(errors.ConnectionRevokedError, match="is gone"):
        begin(plaza)

    begin(plaza)

    assert plaza.row().stripe_onboarding_status == "PENDING"
    assert plaza.row().stripe_account_id not in (None, first)


def test_an_account_that_serves_another_by_now_does_not_lock_its_tenant_out(
    api: str, plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    first = onboard(plaza).account_id
    plaza.disconnect()
    plaza.host.connect(seaside.tenant, first, account_type=AccountType.CONNECT_EXPRESS)

    begin(plaza)

    assert plaza.row().stripe_account_id not in (None, first)
    assert seaside.row().stripe_account_id == first


@pytest.mark.parametrize(
    "name, shown", [*((name, f"user {name}") for name in ("operator", "reconcile", "stripe")), ("7" * 300, "7" * 255)]
)
def test_no_users_id_reads_as_one_of_our_own_actors(plaza: Admin, name: str, shown: str) -> None:
    class Named(UserMixin):
        def get_id(self) -> str:
            return name

    with plaza.host.app.test_request_context():
        login_user(Named())
        assert user_id() == shown
