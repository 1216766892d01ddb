"""The way back: an earlier API key brought back into use, and archived secrets destroyed for good."""

from __future__ import annotations

from functools import partial
from typing import Any

import sqlalchemy as sa

from .. import audit, custody, endpoints, signals
from ..credentials import find_connection
from ..enums import AccountType, Mode
from ..errors import InvalidKeyError, ValetProStripeError
from ..models import Connection, Secret, key_of
from ..state import State
from .key_check import allow_check, check_key, note_checked, read_secret_key, refuse_unless_offered
from .raw_keys import find_own


def roll_back(state: State, tenant: Any, mode: Mode, *, actor: str) -> None:
    """Bring the key before the present one back, after Stripe has proved that it still works. Commits.

    :raises ValetProStripeError: if there is none, Stripe does not accept it any more, or keys are tried too often;
        nothing is changed.
    """
    connection = _rolled_back(state, tenant, mode)
    present = custody.find_present(state, connection, custody.API_KEY) if connection else None
    previous = custody.find_previous(state, connection, custody.API_KEY) if connection else None
    if connection is None or present is None or previous is None:
        raise ValetProStripeError(
            "There is no earlier key to bring back.", code="no_previous_key", hint="Enter the key that is to be used."
        )
    refuse_unless_offered(state)
    present_id, fingerprint = present.id, previous.fingerprint
    allow_check(state, tenant, mode, actor=actor, fingerprint=fingerprint)
    # By the operator's rules of today, not those of the day when it was entered.
    key = read_secret_key(state.config, mode, custody.read(state, connection, previous).reveal())
    state.session.commit()
    checked = check_key(state, key, mode)
    if checked.account_id != connection.account_id:
        raise InvalidKeyError("The earlier key is of another account. Nothing was changed.", code="two_accounts")
    try:
        endpoints.lock_living(state, connection)
        custody.require_unchanged(state, connection, custody.API_KEY, present_id)
        custody.bring_back(state, connection, previous)
    except ValetProStripeError:
        state.session.rollback()
        raise
    note_checked(connection, checked)
    audit.record_about(state, connection, actor=actor, action="key_brought_back", fingerprint=fingerprint)
    state.session.commit()
    state.tell(signals.secret_rotated, tenant=tenant, connection=connection)


def _rolled_back(state: State, tenant: Any, mode: Mode) -> Connection | None:
    """Return the connection whose earlier key is meant: the one in use, or the only one that there is."""
    current = find_connection(state, tenant, mode)
    return current if current and current.account_type is AccountType.RAW_KEYS else find_own(state, tenant, mode)


def destroy_archived(state: State, tenant: Any, mode: Mode, *, actor: str) -> int:
    """Destroy every archived secret of the tenant in ``mode`` for good; return how many. Commits.

    :raises SecretUnavailableError: if a store cannot answer: what is left can be destroyed later.
    """
    model = state.models.Connection
    same = (model.tenant_id == key_of(tenant), model.mode == mode, model.account_type == AccountType.RAW_KEYS)
    destroyed = 0
    for connection in list(state.session.scalars(sa.select(model).where(*same))):
        note = partial(_note_destroyed, state, connection, actor)
        destroyed += custody.destroy(state, connection, custody.archived(state, connection), told=note)
    return destroyed


def _note_destroyed(state: State, connection: Connection, actor: str, row: Secret) -> None:
    audit.record_about(state, connection, actor=actor, action="secret_destroyed", fingerprint=row.fingerprint)
