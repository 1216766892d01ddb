"""Every version of every secret of a connection: kept, switched, read, archived, brought back and destroyed."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from . import models
from .crypto import key_id_in
from .errors import ConfigurationError, SecretUnavailableError, ValetProStripeError
from .models import Connection
from .models.types import UTCDateTime, utcnow
from .secrets import Secret
from .secrets.make import VAULTS, chosen_store
from .secrets.store import Label, SecretStore, unreadable
from .state import State

log = logging.getLogger(__name__)
API_KEY: Final = "secret_key"
WEBHOOK_SECRET: Final = "webhook_secret"
#: What is left in the row of a secret that is no more.
EMPTIED: Final[Mapping[str, Any]] = {"stored": None, "key_id": None, "valid_until": None}


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
    store, known_by = chosen_store(state.stores), fingerprint(state, secret)
    return Entrusted(label, store, put_and_read_back(store, label, secret), known_by, secret.masked)


@contextmanager
def entrusted(state: State, connection: Connection, purpose: str, secret: Secret) -> Iterator[Entrusted]:
    """Give a new version that is entrusted, to be switched to within. Whatever fails there takes it back.

    Ends the present transaction, as :func:`entrust` does; that of the block is rolled back if the block fails.

    :raises SecretUnavailableError: if the store cannot keep it.
    """
    new = entrust(state, connection, purpose, secret)
    try:
        yield new
    except Exception:
        abandon(state, new)
        raise


def abandon(state: State, entrusted: Entrusted) -> None:
    """Take back what was entrusted and is not wanted after all, as far as the store can be reached. Rolls back.

    What a row refers to stays: its commit took effect, and only the answer was lost.
    """
    model, connection, label = state.models.Secret, state.models.Connection, entrusted.label
    try:
        state.session.rollback()
        # Whoever adds a version holds the connection: a commit that is still under way is waited for.
        state.session.execute(sa.select(connection.id).where(connection.id == label.connection).with_for_update())
        which = (model.connection_id == label.connection, model.stored == entrusted.stored)
        is_in_use = state.session.scalar(sa.select(sa.func.count(model.id)).where(*which))
        state.session.rollback()
    except SQLAlchemyError:
        where, is_in_use = place_of(entrusted.store.name, entrusted.stored), True
        log.warning("a secret of connection %s may be left over in %s: nobody knows its row", label.connection, where)
    if not is_in_use:
        take_back(entrusted.store, label, entrusted.stored)


def put_and_read_back(store: SecretStore, label: Label, secret: Secret) -> str:
    """Return what the database shall hold for a secret that a store has proved to keep.

    :raises SecretUnavailableError: if it does not; what was put is taken back then.
    """
    stored = store.put(label, secret)
    try:
        if store.get(label, stored) != secret:
            raise unreadable(store.name, "it gave back something else than was put in")
    except SecretUnavailableError:
        take_back(store, label, stored)
        raise
    return stored


def take_back(store: SecretStore, label: Label, stored: str) -> bool:
    """Delete what no row refers to; return False if it is left in the store. A log says where, then."""
    try:
        store.delete(label, stored)
    except SecretUnavailableError as error:
        where = place_of(store.name, stored)
        log.warning("a secret of connection %s is left over in %s: %s", label.connection, where, error.code)
        return False
    return True


def place_of(store: str, stored: str) -> str:
    """Return where an entry rests, in words that may be shown: only of our vaults is it sure that a name is random."""
    return f"{store!r} as {stored}" if store in VAULTS else repr(store)


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
    of_purpose = [model.purpose == purpose] if purpose else []
    state.session.execute(
        sa.update(model)
        .where(model.connection_id == connection.id, model.archived_at.is_(None), *of_purpose)
        .values(archived_at=utcnow(), valid_until=valid_until)
    )


def find_present(state: State, connection: Connection, purpose: str) -> models.Secret | None:
    """Return the row of a connection's present secret, as the database has it now, or None."""
    return next((row for row in _rows(state, connection, purpose) if row.archived_at is None), None)


def find_previous(state: State, connection: Connection, purpose: str) -> models.Secret | None:
    """Return the row of the version that can be brought back: the one in use until the present one was."""
    return previous_of(_rows(state, connection, purpose))


def previous_of(rows: Sequence[models.Secret]) -> models.Secret | None:
    """Return, of all versions of one secret, the one that can be brought back, or None."""
    kept = [row for row in rows if row.archived_at and row.stored is not None and row.valid_until is None]
    return max(kept, key=_left) if kept and any(row.archived_at is None for row in rows) else None


def _left(row: models.Secret) -> tuple[bool, datetime, int]:
    """Return when a version went out of use: one that was brought back goes later than a newer one.

    One whose time is over comes before all that can be brought back.
    """
    return row.valid_until is None, row.archived_at or utcnow(), row.version


def bring_back(state: State, connection: Connection, previous: models.Secret) -> None:
    """Make the version before the present one the present one again, and archive that. The caller commits.

    :raises ValetProStripeError: if it was destroyed meanwhile; the transaction is rolled back.
    """
    archive(state, connection, previous.purpose)
    model = state.models.Secret
    back = state.session.scalar(
        sa.update(model)
        .where(model.id == previous.id, model.stored.is_not(None), model.valid_until.is_(None))
        .values(archived_at=None)
        .returning(model.id)
    )
    if back is None:
        state.session.rollback()
        raise ValetProStripeError(
            "The earlier key was destroyed meanwhile.", code="no_previous_key", hint="Enter the key that is to be used."
        )


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


def destroy(
    state: State,
    connection: Connection,
    rows: Sequence[models.Secret],
    *,
    told: Callable[[models.Secret], object] = lambda row: None,
) -> int:
    """Destroy archived versions for good, in their store first and then in their rows; return how many. Commits.

    Killed in between, it is finished by the next call: no entry is left in a store that no row refers to.

    :param told: is called with each row once its store has deleted it, in the transaction that empties the row.
    :raises SecretUnavailableError: if a store cannot answer; what is destroyed by then stays destroyed.
    """
    destroyed = 0
    for row in rows:
        if not _give_up(state, row):
            # Destroyed or brought back meanwhile: then it is not what was meant.
            continue
        label, is_gone = _label(connection, row.purpose, row.version), False
        while not is_gone and row.stored is not None:
            store, stored = store_of(state, row), row.stored
            state.session.commit()
            store.delete(label, stored)
            # It may have been moved to another store meanwhile, where it is destroyed as well.
            is_gone = _empty(state, row, stored, told)
        destroyed += is_gone
    return destroyed


def _give_up(state: State, row: models.Secret) -> bool:
    """Let nobody bring an archived version back from now on, before its store is asked. Commits."""
    model = state.models.Secret
    given_up = state.session.scalar(
        sa.update(model)
        .where(model.id == row.id, model.stored.is_not(None), model.archived_at.is_not(None))
        .values(valid_until=sa.func.coalesce(model.valid_until, sa.literal(utcnow(), UTCDateTime)))
        .returning(model.id)
    )
    state.session.commit()
    state.session.refresh(row)
    return given_up is not None


def _empty(state: State, row: models.Secret, stored: str, told: Callable[[models.Secret], object]) -> bool:
    """Forget where a secret was that its store has deleted; return False if it is elsewhere by now. Commits."""
    model = state.models.Secret
    # First, since what it writes may lock the tenant, which comes before its secrets.
    told(row)
    emptied = state.session.scalar(
        sa.update(model).where(model.id == row.id, model.stored == stored).values(**EMPTIED).returning(model.id)
    )
    if emptied is None:
        state.session.rollback()
    else:
        state.session.commit()
    state.session.refresh(row)
    return emptied is not None


def archived(state: State, connection: Connection) -> list[models.Secret]:
    """Return the rows of a connection's archived secrets that are not destroyed yet and verify nothing any more.

    Those that went out of use last come first, before those that cannot be brought back any more.
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
