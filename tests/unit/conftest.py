"""Fixtures of the unit tests: a host, and a host with Stripe simulated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host


@pytest.fixture
def host(database_url: str) -> Iterator[Host]:
    """A host on the databases that the test's markers choose."""
    with make_host(database_url) as host:
        yield host


@pytest.fixture
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture
def light_host(sqlite_url: str, simulator: Simulator) -> Iterator[Host]:
    """A host on SQLite, with Stripe simulated: for what no database makes a difference to."""
    with make_host(sqlite_url, simulator=simulator) as host:
        yield host
