"""Every road into and out of a connection."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from . import audit, custody, endpoints, parked, signals
from .credentials import find_living
from .enums import AccountType, Mode, OnboardingStatus
from .errors import (
    AccountTakenError,
    ConfigurationError,
    ConnectionRevokedError,
    ModeMismatchError,
    ValetProStripeError,
)
from .gateway import ask_stripe, make_account_client, make_platform_client
from .models import Connection, key_of
from .models.types import utcnow
from .state import State

log = logging.getLogger(__name__)


def open_connection(
    state: State,
    tenant: Any,
    mode: Mode,
    account_type: AccountType,
    *,
    actor: str,
    account_id: str | None = None,
    account_name: str | None = None,
    requirements: list[str] | None = None,
) -> Connection:
    """Make a new connection the tenant's current one in ``mode``, and commit.

    The one before it stays usable for refunds of what it took, until disconnected. ``requirements`` that are not empty
    leave the new one PENDING: Stripe does not let the account charge yet.

    :raises AccountTakenError: if the account serves another tenant; nothing is changed, at Stripe neither.
    """
    connection = _add(
        state,
        tenant,
        mode,
        account_type,
        status=OnboardingStatus.PENDING if requirements else OnboardingStatus.CONNECTED,
        account_id=account_id,
        account_name=account_name,
        requirements=requirements or None,
        connected_at=utcnow(),
    )
    make_current(state, connection)
    audit.record_about(state, connection, actor=actor, action="connected")
    state.session.commit()
    if connection.status is OnboardingStatus.CONNECTED:
        state.tell(signals.tenant_connected, tenant=tenant, connection=connection)
    return connection


def prepare_connection(
    state: State,
    tenant: Any,
    mode: Mode,
    account_type: AccountType,
    *,
    actor: str,
    account_id: str | None = None,
    accounts_api: str | None = None,
) -> Connection:
    """Return a new PENDING connection, committed before Stripe or a vault hears of it.

    It is the tenant's current one only if the tenant has none in ``mode``: what takes payments now goes on doing so
    until :func:`make_current`.

    :raises AccountTakenError: if the account serves another tenant.
    """
    pending = OnboardingStatus.PENDING
    kept: dict[str, Any] = {"status": pending, "account_id": account_id, "accounts_api": accounts_api}
    connection = _add(state, tenant, mode, account_type, **kept)
    if not any(c.is_current for c in find_living(state, tenant, mode)):
        make_current(state, connection)
    audit.record_about(state, connection, actor=actor, action="prepared")
    state.session.commit()
    return connection


def _add(state: State, tenant: Any, mode: Mode, account_type: AccountType, **columns: Any) -> Connection:
    """Return a new connection that is not current, for the app's present address, with the tenant locked."""
    audit.lock_tenant(state, key_of(tenant))
    refuse_taken(state, tenant, mode, columns["account_id"])
    connection = state.models.Connection(
        tenant_id=key_of(tenant),
        mode=mode,
        account_type=account_type,
        is_current=False,
        public_url=state.config.public_url,
        **columns,
    )
    state.session.add(connection)
    state.session.flush()
    return connection


def make_current(state: State, connection: Connection) -> None:
    """Let new payments of the connection's tenant use it; the one before it stays for refunds. The caller commits.

    :raises AccountTakenError: if another tenant took the account meanwhile; the transaction is rolled back.
    """
    audit.lock_tenant(state, connection.tenant_id)
    model = state.models.Connection
    own = sa.and_(model.tenant_id == connection.tenant_id, model.mode == connection.mode)
    state.session.execute(sa.update(model).where(own, model.is_current).values(is_current=False))
    if connection.account_id:
        # The tenant's new connection to the same account takes over the claim of its old one.
        state.session.execute(
            sa.update(model)
            .where(own, model.claimed_account_id == connection.account_id)
            .values(claimed_account_id=None)
        )
    connection.is_current = True
    connection.claimed_account_id = None if state.config.allow_shared_accounts else connection.account_id
    try:
        state.session.flush()
    except IntegrityError:
        state.session.rollback()
        raise _taken() from None
    parked.release(state, connection)
    state.session.expire(state.session.get_one(state.models.Tenant, connection.tenant_id), ["stripe_connection"])


def refuse_taken(state: State, tenant: Any, mode: Mode, account_id: str | None) -> None:
    """Return if no other tenant works with the account, or the operator allows that.

    :raises AccountTakenError: if one does; who, nobody is told.
    """
    if account_id is None or state.config.allow_shared_accounts:
        return
    if any(c.tenant_id != key_of(tenant) for c in living_connections(state, account_id, mode)):
        raise _taken()


def _taken() -> AccountTakenError:
    return AccountTakenError("This Stripe account is already in use here, so it was not connected.")


def disconnect(state: State, tenant: Any, mode: Mode, *, actor: str) -> bool:
    """End the tenant's connections to its own accounts in ``mode``; return False if it had none. Commits.

    Our access at Stripe is withdrawn from accounts that no other tenant uses: Stripe withdraws it for all of them at
    once. An endpoint that we made with the tenant's key is removed there, and its keys are archived. If Stripe cannot
    be asked about an account, its connections stay as they are, and the error says so. The platform's account is the
    operator's to lend and to take away.
    """
    own = [c for c in find_living(state, tenant, mode) if c.account_type is not AccountType.PLATFORM]
    by_hand = [c for c in own if not _by_oauth(c)]
    accounts = {str(c.account_id) for c in own if _by_oauth(c)}
    for connection in by_hand:
        _disconnect_own(state, tenant, connection, actor)
    for account_id in sorted(accounts):
        _disconnect_account(state, tenant, mode, account_id, actor)
    return bool(own)


def _by_oauth(connection: Connection) -> bool:
    """Tell whether the account's owner let us in; the others opened with their own key, or were made by us."""
    return connection.account_type is AccountType.CONNECT_STANDARD and connection.accounts_api is None


def _disconnect_own(state: State, tenant: Any, connection: Connection, actor: str) -> None:
    """End a connection that takes no leave at Stripe: we forget the key, or that the account is this tenant's."""
    state.session.commit()
    removed = endpoints.remove(state, connection)
    action = "disconnected" if removed else "disconnected_endpoint_left"
    ended = _end(state, connection, OnboardingStatus.NOT_CONNECTED, actor=actor, action=action)
    state.session.commit()
    if ended:
        state.tell(signals.tenant_disconnected, tenant=tenant, connection=connection)


def _disconnect_account(state: State, tenant: Any, mode: Mode, account_id: str, actor: str) -> None:
    everybody = _let_in(state, account_id, mode)
    own = [connection for connection in everybody if connection.tenant_id == key_of(tenant)]
    is_last = len(own) == len(everybody)
    # Connections are read, nothing is written: give the transaction back before the network is asked.
    state.session.commit()
    if is_last:
        _deauthorize(state, mode, account_id)
    ended = [c for c in own if _end(state, c, OnboardingStatus.NOT_CONNECTED, actor=actor, action="disconnected")]
    _take_back_revoked(state, own)
    state.session.commit()
    is_last_after_all = not is_last and not _let_in(state, account_id, mode)
    state.session.commit()
    if is_last_after_all:
        # Two tenants that share an account disconnected at once, each seeing the other: whoever is last withdraws.
        _deauthorize(state, mode, account_id)
    for connection in ended:
        state.tell(signals.tenant_disconnected, tenant=tenant, connection=connection)


def _let_in(state: State, account_id: str, mode: Mode) -> list[Connection]:
    return [connection for connection in living_connections(state, account_id, mode) if _by_oauth(connection)]


def _take_back_revoked(state: State, own: list[Connection]) -> None:
    """Stripe's event about our own call may have been faster: the tenant left, Stripe withdrew nothing by itself."""
    model = state.models.Connection
    state.session.execute(
        sa.update(model)
        .where(model.id.in_([c.id for c in own]), model.status == OnboardingStatus.REVOKED)
        .values(status=OnboardingStatus.NOT_CONNECTED, is_current=False)
    )


def _deauthorize(state: State, mode: Mode, account_id: str) -> None:
    client = make_platform_client(state, mode)
    if not state.config.client_id(mode):
        raise ConfigurationError(
            f"The operator must set VALETPRO_STRIPE_{mode.upper()}_CLIENT_ID before accounts can be disconnected."
        )
    try:
        ask_stripe("Disconnecting", client.oauth.deauthorize, {"stripe_user_id": account_id})
    except ValetProStripeError as error:
        if error.code != "invalid_client":
            raise
        # Stripe says it for an account that is not connected, which is what we wanted, and for a client id that is not
        # ours (Stripe docs, "OAuth reference for Connect", deauthorize).
        if _is_reachable(state, mode, account_id):
            raise ConfigurationError(
                f"Stripe does not take VALETPRO_STRIPE_{mode.upper()}_CLIENT_ID for this platform's, so the account "
                "stays connected. The operator must set the id from the platform's Connect settings."
            ) from None
        log.info("account %s was not connected at Stripe any more", account_id)


def _is_reachable(state: State, mode: Mode, account_id: str) -> bool:
    client = make_account_client(state, mode, account_id)
    try:
        ask_stripe("Reading the account", client.v1.accounts.retrieve_current)
    except ConnectionRevokedError:
        return False
    return True


def _end(state: State, connection: Connection, status: OnboardingStatus, *, actor: str, action: str) -> bool:
    """End a connection; return False if somebody else was faster."""
    audit.lock_tenant(state, connection.tenant_id)
    model = state.models.Connection
    values: dict[str, Any] = {"status": status, "ended_at": utcnow(), "claimed_account_id": None}
    if status is not OnboardingStatus.REVOKED:
        # A revoked connection stays the tenant's current one, so that its page says what happened.
        values["is_current"] = False
    ended = state.session.scalar(
        sa.update(model).where(model.id == connection.id, model.ended_at.is_(None)).values(values).returning(model.id)
    )
    if ended is None:
        return False
    # Its keys go with it. Its webhook secret still verifies what Stripe has under way, so that it can be answered.
    custody.archive(state, connection, custody.API_KEY)
    custody.archive(state, connection, custody.WEBHOOK_SECRET, valid_until=utcnow() + endpoints.RETRIES)
    audit.record_about(state, connection, actor=actor, action=action)
    # A session that keeps its rows over a commit would show the tenant as connected still.
    tenant = state.session.get_one(state.models.Tenant, connection.tenant_id)
    state.session.expire(tenant, ["stripe_connection"])
    return True


def living_connections(state: State, account_id: str, mode: Mode) -> list[Connection]:
    """Return the connections of every tenant to one account, as long as they have not ended, tenant by tenant."""
    model = state.models.Connection
    found = state.session.scalars(
        sa.select(model)
        .where(model.account_id == account_id, model.mode == mode, model.ended_at.is_(None))
        .execution_options(populate_existing=True)
    )
    # In the order in which tenants are locked.
    return sorted(found, key=lambda connection: (str(connection.tenant_id), connection.id))


def give_up(state: State, connection: Connection, *, actor: str) -> None:
    """End a connection that Stripe refused to make an account for. Commits."""
    _end(state, connection, OnboardingStatus.NOT_CONNECTED, actor=actor, action="given_up")
    state.session.commit()


def revoke(state: State, connections: list[Connection]) -> list[Connection]:
    """Mark connections whose access Stripe has withdrawn; return those that had not ended yet. The caller commits.

    A tenant's own key is not ours by anybody's leave, and goes on working.
    """
    status, given = OnboardingStatus.REVOKED, [c for c in connections if c.account_type is not AccountType.RAW_KEYS]
    return [c for c in given if _end(state, c, status, actor="stripe", action="revoked")]


def allow_platform(state: State, tenant: Any, *, actor: str) -> list[Connection]:
    """Let ``tenant`` take payments on the platform's own account, in every mode that it has a key for. Commits.

    A mode in which the tenant has its own connection is left as it is.
    """
    modes = [mode for mode in Mode if state.config.secret_key(mode)]
    if not modes:
        raise ConfigurationError("The platform has no key. Set VALETPRO_STRIPE_TEST_SECRET_KEY or …LIVE_SECRET_KEY.")
    free = [mode for mode in modes if not any(c.is_current for c in find_living(state, tenant, mode))]
    return [open_connection(state, tenant, mode, AccountType.PLATFORM, actor=actor) for mode in free]


def forbid_platform(state: State, tenant: Any, *, actor: str) -> int:
    """Withdraw the permission to use the platform's account; return how many connections ended. Commits."""
    lent = [c for mode in Mode for c in find_living(state, tenant, mode) if c.account_type is AccountType.PLATFORM]
    status = OnboardingStatus.NOT_CONNECTED
    ended = [c for c in lent if _end(state, c, status, actor=actor, action="platform_forbidden")]
    state.session.commit()
    for connection in ended:
        state.tell(signals.tenant_disconnected, tenant=tenant, connection=connection)
    return len(ended)


def switch_mode(state: State, tenant: Any, mode: Mode, *, actor: str) -> None:
    """Make ``mode`` the tenant's active one, and commit.

    :raises ModeMismatchError: when going live without all that live payments need; its ``hint`` lists what is missing.
    """
    missing = missing_for(state, tenant, mode) if mode.livemode else []
    if missing:
        raise ModeMismatchError("Live payments cannot be switched on yet.", code="not_ready", hint=" ".join(missing))
    if tenant.stripe_mode is not mode:
        tenant.stripe_mode = mode
        audit.record(state, tenant_id=key_of(tenant), actor=actor, action="mode_switched", mode=mode)
    state.session.commit()


def missing_for(state: State, tenant: Any, mode: Mode) -> list[str]:
    """Return what stands between ``tenant`` and payments in ``mode``, as sentences; empty means ready."""
    current = next((c for c in find_living(state, tenant, mode) if c.is_current), None)
    sentences = [] if _stands_alone(state, current) else _missing_of_platform(state, mode, current)
    if current is None:
        sentences.append(f"Connect a Stripe account in {mode} mode.")
    elif current.status is not OnboardingStatus.CONNECTED:
        sentences.append(f"Stripe still wants something before the {mode} account may charge.")
    return sentences


def _stands_alone(state: State, current: Connection | None) -> bool:
    """Tell whether payments need nothing of the platform's: a tenant's own keys bring their own endpoint."""
    if current is not None:
        return current.account_type is AccountType.RAW_KEYS
    return state.config.allowed_account_types <= {AccountType.RAW_KEYS, AccountType.PLATFORM}


def _missing_of_platform(state: State, mode: Mode, current: Connection | None) -> list[str]:
    sentences = []
    if state.config.secret_key(mode) is None:
        sentences.append(f"The operator must set VALETPRO_STRIPE_{mode.upper()}_SECRET_KEY.")
    connect = current is None or current.account_type is not AccountType.PLATFORM
    if not state.config.webhook_secrets(mode, connect=connect):
        name = f"{mode.upper()}_{'CONNECT_' if connect else ''}WEBHOOK_SECRETS"
        sentences.append(f"The operator must set VALETPRO_STRIPE_{name}, or payments would never turn paid.")
    return sentences
