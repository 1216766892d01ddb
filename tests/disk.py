"""Imported by tests and by processes that they start: SQLite waits for no disk, and longer for its lock."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

from tests import timing


@sa.event.listens_for(sa.Engine, "connect")
def _spare_the_disk(connection: object, _: object) -> None:
    """What a test writes need not outlive the machine, only its processes."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
        # The driver's default for how long to wait for a lock, which a busy machine exceeds; what a test chose stays.
        if connection.execute("PRAGMA busy_timeout").fetchone() == (5000,):
            connection.execute(f"PRAGMA busy_timeout = {timing.seconds(5000):.0f}")
