"""The stage that the engines' tests play on: on SQLite, and on PostgreSQL too where a test is marked ``both``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.webhooks.stage import make_stage

from .box import Box


@pytest.fixture
def box(database_url: str) -> Iterator[Box]:
    """The inbox of a host with two hotels, on the databases that the test's markers choose."""
    with make_stage(database_url) as stage:
        yield Box(stage)


@pytest.fixture
def light_box(sqlite_url: str) -> Iterator[Box]:
    """The same on SQLite only, for what is no matter of the database."""
    with make_stage(sqlite_url) as stage:
        yield Box(stage)
