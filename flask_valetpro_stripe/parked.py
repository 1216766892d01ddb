"""Events that came before anybody had their account: given to whoever links it, kept within bounds until then."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from .enums import AccountType, EventStatus, Mode
from .models import Connection
from .models.types import utcnow
from .state import State

#: Why an event is parked whose account no connection has.
NOBODYS: Final = "No tenant has this account."
#: Events of nobody's that are kept of one account, and of all together: the newest.
MOST_OF_ACCOUNT: Final = 200
MOST: Final = 10_000
#: As long as somebody who connects by OAuth may take at Stripe.
_CONSENT: Final = timedelta(minutes=10)
#: Whose events do not come by the platform's endpoint, or name no account there.
_WITHOUT_CONNECT: Final = frozenset({AccountType.RAW_KEYS, AccountType.PLATFORM})
#: A withdrawal that came meanwhile was judged by whoever linked the account, and a later one names a connection.
_WITHDRAWAL: Final = "account.application.deauthorized"


def linking_began(connection: Connection) -> datetime:
    """Return since when Stripe may tell of a connection: with OAuth, its row is made only after the consent."""
    by_oauth = connection.account_type is AccountType.CONNECT_STANDARD and connection.accounts_api is None
    return connection.created_at - (_CONSENT if by_oauth else timedelta())


def release(state: State, connection: Connection) -> int:
    """Give a connection what came for its account while it was being linked; return how many events that were.

    They are due from now on. Nothing older than the linking is among them: it may be of a time when the account was
    somebody else's. The caller commits.
    """
    if connection.account_id is None or connection.account_type in _WITHOUT_CONNECT:
        return 0
    model = state.models.WebhookEvent
    given = {"connection_id": connection.id, "tenant_id": connection.tenant_id}
    released = state.session.scalars(
        sa.update(model)
        .where(
            _is_nobodys(state),
            model.error == NOBODYS,
            model.account_id == connection.account_id,
            model.mode == connection.mode,
            model.received_at >= linking_began(connection),
            model.type != _WITHDRAWAL,
        )
        .values(status=EventStatus.received, error=None, due_at=utcnow(), **given)
        .returning(model.id)
        .execution_options(synchronize_session=False)
    )
    return len(released.all())


def keep_within_bounds(state: State, *, most: int = MOST, most_of_account: int = MOST_OF_ACCOUNT) -> int:
    """Delete the oldest of too many parked events that are nobody's; return how many. The caller commits.

    Nothing was done about them, so that one that comes again is no duplicate.

    :param most: how many are kept in all.
    :param most_of_account: how many are kept of one account.
    """
    model = state.models.WebhookEvent
    of_account = sa.func.row_number().over(partition_by=(model.account_id, model.mode), order_by=model.id.desc())
    each = sa.select(model.id, of_account.label("of_account")).where(_is_nobodys(state)).subquery()
    # What one account has too much of takes no place of the others'.
    newest_first = (each.c.of_account > most_of_account, each.c.id.desc())
    of_all = sa.func.row_number().over(order_by=newest_first)
    ranked = sa.select(each.c.id, each.c.of_account, of_all.label("of_all")).subquery()
    too_many = sa.or_(ranked.c.of_account > most_of_account, ranked.c.of_all > most)
    deleted = state.session.scalars(
        sa.delete(model)
        # Asked again: one may have been released meanwhile.
        .where(model.id.in_(sa.select(ranked.c.id).where(too_many)), _is_nobodys(state))
        .returning(model.id)
        .execution_options(synchronize_session=False)
    )
    return len(deleted.all())


def count(state: State) -> dict[Mode, int]:
    """Return how many parked events there are in each mode, tenants' own among them."""
    model = state.models.WebhookEvent
    # In the statement itself: of a parameter, PostgreSQL cannot know that the index has all that fits.
    is_parked = sa.bindparam(None, EventStatus.parked, type_=model.status.type, literal_execute=True)
    wanted = sa.select(model.mode, sa.func.count().label("events")).where(model.status == is_parked)
    return {row.mode: row.events for row in state.session.execute(wanted.group_by(model.mode))}


def _is_nobodys(state: State) -> sa.ColumnElement[bool]:
    model = state.models.WebhookEvent
    return sa.and_(
        model.status == EventStatus.parked,
        model.connection_id.is_(None),
        model.tenant_id.is_(None),
        # Of a pruned one nothing is left to work on.
        model.body.is_not(None),
    )
