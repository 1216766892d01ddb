"""Two hotels that work with their own keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.raw_keys.owner import Owner, Shelf


@pytest.fixture
def host(database_url: str, simulator: Simulator) -> Iterator[Host]:
    with make_host(database_url, simulator=simulator, config={"WTF_CSRF_ENABLED": False}) as host:
        yield host


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def shelf_host(database_url: str, simulator: Simulator, shelf: Shelf) -> Iterator[Host]:
    """A host that keeps its secrets with an object of its own."""
    config = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_SECRET_STORE": shelf}
    with make_host(database_url, simulator=simulator, config=config) as host:
        yield host


@pytest.fixture
def plaza(host: Host) -> Owner:
    return Owner.of(host, "Hotel Plaza")


@pytest.fixture
def seaside(host: Host) -> Owner:
    return Owner.of(host, "Seaside Resort")


@pytest.fixture
def light_plaza(sqlite_url: str, simulator: Simulator) -> Iterator[Owner]:
    """The Plaza on SQLite only, for what never reaches the database."""
    with make_host(sqlite_url, simulator=simulator) as host:
        yield Owner.of(host, "Hotel Plaza")
