"""A tenant's own API keys: pasted, proved, saved, exchanged for newer ones, and brought back."""

from __future__ import annotations

import logging
from typing import Any, Final

import sqlalchemy as sa

from .. import audit, custody, endpoints, signals
from ..connections import give_up, make_current, prepare_connection, refuse_taken
from ..credentials import find_connection
from ..enums import AccountType, Mode, OnboardingStatus
from ..errors import (
    AccountSwitchError,
    InvalidKeyError,
    MissingPermissionError,
    NotConnectedError,
    SecretUnavailableError,
    ValetProStripeError,
)
from ..models import Connection, key_of
from ..models import Secret as SecretRow
from ..models.types import utcnow
from ..secrets import Secret
from ..state import State
from . import key_check
from .key_check import (
    ALLOW_THEM,
    ENDPOINTS,
    Checked,
    Pasted,
    allow_check,
    check_key,
    prove_same_account,
    refuse_platforms,
)

log = logging.getLogger(__name__)
#: What a connection without a webhook secret still wants.
NO_ENDPOINT: Final = "webhook endpoint"
#: The first half of :func:`save`.
read_form = key_check.read_form


def save(state: State, tenant: Any, mode: Mode, pasted: Pasted, *, actor: str) -> Connection:
    """Return the tenant's connection with the pasted keys in use. Commits.

    A first key makes a connection, with a webhook endpoint of its own in the tenant's account; another key of the same
    account takes the place of the one before it. Nothing is stored before Stripe has proved it.

    :raises InvalidKeyError: if Stripe does not accept a key, or the two keys are of different accounts.
    :raises MissingPermissionError: naming what a restricted key lacks, or had and would lose.
    :raises AccountSwitchError: if the key is of another account than the connected one, and that was not confirmed.
    :raises AccountTakenError: if the account serves another tenant, or is the platform's own.
    :raises SecretUnavailableError: if the secret store cannot keep the key; nothing is changed.
    :raises ValetProStripeError: if Stripe would not make the endpoint: the key is saved, the connection is PENDING.
    """
    if AccountType.RAW_KEYS not in state.config.allowed_account_types:
        raise ValetProStripeError("API keys are not taken here.", code="account_type", hint="Ask the operator.")
    allow_check(state, tenant, mode, pasted, actor=actor)
    checked = _check(state, mode, pasted)
    connection = _connection_of(state, tenant, mode, checked, pasted, actor)
    if pasted.publishable_key and not pasted.key:
        prove_same_account(state, _present_key(state, connection), pasted.publishable_key, mode)
    if checked:
        _put_first_key_or_give_up(state, tenant, connection, checked, actor)
        _drop_unfinished(state, tenant, connection, actor)
    if pasted.publishable_key:
        connection.publishable_key = pasted.publishable_key
        state.session.commit()
    if pasted.webhook_secret:
        _put_webhook_secret(state, tenant, connection, pasted.webhook_secret, actor)
    else:
        _look_after_endpoint(state, connection, actor)
    _settle(state, tenant, connection, checked.requirements if checked else None, actor)
    return connection


def find_own(state: State, tenant: Any, mode: Mode, account_id: str | None = None) -> Connection | None:
    """Return the tenant's living raw-key connection in ``mode`` that a form without a secret key is about.

    That is the one that is being set up, or the current one, or the last one. ``account_id`` looks at one account only.
    """
    model = state.models.Connection
    return state.session.scalar(
        sa.select(model)
        .where(
            model.tenant_id == key_of(tenant),
            model.mode == mode,
            model.account_type == AccountType.RAW_KEYS,
            model.ended_at.is_(None),
            *([model.account_id == account_id] if account_id else []),
        )
        .order_by(model.connected_at.is_not(None), model.is_current.desc(), model.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )


def _check(state: State, mode: Mode, pasted: Pasted) -> Checked | None:
    """Return what Stripe says about the pasted keys, before anything is stored."""
    if pasted.key is None:
        return None
    checked = check_key(state, pasted.key, mode)
    refuse_platforms(state, checked, mode)
    if pasted.publishable_key:
        prove_same_account(state, pasted.key, pasted.publishable_key, mode)
    return checked


def _connection_of(
    state: State, tenant: Any, mode: Mode, checked: Checked | None, pasted: Pasted, actor: str
) -> Connection:
    """Return the connection that the pasted keys are for: the one to their account, or a new one."""
    if checked is None:
        return _asked_for(state, tenant, mode, pasted)
    # Two clicks at once are about one connection.
    audit.lock_tenant(state, key_of(tenant))
    own = find_own(state, tenant, mode, checked.account_id)
    if own is None:
        refuse_taken(state, tenant, mode, checked.account_id)
    _confirm_switch(find_connection(state, tenant, mode), checked, pasted.switch_to)
    own = own or prepare_connection(
        state, tenant, mode, AccountType.RAW_KEYS, actor=actor, account_id=checked.account_id
    )
    state.session.commit()
    return own


def _asked_for(state: State, tenant: Any, mode: Mode, pasted: Pasted) -> Connection:
    own = find_own(state, tenant, mode)
    # To one that was left for another account, only its key leads back.
    is_in_use = own is not None and (own.is_current or own.connected_at is None)
    has_key = own is not None and custody.find_present(state, own, custody.API_KEY) is not None
    if own is None or not (is_in_use and has_key and (pasted.publishable_key or pasted.webhook_secret)):
        raise InvalidKeyError("Enter the secret key: it begins with rk_ or sk_.", code="no_key")
    return own


def _confirm_switch(current: Connection | None, checked: Checked, confirmed: str | None) -> None:
    if current is None or current.connected_at is None or current.ended_at is not None:
        # It takes no payments, and never did or never will again.
        return
    if current.account_id in (None, checked.account_id) or confirmed == checked.account_id:
        return
    raise AccountSwitchError(
        f"This key is of another account: {checked.account_name or checked.account_id}, not "
        f"{current.account_name or current.account_id}. Nothing was changed.",
        account_id=checked.account_id,
    )


def _present_key(state: State, connection: Connection) -> Secret:
    row = custody.find_present(state, connection, custody.API_KEY)
    if row is None:
        raise InvalidKeyError("Enter the secret key too: there is none yet.", code="no_key")
    key = custody.read(state, connection, row)
    state.session.commit()
    return key


def _put_first_key_or_give_up(state: State, tenant: Any, connection: Connection, checked: Checked, actor: str) -> None:
    try:
        _put_key(state, tenant, connection, checked, actor)
    except Exception:
        state.session.rollback()
        if connection.connected_at is None and custody.find_present(state, connection, custody.API_KEY) is None:
            # A connection without a key is of no use, and would stand in the way of the next one.
            give_up(state, connection, actor=actor)
        raise


def _put_key(state: State, tenant: Any, connection: Connection, checked: Checked, actor: str) -> None:
    """Let the connection use a proved key from now on, in one commit; the one before it is archived."""
    before = custody.find_present(state, connection, custody.API_KEY)
    before_id = before.id if before else None
    if before is not None and _is_same(state, before, checked.key) and not custody.is_lost(state, connection, before):
        _note_checked(connection, checked)
        state.session.commit()
        return
    _refuse_less(connection, checked, before)
    entrusted = custody.entrust(state, connection, custody.API_KEY, checked.key)
    try:
        endpoints.lock_living(state, connection)
        present = custody.find_present(state, connection, custody.API_KEY)
        if present is not None and present.id != before_id and _is_same(state, present, checked.key):
            # A second click on the same form was faster.
            state.session.rollback()
            custody.abandon(entrusted)
            return
        custody.require_unchanged(state, connection, custody.API_KEY, before_id)
        custody.switch(state, connection, entrusted)
        _note_checked(connection, checked)
        _record(state, connection, actor, "key_rotated" if before else "key_saved", entrusted.fingerprint)
        state.session.commit()
    except Exception:
        state.session.rollback()
        custody.abandon(entrusted)
        raise
    if before is not None:
        state.tell(signals.secret_rotated, tenant=tenant, connection=connection)
        _keep_one_archived(state, connection)


def _is_same(state: State, row: SecretRow, secret: Secret) -> bool:
    return row.fingerprint == custody.fingerprint(state, secret)


def _note_checked(connection: Connection, checked: Checked) -> None:
    connection.account_name = checked.account_name or connection.account_name
    connection.missing_permissions = list(checked.missing_permissions) or None


def _refuse_less(connection: Connection, checked: Checked, before: SecretRow | None) -> None:
    lost = sorted(set(checked.missing_permissions) - set(connection.missing_permissions or []))
    if before is not None and lost:
        raise MissingPermissionError(
            f"This key may do less than the one in use. It lacks: {', '.join(lost)}. Nothing was changed.",
            hint=ALLOW_THEM,
        )


def _drop_unfinished(state: State, tenant: Any, connection: Connection, actor: str) -> None:
    """Give up what was begun with keys of other accounts and never got ready: it took no payment, and blocks others."""
    model = state.models.Connection
    begun = sa.select(model).where(
        model.tenant_id == connection.tenant_id,
        model.mode == connection.mode,
        model.account_type == AccountType.RAW_KEYS,
        model.ended_at.is_(None),
        model.connected_at.is_(None),
        model.id != connection.id,
    )
    for other in list(state.session.scalars(begun)):
        try:
            endpoints.remove(state, other)
            endpoints.lock_living(state, other)
        except ValetProStripeError as error:
            state.session.rollback()
            log.warning("connection %s is left unfinished: %s", other.id, error.code)
            continue
        if other.connected_at is None:
            give_up(state, other, actor=actor)
    if find_connection(state, tenant, connection.mode) is None:
        make_current(state, connection)
    state.session.commit()


def _keep_one_archived(state: State, connection: Connection) -> None:
    """Destroy what nobody can bring back any more: all archived keys but the last."""
    keys = [row for row in custody.archived(state, connection) if row.purpose == custody.API_KEY]
    try:
        custody.destroy(state, connection, keys[1:])
    except SecretUnavailableError as error:
        log.warning("archived keys of connection %s are left: %s", connection.id, error.code)


def _put_webhook_secret(state: State, tenant: Any, connection: Connection, secret: Secret, actor: str) -> None:
    before = custody.find_present(state, connection, custody.WEBHOOK_SECRET)
    before_id = before.id if before else None
    if before is not None and _is_same(state, before, secret) and not custody.is_lost(state, connection, before):
        return
    entrusted = custody.entrust(state, connection, custody.WEBHOOK_SECRET, secret)
    try:
        endpoints.reserve(state, connection)
        # An endpoint of ours stays ours: its secret may have been rolled in the dashboard.
        endpoints.save_secret(state, connection, entrusted, actor=actor, before=before_id)
        state.session.commit()
    except Exception:
        state.session.rollback()
        custody.abandon(entrusted)
        raise
    if before is not None:
        state.tell(signals.secret_rotated, tenant=tenant, connection=connection)


def _look_after_endpoint(state: State, connection: Connection, actor: str) -> None:
    """Make the endpoint where there is none. What works already goes on without it being looked at."""
    if connection.endpoint_id is None and _has_secret(state, connection):
        # Pasted: the endpoint is the tenant's own.
        return
    try:
        endpoints.ensure(state, connection, actor=actor)
    except NotConnectedError:
        raise
    except ValetProStripeError as error:
        state.session.rollback()
        log.warning("the endpoint of connection %s could not be looked after: %s", connection.id, error.code)
        if not _has_secret(state, connection):
            _wait_for_endpoint(state, connection)
            why = f"The key lacks '{ENDPOINTS}'." if isinstance(error, MissingPermissionError) else str(error)
            raise ValetProStripeError(
                f"The key is saved. But without a webhook endpoint no payment would turn paid: {why}",
                code="no_endpoint",
                hint="Mend that and save again, or make an endpoint for the address below and enter its secret.",
            ) from None


def _has_secret(state: State, connection: Connection) -> bool:
    row = custody.find_present(state, connection, custody.WEBHOOK_SECRET)
    return row is not None and not custody.is_lost(state, connection, row)


def _wait_for_endpoint(state: State, connection: Connection) -> None:
    endpoints.reserve(state, connection)
    connection.requirements = [*_wanted_by_stripe(connection), NO_ENDPOINT]
    connection.status = OnboardingStatus.PENDING
    state.session.commit()


def _wanted_by_stripe(connection: Connection) -> list[str]:
    return [name for name in connection.requirements or [] if name != NO_ENDPOINT]


def _settle(state: State, tenant: Any, connection: Connection, wanted: tuple[str, ...] | None, actor: str) -> None:
    """Let new payments use the connection, if nothing is missing any more. Commits.

    :param wanted: what Stripe wants of the account; None is not known, and leaves what was known.
    """
    endpoints.lock_living(state, connection)
    requirements = _wanted_by_stripe(connection) if wanted is None else list(wanted)
    was_ready = connection.status is OnboardingStatus.CONNECTED and connection.is_current
    connection.requirements = requirements or None
    connection.status = OnboardingStatus.PENDING if requirements else OnboardingStatus.CONNECTED
    connection.connected_at = connection.connected_at or utcnow()
    if not requirements and not was_ready:
        make_current(state, connection)
        _record(state, connection, actor, "connected")
    state.session.commit()
    if not requirements and not was_ready:
        state.tell(signals.tenant_connected, tenant=tenant, connection=connection)


def roll_back(state: State, tenant: Any, mode: Mode, *, actor: str) -> None:
    """Bring the key before the present one back, after Stripe has proved that it still works. Commits.

    :raises ValetProStripeError: if there is none, or Stripe does not accept it any more; nothing is changed.
    """
    current = find_connection(state, tenant, mode)
    connection = current if current and current.account_type is AccountType.RAW_KEYS else find_own(state, tenant, mode)
    previous = custody.find_previous(state, connection, custody.API_KEY) if connection else None
    if connection is None or previous is None:
        raise ValetProStripeError("There is no earlier key to bring back.", code="no_previous_key")
    version, key = previous.version, custody.read(state, connection, previous)
    state.session.commit()
    checked = check_key(state, key, mode)
    if checked.account_id != connection.account_id:
        raise InvalidKeyError("The earlier key is of another account. Nothing was changed.", code="two_accounts")
    endpoints.lock_living(state, connection)
    previous = custody.find_previous(state, connection, custody.API_KEY)
    if previous is None or previous.version != version:
        state.session.rollback()
        raise ValetProStripeError("Somebody else changed the keys meanwhile.", code="changed_meanwhile")
    custody.bring_back(state, connection, previous)
    _note_checked(connection, checked)
    _record(state, connection, actor, "key_brought_back", previous.fingerprint)
    state.session.commit()
    state.tell(signals.secret_rotated, tenant=tenant, connection=connection)


def destroy_archived(state: State, tenant: Any, mode: Mode, *, actor: str) -> int:
    """Destroy every archived secret of the tenant in ``mode`` for good; return how many. Commits.

    :raises SecretUnavailableError: if a store cannot answer: what is left can be destroyed later.
    """
    model = state.models.Connection
    own = list(
        state.session.scalars(
            sa.select(model).where(
                model.tenant_id == key_of(tenant), model.mode == mode, model.account_type == AccountType.RAW_KEYS
            )
        )
    )
    destroyed = 0
    for connection in own:
        rows = custody.archived(state, connection)
        for row in rows:
            custody.destroy(state, connection, [row])
            # Said once it is true: a store may fail at any of them.
            _record(state, connection, actor, "secret_destroyed", row.fingerprint)
            state.session.commit()
        destroyed += len(rows)
    return destroyed


def _record(state: State, connection: Connection, actor: str, action: str, fingerprint: str | None = None) -> None:
    shown: dict[str, Any] = {"fingerprint": fingerprint} if fingerprint else {}
    audit.record(
        state,
        tenant_id=connection.tenant_id,
        connection=connection,
        actor=actor,
        action=action,
        account_id=connection.account_id,
        mode=connection.mode,
        **shown,
    )
