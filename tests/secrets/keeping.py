"""Many secrets of many tenants, each of which can be told from its label; and apps that are started by a command."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from flask_valetpro_stripe import AccountType, Mode, OnboardingStatus, custody
from flask_valetpro_stripe.crypto import KeyRing, key_id_of
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.database import DatabaseStore
from flask_valetpro_stripe.secrets.store import Label
from tests.hosts import Host, make_host
from tests.timing import seconds

PROJECT = Path(__file__).resolve().parents[2]
PURPOSES = (custody.API_KEY, custody.WEBHOOK_SECRET)


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def id_of(key: str) -> str:
    return key_id_of(Secret(key))


def secret_for(label: Label) -> Secret:
    """Return what was put in for this label, by anybody."""
    return Secret("sk_test_" + hashlib.sha256(label.encode()).hexdigest())


def host_with(database_url: str, *keys: str, shelf: Any = None) -> Host:
    """Return a host with these encryption keys, newest first; its own store is ``shelf``, if there is one."""
    config = {"VALETPRO_STRIPE_ENCRYPTION_KEYS": list(keys) or None}
    return make_host(database_url, config=config | ({"VALETPRO_STRIPE_SECRET_STORE": shelf} if shelf else {}))


def fill(host: Host, secrets: int, key: str, *, tenants: int = 2) -> list[int]:
    """Put secrets into the database under ``key``, both purposes for each connection; return the connections' ids.

    Every third one has an archived version besides.
    """
    store, made = DatabaseStore(KeyRing([Secret(key)])), 0
    keys, ids, rows = [host.make_tenant(f"Hotel {n}").id for n in range(tenants)], list[int](), list[dict[str, Any]]()
    with host.context():
        for tenant in itertools.cycle(keys):
            connection = _connection(host, tenant)
            ids.append(connection.id)
            for purpose in PURPOSES:
                versions = 2 if made % 3 == 0 else 1
                rows += [_row(connection, purpose, n, versions, store) for n in range(1, versions + 1)]
                made += versions
            if made >= secrets:
                break
        host.db.session.execute(sa.insert(host.state.models.Secret), rows)
        host.db.session.commit()
    return ids


def _connection(host: Host, tenant: Any) -> Any:
    connection = host.state.models.Connection(
        tenant_id=tenant,
        mode=Mode.test,
        account_type=AccountType.RAW_KEYS,
        status=OnboardingStatus.CONNECTED,
        is_current=False,
    )
    host.db.session.add(connection)
    host.db.session.flush()
    return connection


def _row(connection: Any, purpose: str, version: int, versions: int, store: DatabaseStore) -> dict[str, Any]:
    label = Label(str(connection.tenant_id), connection.id, purpose, "test", version)
    return {
        "tenant_id": connection.tenant_id,
        "connection_id": connection.id,
        "purpose": purpose,
        "version": version,
        "store": "database",
        "stored": store.put(label, secret_for(label)),
        "key_id": store.ring.newest,
        "fingerprint": "f" * 16,
        "masked": "sk_test_…",
        "archived_at": connection.created_at if version < versions else None,
    }


def rows_of(host: Host) -> list[Any]:
    """Return every secret's row, as the database has it now."""
    with host.app.app_context():
        columns = sa.inspect(host.state.models.Secret).local_table.c
        return list(host.db.session.execute(sa.select(*columns).order_by(columns.id)))


def change(host: Host, row: Any, **values: Any) -> None:
    """Change a row behind everybody's back."""
    table: Any = sa.inspect(host.state.models.Secret).local_table
    with host.app.app_context():
        host.db.session.execute(sa.update(table).where(table.c.id == row.id).values(**values))
        host.db.session.commit()


def read(host: Host, row_id: int) -> Secret:
    """Return a secret in a session of its own."""
    with host.app.app_context():
        row = host.db.session.get_one(host.state.models.Secret, row_id)
        connection = host.db.session.get_one(host.state.models.Connection, row.connection_id)
        return custody.read(host.state, connection, row)


def label_of(row: Any) -> Label:
    return Label(str(row.tenant_id), row.connection_id, row.purpose, "test", row.version)


def not_as_put_in(host: Host) -> list[int]:
    """Return the ids of the secrets that are not what was put in."""
    return [row.id for row in rows_of(host) if read(host, row.id) != secret_for(label_of(row))]


def renew(host: Host, connection_id: int, purpose: str) -> None:
    """Switch a connection to a new version of a secret, as the app does."""
    with host.app.app_context():
        connection = host.db.session.get_one(host.state.models.Connection, connection_id)
        present = custody.find_present(host.state, connection, purpose)
        assert present is not None
        label = Label(str(connection.tenant_id), connection_id, purpose, "test", present.version + 1)
        entrusted = custody.entrust(host.state, connection, purpose, secret_for(label))
        custody.switch(host.state, connection, entrusted)
        host.db.session.commit()


class Folder:
    """A host's own secret store that outlives its processes: one file for each secret.

    ``trouble`` may hold what happens before or after a step, for example ``("put", "after")``.
    """

    name = "folder"

    def __init__(self, place: Path) -> None:
        self.place = place
        self.trouble: dict[tuple[str, str], Any] = {}
        #: The text that it found last.
        self.given = ""

    def put(self, label: Label, secret: Secret) -> str:
        self._step("put", "before")
        reference = os.urandom(8).hex()
        (self.place / reference).write_text(secret.reveal())
        self._step("put", "after")
        return reference

    def get(self, label: Label, stored: str) -> Secret:
        self._step("get", "before")
        self.given = (self.place / stored).read_text()
        return self._step("get", "after") or Secret(self.given)

    def delete(self, label: Label, stored: str) -> None:
        self._step("delete", "before")
        (self.place / stored).unlink(missing_ok=True)
        self._step("delete", "after")

    def entries(self) -> list[str]:
        return sorted(path.name for path in self.place.iterdir())

    def _step(self, step: str, when: str) -> Any:
        return self.trouble[step, when]() if (step, when) in self.trouble else None


def run_command(
    database_url: str,
    *words: str,
    keys: tuple[str, ...],
    folder: Path | None = None,
    dying: str = "",
    terminal: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``flask stripe …`` in a process of its own.

    :param dying: where it kills itself: ``"<moment> <nth time>"``, see :func:`make_app`.
    :param terminal: where its messages go, instead of into the answer.
    """
    told = {"DATABASE": database_url, "KEYS": " ".join(keys), "FOLDER": str(folder or ""), "DYING": dying}
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "tests.secrets.keeping:make_app", "stripe", *words],
        cwd=PROJECT,
        env={**os.environ, **{f"KEEPING_{name}": value for name, value in told.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if terminal is None else terminal,
        text=True,
        timeout=seconds(600),
    )


def make_app() -> Flask:
    """Return the app of :func:`run_command`. It may be told to die at a moment of a batch, or at its store's step."""
    keys, place = os.environ["KEEPING_KEYS"].split(), os.environ["KEEPING_FOLDER"]
    folder = Folder(Path(place)) if place else None
    host = host_with(os.environ["KEEPING_DATABASE"], *keys, shelf=folder)
    if dying := os.environ["KEEPING_DYING"]:
        moment, nth = dying.rsplit(" ", 1)
        if folder and " " in moment:
            step, when = moment.split()
            folder.trouble[step, when] = _nth_time(int(nth), die)
        else:
            with host.app.app_context():
                _die_at(host.db.engine, moment, int(nth))
    return host.app


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_soon() -> None:
    threading.Timer(random.uniform(0, 0.003), die).start()


#: Moments of a transaction that changes secrets.
MOMENTS = ("before", "during", "written", "commit", "committed")


def _nth_time(nth: int, act: Any) -> Any:
    times = itertools.count(1)
    return lambda: act() if next(times) == nth else None


def _die_at(engine: sa.Engine, moment: str, nth: int) -> None:
    """Die at a moment of the nth transaction that changes secrets."""
    changes = 0

    @sa.event.listens_for(engine, "before_cursor_execute")
    def before(_: Any, __: Any, statement: str, *___: Any) -> None:
        nonlocal changes
        if changes == nth and moment == "committed":
            die()
        if statement.startswith("UPDATE stripe_secret"):
            changes += 1
            if changes == nth and moment in {"before", "during"}:
                (die if moment == "before" else die_soon)()

    @sa.event.listens_for(engine, "after_cursor_execute")
    def after(_: Any, __: Any, statement: str, *___: Any) -> None:
        if changes == nth and moment == "written":
            die()

    @sa.event.listens_for(engine, "commit")
    def commit(_: Any) -> None:
        if changes == nth and moment == "commit":
            die()
