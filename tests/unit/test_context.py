"""Who the tenant is: never a wrong one, and at no cost until somebody asks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
import stripe
from flask import g

from flask_valetpro_stripe import (
    AccountType,
    Mode,
    OnboardingStatus,
    current_stripe,
    current_tenant,
    tenant_context,
)
from flask_valetpro_stripe.connections import disconnect
from flask_valetpro_stripe.errors import ConfigurationError, NotConnectedError, NoTenantError
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.timing import seconds


@pytest.fixture
def host(sqlite_url: str, simulator: Any) -> Iterator[Host]:
    with make_host(sqlite_url, simulator=simulator) as host:
        host.app.add_url_rule("/who", "who", lambda: current_tenant.name)
        host.app.add_url_rule("/idle", "idle", lambda: "Nothing was asked.")
        yield host


@contextmanager
def queries_of(host: Host) -> Iterator[list[str]]:
    """Collect the SQL of the block."""
    seen: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    with host.app.app_context():
        engine = host.db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def clients_made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The key of every StripeClient that is made."""
    made: list[str] = []
    real = stripe.StripeClient.__init__

    def noting(self: Any, api_key: str, **options: Any) -> None:
        made.append(api_key)
        real(self, api_key, **options)

    monkeypatch.setattr(stripe.StripeClient, "__init__", noting)
    return made


# -- nobody


def test_outside_a_request_there_is_no_tenant(host: Host) -> None:
    with host.app.app_context():
        assert not current_tenant
        assert bool(current_stripe) is False
        with pytest.raises(NoTenantError) as error:
            _ = current_tenant.name
        assert str(error.value) == (
            "No tenant here. Register a loader with @valetpro.tenant_loader, or wrap the code in "
            "'with tenant_context(tenant):'."
        )
        assert error.value.code == "no_tenant"
        for name in ("tenant", "mode", "account_type", "account_id", "status", "client"):
            with pytest.raises(NoTenantError):
                getattr(current_stripe, name)


def test_without_any_app_there_is_no_tenant() -> None:
    assert not current_tenant
    with pytest.raises(NoTenantError):
        _ = current_tenant.name


def test_a_request_of_nobody_has_no_tenant(host: Host) -> None:
    with host.app.test_request_context("/"):
        assert not current_tenant
        with pytest.raises(NoTenantError):
            _ = current_stripe.client


def test_a_host_that_registered_no_loader_is_told_so(host: Host) -> None:
    host.state.callbacks.tenant_loader = None
    with host.app.test_request_context("/"):
        assert not current_tenant
        with pytest.raises(NoTenantError, match=r"@valetpro\.tenant_loader"):
            _ = current_tenant.name


# -- requests


def test_each_request_has_the_tenant_of_its_user(host: Host) -> None:
    plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
    at_plaza, at_seaside = (host.client_as(host.make_user(tenant)) for tenant in (plaza, seaside))

    names = [client.get("/who").text for client in (at_plaza, at_seaside, at_plaza)]
    assert names == ["Plaza", "Seaside", "Plaza"]


def test_a_tenant_is_kept_for_its_request_and_not_on_g(host: Host) -> None:
    """Inside an outer app context, as in tests and commands, g outlives the request: the next would see its tenant."""
    plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
    with host.app.app_context():
        for tenant in (plaza, seaside, plaza):
            with host.app.test_request_context("/", headers={"X-Tenant": str(tenant.id)}):
                assert current_tenant.name == tenant.name
                assert "valetpro" not in repr(vars(g))
        assert not current_tenant


def test_a_request_within_a_request_has_its_own_tenant(host: Host) -> None:
    plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
    with host.app.test_request_context("/", headers={"X-Tenant": str(plaza.id)}):
        assert current_tenant.name == "Plaza"
        with host.app.test_request_context("/", headers={"X-Tenant": str(seaside.id)}):
            assert current_tenant.name == "Seaside"
        assert current_tenant.name == "Plaza"


def test_the_loader_is_asked_once_for_each_request(host: Host) -> None:
    asked: list[int] = []
    tenant = host.make_tenant()

    @host.valetpro.tenant_loader
    def load() -> Any:
        asked.append(1)
        return host.tenant(tenant.id)

    for expected in (1, 2):
        with host.app.test_request_context("/"):
            assert current_tenant.name == "Plaza"
            assert current_stripe.tenant.name == "Plaza"
            assert current_stripe.mode is Mode.test
        assert len(asked) == expected


def test_a_loader_that_failed_is_asked_again(host: Host) -> None:
    answers = iter([RuntimeError("the database is away"), None])

    @host.valetpro.tenant_loader
    def load() -> Any:
        answer = next(answers)
        if answer is not None:
            raise answer

    with host.app.test_request_context("/"):
        with pytest.raises(RuntimeError, match="the database is away"):
            _ = current_tenant.name
        with pytest.raises(NoTenantError):
            _ = current_tenant.name


# -- explicit tenants


def test_contexts_nest_and_end_with_their_block(host: Host) -> None:
    plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
    with host.app.app_context():
        with tenant_context(plaza):
            with tenant_context(seaside):
                assert current_tenant.name == "Seaside"
            assert current_tenant.name == "Plaza"
        assert not current_tenant


def test_a_context_ends_when_its_block_fails(host: Host) -> None:
    plaza = host.make_tenant("Plaza")
    with host.app.app_context():
        with pytest.raises(ZeroDivisionError), tenant_context(plaza):
            _ = 1 / 0
        assert not current_tenant


def test_an_explicit_tenant_comes_before_the_requests(host: Host) -> None:
    plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
    with host.app.test_request_context("/", headers={"X-Tenant": str(plaza.id)}):
        with tenant_context(seaside):
            assert current_tenant.name == "Seaside"
        with tenant_context(None):
            assert not current_tenant
            with pytest.raises(NoTenantError):
                _ = current_tenant.name
        assert current_tenant.name == "Plaza"


def test_the_present_tenant_can_be_made_explicit(host: Host) -> None:
    """The proxy itself would point to itself, for ever."""
    plaza = host.make_tenant("Plaza")
    with host.app.test_request_context("/", headers={"X-Tenant": str(plaza.id)}), tenant_context(current_tenant):
        assert current_tenant.name == "Plaza"


def test_threads_do_not_inherit_a_tenant(host: Host) -> None:
    plaza = host.make_tenant("Plaza")
    seen: list[bool] = []
    with host.app.app_context(), tenant_context(plaza):
        thread = threading.Thread(target=lambda: seen.append(bool(current_tenant)))
        thread.start()
        thread.join()
    assert seen == [False]


def test_threads_that_take_turns_keep_their_own_tenants(host: Host) -> None:
    tenants = [host.make_tenant(f"Hotel {number}") for number in range(4)]
    barrier = threading.Barrier(len(tenants), timeout=seconds(30))

    def work(tenant: Any) -> set[str]:
        seen = set()
        with host.app.app_context(), tenant_context(tenant):
            for _ in range(20):
                barrier.wait()
                seen.add(current_tenant.name)
        return seen

    with ThreadPoolExecutor(len(tenants)) as pool:
        assert list(pool.map(work, tenants)) == [{tenant.name} for tenant in tenants]


def test_tasks_that_take_turns_keep_their_own_tenants(host: Host) -> None:
    tenants = [host.make_tenant(f"Hotel {number}") for number in range(4)]

    async def work(tenant: Any) -> set[str]:
        seen = set()
        with host.app.app_context(), tenant_context(tenant):
            for _ in range(20):
                await asyncio.sleep(0)
                seen.add(current_tenant.name)
        return seen

    async def all_at_once() -> list[set[str]]:
        return await asyncio.gather(*(work(tenant) for tenant in tenants))

    assert asyncio.run(all_at_once()) == [{tenant.name} for tenant in tenants]


# -- Stripe as the tenant has it


def test_current_stripe_tells_how_the_tenant_is_connected(host: Host) -> None:
    tenant = host.make_tenant()
    host.connect(tenant, "acct_test")
    host.connect(tenant, "acct_live", Mode.live, requirements=["external_account"])
    with host.app.app_context(), tenant_context(host.tenant(tenant.id)):
        assert current_stripe.tenant.id == tenant.id
        assert current_stripe.mode is Mode.test
        assert current_stripe.account_type is AccountType.CONNECT_STANDARD
        assert current_stripe.account_id == "acct_test"
        assert current_stripe.status is OnboardingStatus.CONNECTED


def test_current_stripe_follows_the_tenants_mode(host: Host) -> None:
    tenant = host.make_tenant()
    host.connect(tenant, "acct_test")
    host.connect(tenant, "acct_live", Mode.live, requirements=["external_account"])
    with host.app.app_context(), tenant_context(host.tenant(tenant.id)):
        assert current_stripe.account_id == "acct_test"
        # Not committed yet: the old mode's account would be shown beside the new mode.
        current_tenant.stripe_mode = Mode.live
        assert (current_stripe.mode, current_stripe.account_id) == (Mode.live, "acct_live")
        assert current_stripe.status is OnboardingStatus.PENDING


def test_a_tenant_that_never_connected_is_told_where_to(host: Host) -> None:
    tenant = host.make_tenant()
    with host.app.app_context(), tenant_context(host.tenant(tenant.id)):
        assert current_stripe.account_type is None
        assert current_stripe.account_id is None
        assert current_stripe.status is OnboardingStatus.NOT_CONNECTED
        with pytest.raises(NotConnectedError) as error:
            _ = current_stripe.client
    assert str(error.value) == (
        "No Stripe account is connected in test mode. An admin mends this at http://app.test/settings/payments/"
    )
    assert error.value.settings_url == "http://app.test/settings/payments/"
    assert error.value.code == "not_connected"


def test_what_was_disconnected_is_not_shown_even_if_the_session_keeps_rows(sqlite_url: str, simulator: Any) -> None:
    """A host may set expire_on_commit=False; its rows then stay as they were loaded."""
    with make_host(sqlite_url, simulator=simulator) as host:
        tenant = host.make_tenant()
        account = simulator.create_account("Plaza")
        simulator.connect(account.id)
        host.connect(tenant, account.id)
        with host.app.app_context(), host.db.session.no_autoflush:
            host.db.session().expire_on_commit = False
            row = host.tenant(tenant.id)
            with tenant_context(row):
                assert current_stripe.account_id == account.id
                disconnect(host.state, row, Mode.test, actor="tests")
                assert current_stripe.account_id is None
                assert current_stripe.status is OnboardingStatus.NOT_CONNECTED


def test_a_client_is_the_tenants_own(host: Host, simulator: Any) -> None:
    tenant = host.make_tenant()
    account = simulator.create_account("Plaza")
    simulator.connect(account.id)
    host.connect(tenant, account.id)
    with host.app.app_context(), tenant_context(host.tenant(tenant.id)):
        assert current_stripe.client.v1.accounts.retrieve_current().id == account.id
    [request] = simulator.requests
    assert (request.api_key, request.stripe_account) == (simulator.platform.test_secret_key, account.id)


def test_an_app_shows_its_own_stripe_and_no_other_apps(host: Host, tmp_path: Any, simulator: Simulator) -> None:
    host.connect(host.make_tenant("Plaza"), "acct_plaza")
    other = host.add_app(
        f"sqlite:///{tmp_path}/other.sqlite3", config={"VALETPRO_STRIPE_TEST_SECRET_KEY": "sk_test_other"}
    )
    with other.app_context():
        row = host.Tenant(id=1, name="Other")
        host.db.session.add(row)
        host.db.session.commit()
        with tenant_context(row):
            assert current_stripe.status is OnboardingStatus.NOT_CONNECTED
            with pytest.raises(NotConnectedError):
                _ = current_stripe.client
        host.db.session.add(
            host.valetpro.models.Connection(
                tenant_id=1,
                mode=Mode.test,
                account_type=AccountType.CONNECT_STANDARD,
                status=OnboardingStatus.CONNECTED,
                account_id="acct_other",
            )
        )
        host.db.session.commit()
        with tenant_context(row), pytest.raises(stripe.AuthenticationError):
            current_stripe.client.v1.balance.retrieve()
    with host.app.app_context(), tenant_context(host.tenant(1)):
        assert current_tenant.name == "Plaza"
        assert current_stripe.account_id == "acct_plaza"
        with pytest.raises(stripe.PermissionError):
            current_stripe.client.v1.balance.retrieve()
    asked = [(request.headers["Authorization"], request.stripe_account) for request in simulator.requests]
    assert asked == [
        ("Bearer sk_test_other", "acct_other"),
        (f"Bearer {simulator.platform.test_secret_key}", "acct_plaza"),
    ]


def test_an_app_without_the_extension_has_no_stripe(host: Host) -> None:
    from flask import Flask

    with Flask("other").test_request_context("/"), pytest.raises(ConfigurationError, match=r"Call valetpro\.init_app"):
        _ = current_tenant.name


# -- cost


def test_unused_it_costs_no_query_and_no_client(host: Host, clients_made: list[str]) -> None:
    tenant = host.make_tenant()
    host.connect(tenant, "acct_plaza")
    browser = host.client_as(host.make_user(tenant))
    with queries_of(host) as queries:
        assert browser.get("/idle").status_code == 200
        with host.app.app_context(), tenant_context(tenant):
            pass
    assert queries == []
    assert clients_made == []


def test_the_tenant_costs_what_its_loader_costs(host: Host, clients_made: list[str]) -> None:
    tenant = host.make_tenant()
    with (
        host.app.test_request_context("/", headers={"X-Tenant": str(tenant.id)}),
        queries_of(host) as queries,
    ):
        assert current_tenant.name == current_stripe.tenant.name
        assert current_stripe.mode is Mode.test
    assert len(queries) == 1
    assert clients_made == []


def test_looking_at_the_connection_costs_one_query_however_often(host: Host, clients_made: list[str]) -> None:
    tenant = host.make_tenant()
    host.connect(tenant, "acct_plaza")
    with host.app.app_context(), tenant_context(host.tenant(tenant.id)), queries_of(host) as queries:
        for _ in range(3):
            assert current_stripe.account_id == "acct_plaza"
            assert current_stripe.status is OnboardingStatus.CONNECTED
            assert current_stripe.account_type is AccountType.CONNECT_STANDARD
    assert len(queries) == 1
    assert clients_made == []
