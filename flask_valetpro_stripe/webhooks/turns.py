"""Whose turn it is: everybody's who waits, and for a while nobody's who had more of a worker's time than the others."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from ..enums import EventStatus
from ..models.types import utcnow
from ..state import State

#: Seconds that a tenant may have had more than the others before it has to wait for them.
MOST_AHEAD: Final = 1.0
#: Seconds that each event counts which somebody holds: who died over it has to be started again, and nobody knows who
#: works and who is dead before the lease ends.
HELD: Final = 1.0


class Turns:
    """Shares one worker's time out in rounds.

    A tenant whose handlers take ten seconds has a turn as everybody has; then it waits until the others have had as
    much, so it gets its part of the time, and not of the events.
    """

    def __init__(self, held: Mapping[Any, int]) -> None:
        #: Tenant → seconds that it had more than the one that had least.
        self._ahead = {tenant_id: number * HELD for tenant_id, number in held.items()}

    def of_round(self, waiting: Sequence[Any]) -> list[Any]:
        """Return who of those who wait has a turn now. Several workers begin with different tenants."""
        ready = [tenant_id for tenant_id in waiting if self._ahead.get(tenant_id, 0.0) <= MOST_AHEAD]
        # Where nobody else waits, nobody has to wait for others.
        return random.sample(ready, len(ready)) or [min(waiting, key=self._ahead.__getitem__)]

    def note(self, took: Mapping[Any, float]) -> None:
        """Note how many seconds each turn took in which something was done."""
        had = self._ahead | {tenant_id: self._ahead.get(tenant_id, 0.0) + more for tenant_id, more in took.items()}
        # Who comes later begins where these are, so time that nobody wanted is not saved up.
        least = min(had[tenant_id] for tenant_id in took)
        self._ahead = {tenant_id: seconds - least for tenant_id, seconds in had.items() if seconds > least}

    def forgive(self) -> bool:
        """Let all who wait have a turn in the next round; return False if there was nobody who had to wait."""
        had, self._ahead = self._ahead, {}
        return bool(had)


def count_held(state: State) -> dict[Any, int]:
    """Return how many events of each tenant somebody holds at this moment, alive or dead. Commits."""
    model = state.models.WebhookEvent
    held = sa.select(model.tenant_id, sa.func.count().label("number"))
    held = held.where(model.status == EventStatus.processing, model.due_at > utcnow()).group_by(model.tenant_id)
    found = {row.tenant_id: row.number for row in state.session.execute(held)}
    state.session.commit()
    return found


def tenants_waiting(state: State) -> Sequence[Any]:
    """Return the keys of the tenants that have due events; None stands for the platform's own account. Commits."""
    model: Any = state.models.WebhookEvent
    found = state.session.execute(_waiting(model.__table__), {"now": utcnow()}).scalars().all()
    state.session.commit()
    return found


@lru_cache(maxsize=64)
def _waiting(events: sa.Table) -> Any:
    """Return the statement, which looks at the first event of each tenant in the index of what waits, and at no other.

    DISTINCT would read all that wait, before each round.
    """
    first, following = events.alias(), events.alias()
    whose = events.c.tenant_id
    earliest = sa.select(events.c.id).where(events.c.due_at.is_not(None)).order_by(whose, events.c.due_at).limit(1)
    of_platform, of_first = (earliest.where(one).scalar_subquery() for one in (whose.is_(None), whose.is_not(None)))
    start = sa.select(first.c.tenant_id, first.c.due_at).where(
        sa.or_(first.c.id == of_platform, first.c.id == of_first)
    )
    seen = start.cte("seen", recursive=True)
    of_next = earliest.where(whose > seen.c.tenant_id).correlate(seen).scalar_subquery()
    step = sa.select(following.c.tenant_id, following.c.due_at).join_from(seen, following, following.c.id == of_next)
    seen = seen.union_all(step)
    return sa.select(seen.c.tenant_id).where(seen.c.due_at <= sa.bindparam("now"))
