"""The inbox: one insert takes an event in, and its handlers' writes commit with it or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm.attributes import set_committed_value

from .. import signals
from ..context import event_context
from ..counts import Outcome
from ..enums import EventStatus, Mode
from ..models import Connection, WebhookEvent
from ..models.types import utcnow
from ..state import State
from . import claims, quick
from .claims import Claim
from .lock_order import ABOUT_ACCOUNTS, lock_tenants_first
from .reasons import reason_of
from .route import Route, route, route_again, route_by
from .running import run_handlers
from .verify import Endpoint, account_of

log = logging.getLogger(__name__)
#: Asks Stripe, through a connection or on the platform's own account, about an event of one type.
Fetcher = Callable[[State, Connection | None, Mapping[str, Any]], Any]
Fetchers = Mapping[str, Fetcher]


class HandlerFailedError(Exception):
    """A handler raised. Its writes are gone, the event is recorded as failed, and is tried again."""


class InFlightError(Exception):
    """Somebody else is handling the event at this moment; how it ends is not known yet."""


def receive(state: State, endpoint: Endpoint, event: Mapping[str, Any], body: str, fetchers: Fetchers) -> Outcome:
    """Take in one genuine event, and return what came of it: it is committed, and a repeat of it changes nothing.

    Inline, its handlers have run. With ``PROCESSING="celery"`` it is stored, and a worker is told.

    :raises HandlerFailedError: if a handler raised.
    :raises InFlightError: if a worker has it at this moment.
    :raises sqlalchemy.exc.DBAPIError: if the database cannot answer.
    """
    if state.enqueue is not None:
        return _store_one(state, endpoint, event, body)[1]
    if event["type"] not in fetchers and (outcome := _receive_quickly(state, endpoint, event, body)):
        return outcome
    found = route(state, endpoint, event)
    values = _values(endpoint, event, body, found)
    # A captured delivery that is sent again and again must not make us ask Stripe each time.
    if event["type"] in fetchers and _was_here(state, values):
        return "duplicate"
    started_at = utcnow()
    fetched = _fetch(state, found, event, fetchers)
    found = route_by(state, found, fetched)
    values = _values(endpoint, event, body, found)
    lock_tenants_first(state, found, endpoint.scope, values["account_id"], event["type"])
    row = _take_in(state, values)
    if row is None:
        quick.note_delivery(state, values)
        state.session.commit()
        log.info("webhook %s was here before", event["id"])
        return "duplicate"
    row.fetched, row.fetched_at = fetched, started_at
    return _handle(state, values, row, found)


def _receive_quickly(state: State, endpoint: Endpoint, event: Mapping[str, Any], body: str) -> Outcome | None:
    """Take in an event by the short way, or a repeat of it; return None if only the long way can."""
    if not quick.is_ordinary(endpoint, event) or event["type"].startswith(ABOUT_ACCOUNTS):
        return None
    # Should a handler commit by itself, no worker takes it while we are at it.
    values = {**_values(endpoint, event, body, Route()), "due_at": utcnow() + claims.LONG_LEASE}
    taken = quick.insert_marked(state, values)
    if taken is None:
        return "duplicate" if _was_here(state, values) else None
    values |= {"connection_id": taken.connection_id, "tenant_id": taken.tenant_id}
    return _handle(state, values, quick.adopt(state, taken.id, values, event), quick.routed_to(state, taken))


def _was_here(state: State, values: Mapping[str, Any]) -> bool:
    """Tell whether the event is done, and end the transaction if it is."""
    if not quick.is_processed(state, values):
        return False
    state.session.rollback()
    log.info("webhook %s was here before", values["event_id"])
    return True


def _handle(state: State, values: Mapping[str, Any], row: WebhookEvent, found: Route) -> Outcome:
    """Run the handlers of a row that is ours, if any may run, and commit what they wrote with it."""
    status = row.status
    with _present(state, found):
        if found.parked is None:
            generation = row.generation
            _run_inline(state, row, values, generation)
            if not quick.set_processed(state, row, generation):
                # A handler committed by itself, and somebody else has the event since.
                raise InFlightError(values["event_id"])
            status = EventStatus.processed
        state.session.commit()
        _tell(state, row, status)
    return "parked" if status is EventStatus.parked else "taken"


def store(
    state: State, endpoint: Endpoint, event: Mapping[str, Any], body: str, *, was_missed: bool = False
) -> int | None:
    """Store one genuine event for a worker; return its row's id, or None if it was here before. Commits.

    :param was_missed: nobody delivered it.
    """
    return _store_one(state, endpoint, event, body, **({"was_missed": True} if was_missed else {}))[0]


def _store_one(
    state: State, endpoint: Endpoint, event: Mapping[str, Any], body: str, **more: Any
) -> tuple[int | None, Outcome]:
    if quick.is_ordinary(endpoint, event):
        taken = quick.store_routed(state, {**_values(endpoint, event, body, Route()), "attempts": 0, **more})
        if taken is not None:
            _enqueue(state, taken.id, event["type"])
            return taken.id, "taken"
    return _store(state, {**_values(endpoint, event, body, route(state, endpoint, event)), **more})


def work(state: State, claimed: Claim, fetchers: Fetchers) -> EventStatus | None:
    """Handle a claimed event; return what became of it, or None if somebody else has it by now. Commits."""
    try:
        return _work(state, claimed, fetchers)
    except Exception as error:
        state.session.rollback()
        log.exception("webhook %s (%s) failed", claimed.event_id, claimed.type)
        reason = reason_of(error)
    if not claims.fail(state, claimed, reason):
        return None
    state.tell(signals.webhook_failed, event_id=claimed.event_id, type=claimed.type, error=reason)
    return EventStatus.dead if claimed.attempts >= claims.MOST_ATTEMPTS else EventStatus.failed


def _work(state: State, claimed: Claim, fetchers: Fetchers) -> EventStatus | None:
    started_at = utcnow()
    fetched = _fetch_and_lock(state, claimed, fetchers)
    held = claims.hold(state, claimed)
    if held is None:
        state.session.rollback()
        return None
    row, known = held.row, route_again(state, held.row, is_over=held.is_over)
    row.fetched, row.fetched_at = fetched, started_at
    found = route_by(state, known, fetched)
    if found is not known and found.connection is not None:
        row.connection_id, row.tenant_id = found.connection.id, found.tenant_id
        # What is parked runs no handlers, after which it would be written.
        state.session.flush()
    status = EventStatus.processed if found.parked is None else EventStatus.parked
    with _present(state, found):
        # Not as a change: it is written when all is done.
        set_committed_value(row, "error", found.parked)
        if found.parked is None:
            with claims.kept(state, claimed):
                run_handlers(state, row)
        if not claims.finish(state, claimed, status, row.error):
            state.session.rollback()
            return None
        # For hosts whose sessions keep what they have read after a commit.
        state.session.expire(row)
        state.session.commit()
        _tell(state, row, status)
    return status


def _fetch_and_lock(state: State, claimed: Claim, fetchers: Fetchers) -> Any:
    """Return Stripe's answer about an event, and lock whom its handlers will lock, before the event itself is."""
    if claimed.type not in fetchers and not claimed.type.startswith(ABOUT_ACCOUNTS):
        return None
    held = claims.look(state, claimed)
    if held is None:
        return None
    row, found = held.row, route_again(state, held.row, is_over=held.is_over)
    with claims.kept(state, claimed):
        fetched = _fetch(state, found, row.payload, fetchers)
    found = route_by(state, found, fetched)
    # Read again after the network: the transaction before it is over.
    state.session.commit()
    lock_tenants_first(state, found, row.scope, row.account_id, row.type)
    return fetched


def _fetch(state: State, found: Route, event: Mapping[str, Any], fetchers: Fetchers) -> Any:
    """Return Stripe's own answer where the event is only a hint; asked before anything is locked."""
    fetcher = fetchers.get(event["type"])
    if fetcher is None or found.parked:
        return None
    return fetcher(state, found.connection or found.witness, event)


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
        "due_at": None if found.parked else utcnow(),
    }


def _insert(state: State, values: Mapping[str, Any]) -> Any:
    model = state.models.WebhookEvent
    dialect = state.session.get_bind(sa.inspect(model)).dialect.name
    return quick.DIALECT_INSERT[dialect](model).values(**values)


def _store(state: State, values: dict[str, Any]) -> tuple[int | None, Outcome]:
    model = state.models.WebhookEvent
    insert = _insert(state, {**values, "attempts": 0}).on_conflict_do_nothing(index_elements=["scope", "event_id"])
    stored: int | None = state.session.scalar(insert.returning(model.id))
    if stored is None:
        stored = _store_again(state, values)
    if stored is None and "was_missed" not in values:
        quick.note_delivery(state, values)
    state.session.commit()
    if stored is None:
        log.info("webhook %s was here before", values["event_id"])
        return None, "duplicate"
    if values["status"] is EventStatus.parked:
        _tell(state, state.session.get_one(model, stored), EventStatus.parked)
        return stored, "parked"
    _enqueue(state, stored, values["type"])
    return stored, "taken"


def _enqueue(state: State, row_id: int, event_type: str) -> None:
    if state.enqueue is not None:
        state.enqueue(row_id, event_type)


def _store_again(state: State, values: Mapping[str, Any]) -> int | None:
    """Let a parked event that has a tenant now be worked on anew; return its id, or None if nothing changes."""
    model = state.models.WebhookEvent
    # Account and body too: it is this delivery that was routed, and the body may have been pruned since.
    names = ("status", "error", "connection_id", "tenant_id", "account_id", "body", "due_at")
    again: int | None = state.session.scalar(
        sa.update(model)
        .where(
            model.scope == values["scope"],
            model.event_id == values["event_id"],
            model.status == EventStatus.parked,
            # What came for one tenant never becomes another's, whoever has its account by now.
            sa.or_(model.tenant_id.is_(None), model.tenant_id == values["tenant_id"]),
            sa.literal(values["status"] is not EventStatus.parked),
        )
        .values(
            # Stripe delivers it after all, unless it was fetched once more.
            was_missed=sa.and_(model.was_missed, sa.literal("was_missed" in values)),
            attempts=0,
            processed_at=None,
            **{name: values[name] for name in names},
        )
        .returning(model.id)
        .execution_options(synchronize_session=False)
    )
    return again


def _take_in(state: State, values: Mapping[str, Any]) -> WebhookEvent | None:
    """Return the event's row, ours alone until we commit, or None if nothing is left to do.

    A parallel delivery of the same event waits at the unique index until we commit, and then finds it done.
    """
    model = state.models.WebhookEvent
    # Should a handler commit by itself, no worker takes it while we are at it.
    ours = values if values["due_at"] is None else {**values, "due_at": utcnow() + claims.LONG_LEASE}
    insert = _insert(state, ours).on_conflict_do_nothing(index_elements=["scope", "event_id"]).returning(model)
    row: WebhookEvent | None = state.session.scalar(insert)
    return row if row is not None else _take_again(state, values)


def _take_again(state: State, values: Mapping[str, Any]) -> WebhookEvent | None:
    """Return the row of a redelivery if it has work left: it did not finish, or was parked and has a tenant now.

    :raises InFlightError: if a worker has it.
    """
    # First without a lock: a worker has it as long as it works, and many repeats of what is done must not queue up.
    if _find_unfinished(state, values, lock=False) is None:
        return None
    row = _find_unfinished(state, values, lock=True)
    if row is None:
        return None
    if row.status is EventStatus.parked:
        # It begins anew, whatever was tried before it was put aside.
        row.attempts, row.processed_at = 0, None
    # Account and body too: it is this delivery that was routed, and the body may have been pruned since.
    for name in ("status", "error", "connection_id", "tenant_id", "account_id", "body"):
        setattr(row, name, values[name])
    row.was_missed = False
    row.due_at = utcnow() + claims.LONG_LEASE
    row.attempts += 1
    # From a worker whose lease has ended and who may yet come back.
    row.generation += 1
    return row


def _find_unfinished(state: State, values: Mapping[str, Any], *, lock: bool) -> WebhookEvent | None:
    model = state.models.WebhookEvent
    wanted = sa.select(model).where(model.scope == values["scope"], model.event_id == values["event_id"])
    row = state.session.scalar((wanted.with_for_update() if lock else wanted).execution_options(populate_existing=True))
    if row is None or row.status in (EventStatus.processed, EventStatus.dead) or values["status"] is EventStatus.parked:
        return None
    if row.tenant_id not in (None, values["tenant_id"]):
        # What came for one tenant never becomes another's, whoever has its account by now.
        return None
    if row.status is EventStatus.processing and row.due_at is not None and row.due_at > utcnow():
        raise InFlightError(values["event_id"])
    return row


def _present(state: State, found: Route) -> AbstractContextManager[None]:
    """Make the event's tenant and connection the present ones; the host's loader has no say in Stripe's request."""

    def tenant() -> Any:
        return None if found.tenant_id is None else state.session.get(state.models.Tenant, found.tenant_id)

    return event_context(tenant, found.connection)


def _run_inline(state: State, row: WebhookEvent, values: Mapping[str, Any], generation: int) -> None:
    try:
        run_handlers(state, row)
    except Exception as error:
        state.session.rollback()
        log.exception("webhook %s (%s) failed", values["event_id"], values["type"])
        _record_failure(state, values, generation, reason_of(error))
        raise HandlerFailedError(values["event_id"]) from error


def _record_failure(state: State, values: Mapping[str, Any], generation: int, reason: str) -> None:
    """Commit that the event failed, by itself: what the handlers wrote is gone."""
    model = state.models.WebhookEvent
    # This try is counted already if a handler has committed; and what was parked begins anew.
    is_counted = sa.and_(model.generation == generation, model.status == EventStatus.received)
    is_parked = model.status == EventStatus.parked
    before = sa.case((is_counted, model.attempts - 1), (is_parked, 0), else_=model.attempts)
    is_same = (model.scope == values["scope"], model.event_id == values["event_id"])
    attempts = (state.session.scalar(sa.select(before).where(*is_same)) or 0) + 1
    failed = claims.after_failure(reason, attempts)
    insert = _insert(state, {**values, **failed})
    # What was parked has a tenant now, and perhaps no body any more.
    routed = {name: values[name] for name in ("connection_id", "tenant_id", "account_id", "body")}
    found = {**routed, "was_missed": False, "processed_at": None}
    counted = {"attempts": before + 1, "generation": model.generation + 1}
    # A worker whose lease has ended was most likely killed: nobody else will count this failure.
    is_somebodys = sa.and_(model.status == EventStatus.processing, model.due_at > utcnow())
    state.session.execute(
        insert.on_conflict_do_update(
            index_elements=["scope", "event_id"],
            set_={**failed, **found, **counted},
            where=sa.and_(model.status != EventStatus.processed, sa.not_(is_somebodys)),
        )
    )
    state.session.commit()
    state.tell(signals.webhook_failed, event_id=values["event_id"], type=values["type"], error=reason)


def _tell(state: State, row: WebhookEvent, status: EventStatus) -> None:
    """Send what happened to whoever listens: the event is committed."""
    signal = signals.webhook_parked if status is EventStatus.parked else signals.webhook_received
    if signal.has_receivers_for(state.app):
        # Whoever listens may keep it beyond the session.
        state.session.refresh(row)
    state.tell(signal, event=row)
    for fact in row.facts:
        fact()
