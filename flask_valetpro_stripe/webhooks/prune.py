"""What is not needed any more is deleted: old events and their bodies, unused OAuth states, archived secrets."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from .. import audit, custody
from ..enums import EventStatus
from ..errors import SecretUnavailableError
from ..models import Secret
from ..state import State

log = logging.getLogger(__name__)
#: Rows of one transaction: few, so that webhooks wait for milliseconds.
BATCH: Final = 500
#: Stripe's list of events, from which missed ones are fetched, goes back 30 days. Until then and a little longer a row
#: is what makes a repeat harmless.
DEDUPE_DAYS: Final = 35
#: What is unfinished is kept however old it is: somebody still has to do something about it.
_FINISHED: Final = (EventStatus.processed, EventStatus.parked)
BODIES: Final = "bodies of events"
EVENTS: Final = "events"
STATES: Final = "started connections"
SECRETS: Final = "archived secrets"
#: Is called with the number of rows that were done since the last call.
Told = Callable[[int], object]


def count_prunable(state: State, now: datetime) -> int:
    """Return how much :func:`prune` would find. Commits."""
    total = 0
    for model, which in _what(state, now).values():
        total += state.session.scalar(sa.select(sa.func.count()).select_from(model).where(*which)) or 0
    state.session.commit()
    return total


def prune(
    state: State, now: datetime, told: Told = lambda _: None, *, batch: int = BATCH
) -> tuple[Counter[str], list[str]]:
    """Delete what is old enough; return how much of what, and a sentence for each secret that is left over. Commits.

    In small transactions, so that it may be killed at any time, and run while the app does.
    """
    what, done = _what(state, now), Counter[str]()
    # Whole events first: their bodies need no update any more.
    for name in (EVENTS, BODIES, STATES):
        model, which = what[name]
        act = sa.update(model).values(body=None) if name is BODIES else sa.delete(model)
        last = 0
        while keys := _one_batch(state, model, which, act, last, batch):
            last = keys[-1]
            done[name] += len(keys)
            told(len(keys))
    problems = []
    for connection_id in _connections(state, what[SECRETS][1]):
        try:
            done[SECRETS] += _destroy(state, connection_id, what[SECRETS][1], told)
        except SecretUnavailableError as error:
            state.session.rollback()
            problems.append(f"Archived secrets of connection {connection_id} are left: {error} {error.hint}")
    log.info("pruned: %s", ", ".join(f"{rows} {name}" for name, rows in done.items()) or "nothing")
    return done, problems


def _what(state: State, now: datetime) -> dict[str, tuple[Any, list[sa.ColumnElement[bool]]]]:
    """Return for each kind of thing its model, and which of it are to go."""
    event, oauth, secret = state.models.WebhookEvent, state.models.OAuthState, state.models.Secret
    days = state.config.retention_days
    kept, known = now - timedelta(days=days), now - timedelta(days=max(days, DEDUPE_DAYS))

    def finished_before(limit: datetime) -> list[sa.ColumnElement[bool]]:
        # What was replayed lately is looked at lately.
        untouched = sa.or_(event.processed_at.is_(None), event.processed_at < limit)
        return [event.received_at < limit, event.status.in_(_FINISHED), untouched]

    going = sa.and_(*finished_before(known))
    unused = sa.or_(secret.valid_until.is_(None), secret.valid_until < now)
    return {
        EVENTS: (event, finished_before(known)),
        BODIES: (event, [*finished_before(kept), sa.not_(going), event.body.is_not(None)]),
        STATES: (oauth, [oauth.expires_at < now]),
        SECRETS: (secret, [secret.archived_at < kept, secret.stored.is_not(None), unused]),
    }


def _one_batch(
    state: State, model: Any, which: list[sa.ColumnElement[bool]], act: Any, last: int, batch: int
) -> Sequence[int]:
    """Do it to the next rows of which it is true, and return their keys; those that somebody has locked are left."""
    picked = sa.select(model.id).where(model.id > last, *which).order_by(model.id).limit(batch)
    keys = state.session.scalars(picked.with_for_update(skip_locked=True)).all()
    if keys:
        # Asked again: SQLite locks nothing by reading.
        state.session.execute(act.where(model.id.in_(keys), *which), execution_options={"synchronize_session": False})
    state.session.commit()
    return keys


def _connections(state: State, which: list[sa.ColumnElement[bool]]) -> list[int]:
    model = state.models.Secret
    found = state.session.scalars(sa.select(model.connection_id).where(*which).distinct()).all()
    state.session.commit()
    return list(found)


def _destroy(state: State, connection_id: int, which: list[sa.ColumnElement[bool]], told: Told) -> int:
    """Destroy a connection's archived secrets that are to go, each with its entry in the tenant's audit chain."""
    connection = state.session.get_one(state.models.Connection, connection_id)
    model, destroyed = state.models.Secret, 0

    def record(row: Secret) -> None:
        audit.record_about(state, connection, actor="operator", action="secret_destroyed", fingerprint=row.fingerprint)

    for row in list(state.session.scalars(sa.select(model).where(model.connection_id == connection_id, *which))):
        destroyed += custody.destroy(state, connection, [row], told=record)
        told(1)
    return destroyed
