"""The short way in, for what nearly every event is: of an account that one tenant has, and about no account itself.

One statement finds the connection and inserts the event. Where it inserts nothing the long way tells why: a repeat, an
unknown account, one that ended, or one that several tenants have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapper, make_transient_to_detached
from werkzeug.local import LocalProxy

from ..enums import AccountType, EventStatus
from ..models import Connection, WebhookEvent
from ..models.types import utcnow
from ..state import State
from . import ahead
from .route import Route
from .verify import Endpoint, is_thin

DIALECT_INSERT: Final[Mapping[str, Callable[..., Any]]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
#: What comes from the connection, beside what the event says. PostgreSQL would not take mode and account twice as
#: parameters, once of each type.
_FOUND: Final = ("mode", "account_id", "connection_id", "tenant_id")
#: What the database puts in by itself. Left out, it would be read when it is first looked at.
_AS_INSERTED: Final = {"generation": 0, "processed_at": None, "was_missed": False}


def is_ordinary(endpoint: Endpoint, event: Mapping[str, Any]) -> bool:
    """Tell whether the event is one of a connected account, by the platform's endpoint for its mode."""
    return (
        endpoint.connect
        and endpoint.connection_id is None
        and event["livemode"] is endpoint.mode.livemode
        and not is_thin(event)
        and event.get("account") is not None
    )


class Taken(NamedTuple):
    """The keys of a row that was inserted, and of whom it belongs to."""

    id: int
    connection_id: int
    tenant_id: Any


def insert_routed(state: State, values: Mapping[str, Any]) -> Taken | None:
    """Insert an event whose account one tenant has, by one living connection; None if nothing was inserted.

    The caller commits.
    """
    return _insert(state, _connection(state), values)


def insert_marked(state: State, values: Mapping[str, Any]) -> Taken | None:
    """Insert an event as :func:`insert_routed` does, already marked as done if the mark can be taken back.

    The caller runs its handlers, and calls :func:`set_processed`.
    """
    connection = _connection(state)
    if not ahead.can_be_taken_back(connection):
        return _insert(state, connection, values)
    taken = _insert(state, connection, {**values, **_done(values["received_at"])})
    if taken is not None:
        undone = {"status": values["status"], "processed_at": None, "due_at": values["due_at"]}
        ahead.mark(state, partial(_note, state, taken.id, 0, undone))
    return taken


def store_routed(state: State, values: Mapping[str, Any]) -> Taken | None:
    """Insert an event as :func:`insert_routed` does, where nothing else belongs to its transaction. Commits."""
    session = state.session
    bind = session.get_bind(_mapper(state.models.WebhookEvent))
    if session.in_transaction() or session.dispatch.after_begin or not isinstance(bind, sa.Engine):
        # The host has begun something, begins each transaction with something of its own, or shares one connection.
        taken = insert_routed(state, values)
        if taken is not None:
            session.commit()
        return taken
    # One round trip to the database instead of three.
    with bind.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return _insert(state, connection, values)


def _insert(state: State, connection: sa.Connection, values: Mapping[str, Any]) -> Taken | None:
    events, connections = _table(state.models.WebhookEvent), _table(state.models.Connection)
    insert = _insert_routed(events, connections, connection.dialect.name, tuple(values))
    found = connection.execute(insert, values).first()
    return None if found is None else Taken(*found)


@lru_cache(maxsize=64)
def _insert_routed(events: sa.Table, connections: sa.Table, dialect: str, names: tuple[str, ...]) -> Any:
    """Return the statement. It is built once: SQLAlchemy knows what it has compiled by how it was built."""
    one, other = connections.alias(), connections.alias()
    of_account = [
        one.c.account_id == sa.bindparam("account_id", type_=events.c.account_id.type),
        one.c.mode == sa.bindparam("mode", type_=events.c.mode.type),
        *_through_platform(one),
        one.c.ended_at.is_(None),
    ]
    # With another tenant's, living or ended, or a second living one, there is somebody to choose from.
    disputed = sa.exists().where(
        other.c.account_id == one.c.account_id,
        other.c.mode == one.c.mode,
        *_through_platform(other),
        other.c.id != one.c.id,
        sa.or_(other.c.ended_at.is_(None), other.c.tenant_id != one.c.tenant_id),
    )
    said = [name for name in names if name not in _FOUND]
    given = [sa.bindparam(name, type_=events.c[name].type) for name in said]
    found = [one.c.mode, one.c.account_id, one.c.id, one.c.tenant_id]
    routed = sa.select(*given, *found).where(*of_account, sa.not_(disputed))
    insert = DIALECT_INSERT[dialect](events).from_select([*said, *_FOUND], routed, include_defaults=False)
    insert = insert.on_conflict_do_nothing(index_elements=["scope", "event_id"])
    return insert.returning(events.c.id, events.c.connection_id, events.c.tenant_id)


def _through_platform(connections: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    # Not NOT IN: SQLAlchemy writes a list of values into the statement anew each time that it runs.
    return [connections.c.account_type != kind for kind in (AccountType.RAW_KEYS, AccountType.PLATFORM)]


def adopt(state: State, row_id: int, values: Mapping[str, Any], event: Mapping[str, Any]) -> WebhookEvent:
    """Return the row that was just inserted with these values, as an object of the session, without reading it."""
    # Not by its constructor, which sets one attribute after the other as something new.
    row: WebhookEvent = _mapper(state.models.WebhookEvent).class_manager.new_instance()
    # It was parsed to be checked.
    row.__dict__.update(_AS_INSERTED, id=row_id, payload=dict(event), **values)
    make_transient_to_detached(row)
    state.session.add(row)
    return row


def routed_to(state: State, taken: Taken) -> Route:
    """Return where the event belongs. Its connection is read when somebody asks for it: few handlers do."""
    load = partial(state.session.get_one, state.models.Connection, taken.connection_id)
    return Route(cast(Connection, LocalProxy(load)), taken.tenant_id)


def set_processed(state: State, row: WebhookEvent, generation: int) -> bool:
    """Note that an event's handlers are done, in their transaction; return False if it is not ours any more.

    The caller commits, or rolls back.
    """
    done = _done(utcnow())
    # Whoever marked it has it alone: nobody else sees the row yet.
    is_ours = ahead.is_still_marked(state) or _note(state, sa.inspect(row).identity[0], generation, done)
    row.__dict__.update(done)
    return is_ours


def _done(now: datetime) -> dict[str, Any]:
    return {"status": EventStatus.processed, "processed_at": now, "due_at": None}


def _note(state: State, row_id: int, generation: int, values: Mapping[str, Any]) -> bool:
    ours = {"row_id": row_id, "row_generation": generation}
    updated = _connection(state).execute(_update_status(_table(state.models.WebhookEvent)), {**values, **ours})
    return updated.rowcount == 1


@lru_cache(maxsize=64)
def _update_status(events: sa.Table) -> Any:
    changed: dict[str, Any] = {name: sa.bindparam(name) for name in ("status", "processed_at", "due_at")}
    ours = [events.c[name] == sa.bindparam(f"row_{name}") for name in ("id", "generation")]
    return sa.update(events).where(*ours).values(changed)


def is_processed(state: State, values: Mapping[str, Any]) -> bool:
    """Tell whether the event was here before, and is done."""
    events = _table(state.models.WebhookEvent)
    return _connection(state).execute(_select_processed(events), values).first() is not None


@lru_cache(maxsize=64)
def _select_processed(events: sa.Table) -> Any:
    same = [events.c[name] == sa.bindparam(name) for name in ("scope", "event_id")]
    # That one which was fetched is delivered after all, the long way notes.
    done = [events.c.status == EventStatus.processed, sa.not_(events.c.was_missed)]
    return sa.select(events.c.id).where(*same, *done)


def note_delivery(state: State, values: Mapping[str, Any]) -> None:
    """Note that Stripe delivered after all what was fetched from its list. The caller commits."""
    model = state.models.WebhookEvent
    same = (model.scope == values["scope"], model.event_id == values["event_id"])
    # A worker that is at it is not waited for: it may have it for long.
    fetched = (model.was_missed, model.status != EventStatus.processing)
    came = sa.update(model).where(*same, *fetched).values(was_missed=False)
    state.session.execute(came.execution_options(synchronize_session=False))


def _connection(state: State) -> sa.Connection:
    """Return the session's connection to the database of the inbox. What is pending is not flushed."""
    return state.session.connection({"mapper": _mapper(state.models.WebhookEvent)})


def _mapper(model: Any) -> Mapper[Any]:
    return cast(Mapper[Any], model.__mapper__)


def _table(model: Any) -> sa.Table:
    return cast(sa.Table, model.__table__)
