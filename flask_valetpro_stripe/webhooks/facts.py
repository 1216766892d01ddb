"""What the database knows about the inbox of each tenant and mode, asked by the same few statements for any number.

When something happened is always when it happened here: what Stripe's ``created`` says, or an unverified request, is
not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from ..enums import AccountType, EventStatus, Mode
from ..state import State

#: How long Stripe is given to deliver the event of a payment that was found paid otherwise. Its second try comes
#: within the hour (Stripe docs, "Receive Stripe events", retries).
PATIENCE: Final = timedelta(hours=1)
#: For how long a payment of which no event told is held against the endpoint. Shorter than events are kept: what was
#: pruned must not look as if it had never come.
HELD_AGAINST: Final = timedelta(days=30)
#: For how long missed events are told of.
LATELY: Final = timedelta(days=7)


@dataclass(frozen=True)
class Shown:
    """The connection that health is about: the current one, or else the one that comes nearest to it."""

    id: int
    account_type: AccountType
    is_living: bool
    endpoint_id: str | None
    endpoint_state: str | None
    endpoint_checked_at: datetime | None


@dataclass(frozen=True)
class Waiting:
    """What is not done: counts, and since when the oldest of each has waited."""

    events: int = 0
    since: datetime | None = None
    #: Of these, those that failed before.
    failed: int = 0
    failed_since: datetime | None = None
    #: When the first of those was due that only a worker takes.
    due_since: datetime | None = None
    dead: int = 0


@dataclass(frozen=True)
class Failed:
    """The newest event that is dead, or else that failed and waits for its next try."""

    id: int
    event_id: str
    type: str
    status: EventStatus
    attempts: int
    error: str | None
    received_at: datetime


@dataclass(frozen=True)
class Facts:
    """Of one tenant in one mode; the tenant None is the platform's own account."""

    tenant_id: Any
    mode: Mode
    connection: Shown | None = None
    #: When Stripe delivered the newest event, by the shown connection.
    last_received_at: datetime | None = None
    last_processed_at: datetime | None = None
    waiting: Waiting = Waiting()
    last_failed: Failed | None = None
    #: Events that Stripe had and nobody delivered, within :data:`LATELY`.
    missed: int = 0
    #: Payments by the connection that became paid, though nothing at all was delivered since they were made.
    unheard: int = 0


_OF_CONNECTION: Final = (
    *("id", "tenant_id", "mode", "account_id", "account_type", "created_at", "ended_at"),
    *("endpoint_id", "endpoint_state", "endpoint_checked_at"),
)
_OF_FAILED: Final = tuple(field.name for field in fields(Failed))
#: One tenant (None: the platform's own account) and mode; None for all of them.
Only = tuple[Any, Mode] | None


def gather(state: State, now: datetime, only: Only = None) -> list[Facts]:
    """Return the facts of everybody who has a connection or events, or of the one that is asked for."""
    found = {(each.tenant_id, each.mode): each for each in _connected(state, now, only)}
    found |= {(None, each.mode): each for each in _platforms(state, only)}
    parts: dict[str, dict[tuple[Any, Mode], Any]] = {
        "waiting": _waiting(state, only),
        "last_failed": _last_failed(state, only),
        "missed": _missed(state, now, only),
    }
    for name, part in parts.items():
        for key, value in part.items():
            found[key] = replace(found.get(key) or Facts(*key), **{name: value})
    return list(found.values())


def _connected(state: State, now: datetime, only: Only) -> Iterator[Facts]:
    """Give each tenant and mode with a connection, with what came by it."""
    if only and only[0] is None:
        return
    seen = _with_last_events(state, _shown(state, only))
    payment: Any = state.models.Payment
    since = sa.func.coalesce(seen.c.last_received_at, seen.c.created_at)
    unheard = sa.select(sa.func.count()).where(
        payment.connection_id == seen.c.id,
        payment.created_at > since,
        payment.paid_at.between(now - HELD_AGAINST, now - PATIENCE),
        # Who delivered just now need not be asked: what is paid for an hour was made before that.
        since < now - PATIENCE,
    )
    for row in state.session.execute(sa.select(seen, unheard.scalar_subquery().label("unheard"))):
        endpoint = (row.endpoint_id, row.endpoint_state, row.endpoint_checked_at)
        yield Facts(
            tenant_id=row.tenant_id,
            mode=row.mode,
            connection=Shown(row.id, row.account_type, row.ended_at is None, *endpoint),
            last_received_at=row.last_received_at,
            last_processed_at=row.last_processed_at,
            unheard=row.unheard,
        )


def _shown(state: State, only: Only) -> sa.Subquery:
    """Return a query for each tenant's current connection in each mode, or else the newest, a living one first."""
    model = state.models.Connection
    in_order = (model.is_current.desc(), model.ended_at.is_not(None), model.id.desc())
    turn = sa.func.row_number().over(partition_by=(model.tenant_id, model.mode), order_by=in_order)
    columns = [getattr(model, name) for name in _OF_CONNECTION]
    ranked = sa.select(*columns, turn.label("turn")).where(*_only(model, only)).subquery()
    return sa.select(ranked).where(ranked.c.turn == 1).subquery()


def _with_last_events(state: State, shown: sa.Subquery) -> sa.CTE:
    event = state.models.WebhookEvent
    own = [event.tenant_id == shown.c.tenant_id, event.mode == shown.c.mode]
    # An event that is routed to an earlier connection to the same account tells as much about this one.
    by_it = sa.or_(event.connection_id == shown.c.id, event.account_id == shown.c.account_id)
    # Wrapped, since PostgreSQL takes what goes together for rare, and would read and sort all of a tenant's events.
    by_it = sa.func.coalesce(by_it, sa.false())
    delivered = [*own, event.received_at >= shown.c.created_at, by_it, sa.not_(event.was_missed)]
    processed = [*own, event.status == EventStatus.processed]
    seen = sa.select(
        shown,
        _newest(event, event.received_at, delivered).label("last_received_at"),
        _newest(event, event.processed_at, processed).label("last_processed_at"),
    )
    # Looked for once, however often it is named.
    return seen.cte("seen").prefix_with("MATERIALIZED", dialect="postgresql")


def _newest(event: Any, column: Any, which: Sequence[sa.ColumnElement[bool]]) -> sa.ScalarSelect[Any]:
    # Through the index, from its end: however many events a tenant has, one is read.
    return sa.select(column).where(*which).order_by(event.received_at.desc()).limit(1).scalar_subquery()


def _platforms(state: State, only: Only) -> Iterator[Facts]:
    """Give the platform's own account in each mode in which it got events of its own."""
    if only and only[0] is not None:
        return
    event, modes = state.models.WebhookEvent, [only[1]] if only else list(Mode)
    columns = []
    for mode in modes:
        own = [event.tenant_id.is_(None), event.mode == mode, event.status != EventStatus.parked]
        columns += [
            _newest(event, event.received_at, [*own, sa.not_(event.was_missed)]).label(f"{mode}_received"),
            _newest(event, event.processed_at, [*own, event.status == EventStatus.processed]).label(f"{mode}_done"),
        ]
    row = state.session.execute(sa.select(*columns)).one()._mapping
    for mode in modes:
        received_at, processed_at = row[f"{mode}_received"], row[f"{mode}_done"]
        if received_at or processed_at or only:
            yield Facts(None, mode, last_received_at=received_at, last_processed_at=processed_at)


def _waiting(state: State, only: Only) -> dict[tuple[Any, Mode], Waiting]:
    event = state.models.WebhookEvent
    waits, failed, dead = event.due_at.is_not(None), event.status == EventStatus.failed, _is_dead(state)
    # Inline, Stripe delivers again what failed, in its own time.
    for_workers = waits if state.config.processing == "celery" else sa.not_(failed)
    count, oldest = sa.func.count(), sa.func.min(event.received_at)
    columns = (
        count.filter(waits),
        oldest.filter(waits),
        count.filter(waits, failed),
        oldest.filter(waits, failed),
        sa.func.min(event.due_at).filter(for_workers),
        count.filter(dead),
    )
    wanted = sa.select(event.tenant_id, event.mode, *columns).where(sa.or_(waits, dead), *_only(event, only))
    rows = state.session.execute(wanted.group_by(event.tenant_id, event.mode))
    return {(tenant_id, mode): Waiting(*counted) for tenant_id, mode, *counted in rows}


def _last_failed(state: State, only: Only) -> dict[tuple[Any, Mode], Failed]:
    event = state.models.WebhookEvent
    which = sa.or_(sa.and_(event.due_at.is_not(None), event.status == EventStatus.failed), _is_dead(state))
    # What waits for a person first.
    in_order = (_is_dead(state).desc(), event.received_at.desc(), event.id.desc())
    turn = sa.func.row_number().over(partition_by=(event.tenant_id, event.mode), order_by=in_order)
    columns = [getattr(event, name) for name in _OF_FAILED]
    ranked = sa.select(event.tenant_id, event.mode, *columns, turn.label("turn")).where(which, *_only(event, only))
    newest = ranked.subquery()
    rows = state.session.execute(sa.select(newest).where(newest.c.turn == 1))
    return {(tenant_id, mode): Failed(*about) for tenant_id, mode, *about, _ in rows}


def _missed(state: State, now: datetime, only: Only) -> dict[tuple[Any, Mode], int]:
    event = state.models.WebhookEvent
    wanted = sa.select(event.tenant_id, event.mode, sa.func.count()).where(
        event.was_missed, event.received_at > now - LATELY, *_only(event, only)
    )
    return {
        (tenant_id, mode): count
        for tenant_id, mode, count in state.session.execute(wanted.group_by(event.tenant_id, event.mode))
    }


def _is_dead(state: State) -> sa.ColumnElement[bool]:
    status = state.models.WebhookEvent.status
    # In the statement itself: of a parameter, PostgreSQL cannot know that the index has all that fits.
    return status == sa.bindparam(None, EventStatus.dead, type_=status.type, literal_execute=True)


def _only(model: Any, only: Only) -> list[sa.ColumnElement[bool]]:
    if only is None:
        return []
    tenant_id, mode = only
    return [model.tenant_id.is_(None) if tenant_id is None else model.tenant_id == tenant_id, model.mode == mode]
