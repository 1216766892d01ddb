"""A copied database is made harmless for the original, and an app that moved takes its connections along."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result

from flask_valetpro_stripe import AccountType, Mode, errors, payments
from flask_valetpro_stripe.enums import OperationState
from flask_valetpro_stripe.neutralize import find_harmful, neutralize
from flask_valetpro_stripe.onboarding import raw_keys
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.store import Label
from flask_valetpro_stripe.testing import Account, LoggedRequest, Simulator
from tests.connections.admin import Admin, as_tenant, rows
from tests.hosts import KEYS, Host, make_host

COPY = "https://staging.example.com"
DASHBOARD = (
    "In the platform's own Stripe Dashboard, give its webhook endpoints and its OAuth redirect URI the new address too."
)


class Vault:
    """A host's own store, which counts what is asked of it."""

    name = "safe"

    def __init__(self) -> None:
        self.kept: dict[str, Secret] = {}
        self.asked: list[str] = []

    def put(self, label: Label, secret: Secret) -> str:
        self.asked.append("put")
        self.kept[str(len(self.kept))] = secret
        return str(len(self.kept) - 1)

    def get(self, label: Label, stored: str) -> Secret:
        self.asked.append("get")
        return self.kept[stored]

    def delete(self, label: Label, stored: str) -> None:
        self.asked.append("delete")
        del self.kept[stored]


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def host(request: pytest.FixtureRequest, database_url: str, simulator: Simulator, vault: Vault) -> Iterator[Host]:
    """A host that keeps secrets in its database, or where a test says "safe", in the vault."""
    config: dict[str, Any] = {"WTF_CSRF_ENABLED": False}
    if getattr(request, "param", "database") == "safe":
        config["VALETPRO_STRIPE_SECRET_STORE"] = vault
    with make_host(database_url, simulator=simulator, config=config) as host:
        yield host


in_each_store = pytest.mark.parametrize("host", ["database", "safe"], indirect=True)


def save_keys(admin: Admin, account: Account, mode: Mode) -> None:
    """Paste an account's own keys."""
    key = account.live_secret_key if mode.livemode else account.test_secret_key
    with as_tenant(admin.host, admin.tenant) as tenant:
        raw_keys.save(admin.host.state, tenant, mode, raw_keys.Pasted(key=Secret(key)), actor="7")


def take_payment(admin: Admin, mode: Mode = Mode.live, **options: Any) -> Any:
    with as_tenant(admin.host, admin.tenant) as tenant:
        tenant.stripe_mode = mode
        admin.host.db.session.commit()
        return payments.create_payment_link(amount=4500, currency="eur", description="Parking", **options).id


@pytest.fixture
def busy(plaza: Admin, seaside: Admin, simulator: Simulator) -> dict[str, Any]:
    """Two hotels in the middle of their work: the Plaza by OAuth and lent, the Seaside with keys of its own."""
    accounts = {name: simulator.create_account(name) for name in ("Plaza", "Seaside")}
    for mode in ("test", "live"):
        plaza.connect(accounts["Plaza"].id, mode)
    for each in Mode:
        save_keys(seaside, accounts["Seaside"], each)
    taken = {admin.tenant.id: take_payment(admin) for admin in (plaza, seaside)}
    simulator.faults.add("POST", "/v1/payment_links", "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        take_payment(plaza, idempotency_key="lost")
    simulator.faults.clear()
    plaza.press_connect("live")
    return taken


def copied(host: Host, address: str = COPY) -> None:
    """From now on this is an app at another address, on a copy of the database."""
    host.state.config = replace(host.state.config, public_url=address)
    assert host.simulator is not None
    host.simulator.requests.clear()


def run(host: Host, *words: str, said: str | None = None) -> Result:
    return host.app.test_cli_runner().invoke(args=["stripe", *words], input=said)


def live_requests(simulator: Simulator) -> list[LoggedRequest]:
    """Return what was asked with a live key."""
    return [request for request in simulator.requests if "_live_" in (request.api_key or "")]


@in_each_store
@pytest.mark.usefixtures("busy")
def test_a_copy_that_is_neutralized_asks_neither_stripe_nor_a_vault(
    host: Host, simulator: Simulator, vault: Vault
) -> None:
    copied(host)
    vault.asked.clear()
    kept = dict(vault.kept)

    assert run(host, "neutralize", "--yes").exit_code == 0

    assert simulator.requests == []
    assert vault.asked == []
    assert vault.kept == kept


def test_after_it_nothing_can_be_done_in_live_mode(
    host: Host, plaza: Admin, seaside: Admin, simulator: Simulator, busy: dict[str, Any]
) -> None:
    copied(host)
    run(host, "neutralize", "--yes")

    for admin in (plaza, seaside):
        with as_tenant(host, admin.tenant) as tenant:
            assert tenant.stripe_mode is Mode.test
            payment = host.db.session.get_one(host.Payment, busy[tenant.id])
            with pytest.raises(errors.ConnectionRevokedError):
                payments.sync(payment)
            with pytest.raises(errors.ConnectionRevokedError):
                payments.cancel(payment)
            tenant.stripe_mode = Mode.live
            host.db.session.commit()
            for options in ({}, {"idempotency_key": "lost"}):
                with pytest.raises(errors.NotConnectedError):
                    payments.create_payment_link(amount=4500, currency="eur", description="Parking", **options)
        admin.disconnect("live")
    assert live_requests(simulator) == []
    assert simulator.requests == []


@pytest.mark.both
@in_each_store
def test_what_is_live_is_ended_and_forgotten_in_the_rows(
    host: Host, plaza: Admin, seaside: Admin, busy: dict[str, Any]
) -> None:
    copied(host)
    run(host, "neutralize", "--yes")
    models = host.valetpro.models

    live = rows(host, models.Connection, mode=Mode.live)
    assert len(live) == 2
    for connection in live:
        assert connection.status == "NOT_CONNECTED"
        assert connection.ended_at is not None
        assert connection.is_current is False
        assert (connection.claimed_account_id, connection.endpoint_token, connection.endpoint_id) == (None, None, None)
    secrets = rows(host, models.Secret)
    of_live = [row for row in secrets if row.connection_id in {connection.id for connection in live}]
    assert len(of_live) == 2
    assert all(row.stored is None and row.key_id is None and row.archived_at for row in of_live)
    assert all(row.masked and row.fingerprint for row in of_live)
    assert {tenant.stripe_mode for tenant in rows(host, host.Tenant)} == {Mode.test}
    (given_up,) = [each for each in rows(host, models.Operation) if each.state is not OperationState.done]
    assert given_up.state is OperationState.failed
    assert given_up.error == "neutralized: this database is a copy, and the original goes on with it"
    assert rows(host, models.OAuthState) == []


def test_test_mode_works_on_by_oauth(host: Host, plaza: Admin, busy: dict[str, Any], simulator: Simulator) -> None:
    copied(host)
    run(host, "neutralize", "--yes")

    take_payment(plaza, Mode.test)

    assert [request.path for request in simulator.requests] == ["/v1/payment_links"]
    assert live_requests(simulator) == []
    assert plaza.row().stripe_onboarding_status == "CONNECTED"


def test_a_raw_key_tenants_test_endpoint_stays_the_originals(
    host: Host, seaside: Admin, busy: dict[str, Any], simulator: Simulator
) -> None:
    """The copy makes an endpoint of its own as soon as the keys are saved again, and never removes the other."""
    (before,) = [c for c in seaside.connections() if c.mode is Mode.test]
    copied(host)
    run(host, "neutralize", "--yes")
    assert "its own account has no webhook endpoint" in run(host, "doctor").output

    take_payment(seaside, Mode.test)
    with as_tenant(host, seaside.tenant) as tenant:
        state = host.state
        connection = raw_keys.find_own(state, tenant, Mode.test)
        assert connection is not None
        raw_keys.endpoints.ensure(state, connection, actor="7")

    (after,) = [c for c in seaside.connections() if c.mode is Mode.test]
    assert after.endpoint_id not in (None, before.endpoint_id)
    assert after.endpoint_token not in (None, before.endpoint_token)
    assert "DELETE" not in {request.method for request in simulator.requests}
    assert simulator.object(before.endpoint_id)["status"] == "enabled"
    assert seaside.disconnect("test").status_code == 303
    assert simulator.object(before.endpoint_id)["status"] == "enabled"


@pytest.mark.usefixtures("busy")
def test_a_copy_that_has_the_originals_address_in_its_settings_leaves_its_endpoints_alone(
    host: Host, seaside: Admin, simulator: Simulator
) -> None:
    """Also after a key was saved again in the copy, which counts its connections as the original does."""
    (before,) = [c for c in seaside.connections() if c.mode is Mode.test]
    run(host, "neutralize", "--yes")
    simulator.requests.clear()
    (after,) = [c for c in seaside.connections() if c.mode is Mode.test]
    assert (after.endpoint_token, after.endpoint_id) == (None, None)

    with as_tenant(host, seaside.tenant) as tenant:
        connection = raw_keys.find_own(host.state, tenant, Mode.test)
        assert connection is not None
        raw_keys.endpoints.ensure(host.state, connection, actor="7")
    assert seaside.disconnect("test").status_code == 303

    removed = [request.path for request in simulator.requests if request.method == "DELETE"]
    assert len(removed) == 1
    assert before.endpoint_id not in removed[0]
    assert simulator.object(before.endpoint_id)["status"] == "enabled"


def test_each_tenant_reads_in_its_history_what_was_done(
    host: Host, plaza: Admin, seaside: Admin, busy: dict[str, Any]
) -> None:
    untouched = host.make_tenant("Not connected")
    copied(host)
    run(host, "neutralize", "--yes")

    model = host.valetpro.models.AuditEntry
    told = {entry.tenant_id: (entry.actor, entry.detail) for entry in rows(host, model, action="neutralized")}
    assert told == {
        plaza.tenant.id: ("operator", {"connections": 1, "operations": 1, "live_mode": 1}),
        seaside.tenant.id: ("operator", {"connections": 1, "secrets": 2, "live_mode": 1}),
    }
    assert untouched.id not in told
    assert run(host, "audit-verify").exit_code == 0


@pytest.mark.usefixtures("busy")
def test_it_says_what_it_will_do_and_asks_first(host: Host) -> None:
    copied(host)
    before = rows(host, host.valetpro.models.Connection)

    refused = run(host, "neutralize", said="n\n")

    assert refused.exit_code == 1
    assert refused.output.splitlines()[:5] == [
        f"In the database of {COPY}, this will",
        "- end 2 live connections, without telling Stripe;",
        "- forget 2 live secrets, without touching a vault;",
        "- put 2 tenants from live into test mode;",
        "- give up 1 unfinished live calls, and 1 started connections.",
    ]
    after = rows(host, host.valetpro.models.Connection)
    assert [(c.status, c.ended_at, c.public_url) for c in after] == [
        (c.status, c.ended_at, c.public_url) for c in before
    ]
    agreed = run(host, "neutralize", said="y\n")
    assert agreed.exit_code == 0
    assert agreed.output.endswith("This database can no longer act in live mode.\n")


@pytest.mark.usefixtures("busy")
def test_done_twice_it_changes_nothing_more(host: Host) -> None:
    copied(host)
    models = [model for model in vars(host.valetpro.models).values() if isinstance(model, type)]

    def everything() -> list[Any]:
        return [
            [{c.name: getattr(row, c.key) for c in sa.inspect(model).columns} for row in rows(host, model)]
            for model in models
        ]

    run(host, "neutralize", "--yes")
    once = everything()
    with host.app.app_context():
        assert not find_harmful(host.state)
    assert run(host, "neutralize", "--yes").exit_code == 0
    assert everything() == once


@pytest.mark.both
@pytest.mark.parametrize("key", sorted(KEYS))
def test_tenants_may_have_any_kind_of_key(database_url: str, simulator: Simulator, key: str) -> None:
    with make_host(database_url, key=key, simulator=simulator) as host:
        tenants = [host.make_tenant(name, stripe_mode=Mode.live) for name in ("Plaza", "Seaside")]
        for tenant in tenants:
            host.connect(tenant, None, Mode.live, account_type=AccountType.PLATFORM)
        with host.app.app_context():
            neutralize(host.state)
        assert {c.status for c in rows(host, host.valetpro.models.Connection)} == {"NOT_CONNECTED"}
        assert {tenant.stripe_mode for tenant in rows(host, host.Tenant)} == {Mode.test}


ELSEWHERE = (
    "- {} made at {}, and this app is at {}. If this database is a copy: run 'flask stripe neutralize', before it acts "
    "on other people's money. If the app moved: run 'flask stripe moved'.\n"
)


@pytest.mark.usefixtures("busy")
def test_doctor_warns_of_live_connections_that_were_made_at_another_address(host: Host) -> None:
    home = host.state.config.public_url
    assert "flask stripe neutralize" not in run(host, "doctor").output
    copied(host)

    found = run(host, "doctor")

    assert found.exit_code == 1
    assert ELSEWHERE.format("2 live connections were", home, COPY) in found.output
    run(host, "neutralize", "--yes")
    assert "flask stripe neutralize" not in run(host, "doctor").output


def test_doctor_says_nothing_of_test_mode_and_of_where_it_does_not_know(host: Host) -> None:
    tenant = host.make_tenant()
    host.connect(tenant, "acct_plaza")
    host.connect(tenant, "acct_plaza", Mode.live)
    with host.app.app_context():
        host.db.session.execute(
            sa.update(host.valetpro.models.Connection).where(sa.text("mode = 'live'")).values(public_url=None)
        )
        host.db.session.commit()
    copied(host)

    assert "made at" not in run(host, "doctor").output


@pytest.mark.usefixtures("busy")
def test_an_app_that_moved_takes_its_connections_along(
    host: Host, plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    before = {c.id: c.endpoint_id for c in seaside.connections()}
    copied(host, "https://valet.example.net")

    moved = run(host, "moved", said="y\n")

    assert moved.exit_code == 0
    assert moved.output.splitlines()[0] == "4 connections will act for https://valet.example.net."
    assert moved.output.splitlines()[-1] == DASHBOARD
    assert "flask stripe moved" not in run(host, "doctor").output
    for admin in (plaza, seaside):
        assert {c.public_url for c in admin.connections()} == {"https://valet.example.net"}
        assert [action for _, action in admin.audit()].count("moved") == 2
    for connection in seaside.connections():
        assert connection.endpoint_id != before[connection.id]
        url = simulator.object(connection.endpoint_id)["url"]
        assert url == f"https://valet.example.net/api/webhooks/stripe/{connection.endpoint_token}"
    again = run(host, "moved")
    assert again.output == "0 connections will act for https://valet.example.net.\n"


@pytest.mark.usefixtures("busy")
def test_moving_asks_first(host: Host, plaza: Admin, simulator: Simulator) -> None:
    home = host.state.config.public_url
    copied(host)

    assert run(host, "moved", said="n\n").exit_code == 1
    assert {c.public_url for c in plaza.connections()} == {home}
    assert simulator.requests == []


@pytest.mark.usefixtures("busy")
def test_an_endpoint_that_cannot_be_made_now_is_told_and_made_the_next_time(
    host: Host, plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    home = host.state.config.public_url
    copied(host)
    simulator.faults.add("POST", "/v1/webhook_endpoints", "rate_limit")

    failed = run(host, "moved", "--yes")

    assert failed.exit_code == 1
    assert f"- Tenant {seaside.tenant.id}, test: not moved. " in failed.output
    assert {c.public_url for c in plaza.connections()} == {COPY}
    assert [c.public_url for c in seaside.connections()] == [home, COPY]
    simulator.faults.clear()
    assert run(host, "moved", "--yes").exit_code == 0
    assert {c.public_url for c in seaside.connections()} == {COPY}


def test_an_endpoint_that_was_made_by_hand_is_left_to_its_tenant(
    host: Host, seaside: Admin, simulator: Simulator
) -> None:
    account = simulator.create_account("Seaside")
    pasted = raw_keys.Pasted(key=Secret(account.test_secret_key), webhook_secret=Secret(f"whsec_{'x' * 32}"))
    with as_tenant(host, seaside.tenant) as tenant:
        raw_keys.save(host.state, tenant, Mode.test, pasted, actor="7")
    copied(host)

    moved = run(host, "moved", "--yes")

    assert moved.exit_code == 0
    by_hand = "the webhook was made by hand. Its admin gives it the new address."
    assert moved.output.splitlines()[1:] == [f"- Tenant {seaside.tenant.id}, test: {by_hand}", DASHBOARD]
    assert simulator.requests == []


def change_secrets(host: Host, **columns: Any) -> None:
    with host.app.app_context():
        model = host.valetpro.models.Secret
        host.db.session.execute(sa.update(model).where(model.purpose == "secret_key").values(**columns))
        host.db.session.commit()


@pytest.mark.parametrize(
    "columns, sentence",
    [
        (
            {"store": "aws", "key_id": None},
            "- 2 secrets were kept in the store 'aws', which this app is not set up for: name it in "
            "VALETPRO_STRIPE_SECRET_STORE, or in the 'others' of VALETPRO_STRIPE_SECRET_STORE_OPTIONS.\n",
        ),
        (
            {"store": "database", "key_id": "0123456789abcdef", "stored": "vp1.0123456789abcdef.AAAA"},
            "- 2 secrets were encrypted with the key 0123456789abcdef, which is not in "
            "VALETPRO_STRIPE_ENCRYPTION_KEYS: put that key back, at the end of the list.\n",
        ),
    ],
)
@pytest.mark.usefixtures("busy")
def test_doctor_counts_the_secrets_that_cannot_be_read(host: Host, columns: dict[str, Any], sentence: str) -> None:
    change_secrets(host, **columns)

    found = run(host, "doctor")

    assert found.exit_code == 1
    assert sentence in found.output


@pytest.mark.usefixtures("busy")
def test_doctor_says_that_the_databases_secrets_need_their_keys(host: Host, vault: Vault) -> None:
    host.state.stores = {"safe": vault}

    assert (
        "- 4 secrets were kept in the store 'database', which this app is not set up for: put "
        "VALETPRO_STRIPE_ENCRYPTION_KEYS back.\n"
    ) in run(host, "doctor").output


def test_doctor_misses_the_secret_key(host: Host) -> None:
    assert "SECRET_KEY." not in run(host, "doctor").output
    host.app.secret_key = None

    assert ("- Forms have no CSRF protection, and no API key can be saved: set SECRET_KEY.\n") in run(
        host, "doctor"
    ).output


@pytest.mark.usefixtures("busy")
def test_doctor_names_the_tenant_whose_endpoint_is_missing(host: Host, seaside: Admin) -> None:
    assert "webhook endpoint" not in run(host, "doctor").output
    with host.app.app_context():
        model = host.valetpro.models.Secret
        host.db.session.execute(sa.delete(model).where(model.purpose == "webhook_secret"))
        host.db.session.commit()

    found = run(host, "doctor").output
    for mode in Mode:
        assert (
            f"- The {mode} payments of tenant {seaside.tenant.id} never turn paid, since its own account has no "
            "webhook endpoint: an admin of the tenant mends that on its payment settings page.\n"
        ) in found
    assert "acct_" not in found
