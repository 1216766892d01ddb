"""A flood of requests that Stripe did not send leaves no row, and turns no verdict."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import pytest
import sqlalchemy as sa

from tests.health.forging import WRONG, forged
from tests.hosts import Host
from tests.raw_keys.owner import Owner
from tests.webhooks.stage import Stage, ping

from .ward import everybody, health, within, words

FLOOD = 300


def all_rows(host: Host) -> dict[str, list[Any]]:
    """Everything that is in the database."""
    with within(host) as state:
        tables = host.db.metadata.tables.values()
        return {
            table.name: list(state.session.execute(sa.select(table).order_by(*table.primary_key))) for table in tables
        }


@pytest.fixture
def kinds(stage: Stage) -> list[Callable[[], Any]]:
    return forged(stage)


@pytest.mark.both
def test_a_flood_of_forgeries_changes_no_row_and_no_verdict(stage: Stage, kinds: list[Callable[[], Any]]) -> None:
    stage.deliver(ping())
    before = everybody(stage.host), all_rows(stage.host)

    answers = {request().status_code for request in islice(cycle(kinds), FLOOD)}

    assert answers == {400, 413}
    assert (everybody(stage.host), all_rows(stage.host)) == before
    assert {words(each) for each in before[0].values()} == {("healthy", False), ("idle", False)}


def test_a_flood_at_the_address_of_a_hotel_with_keys_of_its_own_changes_nothing(stage: Stage) -> None:
    plaza = Owner.of(stage.host, "Hotel Riviera")
    plaza.connect()
    before = health(stage.host, plaza.tenant), all_rows(stage.host)

    answers = {plaza.deliver(ping(account=None), secret=WRONG).status_code for _ in range(60)}

    assert answers == {400}
    assert (health(stage.host, plaza.tenant), all_rows(stage.host)) == before


def test_a_hotel_that_signs_for_another_changes_only_what_is_said_of_itself(stage: Stage) -> None:
    riviera = Owner.of(stage.host, "Hotel Riviera")
    riviera.connect()
    before = {tenant: each for tenant, each in everybody(stage.host).items() if tenant[0] != riviera.tenant.id}

    assert riviera.deliver(ping(account="acct_plaza")).status_code == 400
    assert riviera.deliver(ping(account=None)).status_code == 200

    after = everybody(stage.host)
    assert {tenant: after[tenant] for tenant in before} == before
    assert words(health(stage.host, riviera.tenant)) == ("healthy", False)
