"""What an account at Stripe says about itself: may it charge, what is missing, what is it called."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..credentials import client_for
from ..enums import OnboardingStatus
from ..errors import NotConnectedError, OutcomeUnknownError, ValetProStripeError
from ..gateway import ask_stripe
from ..models import Connection
from ..state import State

log = logging.getLogger(__name__)


def fetch_account(state: State, connection: Connection) -> Mapping[str, Any] | None:
    """Return the connection's account as Stripe has it now, or None if we may not see it.

    :raises OutcomeUnknownError: if Stripe does not answer.
    """
    try:
        client = client_for(state, connection)
        state.session.commit()
        found = ask_stripe("Reading the account", client.v1.accounts.retrieve_current)
    except OutcomeUnknownError:
        raise
    except (NotConnectedError, ValetProStripeError) as error:
        log.warning("the account of connection %s cannot be read: %s", connection.id, error.code)
        return None
    return found.to_dict()


def missing_of(account: Mapping[str, Any]) -> list[str]:
    """Return what Stripe wants before the account may charge; empty if it may (Stripe docs, "The Account object")."""
    if account.get("charges_enabled") is not False:
        return []
    requirements = account.get("requirements") or {}
    wanted = requirements.get("currently_due") or requirements.get("past_due") or []
    return [str(name) for name in wanted] or ["a review by Stripe"]


def name_of(account: Mapping[str, Any]) -> str | None:
    """Return what the account calls itself: foreign text."""
    profile = account.get("business_profile") or {}
    settings = (account.get("settings") or {}).get("dashboard") or {}
    name = profile.get("name") or settings.get("display_name") or account.get("email")
    return str(name)[:255] if name else None


def apply_account(connection: Connection, account: Mapping[str, Any]) -> None:
    """Bring a living connection to what its account says. The caller commits."""
    missing = missing_of(account)
    connection.account_name = name_of(account) or connection.account_name
    connection.requirements = missing or None
    connection.status = OnboardingStatus.PENDING if missing else OnboardingStatus.CONNECTED
