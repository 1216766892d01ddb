"""The stage that the webhook's tests play on: on SQLite, and on PostgreSQL too where a test is marked ``both``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .stage import Stage, make_stage


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    """Two hotels with connected accounts, on the databases that the test's markers choose."""
    with make_stage(database_url) as stage:
        yield stage


@pytest.fixture
def light_stage(sqlite_url: str) -> Iterator[Stage]:
    """The same on SQLite only, for what never reaches the database."""
    with make_stage(sqlite_url) as stage:
        yield stage
