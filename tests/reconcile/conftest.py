"""Hotel Plaza and the Seaside Resort, each on its own account, and nobody who delivers Stripe's events."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.payments.desk import Desk


@pytest.fixture
def host(database_url: str, simulator: Simulator) -> Iterator[Host]:
    with make_host(database_url, simulator=simulator, config={"WTF_CSRF_ENABLED": False}) as host:
        yield host


@pytest.fixture
def plaza(host: Host) -> Desk:
    return Desk.of(host, "Plaza")


@pytest.fixture
def seaside(host: Host) -> Desk:
    return Desk.of(host, "Seaside")


@pytest.fixture
def light_host(sqlite_url: str, simulator: Simulator) -> Iterator[Host]:
    """The same on SQLite only, for what is not the database's business."""
    with make_host(sqlite_url, simulator=simulator) as host:
        yield host


@pytest.fixture
def light_plaza(light_host: Host) -> Desk:
    return Desk.of(light_host, "Plaza")


@pytest.fixture
def light_seaside(light_host: Host) -> Desk:
    return Desk.of(light_host, "Seaside")
