"""What an account at Stripe says about itself: may it charge, what is missing, what is it called."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..credentials import client_for
from ..enums import OnboardingStatus
from ..errors import InvalidKeyError, MissingPermissionError, NotConnectedError
from ..gateway import ask_stripe
from ..models import Connection
from ..state import State

log = logging.getLogger(__name__)


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


def missing_of(account: Mapping[str, Any]) -> list[str]:
    """Return what Stripe wants before the account may charge; empty if it may (Stripe docs, "The Account object")."""
    if account.get("charges_enabled") is not False:
        return []
    requirements = account.get("requirements") or {}
    wanted = requirements.get("currently_due") or requirements.get("past_due") or []
    return [_storable(name) for name in wanted] or ["a review by Stripe"]


def name_of(account: Mapping[str, Any]) -> str | None:
    """Return what the account calls itself: foreign text."""
    profile = account.get("business_profile") or {}
    settings = (account.get("settings") or {}).get("dashboard") or {}
    name = profile.get("name") or settings.get("display_name") or account.get("email")
    return _storable(name) if name else None


def _storable(foreign: Any) -> str:
    """Return foreign text without what no database stores: null characters, and halves of surrogate pairs."""
    return str(foreign).replace("\0", "").encode(errors="replace").decode()[:255]


def apply_account(connection: Connection, account: Mapping[str, Any], asked_at: datetime) -> bool:
    """Bring a living connection to what its account says; return whether it may charge now and could not before.

    What was asked before the connection's last answer is older, and not applied. The caller commits.
    """
    if connection.asked_at is not None and asked_at <= connection.asked_at:
        return False
    connection.asked_at = asked_at
    missing = missing_of(account)
    was_ready = connection.status is OnboardingStatus.CONNECTED
    connection.account_name = name_of(account) or connection.account_name
    connection.requirements = missing or None
    connection.status = OnboardingStatus.PENDING if missing else OnboardingStatus.CONNECTED
    return not missing and not was_ready
