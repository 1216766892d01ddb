"""Works off what waits in the inbox, a few events of each tenant in turn, so that nobody's poison holds up others."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ..enums import EventStatus
from ..state import State
from .claims import claim_next, is_due
from .inbox import Fetchers, work
from .turns import Turns, count_held, tenants_waiting

log = logging.getLogger(__name__)
#: Events of one tenant that are handled before it is another tenant's turn.
SHARE: Final = 5
#: Seconds after which it is another tenant's turn, however few events that were.
LONGEST: Final = 1.0
#: Seconds between two looks into an inbox where nothing waits.
IDLE: Final = 1.0
#: Seconds before the database is tried again that could not answer.
_AWAY: Final = 2.0
#: What a try that failed leaves an event as.
FAILURES: Final = (EventStatus.failed, EventStatus.dead)
#: Is called with what became of an event; None if somebody else has it.
Told = Callable[[EventStatus | None], object]


def _never() -> bool:
    return False


def _nobody(_: EventStatus | None) -> None:
    pass


def drain(
    state: State, fetchers: Fetchers, *, on_done: Told = _nobody, should_stop: Callable[[], bool] = _never
) -> Counter[str]:
    """Handle everything that is due now, each tenant in turn; return how many events became what. Commits.

    :param should_stop: asked before each event: what is begun is finished, what is not is left to others.
    """
    done, turns = Counter[str](), None
    while tenants := tenants_waiting(state):
        turns = turns or Turns(count_held(state))
        took: dict[Any, float] = {}
        for tenant_id in turns.of_round(tenants):
            became, seconds = _drain_share(state, tenant_id, fetchers, on_done, should_stop)
            if became:
                done += became
                took[tenant_id] = seconds
        if took:
            turns.note(took)
        elif not turns.forgive():
            # All that was due is somebody else's by now, or we are to stop.
            break
    return done


def _drain_share(
    state: State, tenant_id: Any, fetchers: Fetchers, on_done: Told, should_stop: Callable[[], bool]
) -> tuple[Counter[str], float]:
    """Handle the next events of one tenant, up to its share; return what they became, and the seconds that it took."""
    done, seconds = Counter[str](), 0.0
    while done.total() < SHARE and seconds < LONGEST and not should_stop():
        began = state.clock()
        try:
            claimed = claim_next(state, tenant_id)
            status = work(state, claimed, fetchers) if claimed else None
        finally:
            # Nothing of one tenant's event is left in the session for the next.
            state.db.session.remove()
        seconds += state.clock() - began
        if claimed is None:
            break
        done[str(status or "lost")] += 1
        on_done(status)
        if status in FAILURES:
            # What fails once fails often, and would take all of its turns: it counts as a whole one.
            seconds *= SHARE / done.total()
            break
    return done, seconds


def count_due(state: State) -> int:
    """Return how many events wait to be handled now. Commits."""
    count = state.session.scalar(sa.select(sa.func.count()).where(is_due(state))) or 0
    state.session.commit()
    return count


def keep_draining(
    state: State, fetchers: Fetchers, *, should_stop: Callable[[], bool], pause: Callable[[float], object] = time.sleep
) -> None:
    """Handle whatever comes, until told to stop. A database that is away is waited for."""
    while not should_stop():
        try:
            drain(state, fetchers, should_stop=should_stop)
            pause(IDLE)
        except SQLAlchemyError as error:
            log.warning("the inbox cannot be read now: %s", type(error).__name__)
            state.db.session.remove()
            pause(_AWAY)
