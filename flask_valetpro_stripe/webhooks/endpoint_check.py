"""The endpoints in raw-key tenants' own accounts: looked at, and mended where somebody changed them at Stripe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from .. import audit, endpoints
from ..credentials import client_for
from ..enums import AccountType, Mode
from ..errors import ValetProStripeError
from ..gateway import ask_stripe
from ..models import Connection
from ..models.types import utcnow
from ..state import State

#: What a connection's ``endpoint_state`` says: Stripe's own words,
ENABLED: Final = "enabled"
DISABLED: Final = "disabled"
#: that Stripe has none,
MISSING: Final = "missing"
#: or that it delivers to another address than this app's.
ELSEWHERE: Final = "elsewhere"
_NO_SUCH: Final = "resource_missing"
_LONGEST: Final = 32


def find_endpoints(state: State, tenant_id: Any = None, mode: Mode | None = None) -> Sequence[tuple[int, Any, Mode]]:
    """Return the living connections whose endpoint we made, with their tenants and modes."""
    model = state.models.Connection
    which = [
        model.account_type == AccountType.RAW_KEYS,
        model.ended_at.is_(None),
        model.endpoint_id.is_not(None),
        *([] if tenant_id is None else [model.tenant_id == tenant_id]),
        *([] if mode is None else [model.mode == mode]),
    ]
    wanted = sa.select(model.id, model.tenant_id, model.mode).where(*which).order_by(model.id)
    return [(row.id, row.tenant_id, row.mode) for row in state.session.execute(wanted)]


def check(state: State, connection_id: int) -> str | None:
    """Bring an endpoint to what it should be; return what was wrong with it, or None. Commits.

    What Stripe said stays with the connection, for whoever looks at the tenant's page.

    :raises ValetProStripeError: if it could not be looked at, or mended.
    """
    connection = state.session.get_one(state.models.Connection, connection_id)
    try:
        found = _look(state, connection)
    except ValetProStripeError as error:
        state.session.rollback()
        _note(state, connection, f"unknown: {error.code}")
        raise
    _note(state, connection, found)
    if found == ELSEWHERE and connection.public_url != state.config.public_url:
        raise ValetProStripeError(
            f"Its webhook endpoint delivers to another address than {state.config.public_url}, where this connection "
            "was not made either.",
            code="moved",
            hint="If the app has moved, run 'flask stripe moved'. If this is a copy, run 'flask stripe neutralize'.",
        )
    _mend(state, connection, found)
    _note(state, connection, ENABLED)
    return None if found == ENABLED else found


def _look(state: State, connection: Connection) -> str:
    """Return what Stripe says about the endpoint, in one word."""
    client, endpoint_id, url = (
        client_for(state, connection),
        connection.endpoint_id,
        endpoints.url_of(state, connection),
    )
    state.session.commit()
    try:
        found = ask_stripe("Looking at the webhook endpoint", client.v1.webhook_endpoints.retrieve, str(endpoint_id))
    except ValetProStripeError as error:
        if error.code != _NO_SUCH:
            raise
        return MISSING
    return str(found.status) if found.url == url else ELSEWHERE


def _mend(state: State, connection: Connection, found: str) -> None:
    if found == ELSEWHERE:
        endpoints.make(state, connection, actor="reconcile")
    else:
        # It may be enabled, and tell us too little.
        endpoints.ensure(state, connection, actor="reconcile")
    if found != ENABLED:
        audit.record_about(state, connection, actor="reconcile", action="endpoint_mended", was=found)


def _note(state: State, connection: Connection, said: str) -> None:
    connection.endpoint_state, connection.endpoint_checked_at = said[:_LONGEST], utcnow()
    state.session.commit()
