"""Two hotels on one app, and the accounts that they have at Stripe."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_valetpro_stripe.testing import Simulator
from tests.connections.admin import Admin
from tests.hosts import Host, make_host


@pytest.fixture
def host(database_url: str, simulator: Simulator) -> Iterator[Host]:
    host = make_host(database_url, simulator=simulator, config={"WTF_CSRF_ENABLED": False})
    yield host
    host.close()


@pytest.fixture
def plaza(host: Host) -> Admin:
    """The admin of Hotel Plaza, in a browser."""
    return Admin.of(host, host.make_tenant("Hotel Plaza"))


@pytest.fixture
def seaside(host: Host) -> Admin:
    """The admin of the Seaside Resort, in a browser."""
    return Admin.of(host, host.make_tenant("Seaside Resort"))
