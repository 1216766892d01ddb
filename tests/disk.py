"""Imported by tests, and by processes that they start: no SQLite database waits for the disk."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa


@sa.event.listens_for(sa.Engine, "connect")
def _spare_the_disk(connection: object, _: object) -> None:
    """What a test writes need not outlive the machine, only its processes."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
