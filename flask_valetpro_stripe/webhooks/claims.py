"""Who works on an event: claimed for a while, finished by whoever still holds it, tried again later, or given up."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import signals
from ..enums import EventStatus
from ..models.types import utcnow
from ..state import State

#: How long an event is one process's alone. Unless the row is held meanwhile, work that takes longer is done again by
#: somebody else, and undone here.
LEASE: Final = timedelta(seconds=60)
#: The same while Stripe may be asked, which takes up to two minutes: three tries (gateway.TIMEOUT), and their pauses.
LONG_LEASE: Final = timedelta(minutes=5)
#: Tries after which an event is dead. In inline mode Stripe itself gives up after about as many (Stripe docs, "Receive
#: Stripe events", retries).
MOST_ATTEMPTS: Final = 16
_FIRST_PAUSE: Final = timedelta(seconds=10)
_LONGEST_PAUSE: Final = timedelta(hours=6)
_KILLED: Final = "The process that handled it ended before it was done, each time."


@dataclass(frozen=True)
class Claim:
    """An event that is ours until its lease ends, by the fence that tells us from whoever takes it after us."""

    id: int
    generation: int


def pause_after(attempts: int) -> timedelta:
    """Return how long to wait after so many tries: twice as long each time, and never for two events the same."""
    whole: timedelta = min(_FIRST_PAUSE * 2 ** min(attempts - 1, 30), _LONGEST_PAUSE)
    return whole * random.uniform(0.75, 1.25)  # noqa: S311  spread, not secrecy


def claim(state: State, event_id: int, *, early: bool = False) -> Claim | None:
    """Return the claim on one event, or None if it is somebody else's, done, or not due yet. Commits.

    :param early: do not wait until it is due; what somebody holds is theirs all the same.
    """
    model = state.models.WebhookEvent
    waiting = [model.status.in_([EventStatus.received, EventStatus.failed]), *([] if early else [is_due(state)])]
    free = sa.or_(sa.and_(*waiting), sa.and_(model.status == EventStatus.processing, is_due(state)))
    taken = _take(state, sa.and_(model.id == event_id, free))
    return taken.claim if taken is not None and taken.attempts <= MOST_ATTEMPTS else None


def claim_next(state: State, tenant_id: Any) -> Claim | None:
    """Return the claim on the event of one tenant that is due for longest, or None. Commits.

    One at a time: of several, the last one's lease would run while the others are worked on. What another process is
    just claiming is left to it.
    """
    model = state.models.WebhookEvent
    picked = (
        sa.select(model.id)
        # Not "is not distinct from", which PostgreSQL answers without an index.
        .where(model.tenant_id.is_(None) if tenant_id is None else model.tenant_id == tenant_id, is_due(state))
        .order_by(model.due_at, model.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    while (taken := _take(state, model.id == picked.scalar_subquery())) is not None:
        if taken.attempts <= MOST_ATTEMPTS:
            return taken.claim
    return None


def is_due(state: State) -> sa.ColumnElement[bool]:
    """Return the condition under which an event is anybody's to take now."""
    return state.models.WebhookEvent.due_at <= utcnow()


@dataclass(frozen=True)
class _Taken:
    claim: Claim
    attempts: int


def _take(state: State, which: sa.ColumnElement[bool]) -> _Taken | None:
    """Claim the one event that fits, if there is one; one that was claimed too often is dead then. Commits."""
    model = state.models.WebhookEvent
    row = state.session.execute(
        sa.update(model)
        .where(which)
        .values(
            status=EventStatus.processing,
            generation=model.generation + 1,
            attempts=model.attempts + 1,
            due_at=utcnow() + LEASE,
        )
        .returning(model.id, model.generation, model.attempts, model.event_id, model.type)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    state.session.commit()
    if row is None:
        return None
    taken = _Taken(Claim(row.id, row.generation), row.attempts)
    # Nobody ever recorded why: each of those processes was killed over it.
    if taken.attempts > MOST_ATTEMPTS and fail(state, taken.claim, _KILLED, attempts=taken.attempts):
        state.tell(signals.webhook_failed, event_id=row.event_id, type=row.type, error=_KILLED)
    return taken


def hold(state: State, claimed: Claim) -> bool:
    """Lock a claimed event until the end of the transaction; return False if it is somebody else's by now.

    Nothing is written where a lock will do: on PostgreSQL, a delivery of the same event would wait for it to end.
    """
    model = state.models.WebhookEvent
    if state.session.get_bind(sa.inspect(model)).dialect.name == "sqlite":
        return _set(state, claimed, status=EventStatus.processing)
    locked = sa.select(model.id).where(*_is_ours(state, claimed)).with_for_update()
    return state.session.scalar(locked) is not None


@contextmanager
def kept(state: State, claimed: Claim) -> Iterator[None]:
    """Keep an event for longer once something in the block commits: its row is let go then, and Stripe is asked next.

    So do fetchers, and the calls in ``payments`` that a handler may make.
    """
    session = state.session

    def extend(_: Session) -> None:
        _set(state, claimed, due_at=utcnow() + LONG_LEASE)

    sa.event.listen(session, "before_commit", extend)
    try:
        yield
    finally:
        sa.event.remove(session, "before_commit", extend)


def finish(state: State, claimed: Claim, status: EventStatus, error: str | None) -> bool:
    """Note that an event is done, in the transaction of what its handlers wrote; return False if it is not ours.

    The caller commits, or rolls back.
    """
    return _set(state, claimed, status=status, error=error, processed_at=utcnow(), due_at=None)


def fail(state: State, claimed: Claim, reason: str, *, attempts: int) -> bool:
    """Note why an event failed, and when it is tried again, or that it is dead. Commits."""
    noted = _set(state, claimed, **after_failure(reason, attempts))
    state.session.commit()
    return noted


def after_failure(reason: str, attempts: int) -> dict[str, Any]:
    """Return what an event becomes that failed for the ``attempts``-th time."""
    if attempts >= MOST_ATTEMPTS:
        return {"status": EventStatus.dead, "error": reason, "due_at": None}
    return {"status": EventStatus.failed, "error": reason, "due_at": utcnow() + pause_after(attempts)}


def _set(state: State, claimed: Claim, **values: Any) -> bool:
    model = state.models.WebhookEvent
    changed = state.session.scalar(
        sa.update(model)
        .where(*_is_ours(state, claimed))
        .values(**values)
        .returning(model.id)
        .execution_options(synchronize_session=False)
    )
    return changed is not None


def _is_ours(state: State, claimed: Claim) -> list[sa.ColumnElement[bool]]:
    model = state.models.WebhookEvent
    return [
        model.id == claimed.id,
        model.generation == claimed.generation,
        model.status == EventStatus.processing,
    ]


def tenants_waiting(state: State) -> Sequence[Any]:
    """Return the keys of the tenants that have due events; None stands for the platform's own account."""
    model = state.models.WebhookEvent
    found = state.session.scalars(sa.select(model.tenant_id).where(is_due(state)).distinct()).all()
    state.session.commit()
    return found
