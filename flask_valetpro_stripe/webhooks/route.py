"""Whose event is it: the endpoint decides, the body may only name an account that the endpoint may speak about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import sqlalchemy as sa
from werkzeug.local import LocalProxy

from ..enums import AccountType, Mode
from ..models import Connection, WebhookEvent
from ..parked import NOBODYS
from ..payments.find import find_for_object
from ..state import State
from .verify import Endpoint, account_of, is_thin

_ENDED: Final = "The tenant has disconnected this account."


@dataclass(frozen=True)
class Route:
    """Where an event belongs. ``parked`` says why no handler may run; the row is kept all the same."""

    connection: Connection | None = None
    tenant_id: Any = None
    parked: str | None = None
    #: Through which Stripe may be asked about the account, where the event is nobody's own.
    witness: Connection | None = None


def route(state: State, endpoint: Endpoint, event: Mapping[str, Any]) -> Route:
    """Return the tenant and connection of a genuine event."""
    if event["livemode"] is not endpoint.mode.livemode:
        # A live Connect endpoint gets the test events of its accounts too (Stripe docs, "Connect webhooks").
        return Route(parked="It is of the other mode than its endpoint.")
    if endpoint.connection_id is not None:
        return _of_tenant(state, endpoint.connection_id, event)
    if is_thin(event):
        return _of_thin(state, endpoint, event)
    account = event.get("account")
    if endpoint.connect and account is None:
        return Route(parked="It names no account, but came by the endpoint for connected accounts.")
    if not endpoint.connect and account is not None:
        return Route(parked="It names an account, but is signed with a secret of the platform's own account.")
    if account is None:
        return _of_platform(state, endpoint, event)
    return _of_account(state, endpoint, account, event)


def route_again(state: State, row: WebhookEvent, *, is_over: bool) -> Route:
    """Return the tenant and connection of a stored event: those that it was taken in with, whatever came since.

    Its connection is read when somebody asks for it: few handlers do.

    :param is_over: whether that connection has ended.
    """
    model = state.models.Connection
    if row.connection_id is not None:
        load = partial(state.session.get_one, model, row.connection_id)
        return Route(cast(Connection, LocalProxy(load)), row.tenant_id, parked=_ENDED if is_over else None)
    witness = None
    if row.account_id is not None:
        living = sa.select(model).where(
            model.account_id == row.account_id, model.mode == row.mode, model.ended_at.is_(None)
        )
        witness = state.session.scalar(living.order_by(model.id).limit(1))
    return Route(None, row.tenant_id, witness=witness)


def route_by(state: State, found: Route, fetched: Any) -> Route:
    """Return where an event belongs whose account several tenants have, by what Stripe has answered about it."""
    if found.witness is None or fetched is None:
        return found
    # A dispute is fetched with its intent, which is what a payment is known by.
    intent = fetched.get("payment_intent")
    about = intent if isinstance(intent, Mapping) else fetched
    owner = _owner(state, _known(state, found.witness.mode, str(found.witness.account_id)), about)
    return found if owner is None else _to(owner)


def _to(owner: Connection) -> Route:
    return Route(owner, owner.tenant_id, parked=None if owner.ended_at is None else _ENDED)


def _of_tenant(state: State, connection_id: int, event: Mapping[str, Any]) -> Route:
    """An event by a tenant's own endpoint is that tenant's, whatever its body says."""
    connection = state.session.get_one(state.models.Connection, connection_id, populate_existing=True)
    if connection.ended_at is not None:
        return Route(connection, connection.tenant_id, parked=_ENDED)
    if event["type"].startswith("account.application.") or is_thin(event):
        # Only a platform's endpoint tells of it; a tenant would be signing it for others.
        return Route(connection, connection.tenant_id, parked="A tenant's own endpoint does not tell of it.")
    return Route(connection, connection.tenant_id)


def _of_platform(state: State, endpoint: Endpoint, event: Mapping[str, Any]) -> Route:
    """An event of the platform's own account is a tenant's only through a payment that the platform collected."""
    payment = find_for_object(state, None, None, endpoint.mode, event["data"]["object"])
    if payment is None:
        return Route()
    connection = state.session.get_one(state.models.Connection, payment.connection_id)
    return Route(connection, connection.tenant_id)


def _of_thin(state: State, endpoint: Endpoint, event: Mapping[str, Any]) -> Route:
    """An event about an account that we made comes as one of the platform's own (Stripe docs, "Connect webhooks")."""
    if endpoint.connect:
        return Route(parked="It is of the platform's own account, but came by the endpoint for connected accounts.")
    account = account_of(endpoint, event)
    if account is None:
        return Route()
    known = [connection for connection in _known(state, endpoint.mode, account) if connection.accounts_api is not None]
    if not known:
        return Route(parked=NOBODYS)
    # Only its tenant ever gets an account that we made, so there is nobody to choose from.
    return _to(known[0])


def _of_account(state: State, endpoint: Endpoint, account: str, event: Mapping[str, Any]) -> Route:
    known = _known(state, endpoint.mode, account)
    if not known:
        return Route(parked=NOBODYS)
    owner = known[0] if len({c.tenant_id for c in known}) == 1 else _owner(state, known, event["data"]["object"])
    living = [c for c in known if c.ended_at is None]
    if owner is not None:
        return _to(owner)
    if len({c.tenant_id for c in living}) == 1:
        return Route(living[0], living[0].tenant_id)
    return Route(witness=living[0]) if living else Route(parked=_ENDED)


def _known(state: State, mode: Mode, account: str) -> list[Connection]:
    """Return every connection through the platform to an account, the living first."""
    model = state.models.Connection
    return list(
        state.session.scalars(
            sa.select(model)
            .where(
                model.account_id == account,
                model.mode == mode,
                # A tenant's own key proves nothing here: only Connect events come by the platform's endpoint.
                model.account_type.not_in([AccountType.RAW_KEYS, AccountType.PLATFORM]),
            )
            .order_by(model.ended_at.is_not(None), model.is_current.desc(), model.id.desc())
        )
    )


def _owner(state: State, known: list[Connection], thing: Mapping[str, Any]) -> Connection | None:
    """Return the connection whose tenant's payment an object is about: several tenants have, or had, the account.

    The living come first, so a tenant who came back gets what it is owed by its present connection.
    """
    for connection in known:
        if find_for_object(state, connection.tenant_id, connection.account_id, connection.mode, thing):
            return connection
    return None
