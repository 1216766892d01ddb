"""From a tenant to its connection, and from a connection to what acts at Stripe for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa
import stripe

from . import custody
from .enums import AccountType, Mode, OnboardingStatus
from .errors import ConfigurationError, ConnectionRevokedError, NotConnectedError
from .gateway import Credentials, make_client, platform_key
from .models import Connection, key_of
from .state import State


def client_for(state: State, connection: Connection) -> stripe.StripeClient:
    """Return a client bound to the account of ``connection``, current or not.

    :raises ConnectionRevokedError: if it has ended and its tenant has no later connection to the same account: a
        disconnected account is never touched.
    :raises ConfigurationError: if the operator has removed what it needs.
    :raises SecretUnavailableError: if the tenant's key cannot be read now.
    """
    connection = acting_for(state, connection)
    return make_client(state, _CREDENTIALS[connection.account_type](state, connection))


def _platform(state: State, connection: Connection) -> Credentials:
    return Credentials(platform_key(state.config, connection.mode), None, connection.mode)


def _connected(state: State, connection: Connection) -> Credentials:
    """Act with the platform's key on the connected account, never on the platform's own."""
    if not connection.account_id:
        raise ConfigurationError(f"Connection {connection.id} has no account id. Connect the tenant again.")
    return Credentials(platform_key(state.config, connection.mode), connection.account_id, connection.mode)


def _raw_keys(state: State, connection: Connection) -> Credentials:
    """Act with the tenant's own key. Which version, the database says on each use: a revoked key is not used again."""
    row = custody.find_present(state, connection, custody.API_KEY)
    if row is None:
        raise _not_ready(state, NotConnectedError, f"There is no Stripe API key in {connection.mode} mode.")
    return Credentials(custody.read(state, connection, row), None, connection.mode)


def acting_for(state: State, connection: Connection) -> Connection:
    """Return the connection that acts on a connection's account now: itself, or what came after it.

    :raises ConnectionRevokedError: if it has ended, and its tenant has no later one to the same account.
    """
    return connection if connection.ended_at is None else _later_connection(state, connection)


def _later_connection(state: State, ended: Connection) -> Connection:
    """Return what the tenant of an ended connection has to the same account since."""
    model = state.models.Connection
    # The platform's own account has no id here, and neither has one that is being made.
    is_platforms = model.account_type == AccountType.PLATFORM
    same_kind = is_platforms if ended.account_type is AccountType.PLATFORM else sa.not_(is_platforms)
    later = state.session.scalar(
        sa.select(model)
        .where(
            model.tenant_id == ended.tenant_id,
            model.mode == ended.mode,
            model.account_id == ended.account_id,
            same_kind,
            model.ended_at.is_(None),
        )
        .order_by(model.is_current.desc(), model.id.desc())
        .limit(1)
    )
    if later is None:
        account = ended.account_name or ended.account_id or "of the platform"
        raise ConnectionRevokedError(
            f"The Stripe account {account} is disconnected, so its payments can no longer be reached. "
            "Connect the same account again to reach them.",
            settings_url=state.config.settings_page,
        )
    return later


def find_connection(state: State, tenant: Any, mode: Mode) -> Connection | None:
    """Return the connection that new payments of ``tenant`` use in ``mode``, as the database has it now."""
    model = state.models.Connection
    return state.session.scalar(
        sa.select(model)
        .where(model.tenant_id == key_of(tenant), model.mode == mode, model.is_current)
        .execution_options(populate_existing=True)
    )


def find_living(state: State, tenant: Any, mode: Mode) -> list[Connection]:
    """Return the tenant's connections that have not ended, the current one first, then the newest."""
    model = state.models.Connection
    return list(
        state.session.scalars(
            sa.select(model)
            .where(model.tenant_id == key_of(tenant), model.mode == mode, model.ended_at.is_(None))
            .order_by(model.is_current.desc(), model.id.desc())
            .execution_options(populate_existing=True)
        )
    )


def is_unfinished(connection: Connection) -> bool:
    """Tell whether a living connection is still being set up: it was never ready, and so never took a payment."""
    return connection.connected_at is None


def require_connection(state: State, tenant: Any) -> Connection:
    """Return the connection for new payments of ``tenant`` in its active mode.

    :raises NotConnectedError: if it has none that takes payments. Nothing falls back to the platform in silence.
    :raises ConnectionRevokedError: if Stripe withdrew it.
    """
    mode = tenant.stripe_mode
    connection = find_connection(state, tenant, mode) or _fallback(state, tenant, mode)
    if connection is None:
        raise _not_ready(state, NotConnectedError, f"No Stripe account is connected in {mode} mode.")
    if connection.status is OnboardingStatus.REVOKED:
        raise _not_ready(state, ConnectionRevokedError, f"Stripe withdrew the connection in {mode} mode.")
    if connection.status is not OnboardingStatus.CONNECTED:
        missing = ", ".join(connection.requirements or []) or "nothing that it names"
        raise _not_ready(
            state, NotConnectedError, f"The Stripe account cannot take {mode} payments yet. Stripe wants: {missing}."
        )
    return connection


def _not_ready(state: State, error: type[NotConnectedError], what: str) -> NotConnectedError:
    page = state.config.settings_page
    return error(f"{what} An admin mends this at {page}", settings_url=page)


def falls_back(state: State, tenant: Any, mode: Mode) -> bool:
    """Return whether ``tenant`` may use the platform's account, as one that never connected, by the operator's will."""
    if state.config.platform_fallback != "test" or mode is not Mode.test or state.config.test_secret_key is None:
        return False
    model = state.models.Connection
    own = sa.select(model.id).where(model.tenant_id == key_of(tenant), sa.not_(_is_lent(model)))
    return state.session.scalar(own.limit(1)) is None


def _fallback(state: State, tenant: Any, mode: Mode) -> Connection | None:
    """Return the connection that is lent to ``tenant``, if the operator allows it."""
    if not falls_back(state, tenant, mode):
        return None
    model = state.models.Connection
    lent = sa.select(model).where(model.tenant_id == key_of(tenant), _is_lent(model)).order_by(model.id)
    return state.session.scalar(lent.limit(1)) or _lend_platform(state, tenant)


def _is_lent(model: type[Connection]) -> sa.ColumnElement[bool]:
    # The fallback is current for nobody: it works only while the setting says so.
    return sa.and_(model.account_type == AccountType.PLATFORM, sa.not_(model.is_current), model.ended_at.is_(None))


def _lend_platform(state: State, tenant: Any) -> Connection:
    connection = state.models.Connection(
        tenant_id=key_of(tenant),
        mode=Mode.test,
        account_type=AccountType.PLATFORM,
        status=OnboardingStatus.CONNECTED,
        is_current=False,
    )
    state.session.add(connection)
    state.session.flush()
    return connection


_CREDENTIALS: Final[Mapping[AccountType, Callable[[State, Connection], Credentials]]] = {
    AccountType.PLATFORM: _platform,
    AccountType.CONNECT_STANDARD: _connected,
    AccountType.CONNECT_EXPRESS: _connected,
    AccountType.CONNECT_CUSTOM: _connected,
    AccountType.RAW_KEYS: _raw_keys,
}
