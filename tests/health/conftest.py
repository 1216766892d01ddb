"""Hotel Plaza and the Seaside Resort, by each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from flask_valetpro_stripe.celery import bind
from tests.webhooks.stage import Stage, make_stage


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    """Events are handled before Stripe is answered; on the databases that the test's markers choose."""
    with make_stage(database_url) as stage:
        yield stage


@pytest.fixture
def light_stage(sqlite_url: str) -> Iterator[Stage]:
    """The same on SQLite only, for what is no matter of the database."""
    with make_stage(sqlite_url) as stage:
        yield stage


@pytest.fixture
def celery_stage(sqlite_url: str) -> Iterator[Stage]:
    """Events are stored for a worker; messages go nowhere."""
    with make_stage(sqlite_url, PROCESSING="celery") as stage:
        bind(Celery("host", broker="memory://"), stage.host.app)
        yield stage
