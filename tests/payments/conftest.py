"""Hotel Plaza and the Seaside Resort, each on its own account in both modes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.payments.desk import Desk


@pytest.fixture
def host(database_url: str, simulator: Simulator) -> Iterator[Host]:
    host = make_host(database_url, simulator=simulator)
    yield host
    host.close()


@pytest.fixture
def plaza(host: Host) -> Desk:
    return Desk.of(host, "Plaza")


@pytest.fixture
def seaside(host: Host) -> Desk:
    return Desk.of(host, "Seaside")
