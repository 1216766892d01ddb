"""Standard Connect by OAuth: to Stripe and back, with a state that works once, for whoever began."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from ..connections import open_connection
from ..enums import AccountType, Mode
from ..errors import (
    AccountTakenError,
    ConfigurationError,
    MissingPermissionError,
    ModeMismatchError,
    ValetProStripeError,
)
from ..gateway import Credentials, ask_stripe, make_client, make_platform_client, platform_key
from ..models import Connection, key_of
from ..models.types import utcnow
from ..state import State
from .status import missing_of, name_of

log = logging.getLogger(__name__)
LIFETIME: Final = timedelta(minutes=10)
SCOPE: Final = "read_write"
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
    state.session.execute(sa.delete(model).where(model.expires_at < utcnow()))
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
    return client.oauth.authorize_url({"scope": SCOPE, "state": token, "redirect_uri": redirect_uri})


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
    granted = _exchange(state, mode, answer["code"])
    account_id = str(granted["stripe_user_id"])
    account = _describe(state, mode, account_id)
    return open_connection(
        state,
        tenant,
        mode,
        AccountType.CONNECT_STANDARD,
        actor=user_id,
        account_id=account_id,
        account_name=name_of(account),
        requirements=missing_of(account),
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


def _describe(state: State, mode: Mode, account_id: str) -> Mapping[str, Any]:
    """Return the account as it describes itself, or an empty dict. It is never the platform's own."""
    key = platform_key(state.config, mode)
    for bound in (None, account_id):
        client = make_client(state, Credentials(key, bound, mode))
        try:
            account: Mapping[str, Any] = ask_stripe(
                "Reading the account", client.v1.accounts.retrieve_current
            ).to_dict()
        except MissingPermissionError:
            # A restricted key may connect accounts without reading them; anything else that fails is not a yes.
            log.warning("the platform's key may not read the account %s", bound or "of the platform")
            account = {}
        if bound is None and account.get("id") == account_id:
            raise AccountTakenError("This is the platform's own Stripe account, which cannot be connected to itself.")
    return account


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
