"""``flask stripe rotate-kek``: every secret under the newest key, while the app runs, however often it is killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result

from flask_valetpro_stripe import AccountType, Mode, custody, rekey
from flask_valetpro_stripe.crypto import key_id_in
from flask_valetpro_stripe.secrets import Secret
from tests.chaos.sizes import size
from tests.children import Child
from tests.hosts import Host, make_host
from tests.payments.desk import in_parallel
from tests.secrets.keeping import (
    MOMENTS,
    PURPOSES,
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
from tests.timing import wait_until

#: How many there are to rotate, and how often the rotation under load is killed.
SECRETS = size("SECRETS", small=200, middle=500, full=10_000)
KILLS = size("KILLS", small=1, middle=3, full=20)
OLD, NEW = new_key(), new_key()


@pytest.fixture
def host(database_url: str) -> Iterator[Host]:
    """An app whose operator has put a new key before the old one."""
    with host_with(database_url, NEW, OLD) as host:
        yield host


def rotate(host: Host) -> Result:
    return host.app.test_cli_runner().invoke(args=["stripe", "rotate-kek"])


def damaged(blob: str) -> str:
    """Return a ciphertext with one other letter in it."""
    return f"{blob[:40]}{'A' if blob[40] != 'A' else 'B'}{blob[41:]}"


def report(figures: str) -> None:
    """Show what was measured, to whom runs this with ``-s``."""
    sys.stdout.write(f"\n{figures}\n")


def keys_in_use(host: Host) -> set[str]:
    """Return the ids of the keys under which secrets are, by their ciphertexts, which the rows must agree with."""
    rows = rows_of(host)
    assert [row.id for row in rows if row.key_id != key_id_in(row.stored)] == []
    return {key_id_in(row.stored) for row in rows}


@pytest.mark.both
def test_every_secret_ends_under_the_newest_key_and_is_what_it_was(host: Host) -> None:
    fill(host, SECRETS, OLD)
    before = rows_of(host)

    started = time.perf_counter()
    result = rotate(host)
    seconds = time.perf_counter() - started

    report(f"{len(before)} secrets rotated in {seconds:.2f} s: {len(before) / seconds:.0f} rows per second")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{id_of(NEW)}: {len(before)} rows. This is the newest key.",
        f"{id_of(OLD)}: 0 rows — may be removed from ENCRYPTION_KEYS, once no process runs with the old list. "
        "Backups still need it.",
    ]
    assert keys_in_use(host) == {id_of(NEW)}
    assert not_as_put_in(host) == []
    unchanged = [(row.id, row.version, row.archived_at, row.fingerprint, row.masked) for row in before]
    assert [(row.id, row.version, row.archived_at, row.fingerprint, row.masked) for row in rows_of(host)] == unchanged


def test_the_old_key_may_really_be_removed_then(host: Host, database_url: str) -> None:
    fill(host, 6, OLD)
    rotate(host)

    with host_with(database_url, NEW) as later:
        assert not_as_put_in(later) == []


def test_a_second_run_changes_nothing(host: Host) -> None:
    fill(host, 6, OLD)
    rotate(host)
    before = rows_of(host)

    assert rotate(host).exit_code == 0
    assert rows_of(host) == before


def test_a_destroyed_secret_stays_destroyed(host: Host) -> None:
    fill(host, 6, OLD)
    first, *others = rows_of(host)
    change(host, first, stored=None, key_id=None)

    assert rotate(host).exit_code == 0
    assert rows_of(host)[0].stored is None
    assert [key_id_in(row.stored) for row in rows_of(host)[1:]] == [id_of(NEW)] * 5
    assert len(others) == 5


@pytest.mark.parametrize("told", [None, id_of(NEW), "0" * 16], ids=["nothing", "the newest", "a key of nobody"])
def test_the_ciphertext_counts_and_not_what_the_row_says_of_its_key(host: Host, told: str | None) -> None:
    fill(host, 6, OLD)
    for row in rows_of(host):
        change(host, row, key_id=told)

    assert rotate(host).exit_code == 0
    assert keys_in_use(host) == {id_of(NEW)}
    assert not_as_put_in(host) == []


def test_a_secret_that_cannot_be_read_is_named_and_the_others_are_done(host: Host) -> None:
    fill(host, 12, OLD)
    flipped, swapped, foreign, *others = rows_of(host)
    change(host, flipped, stored=damaged(flipped.stored))
    change(host, swapped, stored=others[-1].stored)
    change(host, foreign, stored="sk_test_put_here_by_hand")

    result = rotate(host)

    assert result.exit_code == 1
    unread = "A secret in the secret store (database) cannot be read:"
    named = [
        f"- Secret {row.id} of tenant {row.tenant_id}, connection {row.connection_id}"
        for row in (flipped, swapped, foreign)
    ]
    assert result.stderr.splitlines() == [
        f"{named[0]}: {unread} it is damaged, or was put in for something else.",
        f"{named[1]}: {unread} it is damaged, or was put in for something else.",
        f"{named[2]}: {unread} it is not in our form.",
    ]
    assert [line.split(" — ")[0] for line in result.stdout.splitlines()[1:]] == [
        f"{id_of(OLD)}: 2 rows",
        "no key of ENCRYPTION_KEYS: 1 rows",
    ]
    for row in others:
        assert read(host, row.id) == secret_for(label_of(row))
    assert {key_id_in(row.stored) for row in rows_of(host)[3:]} == {id_of(NEW)}
    # Nothing is made of what cannot be read: a key that turns up may still save it.
    assert [row.stored for row in rows_of(host)[:3]] == [
        damaged(flipped.stored),
        others[-1].stored,
        "sk_test_put_here_by_hand",
    ]


def test_one_tenants_damage_leaves_the_other_tenant_readable(host: Host) -> None:
    fill(host, 12, OLD, tenants=2)
    rows = rows_of(host)
    unlucky = rows[0].tenant_id
    for row in rows:
        if row.tenant_id == unlucky:
            change(host, row, stored=damaged(row.stored))

    result = rotate(host)

    others = [row for row in rows_of(host) if row.tenant_id != unlucky]
    assert len(result.stderr.splitlines()) == len(rows) - len(others)
    assert {key_id_in(row.stored) for row in others} == {id_of(NEW)}
    assert [row.id for row in others if read(host, row.id) != secret_for(label_of(row))] == []


@pytest.mark.both
def test_a_process_with_the_old_list_writes_meanwhile_and_its_rows_are_found(host: Host, database_url: str) -> None:
    (first, *_) = fill(host, 250, OLD)
    with host_with(database_url, OLD, NEW) as stale:
        writes = iter([1, 2, 3])

        def write(done: int) -> None:
            if next(writes, None):
                in_thread(lambda: renew(stale, first, custody.API_KEY))

        with host.app.app_context():
            problems = rekey.rotate(host.state, write)

        assert problems == []
        assert next(writes, None) is None
        assert keys_in_use(host) == {id_of(NEW)}
        assert not_as_put_in(host) == []


def test_what_such_a_process_writes_later_is_reported(host: Host, database_url: str) -> None:
    (first, *_) = fill(host, 6, OLD)
    with host_with(database_url, OLD, NEW) as stale:
        rotate(host)
        renew(stale, first, custody.API_KEY)

        with host.app.app_context():
            assert rekey.rows_per_key(host.state)[id_of(OLD)] == 1


def test_a_row_that_somebody_holds_for_long_is_reported_as_left(postgres_url: str) -> None:
    with host_with(postgres_url, NEW, OLD) as host:
        host.state.pause = lambda seconds: None
        fill(host, 6, OLD)
        held, *others = rows_of(host)
        engine = sa.create_engine(postgres_url)
        with engine.begin() as somebody:
            somebody.execute(sa.text("SELECT 1 FROM stripe_secret WHERE id = :id FOR UPDATE"), {"id": held.id})
            result = rotate(host)
        engine.dispose()

        assert result.exit_code == 1
        assert result.stdout.splitlines()[1] == (
            f"{id_of(OLD)}: 1 rows — still needed. Restart every process that has another key first in its list, "
            "and run this again."
        )
        assert result.stdout.startswith(f"{id_of(NEW)}: {len(others)} rows.")
        assert rotate(host).exit_code == 0


@pytest.mark.both
@pytest.mark.parametrize("key", ["uuid", "str"])
def test_tenants_may_have_keys_of_any_type(database_url: str, key: str) -> None:
    config = {"VALETPRO_STRIPE_ENCRYPTION_KEYS": [NEW, OLD]}
    with make_host(database_url, key=key, config=config) as host:
        fill(host, 12, OLD, tenants=2)

        assert rotate(host).exit_code == 0
        assert keys_in_use(host) == {id_of(NEW)}
        assert not_as_put_in(host) == []


def test_live_secrets_are_encrypted_anew_as_live_ones(host: Host, database_url: str) -> None:
    with host_with(database_url, OLD, NEW) as stale:
        tenant = stale.make_tenant()
        for mode in Mode:
            connection = stale.connect(tenant, f"acct_{mode}", mode, account_type=AccountType.RAW_KEYS)
            with stale.app.app_context():
                entrusted = custody.entrust(stale.state, connection, custody.API_KEY, Secret(f"sk_{mode}_canary"))
                custody.switch(stale.state, connection, entrusted)
                stale.db.session.commit()

    assert rotate(host).exit_code == 0
    assert keys_in_use(host) == {id_of(NEW)}
    assert [read(host, row.id).reveal() for row in rows_of(host)] == ["sk_test_canary", "sk_live_canary"]


def test_a_person_at_a_terminal_sees_how_far_it_is(sqlite_url: str) -> None:
    with host_with(sqlite_url, NEW, OLD) as host:
        fill(host, 150, OLD)
    terminal, end = os.openpty()

    result = run_command(sqlite_url, "rotate-kek", keys=(NEW, OLD), terminal=end)

    os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert result.returncode == 0, shown
    assert "100%" in shown
    assert "%" not in result.stdout


@pytest.mark.both
def test_two_rotations_at_once_do_it_together(host: Host) -> None:
    fill(host, SECRETS, OLD)

    def rotate_here() -> list[str]:
        with host.app.app_context():
            return rekey.rotate(host.state, lambda done: None)

    assert in_parallel(2, rotate_here) == [[], []]
    assert keys_in_use(host) == {id_of(NEW)}
    assert not_as_put_in(host) == []


def test_other_writers_of_sqlite_are_waited_for(sqlite_url: str) -> None:
    with host_with(f"{sqlite_url}?timeout=0", NEW, OLD) as host:
        fill(host, 6, OLD)
        engine = sa.create_engine(sqlite_url)
        with engine.connect() as other:
            other.exec_driver_sql("BEGIN IMMEDIATE")
            host.state.pause = lambda seconds: other.rollback()
            result = rotate(host)
        engine.dispose()

        assert result.exit_code == 0
        assert keys_in_use(host) == {id_of(NEW)}


def test_a_database_that_stays_locked_is_given_up_with_a_sentence(sqlite_url: str) -> None:
    with host_with(f"{sqlite_url}?timeout=0", NEW, OLD) as host:
        host.state.pause = lambda seconds: None
        fill(host, 6, OLD)
        before = rows_of(host)
        engine = sa.create_engine(sqlite_url)
        with engine.connect() as other:
            other.exec_driver_sql("BEGIN IMMEDIATE")
            result = rotate(host)
            other.rollback()
        engine.dispose()

        assert result.exit_code == 1
        assert result.output == (
            "Error: The database could not be read or written, several times in a row. What is done is done. See that "
            "the database answers, and run the command again.\n"
        )
        assert rows_of(host) == before


def test_an_app_without_encryption_keys_is_told_so(sqlite_url: str) -> None:
    class Shelf:
        def put(self, *_: Any) -> str: ...
        def get(self, *_: Any) -> Any: ...
        def delete(self, *_: Any) -> None: ...

    with host_with(sqlite_url, shelf=Shelf()) as host:
        result = rotate(host)

    assert result.exit_code == 1
    assert result.output == (
        "Error: This app has no VALETPRO_STRIPE_ENCRYPTION_KEYS, so it has no secrets in the database. "
        "The keys of a vault are rotated in the vault.\n"
    )


@pytest.mark.on("postgresql")
@pytest.mark.slow("starts six processes that import the app")
def test_rekey_under_load(database_url: str) -> None:
    """Readers read, a writer writes, and the rotation is killed again and again."""
    with host_with(database_url, OLD, NEW) as stale:
        connections = fill(stale, SECRETS, OLD, tenants=20)
        started, kills = time.perf_counter(), 0
        with at_work(database_url, connections) as reports:
            while kills < KILLS:
                transactions = max(1, SECRETS // rekey.BATCH // (2 * KILLS))
                dying = f"{random.choice(MOMENTS)} {random.randint(1, transactions)}"
                ended = run_command(database_url, "rotate-kek", keys=(NEW, OLD), dying=dying)
                assert ended.returncode in {0, -signal.SIGKILL}, ended.stderr
                kills += ended.returncode != 0
                # A process that was not restarted yet has the old key first, so there is always something left to do.
                fill(stale, 20 if ended.returncode else rekey.BATCH, OLD)
            last = run_command(database_url, "rotate-kek", keys=(NEW, OLD))
        seconds = time.perf_counter() - started
        reads, writes = sum(told["reads"] for told in reports), sum(told["writes"] for told in reports)
        failures = [failure for told in reports for failure in told["failures"]]
        report(
            f"{database_url.split(':')[0]}: {len(rows_of(stale))} secrets at last, {kills} kills in {seconds:.0f} s; "
            f"{reads} reads and {writes} writes meanwhile, of which {len(failures)} failed"
        )

        assert last.returncode == 0, last.stderr
        assert f"{id_of(OLD)}: 0 rows — may be removed" in last.stdout
        assert keys_in_use(stale) == {id_of(NEW)}
        assert not_as_put_in(stale) == []
        assert failures == []
        assert reads > 0
        assert writes > 0


@contextmanager
def at_work(database_url: str, connections: list[int]) -> Iterator[list[dict[str, Any]]]:
    """Have two readers and a writer at work, each in its own process; their reports are there at the end."""
    context, reports = multiprocessing.get_context("spawn"), list[dict[str, Any]]()
    stop, ready = context.Event(), context.Semaphore(0)
    workers = [
        Child(work, act, database_url, (NEW, OLD), connections, stop, ready) for act in (read_one, read_one, write_one)
    ]
    try:
        for worker in workers:
            wait_until(lambda: ready.acquire(timeout=0.1), "all are at work", limit=60, check=worker.check)
        yield reports
    finally:
        stop.set()
        reports += [worker.result() for worker in workers]


def work(
    act: Any, database_url: str, keys: tuple[str, ...], connections: list[int], stop: Any, ready: Any
) -> dict[str, Any]:
    """Run in a process of its own: do one thing all the time, with random secrets."""
    told: dict[str, Any] = {"reads": 0, "writes": 0, "failures": []}
    with host_with(database_url, *keys) as host:
        ready.release()
        while not stop.is_set():
            try:
                told[act(host, random.choice(connections), random.choice(PURPOSES))] += 1
            except Exception as error:
                told["failures"].append(f"{type(error).__name__}: {error}"[:200])
    return told


def read_one(host: Host, connection_id: int, purpose: str) -> str:
    with host.app.app_context():
        connection = host.db.session.get_one(host.state.models.Connection, connection_id)
        row = custody.find_present(host.state, connection, purpose)
        assert row is not None, "There was a moment without a present secret."
        assert custody.read(host.state, connection, row) == secret_for(label_of(row))
    time.sleep(0.005)
    return "reads"


def write_one(host: Host, connection_id: int, purpose: str) -> str:
    renew(host, connection_id, purpose)
    # A busy app, not a loop that keeps SQLite's one lock for itself.
    time.sleep(0.02)
    return "writes"


def in_thread(act: Any) -> None:
    """Do something as another process would: in no app context of the test's."""
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
