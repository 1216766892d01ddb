"""Stripe promises no order: twelve events of one payment, in whatever order they come, end as Stripe says.

``stripe_object`` may depend on the order: it is the last JSON that was news, not the newest that Stripe made.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe.testing.simulator.ids import new_id
from tests.chaos.sizes import seed, size, tell
from tests.chaos.stories import EVENTS, PLAYS, Story, a_bank_debit_after_a_card, tell_twins
from tests.webhooks.stage import Stage, answer, make_stage

PERMUTATIONS = size("PERMUTATIONS", middle=100, full=1000)
#: All orders are tried of so many events.
ALL_ORDERS_OF = size("ALL_ORDERS_OF", small=4, middle=4, full=6)
#: Of the events of a bank debit four that say all that there is to know in the end, and two that only confuse.
SIX: Sequence[tuple[str, Mapping[str, Any]]] = [
    ("charge.refunded", {"amount_refunded": 1700}),
    ("refund.failed", {"amount": 1000}),
    ("refund.created", {"amount": 700}),
    ("checkout.session.completed", {}),
    ("payment_intent.payment_failed", {}),
    ("payment_intent.processing", {}),
]
TAKEN = (200, "Taken.")
#: A row of Refund as Stripe has it.
AS_STRIPE_SAYS = ("stripe_refund_id", "amount", "currency", "status", "reason")


@dataclass
class Rows:
    """The rows that events change, brought back to their start between two orders; the database stays."""

    stage: Stage
    start: dict[Any, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = [column.key for column in self.stage.host.Payment.__mapper__.column_attrs]
        with self.stage.host.app.app_context():
            for row in self.stage.host.db.session.scalars(sa.select(self.stage.host.Payment)):
                self.start[row.id] = {name: getattr(row, name) for name in columns}

    def reset(self) -> None:
        host, models = self.stage.host, self.stage.host.valetpro.models
        with host.app.app_context():
            host.db.session.execute(sa.delete(models.Refund))
            host.db.session.execute(sa.delete(models.WebhookEvent))
            for key, columns in self.start.items():
                host.db.session.execute(sa.update(host.Payment).where(host.Payment.id == key).values(columns))
            host.db.session.commit()

    def end_of(self, story: Story) -> dict[str, Any]:
        """Return how a payment and its refunds stand, by the names of what Stripe has."""
        host, refund = self.stage.host, self.stage.host.valetpro.models.Refund
        with host.app.app_context():
            row = host.db.session.get_one(host.Payment, story.payment_id)
            found = host.db.session.scalars(sa.select(refund).where(refund.payment_id == row.id)).all()
            assert {(each.tenant_id, each.connection_id) for each in found} <= {(row.tenant_id, row.connection_id)}
            assert row.paid_at is not None, "It was paid."
            refunds = sorted([getattr(each, name) for name in AS_STRIPE_SAYS] for each in found)
            return {**{name: getattr(row, name) for name in story.end if name != "refunds"}, "refunds": refunds}


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    with make_stage(database_url) as stage:
        yield stage


def mixed(rng: random.Random, stories: list[Story]) -> list[dict[str, Any]]:
    """Return all events of the stories in some order, each one twice with luck: as it was, or in an Event of its own.

    Stripe sometimes makes two Event objects of one change.
    """
    events = [event for story in stories for event in story.events]
    again = [event if rng.random() < 0.5 else {**event, "id": new_id("evt")} for event in events if rng.random() < 0.25]
    return rng.sample(events + again, len(events) + len(again))


def deliver(stage: Stage, order: Sequence[dict[str, Any]]) -> None:
    for event in order:
        assert answer(stage.deliver(event)) == TAKEN, event["type"]


def in_words(order: Sequence[dict[str, Any]]) -> str:
    """Return an order as the message of a failed test needs it."""
    return "\n".join(f"{event['account']} {event['type']} {event['data']['object']['id']}" for event in order)


@pytest.mark.on("postgresql")
@pytest.mark.slow("delivers hundreds of events")
def test_whatever_order_the_events_come_in_two_hotels_payments_end_as_stripe_says(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    plays = [tell_twins(stage, play) for play in PLAYS]
    rows, first = Rows(stage), seed()
    began, delivered = time.monotonic(), 0
    for number in range(PERMUTATIONS):
        rng = random.Random(first + number)
        stories = rng.choice(plays)
        order = mixed(rng, stories)
        rows.reset()
        deliver(stage, order)
        delivered += len(order)
        for story in stories:
            assert rows.end_of(story) == story.end, f"SEED={first + number} PERMUTATIONS=1:\n{in_words(order)}"
    tell(
        capsys,
        f"{PERMUTATIONS} orders of {EVENTS} events of a payment, "
        f"with repeats and a second hotel's: {delivered} deliveries in {time.monotonic() - began:.1f} s, "
        f"all ended as Stripe says (SEED={first})",
    )


def test_all_orders_of_a_few_events_end_as_stripe_says(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    (story, _) = tell_twins(stage, a_bank_debit_after_a_card)
    chosen = [find(story, event_type, **fields) for event_type, fields in SIX[:ALL_ORDERS_OF]]
    rows = Rows(stage)
    orders = list(itertools.permutations(chosen))
    for order in orders:
        rows.reset()
        deliver(stage, order)
        assert rows.end_of(story) == story.end, in_words(order)
    tell(capsys, f"All {len(orders)} orders of {len(chosen)} events ended as Stripe says.")


def find(story: Story, event_type: str, **fields: Any) -> dict[str, Any]:
    """Return the event of a story of this type, whose object has these fields."""
    (found,) = (
        event
        for event in story.events
        if event["type"] == event_type and fields.items() <= event["data"]["object"].items()
    )
    return found
