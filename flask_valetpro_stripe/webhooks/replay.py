"""An event handled once more because a person wants it: by the same way, for the same tenant, and noted who it was."""

from __future__ import annotations

import logging
from typing import Any, Final

import sqlalchemy as sa

from .. import audit
from ..enums import EventStatus
from ..errors import ValetProStripeError
from ..models import WebhookEvent, key_of
from ..models.types import utcnow
from ..state import State
from . import claims
from .inbox import Fetchers, work
from .route import Route, route
from .verify import TENANTS_OWN, Endpoint

log = logging.getLogger(__name__)
#: Replays of one tenant's events within :data:`.audit.WINDOW` that its admins may ask for.
MOST: Final = 20
REPLAYED: Final = "event_replayed"


def replay_own(state: State, tenant: Any, row_id: int, fetchers: Fetchers, *, actor: str) -> EventStatus:
    """Handle one of a tenant's own events once more, for its admin; return what became of it. Commits.

    :raises ValetProStripeError: as :func:`replay` does; if the tenant has no such event, whoever else may have it; or
        if its admins replayed :data:`MOST` events just now.
    """
    model = state.models.WebhookEvent
    row = state.session.scalar(sa.select(model).where(model.id == row_id, model.tenant_id == key_of(tenant)))
    if row is None:
        raise ValetProStripeError(
            "There is no such event.",
            code="unknown_event",
            hint="Load the page again: the event may have been deleted.",
        )
    if audit.count_recent(state, tenant, REPLAYED) >= MOST:
        state.session.rollback()
        raise ValetProStripeError(
            f"{MOST} events were replayed in the last minutes.",
            code="too_many_replays",
            hint="Try again in ten minutes.",
        )
    return replay(state, row, fetchers, actor=actor)


def replay(state: State, row: WebhookEvent, fetchers: Fetchers, *, actor: str, force: bool = False) -> EventStatus:
    """Handle an event once more, at once; return what became of it. Commits.

    What failed or is dead is run again, with as many tries as a new event. What was parked finds its tenant anew, and
    stays parked where there is still none, or another one than before.

    :param force: also one that was processed. What its handlers did stays done: ours notice, the host's may not.
    :raises ValetProStripeError: if it was processed, if its body was pruned, or if somebody is at it in this moment.
    """
    row_id = row.id
    _refuse_useless(state, row, force=force)
    found = _route_anew(state, row) if row.status is EventStatus.parked else Route(None, row.tenant_id)
    if found.parked is not None:
        state.session.rollback()
        return EventStatus.parked
    _set_due(state, row, found, actor)
    claimed = claims.claim(state, row_id, early=True)
    status = work(state, claimed, fetchers) if claimed else None
    # None: a worker was faster, and is at it.
    return status or EventStatus.processing


def _refuse_useless(state: State, row: WebhookEvent, *, force: bool) -> None:
    if row.body is None:
        days = state.config.retention_days
        raise ValetProStripeError(
            f"What the event {row.event_id} said was deleted, as for every event after {days} days, so it cannot be "
            "handled again.",
            code="event_pruned",
            hint="Compare the payment with Stripe instead: payments.sync asks for its present state.",
        )
    if row.status is EventStatus.processed and not force:
        raise ValetProStripeError(
            f"The event {row.event_id} was handled already, so there is nothing to do.", code="already_processed"
        )
    if row.status is EventStatus.processing and row.due_at is not None and row.due_at > utcnow():
        raise _in_flight(row.event_id)


def _in_flight(event_id: str) -> ValetProStripeError:
    return ValetProStripeError(
        f"The event {event_id} is being handled in this moment.", code="in_flight", hint="Look again in a minute."
    )


def _route_anew(state: State, row: WebhookEvent) -> Route:
    endpoint = _endpoint_of(state, row)
    if endpoint is None:
        return Route(parked=row.error or "Its endpoint is not there any more.")
    found = route(state, endpoint, row.payload)
    if found.parked is None and row.tenant_id not in (None, found.tenant_id):
        return Route(parked="It is another tenant's account by now.")
    return found


def _endpoint_of(state: State, row: WebhookEvent) -> Endpoint | None:
    """Return the endpoint that a stored event came by, as far as routing asks about it: without its secrets."""
    if not row.scope.startswith(TENANTS_OWN):
        return next((endpoint for endpoint in state.platform_endpoints if endpoint.scope == row.scope), None)
    connection = state.session.get(state.models.Connection, int(row.scope.removeprefix(TENANTS_OWN)))
    if connection is None:
        return None
    return Endpoint(row.scope, connection.mode, False, (), connection.id, connection.account_id)


def _set_due(state: State, row: WebhookEvent, found: Route, actor: str) -> None:
    """Let the event be taken at once, as if it had just come, and note who wanted that. Commits."""
    model, known = state.models.WebhookEvent, {"event_id": row.event_id, "type": row.type, "was": row.status}
    row_id, event_id, status, generation = row.id, row.event_id, row.status, row.generation
    parked = status is EventStatus.parked
    given = {"tenant_id": found.tenant_id, "connection_id": found.connection.id if found.connection else None}
    connection_id = given["connection_id"] if parked else row.connection_id
    if found.tenant_id is not None:
        # First, since it locks the tenant, which comes before its rows.
        connection = state.session.get(state.models.Connection, connection_id) if connection_id else None
        tenant_id = found.tenant_id
        audit.record(state, tenant_id=tenant_id, connection=connection, actor=actor, action=REPLAYED, **known)
    anew = {"status": EventStatus.received, "attempts": 0, "due_at": utcnow(), "processed_at": None, "error": None}
    taken = state.session.scalar(
        sa.update(model)
        .where(model.id == row_id, model.status == status, model.generation == generation, model.body.is_not(None))
        .values(**anew, generation=generation + 1, **(given if parked else {}))
        .returning(model.id)
        .execution_options(synchronize_session=False)
    )
    if taken is None:
        state.session.rollback()
        raise _in_flight(event_id)
    state.session.commit()
    log.info("webhook %s is replayed for %s", event_id, actor)
