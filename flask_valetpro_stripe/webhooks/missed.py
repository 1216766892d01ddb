"""Events that Stripe has and we do not: listed by its API, and taken in as if they had been delivered."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

import sqlalchemy as sa
import stripe

from ..credentials import client_for
from ..enums import AccountType, Mode
from ..gateway import ask_stripe, make_account_client
from ..models import Connection
from ..models.types import utcnow
from ..parked import linking_began
from ..state import State
from .inbox import store
from .verify import TENANTS_OWN, Endpoint, RefusedError, parse_event, refuse_foreign

log = logging.getLogger(__name__)
#: How far back before the last look, for what Stripe listed late.
OVERLAP: Final = timedelta(hours=1)
#: Stripe lists no older events (Stripe docs, "Process undelivered webhook events").
OLDEST: Final = timedelta(days=30)
#: How far back where nothing remembers the last look. Stripe itself delivers again for as long.
_UNREMEMBERED: Final = timedelta(days=3)
_SMALLEST_WINDOW: Final = timedelta(seconds=1)
#: How many types Stripe filters by (API reference, "List all events").
_MOST_TYPES: Final = 20


@dataclass(frozen=True)
class Source:
    """An account that Stripe lists events of, and the endpoint that brings them when nothing goes wrong."""

    endpoint: Endpoint
    #: What was looked at is remembered in these; none for a platform account that serves no tenant.
    connection_ids: tuple[int, ...] = ()
    #: None for the platform's own account.
    tenant_id: Any = None
    #: The connected account, which the platform's endpoint names in each event.
    account_id: str | None = None


@dataclass(frozen=True)
class Bounds:
    """How many events of one account are listed."""

    #: By one run, or few more: the next run goes on from there.
    of_run: int = 2_000
    #: In one window of time, which is in memory at once. A window that has more of them is made smaller.
    of_window: int = 1_000
    #: By one request (API reference, "Pagination").
    of_page: int = 100


BOUNDS: Final = Bounds()


@dataclass(frozen=True)
class Taken:
    """What came of one look."""

    #: How many events were not in the inbox, or were parked there and have a tenant now.
    new: int
    #: False: there were too many for one run.
    is_all: bool


def find_sources(state: State, tenant_id: Any = None, mode: Mode | None = None) -> list[Source]:
    """Return the accounts to look at: the platform's own in each mode, and that of each living connection."""
    model = state.models.Connection
    which: list[Any] = [model.ended_at.is_(None)]
    which += [] if tenant_id is None else [model.tenant_id == tenant_id]
    which += [] if mode is None else [model.mode == mode]
    living = list(state.session.scalars(sa.select(model).where(*which).order_by(model.id)))
    lent = [connection for connection in living if connection.account_type is AccountType.PLATFORM]
    platform = [_of_platform(state, each, lent) for each in Mode if mode in (None, each)]
    own = [_of_tenant(state, each) for each in living if each.account_type is not AccountType.PLATFORM]
    return [
        *(each for each in platform if each and (tenant_id is None or each.connection_ids)),
        *(each for each in own if each),
    ]


def _of_platform(state: State, mode: Mode, lent: Sequence[Connection]) -> Source | None:
    if state.config.secret_key(mode) is None:
        return None
    return Source(_endpoint(state, mode, connect=False), tuple(each.id for each in lent if each.mode is mode))


def _of_tenant(state: State, connection: Connection) -> Source | None:
    if connection.account_id is None:
        return None
    if connection.account_type is not AccountType.RAW_KEYS:
        endpoint, account_id = _endpoint(state, connection.mode, connect=True), connection.account_id
        return Source(endpoint, (connection.id,), connection.tenant_id, account_id)
    own = Endpoint(
        # The same as of the tenant's endpoint: an event is one event, whichever way it comes.
        scope=f"{TENANTS_OWN}{connection.id}",
        mode=connection.mode,
        connect=False,
        secrets=(),
        connection_id=connection.id,
        account_id=connection.account_id,
    )
    return Source(own, (connection.id,), connection.tenant_id)


def _endpoint(state: State, mode: Mode, *, connect: bool) -> Endpoint:
    (found,) = (each for each in state.platform_endpoints if each.mode is mode and each.connect is connect)
    return replace(found, secrets=())


def take_in(state: State, source: Source, bounds: Bounds = BOUNDS) -> Taken:
    """Take in what Stripe has of a source since the last look, the oldest first. Commits.

    A crash at any moment costs nothing: what was taken in is known, and the rest is found by the next look.

    :raises ValetProStripeError: if Stripe, or the store of the tenant's key, cannot be asked.
    """
    client, since, until = _client(state, source), _since(state, source), utcnow()
    state.session.commit()
    width, looked, new = until - since, 0, 0
    while since < until and looked < bounds.of_run:
        end = min(since + width, until)
        events = _list(state, client, since, end, bounds, is_small=end - since <= _SMALLEST_WINDOW)
        if len(events) >= bounds.of_window and end - since > _SMALLEST_WINDOW:
            # As wide as held half as many, just before its end.
            width = max((end.timestamp() - events[-1]["created"]) / 2, 1) * _SMALLEST_WINDOW
            width = min(width, (end - since) / 2)
            continue
        # Stripe lists the newest first (API reference, "Pagination").
        new += sum(_take(state, source, event) for event in reversed(events))
        looked += len(events)
        # Narrow only where there is much: a busy day long ago must not cut all the days since into seconds.
        since, width = end, width * 2
        _remember(state, source, since)
    return Taken(new, is_all=since >= until)


def _client(state: State, source: Source) -> stripe.StripeClient:
    if source.tenant_id is None:
        return make_account_client(state, source.endpoint.mode, None)
    return client_for(state, state.session.get_one(state.models.Connection, source.connection_ids[0]))


def _since(state: State, source: Source) -> datetime:
    """Return when to begin: a while before the last look ended, and never before the connection was begun."""
    now = utcnow()
    found = [state.session.get_one(state.models.Connection, each) for each in source.connection_ids]
    begins = [max(linking_began(each), (each.events_until or now - OLDEST) - OVERLAP) for each in found]
    return max(min(begins, default=now - _UNREMEMBERED), now - OLDEST)


def _list(
    state: State, client: stripe.StripeClient, since: datetime, until: datetime, bounds: Bounds, *, is_small: bool
) -> list[dict[str, Any]]:
    """Return the events of a window, the newest first; no more than fit, unless it cannot be made smaller."""
    window = {"gte": int(since.timestamp()), "lt": int(until.timestamp()) + 1}
    found: list[dict[str, Any]] = []
    for types in _types(state):
        asked = {"created": window, "limit": bounds.of_page, **types}
        found += _list_of(client, asked, bounds.of_window, is_small=is_small)
    return sorted(found, key=lambda event: event["created"], reverse=True)


def _list_of(client: stripe.StripeClient, asked: dict[str, Any], most: int, *, is_small: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    has_more = True
    while has_more and (is_small or len(found) < most):
        after = {"starting_after": found[-1]["id"]} if found else {}
        page = ask_stripe("Listing events", client.v1.events.list, cast(Any, asked | after))
        # As it was sent: the SDK's own objects are not what an endpoint gets.
        found += json.loads(cast(Any, page.last_response).body)["data"]
        has_more = page.has_more
    return found


def _types(state: State) -> list[dict[str, list[str]]]:
    """Return what to ask for, one list after the other: all that is handled, or everything."""
    wanted = sorted(each for each in state.registry.types if not each.startswith("v2."))
    if "*" in wanted:
        return [{}]
    return [{"types": wanted[begin : begin + _MOST_TYPES]} for begin in range(0, len(wanted), _MOST_TYPES)]


def _take(state: State, source: Source, event: dict[str, Any]) -> bool:
    """Take in one event, if somebody handles its type; return whether it was news."""
    if source.endpoint.connect:
        # An account's own list need not name the account; a delivery to the platform does.
        event = {**event, "account": source.account_id}
    body = json.dumps(event)
    try:
        parsed = parse_event(body.encode())
        refuse_foreign(source.endpoint, parsed)
    except RefusedError:
        log.warning("an event of %s is not one that can be taken in", source.endpoint.scope)
        return False
    if next(state.registry.handlers_of(parsed["type"]), None) is None:
        return False
    return store(state, source.endpoint, parsed, body, was_missed=True) is not None


def _remember(state: State, source: Source, until: datetime) -> None:
    model = state.models.Connection
    further = sa.or_(model.events_until.is_(None), model.events_until < until)
    state.session.execute(
        sa.update(model)
        # Somebody else may have looked further meanwhile.
        .where(model.id.in_(source.connection_ids), further)
        .values(events_until=until)
        .execution_options(synchronize_session=False)
    )
    state.session.commit()
