"""Every version of every secret of a connection: kept, switched, read, archived, brought back and destroyed."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from . import models
from .crypto import key_id_in, key_id_of
from .errors import ConfigurationError, SecretUnavailableError, ValetProStripeError
from .models import Connection
from .models.types import utcnow
from .secrets import Secret
from .secrets.store import Label, SecretStore
from .state import State

log = logging.getLogger(__name__)
API_KEY: Final = "secret_key"
WEBHOOK_SECRET: Final = "webhook_secret"
_KEY_ID: Final = re.compile("[0-9a-f]{16}", re.ASCII)


@dataclass(frozen=True)
class Entrusted:
    """A new version that rests in its store already, and that no row knows yet."""

    label: Label
    store: SecretStore
    stored: str
    fingerprint: str
    masked: str


def entrust(state: State, connection: Connection, purpose: str, secret: Secret) -> Entrusted:
    """Put a new version of a connection's secret into the store of new secrets, and read it back.

    Nothing in the database changes: :func:`switch` does that. Ends the present transaction, since a vault is asked.

    :raises SecretUnavailableError: if the store cannot keep it.
    """
    versions = [row.version for row in _rows(state, connection, purpose)]
    label = _label(connection, purpose, max(versions, default=0) + 1)
    state.session.commit()
    store = next(iter(state.stores.values()))
    entrusted = Entrusted(label, store, store.put(label, secret), fingerprint(state, secret), secret.masked)
    try:
        if store.get(label, entrusted.stored) != secret:
            raise SecretUnavailableError(f"The secret store ({store.name}) gave back something else than was put in.")
    except SecretUnavailableError:
        abandon(entrusted)
        raise
    return entrusted


def abandon(entrusted: Entrusted) -> None:
    """Take back what was entrusted and is not wanted after all, as far as the store can be reached."""
    try:
        entrusted.store.delete(entrusted.label, entrusted.stored)
    except SecretUnavailableError as error:
        log.warning("a secret that nothing refers to is left in %s: %s", entrusted.store.name, error.code)


def switch(
    state: State, connection: Connection, entrusted: Entrusted, *, valid_until: datetime | None = None
) -> models.Secret:
    """Make an entrusted version the present one, and archive the one before it. The caller commits.

    :param valid_until: until when the old one still verifies webhooks.
    :raises ValetProStripeError: if somebody else made a new version meanwhile; the transaction is rolled back.
    """
    model, label = state.models.Secret, entrusted.label
    archive(state, connection, label.purpose, valid_until=valid_until)
    row = model(
        tenant_id=connection.tenant_id,
        connection_id=connection.id,
        purpose=label.purpose,
        version=label.version,
        store=entrusted.store.name,
        stored=entrusted.stored,
        key_id=key_id_in(entrusted.stored) if entrusted.store.name == "database" else None,
        fingerprint=entrusted.fingerprint,
        masked=entrusted.masked,
    )
    state.session.add(row)
    try:
        state.session.flush()
    except IntegrityError:
        state.session.rollback()
        raise _changed_meanwhile() from None
    return row


def require_unchanged(state: State, connection: Connection, purpose: str, before: int | None) -> None:
    """Return if the present secret is still the row with the id ``before``, or there is still none.

    What was proved, was proved against that one. The tenant must be locked.

    :raises ValetProStripeError: if somebody else made a new version meanwhile.
    """
    present = find_present(state, connection, purpose)
    if (present.id if present else None) != before:
        raise _changed_meanwhile()


def _changed_meanwhile() -> ValetProStripeError:
    return ValetProStripeError(
        "Somebody else changed these keys at the same moment, so yours were not saved.",
        code="changed_meanwhile",
        hint="Load the page again and look which keys are in use.",
    )


def archive(
    state: State, connection: Connection, purpose: str | None = None, *, valid_until: datetime | None = None
) -> None:
    """Archive a connection's present secrets, or that of one purpose. The caller commits."""
    model = state.models.Secret
    state.session.execute(
        sa.update(model)
        .where(
            model.connection_id == connection.id,
            model.archived_at.is_(None),
            *([model.purpose == purpose] if purpose else []),
        )
        .values(archived_at=utcnow(), valid_until=valid_until)
    )


def find_present(state: State, connection: Connection, purpose: str) -> models.Secret | None:
    """Return the row of a connection's present secret, as the database has it now, or None."""
    return next((row for row in _rows(state, connection, purpose) if row.archived_at is None), None)


def find_previous(state: State, connection: Connection, purpose: str) -> models.Secret | None:
    """Return the row of the version that can be brought back: the one in use until the present one was."""
    rows = _rows(state, connection, purpose)
    kept = sorted((row for row in rows if row.archived_at and row.stored is not None), key=_left, reverse=True)
    return kept[0] if kept and any(row.archived_at is None for row in rows) else None


def _left(row: models.Secret) -> tuple[datetime, int]:
    """Return when a version went out of use: one that was brought back goes later than a newer one."""
    return row.archived_at or utcnow(), row.version


def bring_back(state: State, connection: Connection, previous: models.Secret) -> None:
    """Make the version before the present one the present one again, and archive that. The caller commits.

    :raises ValetProStripeError: if it was destroyed meanwhile; the transaction is rolled back.
    """
    archive(state, connection, previous.purpose)
    model = state.models.Secret
    back = state.session.scalar(
        sa.update(model)
        .where(model.id == previous.id, model.stored.is_not(None))
        .values(archived_at=None, valid_until=None)
        .returning(model.id)
    )
    if back is None:
        state.session.rollback()
        raise ValetProStripeError("The earlier key was destroyed meanwhile.", code="no_previous_key")


def read(state: State, connection: Connection, row: models.Secret) -> Secret:
    """Return what a row of a connection's secrets stands for.

    Whether it may be used is the caller's to know: an archived API key is only ever read to bring it back.

    :raises SecretUnavailableError: if its store cannot answer, or what it holds is not what was put in.
    """
    place = (row.store, row.stored)
    try:
        return _read(state, connection, row)
    except SecretUnavailableError as error:
        problem = error
        state.session.refresh(row)
    if problem.code == SecretUnavailableError.default_code or (row.store, row.stored) == place:
        raise problem
    # It was moved to another store in this moment.
    return _read(state, connection, row)


def _read(state: State, connection: Connection, row: models.Secret) -> Secret:
    if row.connection_id != connection.id or row.stored is None:
        raise SecretUnavailableError("This secret was destroyed.", code="secret_absent", hint="Enter the key again.")
    return store_of(state, row).get(_label(connection, row.purpose, row.version), row.stored)


def is_lost(state: State, connection: Connection, row: models.Secret) -> bool:
    """Tell whether nobody can read a secret any more: destroyed, damaged, or its encryption key is gone.

    A store that cannot answer now says nothing about that. Ends the present transaction, since a vault is asked.
    """
    try:
        read(state, connection, row)
    except SecretUnavailableError as error:
        return error.code != SecretUnavailableError.default_code
    finally:
        state.session.commit()
    return False


def store_of(state: State, row: models.Secret) -> SecretStore:
    """Return the store in which a row's secret rests.

    :raises SecretUnavailableError: if the app is not configured for it.
    """
    try:
        return state.stores[row.store]
    except KeyError:
        raise SecretUnavailableError(
            f"A secret rests in the secret store {row.store!r}, which this app is not set up for.",
            hint=f"The operator must name {row.store!r} among the 'others' of VALETPRO_STRIPE_SECRET_STORE_OPTIONS.",
        ) from None


def valid_webhook_secrets(state: State, connection: Connection) -> list[models.Secret]:
    """Return the rows of the secrets that a connection's endpoint may sign with now, newest first."""
    now = utcnow()
    return [
        row
        for row in _rows(state, connection, WEBHOOK_SECRET)
        if row.stored is not None and (row.archived_at is None or (row.valid_until and row.valid_until > now))
    ]


def destroy(state: State, connection: Connection, rows: Sequence[models.Secret]) -> None:
    """Destroy archived versions for good, in their store first. Commits.

    :raises SecretUnavailableError: if a store cannot answer; what is destroyed by then stays destroyed.
    """
    for row in rows:
        label, store, stored, key = (
            _label(connection, row.purpose, row.version),
            store_of(state, row),
            row.stored,
            row.id,
        )
        if stored is None or not _empty(state, key, stored):
            # Destroyed, moved or brought back meanwhile: then it is not what was meant.
            continue
        try:
            store.delete(label, stored)
        except SecretUnavailableError:
            _refill(state, key, stored)
            raise


def _empty(state: State, key: int, stored: str) -> bool:
    """Take an archived secret out of its row before it is destroyed: from then on nobody brings it back. Commits."""
    model = state.models.Secret
    emptied = state.session.scalar(
        sa.update(model)
        .where(model.id == key, model.stored == stored, model.archived_at.is_not(None))
        .values(stored=None)
        .returning(model.id)
    )
    state.session.commit()
    return emptied is not None


def _refill(state: State, key: int, stored: str) -> None:
    model = state.models.Secret
    state.session.execute(sa.update(model).where(model.id == key, model.stored.is_(None)).values(stored=stored))
    state.session.commit()


def archived(state: State, connection: Connection) -> list[models.Secret]:
    """Return the rows of a connection's archived secrets that are not destroyed yet and verify nothing any more.

    Those that went out of use last come first.
    """
    now = utcnow()
    found = [
        row
        for row in _rows(state, connection)
        if row.archived_at is not None
        and row.stored is not None
        and (row.valid_until is None or row.valid_until <= now)
    ]
    return sorted(found, key=_left, reverse=True)


def fingerprint(state: State, secret: Secret) -> str:
    """Return 16 hex digits that tell two secrets apart, keyed with the app's SECRET_KEY.

    :raises ConfigurationError: if the app has none.
    """
    key = state.app.secret_key
    if not key:
        raise ConfigurationError("The app has no SECRET_KEY, so no key can be saved. The operator must set it.")
    raw = key.encode() if isinstance(key, str) else key
    separate = hmac.new(raw, b"flask-valetpro-stripe fingerprint", hashlib.sha256).digest()
    return hmac.new(separate, secret.reveal().encode(), hashlib.sha256).hexdigest()[:16]


def key_id_in_row(model: type[models.Secret]) -> sa.ColumnElement[str]:
    """Return, as SQL, the id of the encryption key that a ciphertext names itself: it begins with ``vp1.<key id>.``"""
    return sa.func.substr(model.stored, 5, 16)


def refuse_missing_keys(state: State) -> None:
    """Refuse to start without an encryption key that secrets in the database need; nothing is changed.

    Where the database cannot be asked yet, nothing is said: such secrets cannot be read in any case.

    :raises ConfigurationError: with what to do.
    """
    model, ring = state.models.Secret, [key_id_of(key) for key in state.config.encryption_keys]
    # A row where the two disagree is damaged. That is its tenant's trouble alone, and no reason not to start.
    lost = (model.stored.is_not(None), model.key_id.not_in(ring), model.key_id == key_id_in_row(model))
    question = sa.select(model.key_id, sa.func.count()).where(*lost).group_by(model.key_id).order_by(model.key_id)
    try:
        with state.app.app_context(), state.session.get_bind(model).engine.connect() as database:
            if not isinstance(database.engine.pool, StaticPool | SingletonThreadPool):
                # No pool keeps it, so that no worker that is forked later shares its socket.
                database.detach()
            found = database.execute(question).all()
    except (SQLAlchemyError, RuntimeError, OSError) as error:
        log.debug("whether every encryption key is there was not asked: %s", type(error).__name__)
        return
    if missing := [(str(key_id), rows) for key_id, rows in found if _KEY_ID.fullmatch(str(key_id))]:
        raise _missing_keys(missing)


def _missing_keys(missing: Sequence[tuple[str, int]]) -> ConfigurationError:
    what = ", ".join(f"{rows} under the key with the id {key_id}" for key_id, rows in missing)
    ids = ", ".join(f"'{key_id}'" for key_id, _ in missing)
    forget = f"UPDATE stripe_secret SET stored = NULL, key_id = NULL WHERE key_id IN ({ids})"  # noqa: S608  hex digits
    return ConfigurationError(
        f"Secrets in the database are encrypted under a key that is not in VALETPRO_STRIPE_ENCRYPTION_KEYS: {what}. "
        "Put that key back at the end of the list; 'flask stripe rotate-kek' then makes it dispensable. If it is lost "
        f"for good, so are these secrets: back up the database, run in it {forget}, and have their tenants enter their "
        "keys again on the payment settings page."
    )


def _rows(state: State, connection: Connection, purpose: str | None = None) -> list[models.Secret]:
    model = state.models.Secret
    return list(
        state.session.scalars(
            sa.select(model)
            .where(model.connection_id == connection.id, *([model.purpose == purpose] if purpose else []))
            .order_by(model.version.desc())
            .execution_options(populate_existing=True)
        )
    )


def _label(connection: Connection, purpose: str, version: int) -> Label:
    return Label(str(connection.tenant_id), connection.id, purpose, str(connection.mode), version)
