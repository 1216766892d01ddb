"""A throw-away PostgreSQL server with one empty database for each test that asks."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

START_SECONDS = 30.0
# initdb and postgres refuse to run as root.
SERVER_USER = "postgres" if os.geteuid() == 0 else None
INITDB_OPTIONS = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
# Nothing in it outlives the tests, so durability may go; the clients are many, as the chaos tests bring processes.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class PostgreSQL:
    """A running server; databases are made from the empty template in some 30 ms."""

    port: int

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database of this server."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Give the URL of a new, empty database, dropped at the end whoever is still connected."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        try:
            yield self.url(name)
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres", autocommit=True) as db:
            db.execute(statement.encode())


@contextlib.contextmanager
def running_postgresql(programs: str) -> Iterator[PostgreSQL]:
    """Start a server from the programs of this folder and end it, by its own pid, at the end."""
    folder = _data_folder()
    try:
        subprocess.run(
            [f"{programs}/initdb", "--pgdata", str(folder), *INITDB_OPTIONS],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            user=SERVER_USER,
            group=SERVER_USER,
        )
        port = free_port()
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        with (folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [f"{programs}/postgres", "-D", str(folder), "-p", str(port), *settings],
                stdout=log,
                stderr=log,
                cwd=folder,
                preexec_fn=_end_with_parent,
                user=SERVER_USER,
                group=SERVER_USER,
            )
        try:
            _wait_until_ready(port, server, folder / "server.log")
            yield PostgreSQL(port)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(START_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _data_folder() -> Path:
    """Make a folder that the server's user owns and reaches. Pytest's own folders are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="valetpro-postgresql-"))
    if SERVER_USER:
        shutil.chown(folder, SERVER_USER, SERVER_USER)
    return folder


def _end_with_parent() -> None:
    """Have Linux end the server when the test process dies, killed ones included, where no cleanup runs."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGQUIT)


def _wait_until_ready(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres", connect_timeout=2).close()
            return
        time.sleep(0.02)
    raise RuntimeError(f"PostgreSQL did not start. Its log says:\n{log.read_text(errors='replace')}")
