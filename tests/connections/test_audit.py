"""Who did what: one chain of entries for each tenant, in which nothing can be changed without a trace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import Mode, audit
from flask_valetpro_stripe.connections import forbid_platform, living_connections, revoke
from flask_valetpro_stripe.enums import AccountType
from flask_valetpro_stripe.testing import Simulator
from tests.connections.admin import Admin, rows
from tests.hosts import KEYS, Host, make_host
from tests.timing import seconds, wait_until

THREADS, ACTS = 8, 10


@pytest.fixture(params=sorted(KEYS))
def keyed_host(request: pytest.FixtureRequest, database_url: str) -> Iterator[Host]:
    with make_host(database_url, key=request.param) as host:
        yield host


def act(host: Host, tenant: Any, *actions: str, **detail: Any) -> None:
    """Let somebody do things to a tenant's connection, one after the other."""
    with host.app.app_context():
        for action in actions:
            audit.record(host.state, tenant_id=tenant.id, actor="7", action=action, **detail)
            host.db.session.commit()


def tamper(host: Host, *statements: str) -> None:
    """Change the database past all that is ours."""
    with host.app.app_context(), host.db.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def problems(host: Host, kept: Any = (), **options: Any) -> dict[str, str | None]:
    """Return what is wrong with each tenant's chain."""
    with host.app.app_context():
        return {chain.head.tenant: chain.problem for chain in audit.verify(host.state, kept, **options)}


def heads(host: Host, **options: Any) -> list[audit.Head]:
    with host.app.app_context():
        return [chain.head for chain in audit.verify(host.state, **options)]


def entries(host: Host, tenant: Any) -> list[Any]:
    return rows(host, host.valetpro.models.AuditEntry, tenant_id=tenant.id)


@pytest.fixture
def two(host: Host) -> tuple[Any, Any]:
    """Two hotels with four entries each; the rows of the first are 1, 3, 5 and 7."""
    plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
    for action in ("connected", "mode_switched", "disconnected", "connected"):
        act(host, plaza, action, account_id="acct_plaza")
        act(host, seaside, action, account_id="acct_seaside")
    return plaza, seaside


def test_entries_are_numbered_for_each_tenant_and_tied_to_the_one_before(host: Host, two: Any) -> None:
    plaza, seaside = two

    for tenant in two:
        chain = entries(host, tenant)
        assert [entry.sequence for entry in chain] == [1, 2, 3, 4]
        previous = ["", *(entry.digest for entry in chain)]
        assert [audit.digest_of(*pair) for pair in zip(chain, previous, strict=False)] == previous[1:]
    assert entries(host, plaza)[0].digest != entries(host, seaside)[0].digest
    assert problems(host) == {str(plaza.id): None, str(seaside.id): None}


def test_where_nobody_did_anything_nothing_is_wrong(host: Host) -> None:
    host.make_tenant()
    assert problems(host) == {}


@pytest.mark.both
def test_tenants_with_any_kind_of_key_have_a_chain(keyed_host: Host) -> None:
    tenants = [keyed_host.make_tenant(name) for name in ("Plaza", "Seaside")]
    for tenant in tenants:
        act(keyed_host, tenant, "connected", "disconnected")
    keyed_host.connect(tenants[0], "acct_plaza")

    assert problems(keyed_host) == {str(tenant.id): None for tenant in tenants}
    assert [entry.sequence for entry in entries(keyed_host, tenants[0])] == [1, 2, 3]


DETAILS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "unicode": {"name": "Hôtel de la Plage – 浜辺 🏖", "\u00e9": "e\u0301"},
    "nested": {"missing": ["a", ["b", None, {"c": [1, 2.5, True, False]}]], "none": None, "empty": {"list": []}},
    "kinds that JSON does not have": {"mode": Mode.live, "pair": ("a", "b"), "numbered": {10: "x", 2: "y"}},
    "large": {"text": "x" * 20_000, "number": 2**70},
}


@pytest.mark.both
@pytest.mark.parametrize("case", DETAILS)
def test_whatever_an_entry_says_reads_the_same_when_it_comes_back(host: Host, case: str) -> None:
    act(host, host.make_tenant(), "connected", "disconnected", **DETAILS[case])
    assert list(problems(host).values()) == [None]


@pytest.mark.both
@pytest.mark.parametrize("microsecond", [0, 1, 100_000, 999_999])
def test_times_are_kept_to_the_microsecond(host: Host, monkeypatch: pytest.MonkeyPatch, microsecond: int) -> None:
    at = audit.utcnow().replace(microsecond=microsecond)
    monkeypatch.setattr(audit, "utcnow", lambda: at)
    tenant = host.make_tenant()
    act(host, tenant, "connected")

    assert entries(host, tenant)[0].at == at
    assert list(problems(host).values()) == [None]


def test_the_database_may_show_times_in_another_zone(postgres_url: str) -> None:
    with make_host(postgres_url) as host:
        act(host, host.make_tenant(), "connected", "disconnected")
        name = postgres_url.rpartition("/")[2]
        tamper(host, f"ALTER DATABASE \"{name}\" SET timezone TO 'Asia/Kolkata'")
        host.close()

        assert list(problems(host).values()) == [None]


CHANGED = "was changed, or made to follow another"
#: What somebody with the database's password does to the first hotel, and what is found.
TAMPERING: dict[str, tuple[str, str]] = {
    "actor": ("UPDATE stripe_audit_entry SET actor = '8' WHERE id = 3", f"entry 2 (row 3) {CHANGED}"),
    "action": ("UPDATE stripe_audit_entry SET action = 'seen' WHERE id = 1", f"entry 1 (row 1) {CHANGED}"),
    "detail": (
        """UPDATE stripe_audit_entry SET detail = '{"account_id": "acct_x"}' WHERE id = 5""",
        f"entry 3 (row 5) {CHANGED}",
    ),
    "empty detail": ("UPDATE stripe_audit_entry SET detail = '{}' WHERE id = 5", f"entry 3 (row 5) {CHANGED}"),
    "other kind of detail": (
        """UPDATE stripe_audit_entry SET detail = '"x"' WHERE id = 5""",
        f"entry 3 (row 5) {CHANGED}",
    ),
    "time": ("UPDATE stripe_audit_entry SET at = '2026-01-01 00:00:00' WHERE id = 7", f"entry 4 (row 7) {CHANGED}"),
    "connection": (
        "UPDATE stripe_audit_entry SET connection_id = (SELECT id FROM stripe_connection) WHERE id = 7",
        f"entry 4 (row 7) {CHANGED}",
    ),
    "digest": ("UPDATE stripe_audit_entry SET digest = 'x' WHERE id = 3", f"entry 2 (row 3) {CHANGED}"),
    "digest of another": (
        "UPDATE stripe_audit_entry SET digest = (SELECT digest FROM stripe_audit_entry WHERE id = 2) WHERE id = 7",
        f"entry 4 (row 7) {CHANGED}",
    ),
    "first taken out": (
        "DELETE FROM stripe_audit_entry WHERE id = 1",
        "entry 2 (row 3) follows entry 0: those between are missing, or it was renumbered",
    ),
    "one in the middle taken out": (
        "DELETE FROM stripe_audit_entry WHERE id = 3",
        "entry 3 (row 5) follows entry 1: those between are missing, or it was renumbered",
    ),
    "two in the middle taken out": (
        "DELETE FROM stripe_audit_entry WHERE id IN (3, 5)",
        "entry 4 (row 7) follows entry 1: those between are missing, or it was renumbered",
    ),
    "last renumbered": (
        "UPDATE stripe_audit_entry SET sequence = 9 WHERE id = 7",
        "entry 9 (row 7) follows entry 3: those between are missing, or it was renumbered",
    ),
    "numbered before the first": (
        "UPDATE stripe_audit_entry SET sequence = 0 WHERE id = 7",
        "entry 0 (row 7) was renumbered",
    ),
    "numbered below zero": (
        "UPDATE stripe_audit_entry SET sequence = -4 WHERE id = 7",
        "entry -4 (row 7) was renumbered",
    ),
    "one put in": (
        "INSERT INTO stripe_audit_entry (id, tenant_id, sequence, digest, actor, action, detail, at) "
        "SELECT 99, tenant_id, 5, digest, actor, action, detail, at FROM stripe_audit_entry WHERE id = 7",
        f"entry 5 (row 99) {CHANGED}",
    ),
}


@pytest.mark.parametrize("case", TAMPERING)
def test_the_first_entry_that_was_tampered_with_is_named(host: Host, two: Any, case: str) -> None:
    plaza, seaside = two
    host.connect(host.make_tenant("A third"), "acct_third")
    statement, problem = TAMPERING[case]
    tamper(host, statement)

    found = problems(host)
    assert found[str(plaza.id)] == problem
    assert found[str(seaside.id)] is None


def test_two_entries_that_changed_places_are_named(host: Host, two: Any) -> None:
    number = "UPDATE stripe_audit_entry SET sequence = {} WHERE id = {}"
    tamper(host, number.format(99, 3), number.format(2, 5), number.format(3, 3))

    assert problems(host)[str(two[0].id)] == f"entry 2 (row 5) {CHANGED}"


def test_a_gap_that_was_closed_by_renumbering_is_named(host: Host, two: Any) -> None:
    number = "UPDATE stripe_audit_entry SET sequence = {} WHERE id = {}"
    tamper(host, "DELETE FROM stripe_audit_entry WHERE id = 3", number.format(2, 5), number.format(3, 7))

    assert problems(host)[str(two[0].id)] == f"entry 2 (row 5) {CHANGED}"


@pytest.mark.both
def test_an_entry_that_was_moved_to_another_tenant_is_named_for_both(host: Host, two: Any) -> None:
    plaza, seaside = two
    tamper(host, f"UPDATE stripe_audit_entry SET tenant_id = {seaside.id}, sequence = 5 WHERE id = 3")

    assert problems(host) == {
        str(plaza.id): "entry 3 (row 5) follows entry 1: those between are missing, or it was renumbered",
        str(seaside.id): f"entry 5 (row 3) {CHANGED}",
    }


def test_a_changed_entry_with_a_fitting_digest_shows_in_the_one_after_it(host: Host, two: Any) -> None:
    chain = entries(host, two[0])
    chain[1].actor = "8"
    digest = audit.digest_of(chain[1], chain[0].digest)
    tamper(host, f"UPDATE stripe_audit_entry SET actor = '8', digest = '{digest}' WHERE id = 3")

    assert problems(host)[str(two[0].id)] == f"entry 3 (row 5) {CHANGED}"


@pytest.mark.both
def test_an_entry_cannot_be_there_twice(host: Host, two: Any) -> None:
    double = (
        "INSERT INTO stripe_audit_entry (id, tenant_id, sequence, digest, actor, action, detail, at) "
        "SELECT 99, tenant_id, sequence, digest, actor, action, detail, at FROM stripe_audit_entry WHERE id = 3"
    )
    with pytest.raises(sa.exc.IntegrityError):
        tamper(host, double)
    if host.app.config["SQLALCHEMY_DATABASE_URI"].startswith("postgresql"):
        tamper(host, "ALTER TABLE stripe_audit_entry DROP CONSTRAINT uq_stripe_audit_sequence", double)
        assert problems(host)[str(two[0].id)] == "entry 2 (row 99) is there twice"


@pytest.mark.parametrize("column", ["detail", "at", "sequence", "connection_id", "actor", "action", "digest"])
def test_what_is_not_even_of_the_right_kind_is_named_too(sqlite_url: str, column: str) -> None:
    """SQLite takes any text into any column."""
    with make_host(sqlite_url) as host:
        plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
        for tenant in (plaza, seaside):
            act(host, tenant, "connected", "disconnected")
        tamper(host, f"UPDATE stripe_audit_entry SET {column} = '{{[nonsense' WHERE id = 1")

        found = problems(host)
        assert found[str(plaza.id)] is not None
        assert found[str(seaside.id)] is None


@pytest.mark.parametrize("gone", ["sequence > 2", "sequence > 0"])
def test_an_end_that_was_cut_off_shows_against_a_kept_head(host: Host, two: Any, gone: str) -> None:
    plaza, seaside = two
    kept = heads(host)
    act(host, seaside, "disconnected")
    tamper(host, f"DELETE FROM stripe_audit_entry WHERE tenant_id = {plaza.id} AND {gone}")

    assert set(problems(host).values()) == {None}
    assert problems(host, kept) == {
        str(seaside.id): None,
        str(plaza.id): {
            "sequence > 2": "the end is missing: the chain went on to entry 4 when its head was kept",
            "sequence > 0": "entries 1 to 4 were taken out: none is left",
        }[gone],
    }


def test_a_chain_that_was_made_anew_shows_against_a_kept_head(host: Host, two: Any) -> None:
    plaza, seaside = two
    kept = heads(host)
    tamper(host, f"DELETE FROM stripe_audit_entry WHERE tenant_id = {plaza.id}")
    act(host, plaza, "connected", "mode_switched", "disconnected", "connected", "disconnected")

    assert set(problems(host).values()) == {None}
    found = problems(host, kept)
    assert found[str(seaside.id)] is None
    assert str(found[str(plaza.id)]).endswith("is another than when its head was kept: the chain was made anew")


def test_a_chain_that_went_on_fits_its_kept_head(host: Host, two: Any) -> None:
    kept = heads(host)
    act(host, two[0], "disconnected")
    act(host, host.make_tenant("A third"), "connected")

    assert set(problems(host, kept).values()) == {None}
    assert [audit.Head.parse(f"{head}\n") for head in kept] == kept


@pytest.mark.both
def test_long_chains_are_read_piece_by_piece(host: Host) -> None:
    tenants = [host.make_tenant(name) for name in ("Plaza", "Seaside")]
    for tenant in tenants:
        act(host, tenant, *["connected"] * 10)

    assert [head.sequence for head in heads(host, batch=3)] == [10, 10]
    assert set(problems(host, batch=3).values()) == {None}


@pytest.mark.both
def test_an_act_that_is_rolled_back_leaves_no_entry_and_no_gap(host: Host) -> None:
    tenant = host.make_tenant()
    act(host, tenant, "connected")
    with host.app.app_context():
        audit.record(host.state, tenant_id=tenant.id, actor="7", action="disconnected")
        host.db.session.rollback()
    act(host, tenant, "mode_switched")

    assert [(entry.sequence, entry.action) for entry in entries(host, tenant)] == [
        (1, "connected"),
        (2, "mode_switched"),
    ]
    assert problems(host) == {str(tenant.id): None}


def at_once(*acts: Callable[[], object]) -> list[BaseException]:
    """Do everything at the same moment, in a thread each, and return what was raised."""
    start, raised = threading.Barrier(len(acts)), []

    def run(act: Callable[[], object]) -> None:
        start.wait(seconds(30))
        try:
            act()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds(60))
    return raised


@pytest.mark.both
def test_many_who_act_at_once_make_one_gapless_chain_for_each_tenant(host: Host) -> None:
    tenants = [host.make_tenant(name) for name in ("Plaza", "Seaside")]

    def work(number: int) -> None:
        act(host, tenants[number % 2], *[f"act {number}.{each}" for each in range(ACTS)])

    assert at_once(*(partial(work, number) for number in range(THREADS))) == []

    for parity, tenant in enumerate(tenants):
        chain = entries(host, tenant)
        assert [entry.sequence for entry in chain] == list(range(1, ACTS * THREADS // 2 + 1))
        mine = [f"act {number}.{each}" for number in range(parity, THREADS, 2) for each in range(ACTS)]
        assert sorted(entry.action for entry in chain) == sorted(mine)
    assert set(problems(host).values()) == {None}


def test_whoever_locks_a_tenant_lets_the_others_go_on(postgres_url: str) -> None:
    """On PostgreSQL a tenant's lock is its own; and a payment may still be made for the tenant that is locked."""
    with make_host(postgres_url) as host:
        plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
        with host.app.app_context():
            audit.lock_tenant(host.state, plaza.id)
            assert at_once(partial(act, host, seaside, "connected"), partial(host.make_user, plaza)) == []
            host.db.session.rollback()
        assert [entry.action for entry in entries(host, seaside)] == ["connected"]


@pytest.mark.both
def test_locking_a_tenant_changes_nothing_of_it(host: Host) -> None:
    tenant = host.make_tenant()
    # As hosts have it for a time of the last change.
    host.Tenant.__table__.c.name.onupdate = sa.ColumnDefault(lambda: "Changed")
    act(host, tenant, "connected")

    with host.app.app_context():
        assert host.tenant(tenant.id).name == "Plaza"


@pytest.mark.both
def test_what_is_pending_is_written_after_the_tenant_is_locked(host: Host) -> None:
    """A connection that was changed in memory may be read again under the lock: nothing of it is lost."""
    tenant = host.make_tenant()
    key = host.connect(tenant, "acct_plaza").id
    with host.app.app_context():
        connection = host.db.session.get_one(host.valetpro.models.Connection, key)
        connection.account_name = "Renamed"
        audit.lock_tenant(host.state, tenant.id)
        host.db.session.refresh(connection)

        assert connection.account_name == "Renamed"


@pytest.mark.both
def test_stripe_and_the_admin_may_end_a_connection_at_the_same_moment(
    plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    """Each locks the tenant before its connections: neither waits for the other for ever, and one of them ends it."""
    host = plaza.host

    def withdraw(account_id: str) -> None:
        with host.app.app_context():
            revoke(host.state, living_connections(host.state, account_id, Mode.test))
            host.db.session.commit()

    def leave(admin: Admin) -> None:
        assert admin.elsewhere().disconnect().status_code == 303

    for _ in range(2):
        acts: list[Callable[[], None]] = []
        for admin in (plaza, seaside):
            account = simulator.create_account("A hotel").id
            admin.connect(account)
            acts += [partial(withdraw, account), partial(leave, admin)]
        assert at_once(*acts) == []

    for admin in (plaza, seaside):
        assert [connection.ended_at is not None for connection in admin.connections()] == [True, True]
        assert len(admin.audit()) == 4
    assert set(problems(host).values()) == {None}


def revoked(host: Host, tenant: Any) -> None:
    revoke(host.state, living_connections(host.state, "acct_plaza", Mode.test))


def renamed_and_revoked(host: Host, tenant: Any) -> None:
    """As a handler does it: changed in memory, before the entry is written."""
    (connection,) = living_connections(host.state, "acct_plaza", Mode.test)
    connection.account_name = "Renamed"
    audit.record(host.state, tenant_id=tenant.id, actor="stripe", action="became_ready")


def lent_no_more(host: Host, tenant: Any) -> None:
    forbid_platform(host.state, host.tenant(tenant.id), actor="operator")


@pytest.mark.parametrize("meanwhile", [revoked, renamed_and_revoked, lent_no_more])
def test_a_connection_is_never_locked_before_its_tenant(postgres_url: str, meanwhile: Callable[..., None]) -> None:
    """Whoever holds the tenant may change its connections: nobody holds one of those and waits for the tenant."""
    with make_host(postgres_url) as host:
        tenant = host.make_tenant()
        host.connect(tenant, "acct_plaza")
        host.connect(tenant, None, Mode.live, account_type=AccountType.PLATFORM)

        def act_meanwhile() -> None:
            with host.app.app_context():
                meanwhile(host, tenant)
                host.db.session.commit()

        with host.app.app_context(), ThreadPoolExecutor(1) as thread:
            audit.lock_tenant(host.state, tenant.id)
            other = thread.submit(act_meanwhile)
            wait_until_somebody_waits(host)
            host.db.session.execute(sa.update(host.valetpro.models.Connection).values(account_name="Mine"))
            host.db.session.commit()
            other.result(seconds(30))
        assert problems(host) == {str(tenant.id): None}


def wait_until_somebody_waits(host: Host) -> None:
    """Return when a connection to this database waits for a lock of another one."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with host.db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watcher:
        wait_until(lambda: watcher.scalar(waiting), "a connection waits for the tenant's lock")


def test_the_history_of_a_tenant_is_its_own_newest_first(host: Host, two: Any) -> None:
    plaza, seaside = two
    act(host, seaside, "disconnected")
    with host.app.app_context():
        found = audit.history(host.state, host.tenant(plaza.id))
        assert [entry.action for entry in found] == ["connected", "disconnected", "mode_switched", "connected"]
        assert {entry.tenant_id for entry in found} == {plaza.id}
        assert [entry.sequence for entry in audit.history(host.state, host.tenant(seaside.id), limit=2)] == [5, 4]


APPEND_ONLY = "An audit entry is never changed or deleted"


def test_an_entry_is_not_changed_through_the_session(host: Host, two: Any) -> None:
    with host.app.app_context():
        entry = audit.history(host.state, host.tenant(two[0].id))[0]
        entry.actor = "nobody"
        with pytest.raises(RuntimeError, match=APPEND_ONLY):
            host.db.session.commit()
        host.db.session.rollback()
    assert entries(host, two[0])[-1].actor == "7"


def test_an_entry_is_not_deleted_through_the_session(host: Host, two: Any) -> None:
    with host.app.app_context():
        host.db.session.delete(audit.history(host.state, host.tenant(two[0].id))[0])
        with pytest.raises(RuntimeError, match=APPEND_ONLY):
            host.db.session.commit()
        host.db.session.rollback()
    assert len(entries(host, two[0])) == 4


def test_an_entry_that_is_given_what_it_says_already_is_no_change(host: Host, two: Any) -> None:
    with host.app.app_context():
        entry = audit.history(host.state, host.tenant(two[0].id))[0]
        entry.actor = str(entry.actor)
        host.db.session.commit()


@pytest.mark.both
def test_entries_are_not_changed_in_bulk(host: Host, two: Any) -> None:
    audit.guard(host.db.session)
    model = host.valetpro.models.AuditEntry
    with host.app.app_context():
        for statement in (sa.delete(model), sa.update(model).values(actor="nobody").where(model.id == 1)):
            with pytest.raises(RuntimeError, match=APPEND_ONLY):
                host.db.session.execute(statement)
            host.db.session.rollback()
        with pytest.raises(RuntimeError, match=APPEND_ONLY):
            host.db.session.query(model).delete()
        host.db.session.rollback()
        host.db.session.execute(sa.update(host.Tenant).values(name="Renamed"))
        host.db.session.commit()
    assert set(problems(host).values()) == {None}
