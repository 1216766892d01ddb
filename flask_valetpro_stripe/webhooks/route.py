"""Whose event is it: the endpoint decides, the body may only name an account that the endpoint may speak about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..enums import AccountType
from ..models import Connection
from ..payments.apply import find_for_object
from ..state import State
from .verify import Endpoint


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
    account = event.get("account")
    if endpoint.connect and account is None:
        return Route(parked="It names no account, but came by the endpoint for connected accounts.")
    if not endpoint.connect and account is not None:
        return Route(parked="It names an account, but is signed with a secret of the platform's own account.")
    if account is None:
        return _of_platform(state, endpoint, event)
    return _of_account(state, endpoint, account, event)


def _of_platform(state: State, endpoint: Endpoint, event: Mapping[str, Any]) -> Route:
    """An event of the platform's own account is a tenant's only through a payment that the platform collected."""
    payment = find_for_object(state, None, None, endpoint.mode, event["data"]["object"])
    if payment is None:
        return Route()
    connection = state.session.get_one(state.models.Connection, payment.connection_id)
    return Route(connection, connection.tenant_id)


def _of_account(state: State, endpoint: Endpoint, account: str, event: Mapping[str, Any]) -> Route:
    model = state.models.Connection
    known = list(
        state.session.scalars(
            sa.select(model)
            .where(
                model.account_id == account,
                model.mode == endpoint.mode,
                # A tenant's own key proves nothing here: only Connect events come by the platform's endpoint.
                model.account_type.not_in([AccountType.RAW_KEYS, AccountType.PLATFORM]),
            )
            .order_by(model.ended_at.is_not(None), model.is_current.desc(), model.id.desc())
        )
    )
    if not known:
        return Route(parked="No tenant has this account.")
    first = known[0]
    if first.ended_at is not None:
        return Route(first, first.tenant_id, parked="The tenant has disconnected this account.")
    if len({c.tenant_id for c in known if c.ended_at is None}) == 1:
        return Route(first, first.tenant_id)
    return _of_shared(state, endpoint, known, event)


def _of_shared(state: State, endpoint: Endpoint, known: list[Connection], event: Mapping[str, Any]) -> Route:
    """Several tenants share the account: the payment tells whose event it is; an account's own event is nobody's."""
    for connection in known:
        account, object_ = connection.account_id, event["data"]["object"]
        if connection.ended_at is None and find_for_object(
            state, connection.tenant_id, account, endpoint.mode, object_
        ):
            return Route(connection, connection.tenant_id)
    return Route(witness=known[0])
