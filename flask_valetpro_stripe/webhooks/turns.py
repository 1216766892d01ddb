"""Whose turn it is: everybody's who has events that wait."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from ..models.types import utcnow
from ..state import State


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
