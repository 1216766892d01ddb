"""Stripe delivers at least once; we act exactly once, however many processes take the same event at the same moment."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import AccountType
from tests import timing
from tests.chaos.copies import copies
from tests.chaos.sizes import size, tell
from tests.hosts import Host
from tests.integration.delivering import Figures, add_effects, work
from tests.webhooks.stage import PLAZA, SEASIDE, Stage, make_stage

pytestmark = pytest.mark.alone

PROCESSES = 4
#: How often each event is delivered at once, shared out among the processes' threads, and how many events there are.
DELIVERIES = size("DUPLICATE_DELIVERIES", small=16, middle=16, full=64)
EVENTS = size("DUPLICATE_EVENTS", middle=50, full=200)
#: Seconds after which a run that hangs is given up.
PATIENCE = timing.seconds(120 + EVENTS * DELIVERIES // 8)


def paid_payments(stage: Stage) -> list[dict[str, Any]]:
    """Return the events of that many payments: by guests of two hotels, and of one that the platform collects for."""
    managed = stage.host.make_tenant("Managed")
    stage.host.connect(managed, None, account_type=AccountType.PLATFORM)
    for number in range(EVENTS):
        payment = stage.make_payment([stage.plaza, stage.seaside, managed][number % 3])
        stage.simulator.pay(payment.stripe_payment_link_url)
    return [
        event
        for account_id in (PLAZA, SEASIDE, None)
        for event in stage.simulator.events_of(account_id)
        if event["type"] == "checkout.session.completed"
    ]


def deliver_in_parallel(url: str, stage: Stage, events: list[dict[str, Any]]) -> Figures:
    """Deliver each event from every thread of every process at once, and return what they saw together."""
    deliveries = [(json.dumps(event).encode(), stage.secret(connect="account" in event)) for event in events]
    barrier, results = copies.Barrier(DELIVERIES), copies.Queue()
    arguments = (url, stage.simulator.config(), deliveries, barrier, results)
    processes = [copies.Process(target=work, args=arguments) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    try:
        seen = [results.get(timeout=PATIENCE) for _ in processes]
    finally:
        for process in processes:
            process.join(timing.seconds(10))
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        results.close()
        results.join_thread()
    return Figures(
        answers=sum((Counter(answers) for answers, _, _ in seen), Counter()),
        updates=sum(updates for _, updates, _ in seen),
        broken=[line for _, _, broken in seen for line in broken],
    )


def counted(host: Host, models: Any) -> tuple[int, int, int]:
    """Return how many effects there are: rows, different events among them, and the counter."""
    effect, total = models
    with host.app.app_context():
        return (
            host.db.session.scalar(sa.select(sa.func.count()).select_from(effect)),
            host.db.session.scalar(sa.select(sa.func.count(effect.event_id.distinct()))),
            host.db.session.scalar(sa.select(total.count)),
        )


@pytest.mark.both
@pytest.mark.slow("starts four processes that import the app")
def test_each_event_that_many_deliver_at_once_has_one_effect(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_stage(database_url, own_models=True) as stage:
        models = add_effects(stage.host)
        with stage.host.app.app_context():
            stage.host.db.create_all()
            stage.host.db.session.add(models[1](count=0))
            stage.host.db.session.commit()
        events = paid_payments(stage)
        assert len({event["id"] for event in events}) == EVENTS

        began = time.monotonic()
        figures = deliver_in_parallel(database_url, stage, events)
        seconds = time.monotonic() - began

        effects = counted(stage.host, models)
        tell(
            capsys,
            f"{database_url.split(':')[0]}: {EVENTS} events × {DELIVERIES} deliveries from {PROCESSES} processes "
            f"in {seconds:.1f} s; answers {dict(figures.answers)}; effects {effects[0]}",
        )
        assert figures.broken == []
        assert figures.answers[200] == EVENTS * DELIVERIES
        assert set(figures.answers) <= {200, 503}
        assert effects == (EVENTS, EVENTS, EVENTS)
        assert figures.updates == EVENTS, "The host was told of each payment once."
        inbox = stage.rows()
        assert [(row.status, row.attempts) for row in inbox] == [("processed", 1)] * EVENTS
        with stage.host.app.app_context():
            states = set(stage.host.db.session.scalars(sa.select(stage.host.Payment.status)))
        assert states == {"COMPLETED"}
