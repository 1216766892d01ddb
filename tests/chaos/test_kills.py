"""Processes that are killed at any moment lose nothing and do nothing twice, as long as Stripe delivers again."""

from __future__ import annotations

import itertools
import random
import time

import pytest
import sqlalchemy as sa

from tests.webhooks.stage import make_stage

from .counting import count, ends, prepare, wait_until_drained, wanted_ends
from .nursery import nursery
from .sizes import seed, size, tell
from .traffic import Sender, make_stories

pytestmark = pytest.mark.alone

KILLS = size("KILLS", middle=20, full=200)
EVENTS = size("EVENTS", middle=1000, full=10_000)
#: Who works: inline, a worker has only what failed.
CREWS = {"inline": ["inline", "inline", "worker"], "stored": ["stored", "stored", "worker", "worker"]}


@pytest.mark.both
@pytest.mark.slow("starts processes that import the app, and ends some of them")
@pytest.mark.parametrize("engine", ["inline", "stored"])
def test_kills_at_any_moment_lose_no_event_and_double_none(
    database_url: str, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = seed()
    dice = random.Random(chosen)
    with make_stage(database_url, own_models=True) as stage:
        models, stories = prepare(stage), make_stories(stage, EVENTS)
        # Even few kills hit each role.
        victims = itertools.cycle(dice.sample(CREWS[engine], len(CREWS[engine])))
        moments = set(dice.sample(range(EVENTS), KILLS))

        with nursery(database_url, stage.simulator.config(), *CREWS[engine]) as crew:

            def kill_now_and_then(taken_before: int) -> None:
                if taken_before in moments:
                    crew.kill(next(victims))

            sender, began = Sender(crew.port, dice, kill_now_and_then), time.monotonic()
            sender.send(stories)
            wait_until_drained(stage)
            seconds = time.monotonic() - began
            crew.close()

        found = count(stage, models, stories)
        tell(
            capsys,
            f"{sa.make_url(database_url).get_backend_name()}, {engine}: {EVENTS} events, {KILLS} kills "
            f"{dict(crew.kills)} in {seconds:.1f} s; answers {sender.figures}; {found.figures}; SEED={chosen}",
        )
        assert sender.broken == []
        assert (crew.kills.total(), crew.died) == (KILLS, [])
        assert sender.figures["none"] > 0, "No kill hit a delivery, so nothing was seen."
        assert found.statuses == {"processed": EVENTS}
        assert (found.lost, found.doubled, found.counted) == (0, 0, EVENTS)
        assert ends(stage) == wanted_ends(stories)
