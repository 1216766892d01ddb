"""A tenant's own API keys: pasted, proved, saved, and exchanged for newer ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from .. import audit, custody, endpoints, signals
from ..connections import give_up, make_current, prepare_connection, refuse_taken
from ..credentials import find_connection, find_living, is_unfinished
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
from .key_check import (
    ALLOW_THEM,
    ENDPOINTS,
    Checked,
    Pasted,
    allow_check,
    check_key,
    note_checked,
    prove_same_account,
    refuse_platforms,
    refuse_unless_offered,
)
from .status import NO_ENDPOINT

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """What became of pasted keys."""

    connection: Connection
    #: Another key was in use there before.
    is_rotation: bool


def save(state: State, tenant: Any, mode: Mode, pasted: Pasted, *, actor: str) -> Saved:
    """Return the tenant's connection, with what :func:`.key_check.read_form` read in use. Commits.

    A first key makes a connection, with a webhook endpoint of its own in the tenant's account; another key of the same
    account takes the place of the one before it. Nothing is stored before Stripe has proved it.

    :raises InvalidKeyError: if Stripe does not accept a key, or the two keys are of different accounts.
    :raises MissingPermissionError: naming what a restricted key lacks, or had and would lose.
    :raises AccountSwitchError: if the key is of another account than the connected one, and that was not confirmed.
    :raises AccountTakenError: if the account serves another tenant, or is the platform's own.
    :raises SecretUnavailableError: if the secret store cannot keep the key; nothing is changed.
    :raises ValetProStripeError: if Stripe would not make the endpoint: the key is saved, the connection is PENDING.
    """
    refuse_unless_offered(state)
    fingerprint = custody.fingerprint(state, pasted.key) if pasted.key else None
    allow_check(state, tenant, mode, actor=actor, fingerprint=fingerprint)
    checked = _check(state, mode, pasted)
    connection = _connection_of(state, tenant, mode, checked, pasted, actor)
    if pasted.publishable_key and not pasted.key:
        prove_same_account(state, _present_key(state, connection), pasted.publishable_key, mode)
    is_rotation = False
    if checked:
        is_rotation = _put_first_key_or_give_up(state, tenant, connection, checked, actor)
        _drop_unfinished(state, tenant, connection, actor)
        _make_current_if_none_is(state, tenant, connection)
    if pasted.publishable_key:
        connection.publishable_key = pasted.publishable_key
        state.session.commit()
    if pasted.webhook_secret:
        _put_webhook_secret(state, tenant, connection, pasted.webhook_secret, actor)
    else:
        _look_after_endpoint(state, connection, actor)
    _settle(state, tenant, connection, checked.requirements if checked else None, actor)
    return Saved(connection, is_rotation)


def find_own(state: State, tenant: Any, mode: Mode, account_id: str | None = None) -> Connection | None:
    """Return the tenant's living raw-key connection in ``mode`` that a form without a secret key is about.

    That is the one that is being set up, or the current one, or the last one. ``account_id`` looks at one account only.
    """
    own = (c for c in find_living(state, tenant, mode) if c.account_type is AccountType.RAW_KEYS)
    found = [c for c in own if account_id in (None, c.account_id)]
    return min(found, key=lambda c: not is_unfinished(c), default=None)


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
    is_in_use = own is not None and (own.is_current or is_unfinished(own))
    has_key = own is not None and custody.find_present(state, own, custody.API_KEY) is not None
    if own is None or not (is_in_use and has_key and (pasted.publishable_key or pasted.webhook_secret)):
        raise InvalidKeyError("Enter the secret key: it begins with rk_ or sk_.", code="no_key")
    return own


def _confirm_switch(current: Connection | None, checked: Checked, confirmed: str | None) -> None:
    if current is None or is_unfinished(current) or current.ended_at is not None:
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


def _put_first_key_or_give_up(state: State, tenant: Any, connection: Connection, checked: Checked, actor: str) -> bool:
    try:
        return _put_key(state, tenant, connection, checked, actor)
    except Exception:
        state.session.rollback()
        if is_unfinished(connection) and custody.find_present(state, connection, custody.API_KEY) is None:
            # A connection without a key is of no use, and would stand in the way of the next one.
            give_up(state, connection, actor=actor)
        raise


def _put_key(state: State, tenant: Any, connection: Connection, checked: Checked, actor: str) -> bool:
    """Let the connection use a proved key from now on, in one commit; the one before it is archived.

    Return whether it took the place of another one.
    """
    before = custody.find_present(state, connection, custody.API_KEY)
    before_id = before.id if before else None
    if before is not None and _is_same(state, before, checked.key) and not custody.is_lost(state, connection, before):
        note_checked(connection, checked)
        state.session.commit()
        return False
    _refuse_less(connection, checked, before)
    with custody.entrusted(state, connection, custody.API_KEY, checked.key) as entrusted:
        endpoints.lock_living(state, connection)
        present = custody.find_present(state, connection, custody.API_KEY)
        if present is not None and present.id != before_id and _is_same(state, present, checked.key):
            # A second click on the same form was faster.
            custody.abandon(state, entrusted)
            return before is not None
        custody.require_unchanged(state, connection, custody.API_KEY, before_id)
        custody.switch(state, connection, entrusted)
        note_checked(connection, checked)
        action = "key_rotated" if before else "key_saved"
        audit.record_about(state, connection, actor=actor, action=action, fingerprint=entrusted.fingerprint)
        state.session.commit()
    if before is not None:
        state.tell(signals.secret_rotated, tenant=tenant, connection=connection)
        _keep_one_archived(state, connection)
    return before is not None


def _is_same(state: State, row: SecretRow, secret: Secret) -> bool:
    return row.fingerprint == custody.fingerprint(state, secret)


def _refuse_less(connection: Connection, checked: Checked, before: SecretRow | None) -> None:
    lost = sorted(set(checked.missing_permissions) - set(connection.missing_permissions or []))
    if before is not None and lost:
        raise MissingPermissionError(
            f"This key may do less than the one in use. It lacks: {', '.join(lost)}. Nothing was changed.",
            hint=ALLOW_THEM,
        )


def _drop_unfinished(state: State, tenant: Any, connection: Connection, actor: str) -> None:
    """Give up what was begun with keys of other accounts and never got ready: it took no payment, and blocks others."""
    own = [c for c in find_living(state, tenant, connection.mode) if c.account_type is AccountType.RAW_KEYS]
    for other in (c for c in own if is_unfinished(c) and c.id != connection.id):
        try:
            endpoints.remove(state, other)
            endpoints.lock_living(state, other)
        except ValetProStripeError as error:
            state.session.rollback()
            log.warning("connection %s is left unfinished: %s", other.id, error.code)
            continue
        if is_unfinished(other):
            give_up(state, other, actor=actor)
    state.session.commit()


def _make_current_if_none_is(state: State, tenant: Any, connection: Connection) -> None:
    """Let the tenant's page be about the connection, where nothing takes payments that it must not displace."""
    endpoints.lock_living(state, connection)
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
    with custody.entrusted(state, connection, custody.WEBHOOK_SECRET, secret) as entrusted:
        endpoints.reserve(state, connection)
        # An endpoint of ours stays ours: its secret may have been rolled in the dashboard.
        endpoints.save_secret(state, connection, entrusted, actor=actor, before=before_id)
        state.session.commit()
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
    if not requirements and not was_ready:
        connection.connected_at = connection.connected_at or utcnow()
        make_current(state, connection)
        audit.record_about(state, connection, actor=actor, action="connected")
    state.session.commit()
    if not requirements and not was_ready:
        state.tell(signals.tenant_connected, tenant=tenant, connection=connection)
