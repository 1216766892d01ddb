"""From a tenant to what acts at Stripe for it: always its own, or an error that says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import AccountType, Mode, OnboardingStatus, current_stripe, tenant_context
from flask_valetpro_stripe.connections import (
    allow_platform,
    disconnect,
    forbid_platform,
    living_connections,
    prepare_connection,
    revoke,
)
from flask_valetpro_stripe.credentials import client_for
from flask_valetpro_stripe.errors import ConfigurationError, ConnectionRevokedError, NotConnectedError
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host

PAGE = "http://app.test/settings/payments/"
FALLBACK = {"VALETPRO_STRIPE_PLATFORM_FALLBACK": "test"}


@pytest.fixture
def host(sqlite_url: str, simulator: Simulator) -> Iterator[Host]:
    with make_host(sqlite_url, simulator=simulator) as host:
        yield host


@pytest.fixture
def lending_host(sqlite_url: str, simulator: Simulator) -> Iterator[Host]:
    """A host whose operator lets tenants that never connected try things out on the platform's account."""
    with make_host(sqlite_url, simulator=simulator, config=FALLBACK) as host:
        yield host


def account_of(simulator: Simulator, name: str = "Plaza", *, livemode: bool = False) -> str:
    account = simulator.create_account(name)
    simulator.connect(account.id, livemode=livemode)
    return account.id


def asked_as(host: Host, tenant: Any) -> tuple[str | None, str | None]:
    """Return key and account that a call of ``tenant`` arrives with at Stripe."""
    assert host.simulator is not None
    with host.app.app_context(), tenant_context(host.tenant(tenant.id)):
        current_stripe.client.v1.balance.retrieve()
        host.db.session.commit()
    request = host.simulator.requests[-1]
    assert request.status == 200
    return request.api_key, request.stripe_account


def refusal(host: Host, tenant: Any) -> NotConnectedError:
    """Return the error that a call of ``tenant`` meets; nothing may have arrived at Stripe."""
    assert host.simulator is not None
    before = len(host.simulator.requests)
    with (
        host.app.app_context(),
        tenant_context(host.tenant(tenant.id)),
        pytest.raises(NotConnectedError) as refused,
    ):
        current_stripe.client.v1.balance.retrieve()
    assert len(host.simulator.requests) == before
    assert refused.value.settings_url == PAGE
    assert str(refused.value).endswith(f"An admin mends this at {PAGE}")
    return refused.value


# -- the account types


def test_a_connected_tenant_acts_on_its_own_account(host: Host, simulator: Simulator) -> None:
    tenant, account = host.make_tenant(), account_of(simulator)
    host.connect(tenant, account)
    assert asked_as(host, tenant) == (simulator.platform.test_secret_key, account)


def test_a_platform_managed_tenant_acts_on_the_platforms(host: Host, simulator: Simulator) -> None:
    tenant = host.make_tenant()
    host.connect(tenant, None, account_type=AccountType.PLATFORM)
    assert asked_as(host, tenant) == (simulator.platform.test_secret_key, None)


def test_each_mode_has_its_own_key_and_account(host: Host, simulator: Simulator) -> None:
    tenant = host.make_tenant()
    test, live = account_of(simulator), account_of(simulator, "Plaza live", livemode=True)
    host.connect(tenant, test)
    host.connect(tenant, live, Mode.live)

    assert asked_as(host, tenant) == (simulator.platform.test_secret_key, test)
    with host.app.app_context():
        host.tenant(tenant.id).stripe_mode = Mode.live
        host.db.session.commit()
    assert asked_as(host, tenant) == (simulator.platform.live_secret_key, live)


def test_a_connection_without_its_account_is_never_taken_for_the_platform(host: Host, simulator: Simulator) -> None:
    tenant = host.make_tenant()
    connection = host.connect(tenant, "acct_plaza")
    with host.app.app_context():
        host.db.session.get_one(host.valetpro.models.Connection, connection.id).account_id = None
        host.db.session.commit()
        with tenant_context(host.tenant(tenant.id)), pytest.raises(ConfigurationError, match="has no account id"):
            _ = current_stripe.client
    assert simulator.requests == []


def test_a_raw_key_connection_without_a_key_never_takes_another(host: Host, simulator: Simulator) -> None:
    tenant = host.make_tenant()
    host.connect(tenant, account_of(simulator), account_type=AccountType.RAW_KEYS)
    with (
        host.app.app_context(),
        tenant_context(host.tenant(tenant.id)),
        pytest.raises(NotConnectedError, match="There is no Stripe API key in test mode") as refused,
    ):
        _ = current_stripe.client
    assert refused.value.settings_url == PAGE
    assert simulator.requests == []


@pytest.mark.parametrize("kind", [AccountType.CONNECT_EXPRESS, AccountType.CONNECT_CUSTOM])
def test_accounts_that_we_made_are_acted_on_with_the_platforms_key(
    host: Host, simulator: Simulator, kind: AccountType
) -> None:
    tenant, account = host.make_tenant(), account_of(simulator)
    host.connect(tenant, account, account_type=kind)

    assert asked_as(host, tenant) == (simulator.platform.test_secret_key, account)


# -- not ready, and never in silence on the platform


def test_a_tenant_that_never_connected(host: Host) -> None:
    error = refusal(host, host.make_tenant())
    assert type(error) is NotConnectedError
    assert str(error).startswith("No Stripe account is connected in test mode.")


def test_a_pending_account_says_what_stripe_wants(host: Host, simulator: Simulator) -> None:
    tenant = host.make_tenant()
    host.connect(tenant, account_of(simulator), requirements=["external_account", "tos_acceptance.date"])
    error = refusal(host, tenant)
    assert type(error) is NotConnectedError
    assert "Stripe wants: external_account, tos_acceptance.date." in str(error)


def withdrawn_at_stripe(host: Host, tenant: Any, account: str) -> None:
    with host.app.app_context():
        revoke(host.state, living_connections(host.state, account, Mode.test))
        host.db.session.commit()


def disconnected_here(host: Host, tenant: Any, account: str) -> None:
    with host.app.app_context():
        disconnect(host.state, host.tenant(tenant.id), Mode.test, actor="tests")


def test_a_revoked_connection_says_so(host: Host, simulator: Simulator) -> None:
    tenant, account = host.make_tenant(), account_of(simulator)
    host.connect(tenant, account)
    withdrawn_at_stripe(host, tenant, account)
    error = refusal(host, tenant)
    assert type(error) is ConnectionRevokedError
    assert error.code == "connection_revoked"


def test_a_disconnected_tenant_is_not_connected(host: Host, simulator: Simulator) -> None:
    tenant, account = host.make_tenant(), account_of(simulator)
    host.connect(tenant, account)
    disconnected_here(host, tenant, account)
    assert type(refusal(host, tenant)) is NotConnectedError


def test_a_connection_in_the_other_mode_is_no_connection(host: Host, simulator: Simulator) -> None:
    tenant = host.make_tenant()
    host.connect(tenant, account_of(simulator, livemode=True), Mode.live)
    assert "in test mode" in str(refusal(host, tenant))


@pytest.mark.both
def test_what_another_process_withdrew_is_refused_at_once(database_url: str, simulator: Simulator) -> None:
    """The tenant may be in the session since before; its old connection must not be used again."""
    with make_host(database_url, simulator=simulator) as host:
        tenant, account = host.make_tenant(), account_of(simulator)
        host.connect(tenant, account)
        with host.app.app_context(), tenant_context(host.tenant(tenant.id)):
            assert current_stripe.status is OnboardingStatus.CONNECTED
            _ = current_stripe.client
            with host.app.app_context():  # a session of its own
                revoke(host.state, living_connections(host.state, account, Mode.test))
                host.db.session.commit()
            with pytest.raises(ConnectionRevokedError):
                _ = current_stripe.client


# -- the fallback that an operator may allow in test mode


def test_the_fallback_is_for_tenants_that_never_connected(lending_host: Host, simulator: Simulator) -> None:
    tenant = lending_host.make_tenant()
    for _ in range(2):
        assert asked_as(lending_host, tenant) == (simulator.platform.test_secret_key, None)

    with lending_host.app.app_context():
        [lent] = lending_host.db.session.scalars(sa.select(lending_host.valetpro.models.Connection))
        assert (lent.account_type, lent.is_current, lent.mode) == (AccountType.PLATFORM, False, Mode.test)
        # It lends the platform's account; it does not connect the tenant.
        assert lending_host.tenant(tenant.id).stripe_onboarding_status is OnboardingStatus.NOT_CONNECTED


def test_there_is_no_fallback_with_real_money(lending_host: Host) -> None:
    tenant = lending_host.make_tenant(stripe_mode=Mode.live)
    assert "in live mode" in str(refusal(lending_host, tenant))


@pytest.mark.parametrize("end", [withdrawn_at_stripe, disconnected_here])
def test_there_is_no_fallback_for_whoever_was_connected(
    lending_host: Host, simulator: Simulator, end: Callable[[Host, Any, str], None]
) -> None:
    """Its payments would silently go to the platform from one day to the next."""
    tenant, account = lending_host.make_tenant(), account_of(simulator)
    asked_as(lending_host, tenant)
    lending_host.connect(tenant, account)
    assert asked_as(lending_host, tenant) == (simulator.platform.test_secret_key, account)

    end(lending_host, tenant, account)

    refusal(lending_host, tenant)


def test_there_is_no_fallback_while_an_account_is_pending(lending_host: Host, simulator: Simulator) -> None:
    tenant = lending_host.make_tenant()
    lending_host.connect(tenant, account_of(simulator), requirements=["external_account"])
    assert "Stripe wants" in str(refusal(lending_host, tenant))


def test_there_is_no_fallback_for_a_tenant_with_a_live_account(lending_host: Host, simulator: Simulator) -> None:
    tenant = lending_host.make_tenant()
    lending_host.connect(tenant, account_of(simulator, livemode=True), Mode.live)
    refusal(lending_host, tenant)


def test_the_fallback_ends_with_its_setting(
    lending_host: Host, sqlite_url: str, simulator: Simulator
) -> None:
    tenant = lending_host.make_tenant()
    asked_as(lending_host, tenant)
    strict = lending_host.add_app(sqlite_url)
    with (
        strict.app_context(),
        tenant_context(lending_host.tenant(tenant.id)),
        pytest.raises(NotConnectedError, match="No Stripe account is connected"),
    ):
        _ = current_stripe.client


def test_the_fallback_needs_the_platforms_key(sqlite_url: str) -> None:
    config = FALLBACK | {"VALETPRO_STRIPE_TEST_SECRET_KEY": None}
    with make_host(sqlite_url, simulator=Simulator(), config=config) as host:
        tenant = host.make_tenant()
        with (
            host.app.app_context(),
            tenant_context(host.tenant(tenant.id)),
            pytest.raises(NotConnectedError, match="No Stripe account is connected in test mode"),
        ):
            _ = current_stripe.client


# -- connections that are not the current one


def test_an_old_connection_still_reaches_its_old_account(host: Host, simulator: Simulator) -> None:
    """Refunds of what it took go there, for as long as it is not disconnected."""
    tenant, first, second = host.make_tenant(), account_of(simulator), account_of(simulator, "Plaza 2")
    old = host.connect(tenant, first)
    host.connect(tenant, second)
    with host.app.app_context():
        connection = host.db.session.get_one(host.valetpro.models.Connection, old.id)
        client_for(host.state, connection).v1.balance.retrieve()
    assert simulator.requests[-1].stripe_account == first
    assert asked_as(host, tenant)[1] == second


def test_an_ended_connection_is_never_touched_again(host: Host, simulator: Simulator) -> None:
    tenant, account = host.make_tenant(), account_of(simulator)
    old = host.connect(tenant, account)
    disconnected_here(host, tenant, account)
    with host.app.app_context():
        connection = host.db.session.get_one(host.valetpro.models.Connection, old.id)
        with pytest.raises(ConnectionRevokedError, match="An account is disconnected"):
            client_for(host.state, connection)


def test_what_the_platforms_account_took_is_not_looked_for_in_an_account_that_is_being_made(
    host: Host, simulator: Simulator
) -> None:
    """Neither has an account id here."""
    plaza, seaside, model = host.make_tenant("Plaza"), host.make_tenant("Seaside"), host.valetpro.models.Connection
    host.connect(seaside, None, account_type=AccountType.PLATFORM)
    with host.app.app_context():
        tenant = host.tenant(plaza.id)
        lent = next(c for c in allow_platform(host.state, tenant, actor="tests") if c.mode is Mode.test)
        forbid_platform(host.state, tenant, actor="tests")
        express = AccountType.CONNECT_EXPRESS
        prepare_connection(host.state, tenant, Mode.test, express, actor="tests", accounts_api="v2")
        ended = host.db.session.get_one(model, lent.id)
        with pytest.raises(ConnectionRevokedError, match="The Stripe account of the platform is disconnected"):
            client_for(host.state, ended)

        allow_platform_again(host, tenant)
        client_for(host.state, ended).v1.balance.retrieve()
    assert (simulator.requests[-1].api_key, simulator.requests[-1].stripe_account) == (
        simulator.platform.test_secret_key,
        None,
    )


def allow_platform_again(host: Host, tenant: Any) -> None:
    disconnect(host.state, tenant, Mode.test, actor="tests")
    allow_platform(host.state, tenant, actor="tests")


def test_a_key_that_the_operator_removed_is_named(sqlite_url: str) -> None:
    config = {"VALETPRO_STRIPE_TEST_SECRET_KEY": None}
    with make_host(sqlite_url, simulator=Simulator(), config=config) as host:
        tenant = host.make_tenant()
        host.connect(tenant, "acct_plaza")
        with (
            host.app.app_context(),
            tenant_context(host.tenant(tenant.id)),
            pytest.raises(ConfigurationError, match="must set VALETPRO_STRIPE_TEST_SECRET_KEY"),
        ):
            _ = current_stripe.client


def test_one_tenants_connection_is_never_anothers(host: Host, simulator: Simulator) -> None:
    plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
    account = account_of(simulator)
    host.connect(plaza, account)
    refusal(host, seaside)
    assert asked_as(host, plaza)[1] == account
