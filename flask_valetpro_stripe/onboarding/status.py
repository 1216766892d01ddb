"""What an account at Stripe says about itself: may it charge, what is missing and by when, what is it called."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from .. import audit, signals
from ..connections import make_current
from ..credentials import client_for, is_unfinished
from ..enums import Mode, OnboardingStatus
from ..errors import InvalidKeyError, MissingPermissionError, NotConnectedError
from ..gateway import ask_stripe, make_account_client
from ..models import Connection
from ..models.types import utcnow
from ..state import State

log = logging.getLogger(__name__)
#: What a raw-key connection without a webhook secret wants: the one thing that is ours to know, not Stripe's.
NO_ENDPOINT: Final = "webhook endpoint"
#: The first second of the year 10000, which no datetime can hold.
_END_OF_TIME: Final = 253_402_300_800


def fetch_account(state: State, connection: Connection) -> Mapping[str, Any] | None:
    """Return the connection's account as Stripe has it now, or None if we may not see it.

    :raises ValetProStripeError: if Stripe cannot answer now.
    """
    try:
        client = client_for(state, connection)
        state.session.commit()
        found = ask_stripe("Reading the account", client.v1.accounts.retrieve_current)
    except (NotConnectedError, InvalidKeyError, MissingPermissionError) as error:
        log.warning("the account of connection %s cannot be read: %s", connection.id, error.code)
        return None
    return found.to_dict()


def fetch_own_account_id(state: State, mode: Mode) -> str | None:
    """Return the platform's own ``acct_…``, or None if its restricted key may not read it."""
    client = make_account_client(state, mode, None)
    try:
        return str(ask_stripe("Reading the platform's account", client.v1.accounts.retrieve_current).id)
    except MissingPermissionError as error:
        if error.account_id is None:
            log.warning("the platform's %s key may not read its own account", mode)
        return error.account_id


def missing_of(account: Mapping[str, Any]) -> list[str]:
    """Return what Stripe wants before the account may charge; empty if it may (Stripe docs, "The Account object")."""
    if account.get("charges_enabled") is True:
        return []
    requirements = account.get("requirements") or {}
    wanted = requirements.get("currently_due") or requirements.get("past_due") or []
    return [storable(name) for name in wanted] or ["a review by Stripe"]


def name_of(account: Mapping[str, Any]) -> str | None:
    """Return what the account calls itself: foreign text."""
    profile = account.get("business_profile") or {}
    settings = (account.get("settings") or {}).get("dashboard") or {}
    name = profile.get("name") or settings.get("display_name") or account.get("email")
    return storable(name) if name else None


def due_of(account: Mapping[str, Any]) -> datetime | None:
    """Return when Stripe stops charges or payouts unless it gets what it wants; None if it wants nothing by then."""
    deadline = (account.get("requirements") or {}).get("current_deadline")
    if type(deadline) is not int or not 0 < deadline < _END_OF_TIME:
        return None
    return datetime.fromtimestamp(deadline, UTC)


def storable(foreign: Any) -> str:
    """Return foreign text without what no database stores: null characters, and halves of surrogate pairs."""
    return str(foreign).replace("\0", "").encode(errors="replace").decode()[:255]


def refresh(state: State, connection: Connection) -> None:
    """Bring a connection to what Stripe says about its account now. Commits.

    :raises ValetProStripeError: if Stripe cannot answer now.
    """
    asked_at = utcnow()
    account = fetch_account(state, connection)
    if account is None:
        return
    became_ready = settle(state, connection, account, asked_at)
    state.session.commit()
    if became_ready:
        tenant = state.session.get(state.models.Tenant, connection.tenant_id)
        state.tell(signals.tenant_connected, tenant=tenant, connection=connection)


def settle(state: State, connection: Connection, account: Mapping[str, Any], asked_at: datetime) -> bool:
    """Bring a connection to what its account said; return whether it may charge now and could not before.

    One that was prepared becomes its tenant's current one when it may charge for the first time: until then, what
    took payments before it goes on doing so. The caller commits.
    """
    audit.lock_tenant(state, connection.tenant_id)
    state.session.refresh(connection)
    if connection.ended_at is not None or not apply_account(connection, account, asked_at):
        return False
    if is_unfinished(connection):
        connection.connected_at = utcnow()
        if not connection.is_current:
            make_current(state, connection)
    audit.record_about(state, connection, actor="stripe", action="became_ready")
    return True


def apply_account(connection: Connection, account: Mapping[str, Any], asked_at: datetime) -> bool:
    """Bring a living connection to what its account says; return whether it may charge now and could not before.

    What was asked before the connection's last answer is older, and not applied. The caller commits.
    """
    if account.get("id") != connection.account_id:
        log.warning("Stripe answered about another account than that of connection %s", connection.id)
        return False
    if connection.asked_at is not None and asked_at <= connection.asked_at:
        return False
    connection.asked_at = asked_at
    missing = missing_of(account) + [NO_ENDPOINT for wanted in connection.requirements or [] if wanted == NO_ENDPOINT]
    was_ready = connection.status is OnboardingStatus.CONNECTED
    connection.account_name = name_of(account) or connection.account_name
    connection.requirements = missing or None
    connection.requirements_due_at = due_of(account)
    connection.status = OnboardingStatus.PENDING if missing else OnboardingStatus.CONNECTED
    return not missing and not was_ready
