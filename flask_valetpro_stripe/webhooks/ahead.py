"""An event that is marked as done when it is inserted: its handlers need no statement more to end their transaction.

Nobody sees the mark before they are done: it is committed with what they wrote, and goes with the row if they fail or
the process is killed. Should one of them commit by itself, the mark is taken back first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from ..state import State

#: Seconds that handlers may take for the time of the mark to be that of their end; after more, it is written anew.
AT_ONCE: Final = 1.0
#: Where a session keeps the mark.
_MARK: Final = "valetpro_stripe_mark"


class _Mark(NamedTuple):
    transaction: SessionTransaction | None
    set_at: float
    take_back: Callable[[], object]


def watch_commits(sessions: scoped_session[Any]) -> None:
    """Let each of a host's sessions take a mark back before it commits what is not done."""
    sa.event.listen(sessions, "before_commit", _before_commit)


def can_be_taken_back(connection: sa.Connection) -> bool:
    """Tell whether a statement waits for the commit, as it does unless the host's engine commits each by itself."""
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        # Or its host begins transactions by itself: who knows.
        return driver.isolation_level is not None and getattr(driver, "autocommit", False) is not True
    return not getattr(driver, "autocommit", True)


def mark(state: State, take_back: Callable[[], object]) -> None:
    """Remember that the session's transaction has an event marked as done whose handlers run now."""
    session = state.session
    session.info[_MARK] = _Mark(session.get_transaction(), state.clock(), take_back)


def is_still_marked(state: State) -> bool:
    """Tell whether the mark stands, now that the handlers are done, and forget it: the next commit is ours."""
    session = state.session
    found: _Mark | None = session.info.pop(_MARK, None)
    if found is None or found.transaction is not session.get_transaction():
        return False
    return state.clock() - found.set_at < AT_ONCE


def _before_commit(session: Session) -> None:
    # A savepoint's end commits nothing.
    if _MARK not in session.info or session.in_nested_transaction():
        return
    found: _Mark = session.info.pop(_MARK)
    # Otherwise it was rolled back, with the row.
    if found.transaction is session.get_transaction():
        found.take_back()
