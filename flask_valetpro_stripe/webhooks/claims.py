"""Who works on an event: claimed for a while, finished by whoever still holds it, tried again later, or given up.

Each statement is built once, as in :mod:`.quick`: a worker runs them for every event, and building one costs more than
running it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import signals
from ..enums import EventStatus
from ..models import WebhookEvent
from ..models.types import utcnow
from ..state import State
from .reasons import KILLED

log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class Claim:
    """An event that is ours until its lease ends, by the fence that tells us from whoever takes it after us."""

    id: int
    generation: int
    #: How often it was claimed, this time included.
    attempts: int
    #: What is told about it if it fails.
    event_id: str
    type: str


class Held(NamedTuple):
    """A claimed event's row, and whether the connection that it came for has ended."""

    row: WebhookEvent
    is_over: bool


def pause_after(attempts: int) -> timedelta:
    """Return how long to wait after so many tries: twice as long each time, and never for two events the same."""
    whole: timedelta = min(_FIRST_PAUSE * 2 ** min(attempts - 1, 30), _LONGEST_PAUSE)
    return whole * random.uniform(0.75, 1.25)  # noqa: S311  spread, not secrecy


def claim(state: State, event_id: int, *, early: bool = False) -> Claim | None:
    """Return the claim on one event, or None if it is somebody else's, done, or not due yet. Commits.

    :param early: do not wait until it is due; what somebody holds is theirs all the same.
    """
    taken = _take(state, _take_one(_events(state), early=early), row_id=event_id)
    return taken if taken is not None and taken.attempts <= MOST_ATTEMPTS else None


def claim_next(state: State, tenant_id: Any) -> Claim | None:
    """Return the claim on the event of one tenant that is due for longest, or None. Commits.

    One at a time: of several, the last one's lease would run while the others are worked on. What another process is
    just claiming is left to it.
    """
    whose = {} if tenant_id is None else {"whose": tenant_id}
    while (taken := _take(state, _take_next(_events(state), of_tenant=bool(whose)), **whose)) is not None:
        if taken.attempts <= MOST_ATTEMPTS:
            return taken
    return None


def is_due(state: State) -> sa.ColumnElement[bool]:
    """Return the condition under which an event is anybody's to take now."""
    return state.models.WebhookEvent.due_at <= utcnow()


def _take(state: State, statement: Any, **wanted: Any) -> Claim | None:
    """Claim the one event that fits, if there is one; one that was claimed too often is dead then. Commits."""
    now = utcnow()
    row = _run_alone(state, statement, {"now": now, "lease_ends": now + LEASE, **wanted})
    if row is None:
        return None
    taken = Claim(**row._mapping)
    # Nobody ever recorded why: each of those processes was killed over it. This one does not try any more.
    if taken.attempts > MOST_ATTEMPTS and fail(state, replace(taken, attempts=MOST_ATTEMPTS), KILLED):
        log.error("webhook %s (%s) is given up: each process that handled it was killed", taken.event_id, taken.type)
        state.tell(signals.webhook_failed, event_id=taken.event_id, type=taken.type, error=KILLED)
    return taken


def _run_alone(state: State, statement: Any, values: dict[str, Any]) -> sa.Row[Any] | None:
    """Run a statement that is a transaction of its own, where nothing of the host's belongs to it."""
    session, bind = state.session, state.session.get_bind(_mapper(state))
    if session.in_transaction() or session.dispatch.after_begin or not isinstance(bind, sa.Engine):
        row = _connection(state).execute(statement, values).one_or_none()
        session.commit()
        return row
    # One round trip to the database instead of three.
    with bind.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return connection.execute(statement, values).one_or_none()


@lru_cache(maxsize=64)
def _take_one(events: sa.Table, *, early: bool) -> Any:
    is_due = events.c.due_at <= sa.bindparam("now")
    is_waiting = sa.or_(events.c.status == EventStatus.received, events.c.status == EventStatus.failed)
    is_free = sa.or_(
        is_waiting if early else sa.and_(is_waiting, is_due),
        sa.and_(events.c.status == EventStatus.processing, is_due),
    )
    return _taking(events).where(events.c.id == sa.bindparam("row_id"), is_free)


@lru_cache(maxsize=64)
def _take_next(events: sa.Table, *, of_tenant: bool) -> Any:
    # Not "is not distinct from", which PostgreSQL answers without an index.
    is_theirs = events.c.tenant_id == sa.bindparam("whose") if of_tenant else events.c.tenant_id.is_(None)
    picked = (
        sa.select(events.c.id)
        .where(is_theirs, events.c.due_at <= sa.bindparam("now"))
        # As the index has them. By more than that, all that became due in one moment would be sorted each time.
        .order_by(events.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return _taking(events).where(events.c.id == picked.scalar_subquery())


def _taking(events: sa.Table) -> Any:
    taken = {
        "status": EventStatus.processing,
        "generation": events.c.generation + 1,
        "attempts": events.c.attempts + 1,
        "due_at": sa.bindparam("lease_ends"),
    }
    told = (events.c.id, events.c.generation, events.c.attempts, events.c.event_id, events.c.type)
    return sa.update(events).values(taken).returning(*told)


def look(state: State, claimed: Claim) -> Held | None:
    """Return a claimed event as it is now, or None if it is somebody else's by now."""
    return _find(state, claimed, lock=False)


def hold(state: State, claimed: Claim) -> Held | None:
    """Return a claimed event, locked until the end of the transaction, or None if it is somebody else's by now.

    Nothing is written where a lock will do: on PostgreSQL, a delivery of the same event would wait for it to end.
    """
    if _connection(state).dialect.name == "sqlite":
        # It has one lock for the whole database: an update of no row takes it.
        events = _events(state)
        _connection(state).execute(sa.update(events).where(sa.false()).values(id=events.c.id))
    return _find(state, claimed, lock=True)


def _find(state: State, claimed: Claim, *, lock: bool) -> Held | None:
    models: Any = state.models
    statement = _find_ours(models.WebhookEvent, models.Connection, lock=lock)
    found = state.session.execute(statement, _fence(claimed)).one_or_none()
    return None if found is None else Held(*found)


@lru_cache(maxsize=64)
def _find_ours(model: Any, connections: Any, *, lock: bool) -> Any:
    found = sa.select(model, connections.ended_at.is_not(None))
    found = found.outerjoin(connections, connections.id == model.connection_id).where(*_is_ours(model.__table__))
    found = found.with_for_update(of=model) if lock else found
    return found.execution_options(populate_existing=True)


@contextmanager
def kept(state: State, claimed: Claim) -> Iterator[None]:
    """Keep an event for longer once something in the block commits: its row is let go then, and Stripe is asked next.

    So do fetchers, and the calls in ``payments`` that a handler may make.
    """
    session = state.session

    def extend(_: Session) -> None:
        _note(state, claimed, due_at=utcnow() + LONG_LEASE)

    sa.event.listen(session, "before_commit", extend)
    try:
        yield
    finally:
        sa.event.remove(session, "before_commit", extend)


def finish(state: State, claimed: Claim, status: EventStatus, error: str | None) -> bool:
    """Note that an event is done, in the transaction of what its handlers wrote; return False if it is not ours.

    The caller commits, or rolls back.
    """
    return _note(state, claimed, status=status, error=error, processed_at=utcnow(), due_at=None)


def fail(state: State, claimed: Claim, reason: str) -> bool:
    """Note why an event failed, and when it is tried again, or that it is dead. Commits."""
    failed = after_failure(reason, claimed.attempts)
    noted = _note(state, claimed, attempts=claimed.attempts, processed_at=None, **failed)
    state.session.commit()
    return noted


def after_failure(reason: str, attempts: int) -> dict[str, Any]:
    """Return what an event becomes that failed for the ``attempts``-th time."""
    if attempts >= MOST_ATTEMPTS:
        return {"status": EventStatus.dead, "error": reason, "due_at": None}
    return {"status": EventStatus.failed, "error": reason, "due_at": utcnow() + pause_after(attempts)}


def _note(state: State, claimed: Claim, **values: Any) -> bool:
    noted = _connection(state).execute(_note_ours(_events(state), *values), {**values, **_fence(claimed)})
    return noted.first() is not None


@lru_cache(maxsize=64)
def _note_ours(events: sa.Table, *names: str) -> Any:
    changed: dict[str, Any] = {name: sa.bindparam(name) for name in names}
    return sa.update(events).where(*_is_ours(events)).values(changed).returning(events.c.id)


def _fence(claimed: Claim) -> dict[str, int]:
    return {"row_id": claimed.id, "row_generation": claimed.generation}


def _is_ours(events: sa.Table) -> list[sa.ColumnElement[bool]]:
    return [
        events.c.id == sa.bindparam("row_id"),
        events.c.generation == sa.bindparam("row_generation"),
        events.c.status == EventStatus.processing,
    ]


def _connection(state: State) -> sa.Connection:
    """Return the session's connection to the database of the inbox. What is pending is not flushed."""
    return state.session.connection({"mapper": _mapper(state)})


def _mapper(state: State) -> Any:
    return sa.inspect(state.models.WebhookEvent)


def _events(state: State) -> sa.Table:
    model: Any = state.models.WebhookEvent
    return cast(sa.Table, model.__table__)
