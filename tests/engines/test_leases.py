"""How long an event is a worker's own: a minute, after which a killed one is missed, or longer while it asks Stripe."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.onboarding.status import fetch_account
from flask_valetpro_stripe.webhooks import inbox
from tests.timing import seconds
from tests.webhooks.stage import PLAZA

from .box import Box

pytestmark = [pytest.mark.both, pytest.mark.oldest]


def test_while_a_worker_asks_stripe_an_event_is_its_own_for_longer(box: Box) -> None:
    """Three tries of a call, each of them slow, take longer than a killed worker's event should have to wait."""
    with box.stage.events_while() as updating:
        box.stage.simulator.update_account(PLAZA, charges_enabled=False)
    row_id, left = box.put(updating.of("account.updated")), list[timedelta]()

    def fetch_slowly(state: Any, connection: Any, _: Any) -> Any:
        fetched = fetch_account(state, connection)
        with ThreadPoolExecutor(1) as threads:
            left.append(threads.submit(box.row, row_id).result(seconds(30)).due_at - utcnow())
        return fetched

    with box.state() as state:
        claimed = box.must_claim(row_id)
        assert inbox.work(state, claimed, {"account.updated": fetch_slowly}) is EventStatus.processed
    assert timedelta(minutes=4) < left[0] <= timedelta(minutes=5)


def test_an_event_whose_handler_commits_by_itself_is_its_workers_for_longer(box: Box) -> None:
    """As the calls in payments do before they ask Stripe, which must not be asked by two workers at once."""
    left = []

    def commit(event: Any) -> None:
        box.stage.host.db.session.commit()
        with ThreadPoolExecutor(1) as threads:
            left.append(threads.submit(box.row, row_id).result(seconds(30)).due_at - utcnow())

    box.on(commit)
    row_id = box.put()

    assert box.drain() == {"processed": 1}
    assert timedelta(minutes=4) < left[0] <= timedelta(minutes=5)
    assert box.name_of(box.stage.plaza) == "Plaza!"
