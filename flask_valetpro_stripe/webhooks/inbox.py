"""The inbox: one insert claims an event, and its handlers' writes commit with it or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from .. import audit, signals
from ..context import event_context
from ..enums import EventStatus, Mode
from ..gateway import scrub
from ..models import Connection, WebhookEvent
from ..models.types import utcnow
from ..state import State
from .route import Route, route
from .verify import Endpoint, account_of

log = logging.getLogger(__name__)
_DIALECT_INSERT: Final[Mapping[str, Callable[..., Any]]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
#: How the types of events begin whose handlers change connections.
_ABOUT_ACCOUNTS: Final = ("account.", "v2.core.account")
#: Asks Stripe for the object that an event of one type is about.
Fetcher = Callable[[State, Connection], Any]


class HandlerFailedError(Exception):
    """A handler raised. Its writes are gone, the event is recorded as failed, and a redelivery runs it again."""


def receive(
    state: State, endpoint: Endpoint, event: Mapping[str, Any], body: str, fetchers: Mapping[str, Fetcher]
) -> None:
    """Take in one genuine event: when this returns, it is committed, and a repeat of it changes nothing.

    :raises HandlerFailedError: if a handler raised.
    :raises sqlalchemy.exc.DBAPIError: if the database cannot answer.
    """
    found = route(state, endpoint, event)
    started_at = utcnow()
    fetched = _fetch(state, found, event, fetchers)
    values = _values(endpoint, event, body, found)
    if found.parked is None and found.tenant_id is not None and event["type"].startswith(_ABOUT_ACCOUNTS):
        # Its handlers lock the tenant, and the row that is inserted now holds its connection in place: tenants first.
        audit.lock_tenant(state, found.tenant_id)
    row = _claim(state, values)
    if row is None:
        state.session.rollback()
        log.info("webhook %s was here before", event["id"])
        return
    row.fetched, row.fetched_at = fetched, started_at
    with _present(state, found):
        if found.parked is None:
            _run_handlers(state, row, values)
            row.status, row.processed_at = EventStatus.processed, utcnow()
        state.session.commit()
        _tell(state, row)


def _fetch(state: State, found: Route, event: Mapping[str, Any], fetchers: Mapping[str, Fetcher]) -> Any:
    """Return Stripe's own answer where the event is only a hint; asked before anything is locked."""
    fetcher, connection = fetchers.get(event["type"]), found.connection or found.witness
    if fetcher is None or found.parked or connection is None:
        return None
    return fetcher(state, connection)


def _values(endpoint: Endpoint, event: Mapping[str, Any], body: str, found: Route) -> dict[str, Any]:
    return {
        "scope": endpoint.scope,
        "event_id": event["id"],
        "type": event["type"],
        "mode": Mode.of(event["livemode"]),
        "account_id": account_of(endpoint, event),
        "connection_id": found.connection.id if found.connection else None,
        "tenant_id": found.tenant_id,
        # Not yet processed: a handler that commits on its own and then fails must be run again.
        "status": EventStatus.parked if found.parked else EventStatus.received,
        "error": found.parked,
        "attempts": 1,
        "body": body,
        "received_at": utcnow(),
    }


def _insert(state: State, values: Mapping[str, Any]) -> Any:
    model = state.models.WebhookEvent
    dialect = state.session.get_bind(sa.inspect(model)).dialect.name
    return _DIALECT_INSERT[dialect](model).values(**values)


def _claim(state: State, values: Mapping[str, Any]) -> WebhookEvent | None:
    """Return the event's row, ours alone until we commit, or None if nothing is left to do.

    A parallel delivery of the same event waits at the unique index until we commit, and then finds it done.
    """
    model = state.models.WebhookEvent
    insert = _insert(state, values).on_conflict_do_nothing(index_elements=["scope", "event_id"]).returning(model)
    row: WebhookEvent | None = state.session.scalar(insert)
    return row if row is not None else _claim_again(state, values)


def _claim_again(state: State, values: Mapping[str, Any]) -> WebhookEvent | None:
    """Return the row of a redelivery if it has work left: it did not finish, or was parked and has a tenant now."""
    model = state.models.WebhookEvent
    row = state.session.scalar(
        sa.select(model)
        .where(model.scope == values["scope"], model.event_id == values["event_id"])
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None or row.status is EventStatus.processed or values["status"] is EventStatus.parked:
        return None
    for name in ("status", "error", "connection_id", "tenant_id"):
        setattr(row, name, values[name])
    row.attempts += 1
    return row


def _present(state: State, found: Route) -> AbstractContextManager[None]:
    """Make the event's tenant and connection the present ones; the host's loader has no say in Stripe's request."""

    def tenant() -> Any:
        return None if found.tenant_id is None else state.session.get(state.models.Tenant, found.tenant_id)

    return event_context(tenant, found.connection)


def _run_handlers(state: State, row: WebhookEvent, values: Mapping[str, Any]) -> None:
    begun = state.session.get_transaction()
    try:
        for handler in state.registry.handlers_of(row.type):
            handler(row)
        state.session.flush()
        if state.session.get_transaction() is not begun:
            _require_row(state, row)
    except Exception as error:
        state.session.rollback()
        log.exception("webhook %s (%s) failed", values["event_id"], values["type"])
        _record_failure(state, values, error)
        raise HandlerFailedError(values["event_id"]) from error


def _require_row(state: State, row: WebhookEvent) -> None:
    """A handler ended our transaction: committed, the event is there; rolled back, it went with what was written."""
    model = state.models.WebhookEvent
    if state.session.get(model, sa.inspect(row).identity, populate_existing=True) is None:
        raise RuntimeError("A handler rolled the session back, and the event too. Use db.session.begin_nested().")


def _record_failure(state: State, values: Mapping[str, Any], error: Exception) -> None:
    """Commit that the event failed, by itself: what the handlers wrote is gone."""
    model = state.models.WebhookEvent
    # An error may quote what no database stores: null characters, or halves of surrogate pairs.
    # SQLAlchemy's own text holds the statement's parameters, guests' data among them; the driver's holds less.
    words = error.orig if isinstance(error, DBAPIError) else error
    said = f"{type(error).__name__}: {words}".replace("\0", "").encode(errors="replace").decode()
    reason = scrub(said)[:500]
    failed = {"status": EventStatus.failed, "error": reason}
    insert = _insert(state, {**values, **failed})
    state.session.execute(
        insert.on_conflict_do_update(
            index_elements=["scope", "event_id"],
            set_={**failed, "attempts": model.attempts + 1},
            where=model.status != EventStatus.processed,
        )
    )
    state.session.commit()
    state.tell(signals.webhook_failed, event_id=values["event_id"], type=values["type"], error=reason)


def _tell(state: State, row: WebhookEvent) -> None:
    """Send what happened to whoever listens: the event is committed."""
    signal = signals.webhook_parked if row.status is EventStatus.parked else signals.webhook_received
    state.tell(signal, event=row)
    for fact in row.facts:
        fact()
