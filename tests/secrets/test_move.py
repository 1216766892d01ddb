"""``flask stripe move-secrets``: every secret to another store, whatever fails or is killed on the way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from sqlalchemy.exc import OperationalError

from flask_valetpro_stripe import custody, rekey
from flask_valetpro_stripe.errors import SecretUnavailableError
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.store import absent, unavailable
from tests.hosts import Host, make_host
from tests.secrets.keeping import (
    Folder,
    change,
    fill,
    host_with,
    id_of,
    label_of,
    new_key,
    not_as_put_in,
    read,
    renew,
    rows_of,
    run_command,
    secret_for,
)
from tests.secrets.stage import Vault
from tests.servers import OpenBao

OLD, NEW = new_key(), new_key()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """The host's own store, with nothing in it."""
    (tmp_path / "folder").mkdir()
    return Folder(tmp_path / "folder")


@pytest.fixture
def host(database_url: str, folder: Folder) -> Iterator[Host]:
    """An app that has chosen a store of its own, while its secrets rest in the database still."""
    with host_with(database_url, NEW, OLD, shelf=folder) as host:
        fill(host, 10, OLD)
        yield host


def move(host: Host, name: str = "folder") -> Result:
    return host.app.test_cli_runner().invoke(args=["stripe", "move-secrets", "--to", name])


def again(host: Host, folder: Folder) -> Host:
    """Return the app as another process has it, which remembers no trouble."""
    folder.trouble.clear()
    with host.app.app_context():
        address = host.db.engine.url.render_as_string(hide_password=False)
    return host_with(address, NEW, OLD, shelf=folder)


def stores_of(host: Host) -> set[tuple[str, str | None]]:
    return {(row.store, row.key_id) for row in rows_of(host)}


def named(row: Any) -> str:
    return f"- Secret {row.id} of tenant {row.tenant_id}, connection {row.connection_id}"


def kept(row: Any) -> list[Any]:
    """Return what a move must not change."""
    return [value for name, value in row._asdict().items() if name not in {"store", "stored", "key_id"}]


def failing(error: BaseException) -> Any:
    def fail() -> None:
        raise error

    return fail


def test_secrets_move_from_the_database_to_the_hosts_own_store(host: Host, folder: Folder) -> None:
    before = rows_of(host)

    result = move(host)

    assert (result.exit_code, result.output) == (0, f"folder: {len(before)} rows\n")
    assert stores_of(host) == {("folder", None)}
    assert folder.entries() == sorted(row.stored for row in rows_of(host))
    assert not_as_put_in(host) == []
    assert [kept(row) for row in rows_of(host)] == [kept(row) for row in before]


def test_secrets_move_back_into_the_database_under_the_newest_key(host: Host, folder: Folder) -> None:
    move(host)

    result = move(host, "database")

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"database: {len(rows_of(host))} rows",
        "New secrets still go to 'folder': set VALETPRO_STRIPE_SECRET_STORE to 'database' to change that.",
    ]
    assert stores_of(host) == {("database", id_of(NEW))}
    assert folder.entries() == []
    assert not_as_put_in(host) == []


def test_secrets_move_from_the_database_to_one_vault_and_on_to_another(
    database_url: str, openbao: OpenBao, moto: int
) -> None:
    config = {
        "VALETPRO_STRIPE_ENCRYPTION_KEYS": [NEW],
        "VALETPRO_STRIPE_SECRET_STORE": "vault",
        "VALETPRO_STRIPE_SECRET_STORE_OPTIONS": {
            "address": openbao.address,
            "token": openbao.token,
            "others": {"aws": {"region": "eu-west-1", "endpoint_url": f"http://127.0.0.1:{moto}"}},
        },
    }
    with make_host(database_url, config=config) as host:
        fill(host, 4, NEW, tenants=2)
        for name in ("vault", "aws", "vault", "database"):
            came_from = rows_of(host)

            assert move(host, name).exit_code == 0

            assert {row.store for row in rows_of(host)} == {name}
            assert not_as_put_in(host) == []
            for row in came_from:
                if row.store != "database":
                    with pytest.raises(SecretUnavailableError, match="has no such secret"):
                        host.state.stores[row.store].get(label_of(row), row.stored)


def test_a_store_that_the_app_does_not_have_is_refused_with_how_to_have_it(host: Host) -> None:
    result = move(host, "gcp")

    assert result.exit_code == 1
    assert result.output == (
        "Error: This app has no secret store 'gcp'; it has: folder, database. Name a vault under 'others' in "
        "VALETPRO_STRIPE_SECRET_STORE_OPTIONS: {'others': {'gcp': {…its options…}}}. The 'database' is there once "
        "VALETPRO_STRIPE_ENCRYPTION_KEYS is set, your own store once VALETPRO_STRIPE_SECRET_STORE is.\n"
    )


def test_what_rests_in_a_store_that_the_app_does_not_have_any_more_stays_and_is_told(host: Host) -> None:
    lost, *others = rows_of(host)
    change(host, lost, store="gcp", stored="valetpro-stripe-1", key_id=None)

    result = move(host)

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"folder: {len(others)} rows", "gcp: 1 rows"]
    assert result.stderr.splitlines() == [
        "- What rests in 'gcp' was not moved any further: A secret rests in the secret store 'gcp', which this app is "
        "not set up for. The operator must name 'gcp' among the 'others' of VALETPRO_STRIPE_SECRET_STORE_OPTIONS."
    ]


def test_a_secret_that_cannot_be_read_stays_and_is_named_and_the_other_tenants_move(host: Host) -> None:
    bad, *others = rows_of(host)
    change(host, bad, stored="sk_test_put_here_by_hand")

    result = move(host)

    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"{named(bad)} was not moved: A secret in the secret store (database) cannot be read"
    )
    assert "by_hand" not in result.output
    assert rows_of(host)[0].stored == "sk_test_put_here_by_hand"
    assert {row.store for row in rows_of(host)[1:]} == {"folder"}
    assert [row.id for row in others if read(host, row.id) != secret_for(label_of(row))] == []


def test_a_destroyed_secret_is_not_moved(host: Host, folder: Folder) -> None:
    first, *others = rows_of(host)
    change(host, first, stored=None, key_id=None)

    assert move(host).exit_code == 0
    assert len(folder.entries()) == len(others)
    assert rows_of(host)[0].stored is None


@pytest.mark.parametrize(
    "step, entries_left",
    [
        (("put", "before"), 0),
        # Nobody knows whether it was put: the store did not say under which name.
        (("put", "after"), 1),
        # The store is down, and gets no second question within seconds: what was put can't be taken back.
        (("get", "before"), 1),
        (("get", "after"), 1),
    ],
)
def test_a_new_store_that_fails_leaves_everything_where_it_was_and_a_later_run_moves_it(
    host: Host, folder: Folder, step: tuple[str, str], entries_left: int
) -> None:
    before = rows_of(host)
    folder.trouble[step] = failing(TimeoutError("no answer"))

    result = move(host)

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"database: {len(before)} rows", "folder: 0 rows"]
    assert result.stderr.splitlines() == [
        "- What rests in 'database' was not moved any further: The secret store (folder) cannot answer now: it raised "
        "TimeoutError. Try again in a moment; 'flask stripe doctor --online' tells the operator whether the store "
        "answers."
    ]
    assert rows_of(host) == before
    assert len(folder.entries()) == entries_left
    with again(host, folder) as later:
        assert move(later).exit_code == 0
        assert {row.store for row in rows_of(later)} == {"folder"}
        assert not_as_put_in(later) == []


@pytest.mark.parametrize("odd", ["shelf\n0 rows left", "\x1b[2J", "a\u202eb"])
def test_name_of_a_store_that_somebody_made_up_is_no_word_to_the_terminal(host: Host, odd: str) -> None:
    first, *others = rows_of(host)
    change(host, first, store=odd)

    shown = move(host).output

    assert f"{odd!a}: 1 rows\n" in shown
    assert odd not in shown
    assert {row.store for row in rows_of(host) if row.id != first.id} == {"folder"}
    assert len(others) == len(rows_of(host)) - 1


def test_a_new_store_that_gives_back_something_else_gets_nothing(host: Host, folder: Folder) -> None:
    before = rows_of(host)
    folder.trouble["get", "after"] = lambda: Secret(folder.given.replace("sk_test_", "sk_test_another"))

    result = move(host)

    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == (
        f"{named(before[0])} was not moved: A secret in the secret store (folder) cannot be read: it gave back "
        "something else than was put in. A tenant admin enters the key again on the payment settings page."
    )
    assert len(result.stderr.splitlines()) == len(before)
    assert rows_of(host) == before
    assert folder.entries() == []


def test_an_old_store_that_does_not_delete_keeps_an_entry_that_is_named(host: Host, folder: Folder) -> None:
    move(host)
    before = rows_of(host)
    folder.trouble["delete", "before"] = failing(unavailable("folder", "it is read-only"))

    result = move(host, "database")

    assert result.exit_code == 1
    assert result.stderr.rstrip() == (
        f"{named(before[0])} was moved, but its old entry is left over in 'folder': delete it there. "
        "Nothing more was moved out of that store; see that it deletes, and run this again."
    )
    assert [row.store for row in rows_of(host)] == ["database"] + ["folder"] * (len(before) - 1)
    assert folder.entries() == sorted(row.stored for row in before)
    with again(host, folder) as later:
        assert move(later, "database").exit_code == 0
        assert not_as_put_in(later) == []
        assert folder.entries() == [before[0].stored]


def test_a_vaults_left_over_entry_is_named_as_the_vault_knows_it(database_url: str, gcp_rest: Vault) -> None:
    class Reading:
        """A vault that lets nobody delete."""

        name = "gcp"
        put, get = gcp_rest.store().put, gcp_rest.store().get

        def delete(self, *_: Any) -> None:
            raise absent("gcp")

    with host_with(database_url, NEW) as host:
        fill(host, 1, NEW)
        host.state.stores = {"gcp": Reading(), **host.state.stores}
        move(host, "gcp")
        row, *_ = rows_of(host)

        result = move(host, "database")

    assert result.stderr.splitlines()[0] == (
        f"{named(row)} was moved, but its old entry is left over in 'gcp' as {row.stored}: delete it there. "
        "Nothing more was moved out of that store; see that it deletes, and run this again."
    )


@pytest.mark.both
def test_a_secret_that_is_destroyed_meanwhile_stays_destroyed(host: Host, folder: Folder) -> None:
    archived = next(row for row in rows_of(host) if row.archived_at)
    folder.trouble["put", "after"] = once(lambda: change(host, first, stored=None, key_id=None))
    first, *others = rows_of(host)
    assert archived.id == first.id

    assert move(host).exit_code == 0
    assert rows_of(host)[0].stored is None
    assert len(folder.entries()) == len(others)


@pytest.mark.both
def test_a_secret_that_is_encrypted_anew_meanwhile_is_moved_by_the_next_run(
    host: Host, database_url: str, folder: Folder
) -> None:
    with host_with(database_url, NEW, OLD) as rotating:

        def rotate() -> None:
            with rotating.app.app_context():
                assert rekey.rotate(rotating.state, lambda done: None) == []

        folder.trouble["put", "after"] = once(rotate)
        result = move(host)

    rest = len(rows_of(host)) - 1
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["database: 1 rows", f"folder: {rest} rows"]
    assert result.stderr.splitlines() == [
        "- Some secrets were added or changed meanwhile. Run this again to move them, too."
    ]
    assert len(folder.entries()) == rest
    assert not_as_put_in(host) == []
    assert move(host).exit_code == 0
    assert not_as_put_in(host) == []


@pytest.mark.both
def test_a_commit_whose_answer_is_lost_does_not_lose_the_secret(host: Host, folder: Folder) -> None:
    host.state.pause = lambda seconds: None
    lost: list[str] = []
    folder.trouble["get", "after"] = once(lambda: lost.append("next commit"))

    with host.app.app_context():
        engine = host.db.engine

    @sa.event.listens_for(engine, "commit")
    def lose_answer(connection: sa.Connection) -> None:
        if lost == ["next commit"]:
            lost.append("answer")
            connection.connection.commit()
            raise OperationalError("COMMIT", {}, OSError("connection lost"))

    result = move(host)

    assert lost == ["next commit", "answer"]
    assert result.exit_code == 0
    assert folder.entries() == sorted(row.stored for row in rows_of(host))
    assert not_as_put_in(host) == []


@pytest.mark.both
def test_two_moves_at_once_leave_one_entry_for_each_secret(host: Host, folder: Folder) -> None:
    with again(host, Folder(folder.place)) as other:
        folder.trouble["put", "after"] = once(lambda: move(other))

        assert move(host).exit_code == 0

    assert folder.entries() == sorted(row.stored for row in rows_of(host))
    assert not_as_put_in(host) == []


def test_new_secrets_go_to_the_chosen_store_while_the_others_move(host: Host, folder: Folder) -> None:
    connection = rows_of(host)[0].connection_id
    folder.trouble["put", "after"] = once(lambda: renew(host, connection, custody.API_KEY))

    assert move(host).exit_code == 0
    assert not_as_put_in(host) == []


@pytest.mark.slow("starts a process for each kill")
@pytest.mark.parametrize(
    "start, target, moments",
    [
        ("database", "folder", ["put after 2", "get after 2", "written 1", "put before 2"]),
        ("folder", "database", ["get after 2", "written 1", "delete before 1", "delete after 1"]),
    ],
)
def test_killed_at_any_step_nothing_is_lost_and_the_last_run_finishes(
    database_url: str, folder: Folder, start: str, target: str, moments: list[str]
) -> None:
    with host_with(database_url, NEW, shelf=folder) as host:
        fill(host, 10, NEW)
        if start == "folder":
            move(host)
        before = rows_of(host)
        for moment in moments:
            killed = run_command(
                database_url, "move-secrets", "--to", target, keys=(NEW,), folder=folder.place, dying=moment
            )
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            assert not_as_put_in(host) == [], moment

        last = run_command(database_url, "move-secrets", "--to", target, keys=(NEW,), folder=folder.place)

        assert last.returncode == 0, last.stderr
        assert last.stdout.splitlines()[0] == f"{target}: {len(before)} rows"
        assert {row.store for row in rows_of(host)} == {target}
        assert not_as_put_in(host) == []
        # Each kill leaves one entry at most that nothing refers to.
        wanted = {row.stored for row in rows_of(host)} if target == "folder" else set()
        assert wanted <= set(folder.entries())
        assert len(folder.entries()) - len(wanted) <= len(moments)


def once(act: Any) -> Any:
    """Return what does something at its first call only."""
    left = iter([act])
    return lambda: next(left, lambda: None)() and None
