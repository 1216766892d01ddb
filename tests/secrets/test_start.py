"""An app does not start without a key that secrets in its database need, and starts wherever that can't be known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.pool import StaticPool

from flask_valetpro_stripe import StripePaymentMixin, StripeTenantMixin, ValetProStripe
from flask_valetpro_stripe.errors import ConfigurationError, SecretUnavailableError
from tests.hosts import SECRET_KEY, make_host, make_models
from tests.secrets.keeping import (
    change,
    fill,
    host_with,
    id_of,
    label_of,
    new_key,
    not_as_put_in,
    read,
    rows_of,
    run_command,
    secret_for,
)
from tests.servers import free_port
from tests.timing import wait_until

OLD, NEW, LOST = new_key(), new_key(), new_key()


def message(*missing: tuple[int, str]) -> str:
    ordered = sorted((id_of(key), rows) for rows, key in missing)
    what = ", ".join(f"{rows} under the key with the id {key_id}" for key_id, rows in ordered)
    ids = ", ".join(f"'{key_id}'" for key_id, _ in ordered)
    return (
        f"Secrets in the database are encrypted under a key that is not in VALETPRO_STRIPE_ENCRYPTION_KEYS: {what}. "
        "Put that key back at the end of the list; 'flask stripe rotate-kek' then makes it dispensable. If it is lost "
        "for good, so are these secrets: back up the database, run in it UPDATE stripe_secret SET stored = NULL, "
        f"key_id = NULL WHERE key_id IN ({ids}), and have their tenants enter their keys again on the payment settings "
        "page."
    )


def refused(start: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as error:
        start()
    return str(error.value)


def test_a_key_that_is_still_needed_is_missing(database_url: str) -> None:
    with host_with(database_url, OLD) as host:
        fill(host, 12, OLD)
        before = rows_of(host)

        assert refused(lambda: host_with(database_url, NEW)) == message((len(before), OLD))
        assert rows_of(host) == before


@pytest.mark.both
def test_each_missing_key_is_named(database_url: str) -> None:
    with host_with(database_url, OLD, LOST) as host:
        fill(host, 12, OLD)
        of_first = len(rows_of(host))
        fill(host, 6, LOST)
        of_second = len(rows_of(host)) - of_first

        assert refused(lambda: host_with(database_url, NEW)) == message((of_first, OLD), (of_second, LOST))
        assert refused(lambda: host_with(database_url, NEW, OLD)) == message((of_second, LOST))


def test_it_starts_once_the_key_is_back(database_url: str) -> None:
    with host_with(database_url, OLD) as host:
        fill(host, 12, OLD, tenants=2)
    refused(lambda: host_with(database_url, NEW))

    with host_with(database_url, NEW, OLD) as host:
        assert not_as_put_in(host) == []


def test_a_vault_is_chosen_and_the_keys_are_gone_while_secrets_are_left_in_the_database(database_url: str) -> None:
    with host_with(database_url, OLD) as host:
        fill(host, 6, OLD)
        before = rows_of(host)

        assert refused(lambda: host_with(database_url, shelf=Shelf())) == message((len(before), OLD))
        assert rows_of(host) == before


def test_where_the_key_is_lost_for_good_its_secrets_are_given_up_and_no_other_tenants(database_url: str) -> None:
    with host_with(database_url, NEW, LOST) as host:
        fill(host, 6, LOST)
        given_up = [row.id for row in rows_of(host)]
        fill(host, 6, NEW)
        told = refused(lambda: host_with(database_url, NEW))
        with host.app.app_context():
            host.db.session.execute(sa.text(told.partition("run in it ")[2].partition(", and have")[0]))
            host.db.session.commit()

    with host_with(database_url, NEW) as host:
        for row in rows_of(host):
            if row.id in given_up:
                with pytest.raises(SecretUnavailableError, match=r"^This secret was destroyed\.$"):
                    read(host, row.id)
            else:
                assert read(host, row.id) == secret_for(label_of(row))


def test_a_damaged_row_is_its_tenants_trouble_and_the_app_starts(database_url: str) -> None:
    with host_with(database_url, NEW) as host:
        fill(host, 12, NEW, tenants=2)
        first, second, third, *others = rows_of(host)
        change(host, first, stored=first.stored.replace(id_of(NEW), id_of(LOST)))
        change(host, second, key_id=id_of(LOST))
        change(host, third, stored="", key_id="")

    with host_with(database_url, NEW) as host:
        for row in [second, *others]:
            assert read(host, row.id) == secret_for(label_of(row))
        for row in (first, third):
            with pytest.raises(
                SecretUnavailableError, match=r"^A secret in the secret store \(database\) cannot be read"
            ):
                read(host, row.id)


def test_destroyed_secrets_need_no_key(database_url: str) -> None:
    with host_with(database_url, OLD) as host:
        fill(host, 6, OLD)
        for row in rows_of(host):
            change(host, row, stored=None)

    host_with(database_url, NEW).close()


@pytest.mark.both
def test_it_starts_before_the_tables_are_there(database_url: str) -> None:
    app, db = app_on(database_url)

    assert "valetpro_stripe" in app.extensions
    close(app, db)


@pytest.mark.both
def test_it_starts_before_the_tables_are_upgraded(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    with engine.begin() as database:
        database.execute(sa.text("CREATE TABLE stripe_secret (id INTEGER PRIMARY KEY)"))
    engine.dispose()

    app, db = app_on(database_url)

    assert "valetpro_stripe" in app.extensions
    close(app, db)


@pytest.mark.parametrize(
    "address", ["postgresql+psycopg://nobody@127.0.0.1:{port}/none", "sqlite:////nowhere/{port}.db"]
)
def test_it_starts_while_the_database_cannot_be_reached(address: str) -> None:
    app, db = app_on(address.format(port=free_port()))

    assert "valetpro_stripe" in app.extensions
    close(app, db)


def test_it_starts_where_the_database_is_set_up_later(sqlite_url: str) -> None:
    app, db = app_on(sqlite_url, before=lambda app, db, valetpro: valetpro.init_app(app), init=False)
    db.init_app(app)

    assert "valetpro_stripe" in app.extensions
    close(app, db)


@pytest.mark.slow("starts two processes that import the app")
def test_a_copy_with_a_key_of_its_own_is_neutralized_and_starts_then(database_url: str) -> None:
    """Nobody should give a copy the original's keys, and only this command makes it harmless."""
    with host_with(database_url, OLD) as host:
        fill(host, 6, OLD, tenants=2)
        before = rows_of(host)
    refused = run_command(database_url, "tenants", keys=(NEW,))
    assert refused.returncode == 1
    assert "not in VALETPRO_STRIPE_ENCRYPTION_KEYS" in refused.stderr

    done = run_command(database_url, "neutralize", "--yes", keys=(NEW,))

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "This database can no longer act in live mode.")
    with host_with(database_url, NEW) as copy:
        after = rows_of(copy)
        assert [row.id for row in after] == [row.id for row in before]
        assert {(row.stored, row.key_id, row.archived_at is None) for row in after} == {(None, None, False)}


def test_neutralizing_keeps_the_test_keys_that_can_be_read(database_url: str) -> None:
    with host_with(database_url, OLD) as host:
        fill(host, 6, OLD, tenants=2)
        before = rows_of(host)

    assert run_command(database_url, "neutralize", "--yes", keys=(NEW, OLD)).returncode == 0

    with host_with(database_url, NEW, OLD) as copy:
        assert rows_of(copy) == before


def test_it_starts_within_a_context_of_the_app(sqlite_url: str) -> None:
    def start(app: Flask, db: Any, valetpro: ValetProStripe) -> None:
        with app.app_context():
            session = db.session()
            valetpro.init_app(app)
            assert db.session() is session

    app, db = app_on(sqlite_url, before=start, init=False, db_first=True)
    close(app, db)


def test_a_database_in_memory_outlives_the_look_into_it() -> None:
    def make_tables(app: Flask, db: Any, valetpro: ValetProStripe) -> None:
        with app.app_context():
            db.create_all()
            assert isinstance(db.engine.pool, StaticPool)

    app, db = app_on("sqlite://", before=make_tables, db_first=True)

    with app.app_context():
        assert "stripe_secret" in sa.inspect(db.engine).get_table_names()
    close(app, db)


def test_no_connection_is_left_for_workers_that_are_forked_later(postgres_url: str) -> None:
    make_host(postgres_url).close()

    app, db = app_on(postgres_url)

    engine = sa.create_engine(postgres_url)
    with engine.connect() as database:
        others = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        # The server takes a moment to end what the client has closed.
        wait_until(lambda: database.scalar(others) == 1, "only the connection that asks is left")
    engine.dispose()
    close(app, db)


def test_a_database_of_their_own_for_the_tenants_is_looked_into(sqlite_url: str, postgres_url: str) -> None:
    """With bind keys our tables are where the host's tenants are."""
    (row,) = _one_row(postgres_url)
    binds = {"SQLALCHEMY_BINDS": {"tenants": postgres_url}}

    assert refused(lambda: app_on(sqlite_url, bind_key="tenants", **binds)) == message((1, OLD))
    app, db = app_on(sqlite_url, bind_key="tenants", VALETPRO_STRIPE_ENCRYPTION_KEYS=[NEW, OLD], **binds)
    rotated = app.test_cli_runner().invoke(args=["stripe", "rotate-kek"])
    close(app, db)

    assert rotated.exit_code == 0
    assert rotated.output.startswith(f"{id_of(NEW)}: 1 rows.")
    assert _rows(postgres_url)[0].stored != row.stored


def _one_row(database_url: str) -> list[Any]:
    with host_with(database_url, OLD) as host:
        fill(host, 1, OLD)
        for row in rows_of(host)[1:]:
            change(host, row, stored=None)
    return _rows(database_url)


def _rows(database_url: str) -> list[Any]:
    engine = sa.create_engine(database_url)
    with engine.connect() as database:
        rows = list(database.execute(sa.text("SELECT * FROM stripe_secret WHERE stored IS NOT NULL")))
    engine.dispose()
    return rows


class Shelf:
    """A host's own secret store."""

    name = "shelf"

    def put(self, *_: Any) -> str: ...
    def get(self, *_: Any) -> Any: ...
    def delete(self, *_: Any) -> None: ...


def app_on(
    database_url: str,
    *,
    before: Callable[[Flask, Any, ValetProStripe], object] = lambda *_: None,
    init: bool = True,
    db_first: bool | None = None,
    bind_key: str | None = None,
    **config: Any,
) -> tuple[Flask, Any]:
    """Return an app and its database, set up step by step, as a host does.

    :param before: what is done before the extension's ``init_app``, or instead of it without ``init``.
    """
    db, tenant, payment = _models(bind_key)
    valetpro = ValetProStripe(db, tenant=tenant, payment=payment)
    app = Flask(__name__)
    app.config |= {
        "TESTING": True,
        "SECRET_KEY": SECRET_KEY,
        "SQLALCHEMY_DATABASE_URI": database_url,
        "VALETPRO_STRIPE_ENCRYPTION_KEYS": [NEW],
        **config,
    }
    if init if db_first is None else db_first:
        db.init_app(app)
    before(app, db, valetpro)
    if init:
        valetpro.init_app(app)
    return app, db


def _models(bind_key: str | None) -> tuple[Any, Any, Any]:
    db, tenant, payment, _ = make_models()
    if bind_key is None:
        return db, tenant, payment
    Model: Any = db.Model

    class Hotel(StripeTenantMixin, Model):  # type: ignore[misc]
        __bind_key__ = bind_key
        __tablename__ = "tenant"
        id = sa.orm.mapped_column(sa.Integer, primary_key=True)

    class Stay(StripePaymentMixin, Model):  # type: ignore[misc]
        __bind_key__ = bind_key
        __tablename__ = "payment"
        id = sa.orm.mapped_column(sa.Integer, primary_key=True)
        tenant_id = sa.orm.mapped_column(sa.ForeignKey("tenant.id"))

    return db, Hotel, Stay


def close(app: Flask, db: Any) -> None:
    """Give back every connection to the databases."""
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()
