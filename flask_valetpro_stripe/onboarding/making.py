"""The account at Stripe that we make for a tenant: one, whatever happens between asking for it and saving its id."""

from __future__ import annotations

import logging
import re
from typing import Any, Final, cast

from .. import audit, parked
from ..connections import give_up
from ..enums import Mode
from ..errors import ConfigurationError, MissingPermissionError, ValetProStripeError
from ..gateway import ask_stripe, is_decision, make_account_client, make_platform_client
from ..models import Connection
from ..state import State
from .presets import PRESETS

log = logging.getLogger(__name__)
_ACCOUNT_ID: Final = re.compile(r"acct_[A-Za-z0-9_]{1,59}", re.ASCII)
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}", re.ASCII)
_ASKED_OTHERWISE: Final = "IdempotencyError"


class OtherParamsError(ValetProStripeError):
    """Stripe was asked for this connection's account before, and for another one than now. The connection is ended."""


def country_of(tenant: Any, given: str | None) -> str | None:
    """Return where the tenant's business is: as given, or as ``tenant.country`` says; None if neither is known.

    :raises ValetProStripeError: if it is given, and is not two letters.
    """
    country = given or getattr(tenant, "country", None)
    if isinstance(country, str) and _COUNTRY.fullmatch(country):
        return country.upper()
    if given:
        raise ValetProStripeError("The country must be two letters, such as FR.", code="country")
    return None


def _platforms_country(state: State, mode: Mode) -> str:
    client = make_account_client(state, mode, None)
    state.session.commit()
    try:
        return str(ask_stripe("Reading the platform's account", client.v1.accounts.retrieve_current).country)
    except MissingPermissionError:
        raise ValetProStripeError(
            "Stripe has to know in which country the business is, and the platform's key may not read its own.",
            code="country",
            hint="The operator must give tenants a 'country', two letters such as FR, or let the key read the account.",
        ) from None


def make_account(state: State, tenant: Any, connection: Connection, *, country: str | None, actor: str) -> None:
    """Have Stripe make the account of a connection that is committed, and save its id. Commits.

    A lost answer, and a refusal of who asks or how often, leave the connection as it is: the next call repeats the same
    request under the same key.

    :param country: where the business is; where the platform is, if None.
    :raises OtherParamsError: if the request cannot be the same any more.
    :raises ConfigurationError: if the operator has to switch something on; the text says what.
    """
    is_v2, options = connection.accounts_api == "v2", {"idempotency_key": _idempotency_key(connection)}
    if is_v2 and country is None:
        # v2 makes no account without a country, where v1 takes the platform's ("Create an Account v2").
        country = _platforms_country(state, connection.mode)
    asked = (_as_v2 if is_v2 else _as_v1)(tenant, connection, country)
    client = make_platform_client(state, connection.mode)
    create: Any = client.v2.core.accounts.create if is_v2 else client.v1.accounts.create
    state.session.commit()
    try:
        made = ask_stripe("Making the account", create, cast(Any, asked), cast(Any, options))
    except ValetProStripeError as error:
        if is_decision(error):
            # Refused for good: Stripe would repeat its refusal to the same key.
            give_up(state, connection, actor=actor)
        raise _explained(error, is_v2=is_v2) from None
    _save(state, connection, str(made.id), actor)


def _idempotency_key(connection: Connection) -> str:
    # The time tells the connections of two databases apart, that work with the same platform account.
    return f"valetpro-connection-{connection.id}-{connection.created_at:%Y%m%d%H%M%S%f}"


def _as_v2(tenant: Any, connection: Connection, country: str | None) -> dict[str, Any]:
    preset = PRESETS[connection.account_type]
    return _without_none(
        {
            "display_name": connection.account_name,
            "contact_email": _email_of(tenant),
            "dashboard": preset.dashboard,
            "identity": {"country": country} if country else None,
            "configuration": {"merchant": {"capabilities": {"card_payments": {"requested": True}}}},
            "defaults": {"responsibilities": preset.responsibilities},
            "metadata": {"valetpro_connection": str(connection.id)},
        }
    )


def _as_v1(tenant: Any, connection: Connection, country: str | None) -> dict[str, Any]:
    return _without_none(
        {
            "controller": PRESETS[connection.account_type].controller,
            "business_profile": {"name": connection.account_name} if connection.account_name else None,
            "email": _email_of(tenant),
            "country": country,
            "capabilities": {"card_payments": {"requested": True}},
            "metadata": {"valetpro_connection": str(connection.id)},
        }
    )


def _without_none(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def _email_of(tenant: Any) -> str | None:
    email = getattr(tenant, "email", None)
    return email if isinstance(email, str) and re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email) else None


def _explained(error: ValetProStripeError, *, is_v2: bool) -> ValetProStripeError:
    """Return what the refusal means for the operator, where Stripe's own words do not say it."""
    if error.code == _ASKED_OTHERWISE:
        return OtherParamsError(str(error), code=error.code)
    said = str(error).lower()
    if "signed up for connect" in said or error.code == "non_connect_platform_accounts_v2_access_blocked":
        return ConfigurationError(
            "The platform's Stripe account does not use Connect yet. The operator must sign up for it, under Connect "
            "in the Stripe Dashboard.",
            code="no_connect",
        )
    if not is_v2 and "/v2/core/accounts" in said:
        return _of_other_api("v1", "v2")
    if is_v2 and ("accounts v2 is not enabled" in said or error.code == "accounts_v2_access_blocked"):
        return _of_other_api("v2", "v1")
    return error


def _of_other_api(refused: str, other: str) -> ConfigurationError:
    return ConfigurationError(
        f"Stripe does not let this platform make accounts with its API {refused}. The operator must set "
        f'VALETPRO_STRIPE_ACCOUNTS_API="{other}", or switch Accounts {refused} on in the Stripe Dashboard.',
        code="accounts_api",
    )


def _save(state: State, connection: Connection, account_id: str, actor: str) -> None:
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise ValetProStripeError("Stripe's answer names no account. Nothing was connected.", code="stripe_answer")
    audit.lock_tenant(state, connection.tenant_id)
    state.session.refresh(connection)
    if connection.account_id is None:
        connection.account_id = account_id
        # Where it is not the current one, it holds the account when it becomes that.
        if connection.is_current and not state.config.allow_shared_accounts:
            connection.claimed_account_id = account_id
        audit.record_about(state, connection, actor=actor, action="account_made")
    has_ended = connection.ended_at is not None
    if not has_ended:
        # Stripe tells of an account that it has just made, perhaps before it answers.
        parked.release(state, connection)
    state.session.commit()
    if has_ended:
        raise ValetProStripeError(
            "This account was disconnected while Stripe made it.", code="ended", hint="Press the button again."
        )
