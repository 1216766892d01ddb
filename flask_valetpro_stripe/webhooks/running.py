"""Runs the handlers of an event, and notices if one of them takes the event itself along by rolling back."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from ..models import WebhookEvent
from ..state import State

#: Where a session keeps how often it was rolled back.
_ROLLBACKS: Final = "valetpro_stripe_rollbacks"


def watch_rollbacks(sessions: scoped_session[Any]) -> None:
    """Let each of a host's sessions count how often it was rolled back."""
    sa.event.listen(sessions, "after_soft_rollback", _count_rollback)


def _count_rollback(session: Session, ended: SessionTransaction) -> None:
    # That of a savepoint takes nothing of ours along.
    if ended.parent is None:
        session.info[_ROLLBACKS] = session.info.get(_ROLLBACKS, 0) + 1


def run_handlers(state: State, row: WebhookEvent) -> None:
    """Call every handler of an event in the session's transaction, and flush. The caller commits.

    :raises RuntimeError: if a handler rolled the transaction back; and whatever a handler raises.
    """
    session = state.session
    before = session.info.get(_ROLLBACKS)
    for handler in state.registry.handlers_of(row.type):
        handler(row)
    session.flush()
    # Who closes the session or removes it has rolled back as well.
    if session.info.get(_ROLLBACKS) != before or row not in state.session:
        raise RuntimeError("A handler rolled the session back, and the event too. Use db.session.begin_nested().")
