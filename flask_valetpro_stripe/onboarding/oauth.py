"""Standard Connect by OAuth: to Stripe and back, with a state that works once, for whoever began."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, cast

import sqlalchemy as sa

from .. import audit
from ..connections import open_connection
from ..enums import AccountType, Mode
from ..errors import (
    AccountTakenError,
    ConfigurationError,
    ConnectionRevokedError,
    ModeMismatchError,
    ValetProStripeError,
)
from ..gateway import ask_stripe, make_account_client, make_platform_client
from ..models import Connection, key_of
from ..models.types import utcnow
from ..state import State
from .status import fetch_own_account_id, missing_of, name_of

log = logging.getLogger(__name__)
LIFETIME: Final = timedelta(minutes=10)
SCOPE: Final = "read_write"
#: States that a tenant may have open at once: enough for every impatient click, too few to fill a table with.
MOST_BEGUN: Final = 20
_ACCOUNT_ID: Final = re.compile(r"acct_[A-Za-z0-9_]+", re.ASCII)


def begin(state: State, tenant: Any, mode: Mode, *, user_id: str, session_token: str, redirect_uri: str) -> str:
    """Return the address at Stripe where the tenant's admin gives us access. Commits the state that brings them back.

    :raises ConfigurationError: if the operator has not set the mode's key and client id.
    :raises ValetProStripeError: if the operator does not offer this.
    """
    if AccountType.CONNECT_STANDARD not in state.config.allowed_account_types:
        raise ValetProStripeError("Accounts cannot be connected here.", code="account_type", hint="Ask the operator.")
    client = make_platform_client(state, mode)
    if not state.config.client_id(mode):
        raise ConfigurationError(
            f"The operator must set VALETPRO_STRIPE_{mode.upper()}_CLIENT_ID before {mode} accounts can be connected.",
            code="platform_not_configured",
        )
    token = secrets.token_urlsafe(32)
    model = state.models.OAuthState
    # Two clicks at once are counted one after the other.
    audit.lock_tenant(state, key_of(tenant))
    state.session.execute(sa.delete(model).where(model.expires_at < utcnow()))
    begun = sa.select(sa.func.count()).where(model.tenant_id == key_of(tenant))
    if (state.session.scalar(begun) or 0) >= MOST_BEGUN:
        state.session.rollback()
        raise ValetProStripeError(
            f"Connecting was begun {MOST_BEGUN} times in the last ten minutes and never finished.",
            code="too_many",
            hint="Finish one of them at Stripe, or wait some minutes.",
        )
    state.session.add(
        model(
            state_hash=_hash(token),
            session_hash=_hash(session_token),
            tenant_id=key_of(tenant),
            user_id=user_id,
            mode=mode,
            expires_at=utcnow() + LIFETIME,
        )
    )
    state.session.commit()
    asked: dict[str, Any] = {"scope": SCOPE, "state": token, "redirect_uri": redirect_uri}
    if isinstance(name := getattr(tenant, "name", None), str):
        # What a new account would be called; Stripe fills it in, and the admin may change it.
        asked["stripe_user"] = {"business_name": name}
    return client.oauth.authorize_url(cast(Any, asked))


def finish(
    state: State, tenant: Any, answer: Mapping[str, str], *, user_id: str, session_token: str
) -> Connection | None:
    """Return the new connection after the admin comes back from Stripe, or None if they declined there.

    The state is used up before the code is exchanged: a code that is exchanged twice takes back what the first gave
    (Stripe docs, "OAuth reference for Connect").

    :raises ValetProStripeError: with code ``oauth_state`` if the state is not this user's, tenant's and session's, was
        used, or is older than :data:`LIFETIME`; nothing is changed.
    :raises ModeMismatchError: if Stripe's answer is of another mode or scope than was asked for.
    :raises AccountTakenError: if another tenant has the account, or it is the platform's own.
    :raises OutcomeUnknownError: if Stripe did not answer. The state is used up all the same: begin again.
    """
    mode = _use_up(state, tenant, answer.get("state", ""), user_id, session_token)
    if "error" in answer:
        _declined(answer["error"])
        return None
    if mode is None or not answer.get("code"):
        raise ValetProStripeError(
            "This way back from Stripe was used before, is too old, or was begun by somebody else. Nothing changed.",
            code="oauth_state",
            hint="If the account is not connected, press Connect again.",
        )
    # Before the exchange: what fails up to here has changed nothing at Stripe.
    own_account_id = fetch_own_account_id(state, mode)
    began_at = utcnow()
    account_id = str(_exchange(state, mode, answer["code"])["stripe_user_id"])
    if account_id == own_account_id:
        raise AccountTakenError("This is the platform's own Stripe account, which cannot be connected to itself.")
    account = _read_account(state, mode, account_id)
    _refuse_withdrawn(state, mode, account_id, since=began_at)
    return open_connection(
        state,
        tenant,
        mode,
        AccountType.CONNECT_STANDARD,
        actor=user_id,
        account_id=account_id,
        account_name=name_of(account),
        # One that cannot be read now is told of by an event.
        requirements=missing_of(account) if account else None,
    )


def _declined(error: str) -> None:
    """Return if the admin said no. It changes nothing, so it needs no state: Stripe Apps leave it out.

    :raises ValetProStripeError: if Stripe itself said no.
    """
    if error != "access_denied":
        log.info("connecting was refused at Stripe")
        raise ValetProStripeError(
            "Stripe did not give access to the account. Nothing was changed.",
            code="oauth_refused",
            hint="An account that another platform controls cannot be connected; at Stripe, choose or make another.",
        )
    log.info("connecting was declined at Stripe")


def _use_up(state: State, tenant: Any, token: str, user_id: str, session_token: str) -> Mode | None:
    """Delete the state and return its mode, or None: whoever deletes the row is the only one who may go on."""
    model = state.models.OAuthState
    mode: Mode | None = state.session.scalar(
        sa.delete(model)
        .where(
            model.state_hash == _hash(token),
            model.session_hash == _hash(session_token),
            model.tenant_id == key_of(tenant),
            model.user_id == user_id,
            model.expires_at > utcnow(),
        )
        .returning(model.mode)
    )
    state.session.commit()
    return mode


def _exchange(state: State, mode: Mode, code: str) -> Mapping[str, Any]:
    client = make_platform_client(state, mode)
    # One try only: an answer that got lost may have been a yes, and a second exchange would take it back.
    answer = ask_stripe(
        "Connecting",
        client.oauth.token,
        {"grant_type": "authorization_code", "code": code},
        {"max_network_retries": 0},
    ).to_dict()
    if answer.get("livemode") is not mode.livemode or answer.get("scope") != SCOPE:
        raise ModeMismatchError(
            f"Stripe gave access of another kind than was asked for ({mode} mode, {SCOPE}). Nothing was connected.",
            hint="Press Connect again and allow what is asked for.",
        )
    if not _ACCOUNT_ID.fullmatch(str(answer.get("stripe_user_id"))):
        raise ValetProStripeError("Stripe's answer names no account. Nothing was connected.", code="stripe_answer")
    return answer


def _read_account(state: State, mode: Mode, account_id: str) -> Mapping[str, Any]:
    """Return the account as it describes itself, or an empty dict if it cannot be read now.

    Access is given already, and an event brings the rest; only an account that is withdrawn again is refused.
    """
    client = make_account_client(state, mode, account_id)
    try:
        return ask_stripe("Reading the account", client.v1.accounts.retrieve_current).to_dict()
    except ConnectionRevokedError:
        raise
    except ValetProStripeError as error:
        log.warning("the account %s cannot be read: %s", account_id, error.code)
        return {}


def _refuse_withdrawn(state: State, mode: Mode, account_id: str, *, since: datetime) -> None:
    """Refuse an account whose owner withdrew our access while it was being connected: that event was nobody's yet."""
    model = state.models.WebhookEvent
    withdrawn = sa.select(model.id).where(
        model.type == "account.application.deauthorized",
        model.account_id == account_id,
        model.mode == mode,
        model.received_at >= since,
    )
    if state.session.scalar(withdrawn.limit(1)) is not None:
        raise ConnectionRevokedError(
            "Access to this Stripe account was withdrawn while it was being connected. Nothing was connected.",
            settings_url=state.config.settings_page,
        )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
