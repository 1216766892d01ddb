"""Connect by Account Links: an account at Stripe that we make for a tenant, and its admin's way there and back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, cast

import sqlalchemy as sa

from .. import audit
from ..connections import make_current, prepare_connection, refuse_taken, revoke
from ..credentials import find_connection
from ..enums import AccountType, Mode, OnboardingStatus
from ..errors import AccountTakenError, ConfigurationError, ConnectionRevokedError, ValetProStripeError
from ..gateway import ask_stripe, make_platform_client, platform_key, to_stripe
from ..models import Connection, key_of
from ..state import State
from .making import OtherParamsError, country_of, make_account
from .presets import PRESETS
from .status import refresh, storable

log = logging.getLogger(__name__)
#: Links that a tenant gets within :data:`.audit.WINDOW`: enough for every impatient click, too few for a loop of
#: redirects.
MOST_LINKS: Final = 10
_BEGAN: Final = "onboarding_began"
_RENEWED: Final = "onboarding_renewed"
_OPENED: Final = "dashboard_opened"
#: How Stripe says that there is no such account any more, where it does not refuse access to it.
_GONE: Final = frozenset({"not_found", "resource_missing"})


def begin(
    state: State,
    tenant: Any,
    mode: Mode,
    account_type: AccountType,
    *,
    user_id: str,
    return_url: str,
    refresh_url: str,
    country: str | None = None,
) -> str:
    """Return the address at Stripe where the tenant's admin tells it what it wants to know. Commits.

    The account is made on the first press, and found again on every other one: after a crash, in a second tab, and
    after it was disconnected. What takes payments now goes on doing so until the new account may charge.

    :param country: where the business is, as two letters; by default ``tenant.country``, or else the platform's own.
    :raises ConfigurationError: if the operator has to set or to switch on something first; the text says what.
    :raises OutcomeUnknownError: if Stripe did not answer. Press again: it makes at most one account.
    """
    _refuse_unfit(state, mode, account_type)
    country = country_of(tenant, country)
    connection = _find_or_prepare(state, tenant, mode, account_type, user_id)
    _send(state, tenant, connection, _BEGAN, user_id)
    if connection.account_id is None:
        try:
            make_account(state, tenant, connection, country=country, actor=user_id)
        except OtherParamsError:
            # What we would send has changed since an answer got lost: that account, if it was made, is nobody's.
            log.warning("if Stripe made an account with metadata valetpro_connection=%s, nobody uses it", connection.id)
            connection = _find_or_prepare(state, tenant, mode, account_type, user_id)
            _send(state, tenant, connection, _BEGAN, user_id)
            make_account(state, tenant, connection, country=country, actor=user_id)
    address = _link(state, connection, return_url, refresh_url)
    _refresh_if_possible(state, connection)
    return address


def come_back(state: State, tenant: Any, mode: Mode, *, actor: str) -> Connection | None:
    """Return the connection whose admin comes back from Stripe, as its account is now, or None. Commits.

    Coming back says nothing about being done (Stripe docs, "Stripe-hosted onboarding"), and the address nothing about
    who comes: the account is the one that this tenant was sent away with, and Stripe is asked about it.
    """
    connection = _sent_last(state, tenant, mode)
    if connection is None:
        log.info("tenant %s came back from Stripe, but has nothing there to be done", key_of(tenant))
        return None
    log.info("%s came back from Stripe with connection %s", actor, connection.id)
    _refresh_if_possible(state, connection)
    return connection


def renew(state: State, tenant: Any, mode: Mode, *, user_id: str, return_url: str, refresh_url: str) -> str:
    """Return a new address at Stripe for what the tenant has begun and not finished: a link works only once. Commits.

    :raises ValetProStripeError: if there is nothing to be finished, or more than :data:`MOST_LINKS` were asked for.
    """
    connection = _sent_last(state, tenant, mode)
    if connection is None or not _wants_something(connection):
        raise ValetProStripeError(
            "There is nothing to be finished at Stripe now.",
            code="nothing_begun",
            hint="If the account is not connected, press the button again.",
        )
    _send(state, tenant, connection, _RENEWED, user_id)
    return _link(state, connection, return_url, refresh_url)


def dashboard_link(state: State, tenant: Any, mode: Mode, *, user_id: str) -> str:
    """Return an address that signs its reader in to the tenant's Express dashboard, once. Never store or send it.

    :raises ValetProStripeError: if the tenant's account is not an Express account, or it was opened too often.
    """
    connection = find_connection(state, tenant, mode)
    is_express = connection is not None and connection.account_type is AccountType.CONNECT_EXPRESS
    if connection is None or not is_express or connection.ended_at or connection.account_id is None:
        raise ValetProStripeError(
            f"There is no Express account in {mode} mode, and only those have a dashboard that is opened from here.",
            code="no_dashboard",
            hint="Sign in at Stripe.",
        )
    _refuse_too_many(state, tenant, _OPENED)
    audit.record_about(state, connection, actor=user_id, action=_OPENED)
    client, account_id = make_platform_client(state, mode), connection.account_id
    state.session.commit()
    link = ask_stripe("Opening the Express dashboard", client.v1.accounts.login_links.create, account_id)
    return to_stripe(state.config, link.url)


def _refuse_unfit(state: State, mode: Mode, account_type: AccountType) -> None:
    if account_type not in PRESETS or account_type not in state.config.allowed_account_types:
        raise ValetProStripeError(
            "Accounts of this type cannot be connected here.", code="account_type", hint="Ask the operator."
        )
    platform_key(state.config, mode)
    if mode.livemode and not state.config.public_url.startswith("https://"):
        raise ConfigurationError(
            "In live mode Stripe sends people back to https addresses only. The operator must set "
            "VALETPRO_STRIPE_PUBLIC_URL to this app's https address.",
            code="public_url",
        )


def _find_or_prepare(state: State, tenant: Any, mode: Mode, account_type: AccountType, user_id: str) -> Connection:
    """Return the tenant's living connection of a type that we make, or a new one; two clicks get the same."""
    audit.lock_tenant(state, key_of(tenant))
    made = _made(state, tenant, mode, account_type)
    if made and made[0].ended_at is None:
        return made[0]
    # The tenant's own account, which it disconnected. One that Stripe withdrew cannot be used again.
    gone = {c.account_id for c in made if c.status is OnboardingStatus.REVOKED}
    left = [c for c in made if c.status is OnboardingStatus.NOT_CONNECTED and c.account_id and c.account_id not in gone]
    earlier = next((c for c in left if not _is_taken(state, tenant, mode, c.account_id)), None)
    return prepare_connection(
        state,
        tenant,
        mode,
        account_type,
        actor=user_id,
        account_id=earlier.account_id if earlier else None,
        accounts_api=earlier.accounts_api if earlier else state.config.accounts_api,
    )


def _is_taken(state: State, tenant: Any, mode: Mode, account_id: str | None) -> bool:
    """Tell whether another tenant works with the account by now: then this one needs one of its own."""
    try:
        refuse_taken(state, tenant, mode, account_id)
    except AccountTakenError:
        return True
    return False


def _made(state: State, tenant: Any, mode: Mode, account_type: AccountType) -> list[Connection]:
    """Return the tenant's connections to accounts of one type that we made, the living first, then the newest."""
    model = state.models.Connection
    return list(
        state.session.scalars(
            sa.select(model)
            .where(
                model.tenant_id == key_of(tenant),
                model.mode == mode,
                model.account_type == account_type,
                model.accounts_api.is_not(None),
            )
            .order_by(model.ended_at.is_not(None), model.is_current.desc(), model.id.desc())
            .execution_options(populate_existing=True)
        )
    )


def _send(state: State, tenant: Any, connection: Connection, action: str, user_id: str) -> None:
    """Note that the tenant's admin is sent to Stripe for ``connection``, unless it happens too often. Commits."""
    _refuse_too_many(state, tenant, _BEGAN, _RENEWED)
    if action == _BEGAN:
        _take_place(state, tenant, connection)
        name = getattr(tenant, "name", None)
        if connection.account_id is None and connection.account_name is None and isinstance(name, str):
            # What is sent to Stripe: it must be the same when the call is repeated, whatever the tenant's name is then.
            connection.account_name = storable(name)
    audit.record_about(state, connection, actor=user_id, action=action)
    state.session.commit()


def _refuse_too_many(state: State, tenant: Any, *actions: str) -> None:
    if audit.count_recent(state, tenant, *actions) >= MOST_LINKS:
        state.session.rollback()
        raise ValetProStripeError(
            f"Links to Stripe were asked for {MOST_LINKS} times in the last ten minutes.",
            code="too_many",
            hint="Finish at Stripe where you began, or wait some minutes.",
        )


def _take_place(state: State, tenant: Any, connection: Connection) -> None:
    """Make it the tenant's current one, unless that takes payments and this does not yet."""
    current = find_connection(state, tenant, connection.mode)
    takes_payments = current is not None and current.status is OnboardingStatus.CONNECTED
    if not connection.is_current and (connection.status is OnboardingStatus.CONNECTED or not takes_payments):
        make_current(state, connection)


def _sent_last(state: State, tenant: Any, mode: Mode) -> Connection | None:
    """Return the living connection that the tenant's admin was last sent to Stripe for."""
    model, entry = state.models.Connection, state.models.AuditEntry
    return state.session.scalar(
        sa.select(model)
        .join(entry, entry.connection_id == model.id)
        .where(
            entry.tenant_id == key_of(tenant),
            entry.action.in_([_BEGAN, _RENEWED]),
            model.tenant_id == key_of(tenant),
            model.mode == mode,
            model.account_id.is_not(None),
            model.ended_at.is_(None),
        )
        .order_by(entry.sequence.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )


def _wants_something(connection: Connection) -> bool:
    return connection.status is OnboardingStatus.PENDING or connection.requirements_due_at is not None


def _link(state: State, connection: Connection, return_url: str, refresh_url: str) -> str:
    """Return a new link to Stripe's pages for the account: single use, for some minutes, never stored.

    :raises ConnectionRevokedError: if the account is gone; its connection is ended then.
    """
    client, is_v2 = make_platform_client(state, connection.mode), connection.accounts_api == "v2"
    there: dict[str, Any] = {"refresh_url": refresh_url, "return_url": return_url}
    asked: Mapping[str, Any] = {"account": connection.account_id, "type": "account_onboarding", **there}
    if is_v2:
        use_case = {"type": "account_onboarding", "account_onboarding": there}
        asked = {"account": connection.account_id, "use_case": use_case}
    create: Any = client.v2.core.account_links.create if is_v2 else client.v1.account_links.create
    state.session.commit()
    try:
        return to_stripe(state.config, ask_stripe("Making the link to Stripe", create, cast(Any, asked)).url)
    except ValetProStripeError as error:
        if not isinstance(error, ConnectionRevokedError) and error.code not in _GONE:
            raise
        revoke(state, [connection])
        state.session.commit()
        raise _gone(state) from None


def _gone(state: State) -> ConnectionRevokedError:
    return ConnectionRevokedError(
        "The Stripe account that was begun here is gone, or the platform no longer has access to it.",
        settings_url=state.config.settings_page,
        hint="Press the button again: a new account is made.",
    )


def _refresh_if_possible(state: State, connection: Connection) -> None:
    """Bring the connection to what its account says. If Stripe cannot tell now, an event brings it later."""
    try:
        refresh(state, connection)
    except ValetProStripeError as error:
        state.session.rollback()
        log.warning("the account of connection %s cannot be read now: %s", connection.id, error.code)
