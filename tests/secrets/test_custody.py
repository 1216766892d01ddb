"""A new version of a secret on its way into use: proved to be kept, and taken back if it is not wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import custody
from flask_valetpro_stripe.errors import ConfigurationError, SecretUnavailableError
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.store import unavailable
from tests.hosts import Host
from tests.secrets.keeping import Folder, fill, host_with, new_key, rows_of
from tests.secrets.stage import Vault

KEY = new_key()
NEW = Secret("sk_test_canaryNewVersion42")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "folder").mkdir()
    return Folder(tmp_path / "folder")


@pytest.fixture
def host(database_url: str, folder: Folder) -> Iterator[Host]:
    """A host that puts new secrets into a store of its own; two hotels have one each in the database."""
    with host_with(database_url, KEY, shelf=folder) as host:
        fill(host, 4, KEY, tenants=2)
        yield host


@pytest.fixture
def connection(host: Host) -> Iterator[Any]:
    """The first hotel's connection, in a session."""
    first = rows_of(host)[0].connection_id
    with host.app.app_context():
        yield host.db.session.get_one(host.state.models.Connection, first)


def fails(error: Exception) -> Any:
    def fail() -> None:
        raise error

    return fail


def test_version_that_is_switched_to_within_is_in_use(host: Host, connection: Any) -> None:
    others = [row for row in rows_of(host) if row.connection_id != connection.id]
    with custody.entrusted(host.state, connection, custody.API_KEY, NEW) as entrusted:
        custody.switch(host.state, connection, entrusted)
        host.db.session.commit()

    present = custody.find_present(host.state, connection, custody.API_KEY)
    assert present is not None
    assert custody.read(host.state, connection, present) == NEW
    assert [row for row in rows_of(host) if row.connection_id != connection.id] == others


def test_version_that_is_not_switched_to_after_all_is_taken_back(host: Host, connection: Any, folder: Folder) -> None:
    before = rows_of(host)

    def save_and_fail() -> None:
        with custody.entrusted(host.state, connection, custody.API_KEY, NEW) as entrusted:
            custody.switch(host.state, connection, entrusted)
            assert len(folder.entries()) == 1
            raise LookupError

    with pytest.raises(LookupError):
        save_and_fail()

    assert folder.entries() == []
    assert rows_of(host) == before


def test_store_that_gives_back_something_else_keeps_nothing(host: Host, connection: Any, folder: Folder) -> None:
    folder.trouble["get", "after"] = lambda: Secret(folder.given.replace("sk_test_", "sk_test_another"))

    with pytest.raises(SecretUnavailableError) as refused:
        custody.entrust(host.state, connection, custody.API_KEY, NEW)

    assert refused.value.code == "secret_unreadable"
    assert str(refused.value) == (
        "A secret in the secret store (folder) cannot be read: it gave back something else than was put in."
    )
    assert folder.entries() == []


def test_app_without_a_key_for_fingerprints_puts_nothing_anywhere(host: Host, connection: Any, folder: Folder) -> None:
    host.app.secret_key = None

    with pytest.raises(ConfigurationError, match=r"^The app has no SECRET_KEY"):
        custody.entrust(host.state, connection, custody.API_KEY, NEW)

    assert folder.entries() == []


@pytest.mark.both
def test_version_that_is_in_use_after_all_is_not_taken_back(host: Host, connection: Any, folder: Folder) -> None:
    """The commit took effect, and its answer was lost on the way."""
    others = [row for row in rows_of(host) if row.connection_id != connection.id]

    def save_and_hear_nothing() -> None:
        with custody.entrusted(host.state, connection, custody.API_KEY, NEW) as entrusted:
            custody.switch(host.state, connection, entrusted)
            host.db.session.commit()
            raise ConnectionError

    with pytest.raises(ConnectionError):
        save_and_hear_nothing()

    present = custody.find_present(host.state, connection, custody.API_KEY)
    assert present is not None
    assert custody.read(host.state, connection, present) == NEW
    assert len(folder.entries()) == 1
    assert [row for row in rows_of(host) if row.connection_id != connection.id] == others


def test_version_stays_where_nobody_knows_whether_it_is_in_use(
    host: Host, connection: Any, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    key, entrusted = connection.id, custody.entrust(host.state, connection, custody.API_KEY, NEW)

    def fail(*_: Any) -> None:
        raise sa.exc.OperationalError("SELECT", {}, OSError("the connection is lost"))

    sa.event.listen(host.db.engine, "before_cursor_execute", fail)
    custody.abandon(host.state, entrusted)
    sa.event.remove(host.db.engine, "before_cursor_execute", fail)

    assert len(folder.entries()) == 1
    assert caplog.messages == [f"a secret of connection {key} may be left over in 'folder': nobody knows its row"]


def test_what_a_hosts_own_store_keeps_is_not_named_in_the_log(
    host: Host, connection: Any, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    """What such a store gave us to keep may be anything, a ciphertext even."""
    entrusted = custody.entrust(host.state, connection, custody.API_KEY, NEW)
    folder.trouble["delete", "before"] = fails(unavailable("folder", "it is read-only"))

    custody.abandon(host.state, entrusted)

    assert caplog.messages == [f"a secret of connection {connection.id} is left over in 'folder': secret_unavailable"]
    assert entrusted.stored not in caplog.text


def test_what_a_vault_of_ours_keeps_is_named_in_the_log(
    database_url: str, gcp_rest: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    class Reading:
        """A vault that lets nobody delete."""

        name = "gcp"
        put, get = gcp_rest.store().put, gcp_rest.store().get

        def delete(self, *_: Any) -> None:
            raise unavailable("gcp", "permission denied")

    with host_with(database_url, KEY) as host:
        (first, *_) = fill(host, 1, KEY)
        host.state.stores = {"gcp": Reading(), **host.state.stores}
        with host.app.app_context():
            connection = host.db.session.get_one(host.state.models.Connection, first)
            entrusted = custody.entrust(host.state, connection, custody.API_KEY, NEW)
            custody.abandon(host.state, entrusted)

    left = f"'gcp' as {entrusted.stored}"
    assert caplog.messages == [f"a secret of connection {first} is left over in {left}: secret_unavailable"]
