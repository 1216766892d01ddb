"""What became of every event: effects of the host's handlers, rows of the inbox, payments."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tests import timing
from tests.integration.delivering import add_effects
from tests.webhooks.stage import Stage

from .traffic import End, Story

#: Seconds without any progress after which nobody works any more.
PATIENCE = timing.seconds(60)


@dataclass
class Count:
    """The effects, compared with the events one by one."""

    lost: int
    doubled: int
    #: The counter that all of them have raised.
    counted: int
    #: How often an event was taken up again: by a worker, or by a delivery after a failure.
    again: int
    statuses: dict[str, int]

    @property
    def figures(self) -> str:
        return f"taken up again {self.again}; lost {self.lost}, doubled {self.doubled}"


def prepare(stage: Stage) -> Any:
    """Make the tables of what handlers do, and return their models."""
    models = add_effects(stage.host)
    with stage.host.app.app_context():
        stage.host.db.create_all()
        stage.host.db.session.add(models[1](count=0))
        stage.host.db.session.commit()
    return models


def wait_until_drained(stage: Stage) -> None:
    """Return when nothing waits any more, and nobody has anything."""
    model, least, since = stage.host.valetpro.models.WebhookEvent, 0, time.monotonic()
    waiting = sa.select(sa.func.count()).where(model.due_at.is_not(None))
    with stage.host.app.app_context():
        while left := stage.host.db.session.scalar(waiting):
            stage.host.db.session.rollback()
            if not least or left < least:
                least, since = left, time.monotonic()
            assert time.monotonic() - since < PATIENCE, f"{left} events are not worked off."
            time.sleep(0.1)


def count(stage: Stage, models: Any, stories: Sequence[Story]) -> Count:
    """Return what became of the events of these stories, of which nothing is on its way any more."""
    effect, total = models
    with stage.host.app.app_context():
        session = stage.host.db.session
        effects = Counter(session.scalars(sa.select(effect.event_id)))
        counted = session.scalars(sa.select(total.count)).one()
    rows, ids = stage.rows(), {letter.event_id for story in stories for letter in story.letters}
    return Count(
        lost=len(ids - set(effects)),
        doubled=effects.total() - len(effects),
        counted=counted,
        again=sum(row.attempts - 1 for row in rows),
        statuses=dict(Counter(str(row.status) for row in rows)),
    )


def ends(stage: Stage) -> dict[str, End]:
    """Return how each payment stands, by its reference."""
    payment, refund = stage.host.Payment, stage.host.valetpro.models.Refund
    refunds = sa.select(sa.func.count()).where(refund.payment_id == payment.id).scalar_subquery()
    with stage.host.app.app_context():
        found = stage.host.db.session.execute(
            sa.select(payment.reference, payment.status, payment.amount_refunded, refunds)
        )
        return {reference: End(str(status), amount, number) for reference, status, amount, number in found}


def wanted_ends(stories: Sequence[Story]) -> dict[str, End]:
    """Return how each payment must stand."""
    return {story.payment: story.end for story in stories if story.payment and story.end}
