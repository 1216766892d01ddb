"""What an operator does from a terminal: see the tenants, lend the platform's account, disconnect."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result

from flask_valetpro_stripe import AccountType, Mode, OnboardingStatus
from flask_valetpro_stripe.testing import RATE_LIMIT, Simulator
from tests.hosts import KEYS, Host, make_host


@pytest.fixture
def host(sqlite_url: str, simulator: Simulator) -> Iterator[Host]:
    with make_host(sqlite_url, simulator=simulator) as host:
        yield host


def run(host: Host, *words: Any) -> Result:
    return host.app.test_cli_runner().invoke(args=["stripe", *map(str, words)])


def connected(host: Host, simulator: Simulator, name: str = "Plaza", mode: Mode = Mode.test) -> tuple[Any, str]:
    tenant, account = host.make_tenant(name), simulator.create_account(name)
    simulator.connect(account.id, livemode=mode.livemode)
    host.connect(tenant, account.id, mode)
    return tenant, account.id


def statuses(host: Host, tenant: Any) -> dict[str, str]:
    """Return the tenant's status in each mode, as the database has it."""
    found = {}
    with host.app.app_context():
        for mode in Mode:
            row = host.tenant(tenant.id)
            row.stripe_mode = mode
            found[mode.value] = row.stripe_onboarding_status.value
        host.db.session.rollback()
    return found


def test_the_commands_are_listed_with_what_they_do(host: Host) -> None:
    shown = run(host, "--help").output
    for command in (
        "tenants",
        "platform-managed",
        "disconnect",
        "doctor",
        "sandbox",
        "audit-verify",
        "neutralize",
        "moved",
        "rotate-kek",
        "move-secrets",
        "worker",
        "reconcile",
        "replay",
        "health",
        "prune",
    ):
        assert f"  {command} " in shown


def test_tenants_are_listed_with_their_connections(host: Host, simulator: Simulator) -> None:
    plaza, account = connected(host, simulator)
    host.connect(plaza, None, Mode.live, account_type=AccountType.PLATFORM)
    seaside = host.make_tenant("Seaside")

    result = run(host, "tenants")

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{plaza.id}  active mode: test  Plaza",
        f"  test  CONNECT_STANDARD  CONNECTED  {account}",
        "  live  PLATFORM  CONNECTED  the platform's account",
        f"{seaside.id}  active mode: test  Seaside",
    ]


@pytest.mark.parametrize("words", ["tenants", "platform-managed 1 on", "disconnect 1"])
def test_a_database_without_tables_is_named_with_what_makes_them(host: Host, sqlite_url: str, words: str) -> None:
    with host.app.app_context():
        host.db.drop_all()

    result = run(host, *words.split())

    assert result.exit_code == 1
    assert result.output == (
        f"Error: The database {sqlite_url} has no table tenant. Run 'flask db upgrade', or let the app use the "
        "database that you mean.\n"
    )


def test_the_password_of_a_database_without_tables_is_not_printed(postgres_url: str) -> None:
    url = sa.make_url(postgres_url).set(password="the-password").render_as_string(hide_password=False)
    with make_host(url) as host, host.app.app_context():
        host.db.drop_all()

        printed = run(host, "tenants").output

        assert "has no table tenant" in printed
        assert "the-password" not in printed


def test_without_tenants_nothing_is_listed(host: Host) -> None:
    assert (run(host, "tenants").exit_code, run(host, "tenants").output) == (0, "")


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_tenant_is_named_by_its_key_whatever_that_is(sqlite_url: str, simulator: Simulator, key: str) -> None:
    with make_host(sqlite_url, key=key, simulator=simulator) as host:
        tenant = host.make_tenant()
        result = run(host, "platform-managed", tenant.id, "on")
        assert result.output == f"Tenant {tenant.id} may use the platform's account in: test, live.\n"
        assert statuses(host, tenant) == {"test": "CONNECTED", "live": "CONNECTED"}


@pytest.mark.both
@pytest.mark.parametrize("words", ["platform-managed {} on", "platform-managed {} off", "disconnect {}"])
def test_a_tenant_that_does_not_exist_is_named(database_url: str, words: str) -> None:
    with make_host(database_url) as host:
        host.make_tenant("Plaza")
        for wanted in ("77", "Plaza", "0", "9" * 12, "9" * 30, "1.0", "1;DROP"):
            result = run(host, *words.format(wanted).split())
            assert result.exit_code == 1
            assert result.output == f"Error: There is no tenant {wanted}. 'flask stripe tenants' lists them.\n"


def test_a_key_of_another_kind_is_no_tenant(sqlite_url: str) -> None:
    with make_host(sqlite_url, key="uuid") as host:
        for wanted in ("1", uuid.uuid4()):
            result = run(host, "disconnect", wanted)
            assert (result.exit_code, result.output) == (
                1,
                f"Error: There is no tenant {wanted}. 'flask stripe tenants' lists them.\n",
            )


def test_the_platform_is_lent_in_the_modes_that_it_has_keys_for(sqlite_url: str) -> None:
    config = {"VALETPRO_STRIPE_TEST_SECRET_KEY": "sk_test_x"}
    with make_host(sqlite_url, config=config) as host:
        tenant = host.make_tenant()
        result = run(host, "platform-managed", tenant.id, "on")
        assert result.output == f"Tenant {tenant.id} may use the platform's account in: test.\n"
        assert statuses(host, tenant) == {"test": "CONNECTED", "live": "NOT_CONNECTED"}


def test_a_platform_without_keys_cannot_be_lent(sqlite_url: str) -> None:
    with make_host(sqlite_url) as host:
        result = run(host, "platform-managed", host.make_tenant().id, "on")
        assert result.exit_code == 1
        assert result.output.startswith("Error: The platform has no key. Set VALETPRO_STRIPE_TEST_SECRET_KEY")


def test_lending_leaves_a_tenants_own_account_alone(host: Host, simulator: Simulator) -> None:
    tenant, account = connected(host, simulator)
    result = run(host, "platform-managed", tenant.id, "on")
    assert result.output == f"Tenant {tenant.id} may use the platform's account in: live.\n"
    with host.app.app_context():
        assert host.tenant(tenant.id).stripe_account_id == account


def test_lending_twice_changes_nothing(host: Host) -> None:
    tenant = host.make_tenant()
    run(host, "platform-managed", tenant.id, "on")
    again = run(host, "platform-managed", tenant.id, "on")
    assert again.output == (
        f"Nothing was changed: in every mode that the platform has a key for, tenant {tenant.id} has a connection "
        f"already. 'flask stripe tenants' shows it, 'flask stripe disconnect {tenant.id}' ends its own.\n"
    )
    with host.app.app_context():
        assert host.db.session.query(host.valetpro.models.Connection).count() == 2


def test_what_was_lent_can_be_taken_back(host: Host, simulator: Simulator) -> None:
    tenant = host.make_tenant()
    other = host.make_tenant("Seaside")
    for each in (tenant, other):
        run(host, "platform-managed", each.id, "on")

    result = run(host, "platform-managed", tenant.id, "off")

    assert result.output == f"Ended 2 platform connections of tenant {tenant.id}.\n"
    assert statuses(host, tenant) == {"test": "NOT_CONNECTED", "live": "NOT_CONNECTED"}
    assert statuses(host, other) == {"test": "CONNECTED", "live": "CONNECTED"}
    assert simulator.requests == []


def test_taking_back_leaves_a_tenants_own_account_connected(host: Host, simulator: Simulator) -> None:
    tenant, _ = connected(host, simulator)
    assert run(host, "platform-managed", tenant.id, "off").output.startswith("Ended 0 ")
    assert statuses(host, tenant)["test"] == "CONNECTED"


@pytest.mark.parametrize("switch", ["", "ON", "yes", "1"])
def test_the_switch_is_on_or_off(host: Host, switch: str) -> None:
    result = run(host, "platform-managed", host.make_tenant().id, switch)
    assert result.exit_code == 2
    assert "is not one of 'on', 'off'" in result.output


def test_disconnecting_withdraws_access_at_stripe(host: Host, simulator: Simulator) -> None:
    tenant, account = connected(host, simulator)
    other, others_account = connected(host, simulator, "Seaside")

    result = run(host, "disconnect", tenant.id)

    assert (result.exit_code, result.output) == (0, "test: disconnected.\nlive: was not connected.\n")
    assert not simulator.is_connected(account)
    assert simulator.is_connected(others_account)
    assert statuses(host, tenant)["test"] == OnboardingStatus.NOT_CONNECTED
    assert statuses(host, other)["test"] == OnboardingStatus.CONNECTED


def test_only_one_mode_can_be_disconnected(host: Host, simulator: Simulator) -> None:
    tenant, test_account = connected(host, simulator)
    live = simulator.create_account("Plaza live")
    simulator.connect(live.id, livemode=True)
    host.connect(tenant, live.id, Mode.live)

    assert run(host, "disconnect", tenant.id, "--mode", "live").output == "live: disconnected.\n"

    assert statuses(host, tenant) == {"test": "CONNECTED", "live": "NOT_CONNECTED"}
    assert simulator.is_connected(test_account)
    assert not simulator.is_connected(live.id, livemode=True)


def test_the_operators_acts_are_on_record(host: Host, simulator: Simulator) -> None:
    tenant, _ = connected(host, simulator)
    run(host, "disconnect", tenant.id)
    with host.app.app_context():
        entries = host.db.session.query(host.valetpro.models.AuditEntry).all()
        assert [(entry.actor, entry.action) for entry in entries] == [
            ("tests", "connected"),
            ("operator", "disconnected"),
        ]


def test_a_refusal_of_stripe_is_told_and_nothing_is_changed(host: Host, simulator: Simulator) -> None:
    tenant, account = connected(host, simulator)
    simulator.faults.add(method="POST", path="/oauth/deauthorize", fault=RATE_LIMIT)

    result = run(host, "disconnect", tenant.id)

    assert result.exit_code == 1
    assert result.output.startswith("Error: Disconnecting failed: Stripe is limiting requests. Nothing was done.")
    assert simulator.is_connected(account)
    assert statuses(host, tenant)["test"] == OnboardingStatus.CONNECTED


def test_an_account_that_left_at_stripe_can_be_disconnected(host: Host, simulator: Simulator) -> None:
    tenant, account = connected(host, simulator)
    simulator.disconnect(account)
    assert run(host, "disconnect", tenant.id).output.startswith("test: disconnected.\n")
    assert statuses(host, tenant)["test"] == OnboardingStatus.NOT_CONNECTED


def test_a_wrong_client_id_is_not_taken_for_a_success(sqlite_url: str, simulator: Simulator) -> None:
    """Stripe answers it with the same word as an account that is not connected: invalid_client."""
    with make_host(sqlite_url, simulator=simulator, config={"VALETPRO_STRIPE_TEST_CLIENT_ID": "ca_anothers"}) as host:
        tenant, account = connected(host, simulator)

        result = run(host, "disconnect", tenant.id)

        assert result.exit_code == 1
        assert result.output.startswith("Error: Stripe does not take VALETPRO_STRIPE_TEST_CLIENT_ID for this")
        assert simulator.is_connected(account)
        assert statuses(host, tenant)["test"] == OnboardingStatus.CONNECTED


def worked_with(host: Host) -> tuple[Any, Any]:
    """Return two tenants that were connected, the first of them twice."""
    plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
    for tenant, account in ((plaza, "acct_1"), (seaside, "acct_2"), (plaza, "acct_3")):
        host.connect(tenant, account)
    return plaza, seaside


def tamper(host: Host, statement: str) -> None:
    with host.app.app_context(), host.db.engine.begin() as connection:
        connection.execute(sa.text(statement))


def test_chains_that_nobody_touched_are_counted(host: Host) -> None:
    assert run(host, "audit-verify").output == "0 entries of 0 tenants are unchanged.\n"
    worked_with(host)

    result = run(host, "audit-verify")

    assert (result.exit_code, result.output) == (0, "3 entries of 2 tenants are unchanged.\n")


def test_the_first_bad_entry_of_each_tenant_is_named(host: Host) -> None:
    plaza, seaside = worked_with(host)
    tamper(host, "UPDATE stripe_audit_entry SET actor = 'nobody'")

    result = run(host, "audit-verify")

    assert (result.exit_code, result.output.splitlines()) == (
        1,
        [
            f"- Tenant {plaza.id}: entry 1 (row 1) was changed, or made to follow another.",
            f"- Tenant {seaside.id}: entry 1 (row 2) was changed, or made to follow another.",
        ],
    )


def test_an_end_that_was_cut_off_shows_against_heads_that_were_kept(host: Host, tmp_path: Path) -> None:
    plaza, seaside = worked_with(host)
    heads = run(host, "audit-verify", "--heads")
    assert heads.exit_code == 0
    assert [line.split()[:2] for line in heads.output.splitlines()] == [[str(plaza.id), "2"], [str(seaside.id), "1"]]
    kept = tmp_path / "heads.txt"
    kept.write_text(heads.output)
    assert run(host, "audit-verify", "--against", kept).exit_code == 0
    tamper(host, f"DELETE FROM stripe_audit_entry WHERE tenant_id = {plaza.id} AND sequence = 2")

    assert run(host, "audit-verify").exit_code == 0
    result = run(host, "audit-verify", "--against", kept)

    assert (result.exit_code, result.output) == (
        1,
        f"- Tenant {plaza.id}: the end is missing: the chain went on to entry 2 when its head was kept.\n",
    )


def test_heads_of_chains_that_are_broken_are_not_kept(host: Host) -> None:
    plaza, seaside = worked_with(host)
    tamper(host, f"UPDATE stripe_audit_entry SET actor = 'nobody' WHERE tenant_id = {plaza.id}")

    result = run(host, "audit-verify", "--heads")

    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == [str(seaside.id)]
    assert result.stderr.startswith(f"- Tenant {plaza.id}: entry 1 (row 1) was changed")


@pytest.mark.parametrize("text", ["nonsense", "1 2", "1 two abc"])
def test_a_file_that_holds_no_heads_is_refused(host: Host, tmp_path: Path, text: str) -> None:
    kept = tmp_path / "heads.txt"
    kept.write_text(text)

    result = run(host, "audit-verify", "--against", kept)

    assert (result.exit_code, result.output) == (
        1,
        "Error: The file for --against holds something else than --heads prints.\n",
    )
