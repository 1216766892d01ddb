"""All secrets at once: which keys they need, encrypted under the newest key, or moved to another store."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from . import custody
from .crypto import key_id_in, key_id_of
from .errors import ConfigurationError, SecretUnavailableError, ValetProStripeError
from .secrets.database import DatabaseStore
from .secrets.store import Label, SecretStore
from .state import State

log = logging.getLogger(__name__)
#: Secrets that are encrypted anew in one transaction: few, so that other writers wait for milliseconds.
BATCH: Final = 100
#: How often a busy database is asked again, and after how many seconds.
_TRIES: Final = 10
_PAUSE: Final = 0.2
_KEY_ID: Final = re.compile("[0-9a-f]{16}", re.ASCII)
T = TypeVar("T")
#: Is called with the number of secrets that were done since the last call.
Told = Callable[[int], object]


def count_old(state: State) -> int:
    """Return how many secrets in the database are not encrypted under the newest key.

    :raises ValetProStripeError: if this app has no encryption keys.
    """
    return _count(state, _is_old(state, _database(state)))


def rotate(state: State, told: Told) -> list[str]:
    """Encrypt every secret in the database under the newest key, and return what could not be read, each by name.

    Nothing but the rows says how far it has come: it may be killed, run again, and run twice at once. Only rows that
    nobody else changes at the moment are touched, and none is waited for with another one locked. Commits.

    :raises ValetProStripeError: if this app has no encryption keys, or the database stays locked.
    """
    database, waited = _database(state), 0
    while True:
        done, problems = _rotate_once(state, database, told)
        if done:
            waited = 0
        elif waited == _TRIES or count_old(state) <= len(problems):
            log.info("encryption keys rotated to %s; unreadable secrets: %s", database.ring.newest, len(problems))
            return problems
        else:
            # What is left is locked by somebody, perhaps by another rotation.
            waited += 1
            state.pause(_PAUSE)


def rows_per_key(state: State) -> dict[str, int]:
    """Return how many secrets are encrypted under each key of ENCRYPTION_KEYS, newest first, by the key's id.

    Those under none of them are counted under ``""``.
    """
    counts = dict.fromkeys(_ring(state), 0)
    for found, _, rows in _committed(state, lambda: state.session.execute(_by_key(state)).all()):
        # What stands there in a damaged row may be anything, so it is not repeated.
        name = found if found in counts else ""
        counts[name] = counts.get(name, 0) + rows
    return counts


def rows_per_missing_key(state: State) -> dict[str, int]:
    """Return how many secrets are encrypted under each key that is not in ENCRYPTION_KEYS, by the key's id."""
    return _missing(state, state.session.execute(_by_key(state)).all())


def refuse_missing_keys(state: State) -> None:
    """Refuse to start without an encryption key that secrets in the database need; nothing is changed.

    Where the database cannot be asked yet, nothing is said: such secrets cannot be read in any case.

    :raises ConfigurationError: with what to do.
    """
    model = state.models.Secret
    try:
        with state.app.app_context(), state.session.get_bind(model).engine.connect() as database:
            if not isinstance(database.engine.pool, StaticPool | SingletonThreadPool):
                # No pool keeps it, so that no worker that is forked later shares its socket.
                database.detach()
            found = database.execute(_by_key(state)).all()
    except (SQLAlchemyError, RuntimeError, OSError) as error:
        log.debug("whether every encryption key is there was not asked: %s", type(error).__name__)
        return
    if missing := _missing(state, found):
        raise _missing_keys(missing)


def _missing_keys(missing: Mapping[str, int]) -> ConfigurationError:
    what = ", ".join(f"{rows} under the key with the id {key_id}" for key_id, rows in missing.items())
    ids = ", ".join(f"'{key_id}'" for key_id in missing)
    forget = f"UPDATE stripe_secret SET stored = NULL, key_id = NULL WHERE key_id IN ({ids})"  # noqa: S608  hex digits
    return ConfigurationError(
        f"Secrets in the database are encrypted under a key that is not in VALETPRO_STRIPE_ENCRYPTION_KEYS: {what}. "
        "Put that key back at the end of the list; 'flask stripe rotate-kek' then makes it dispensable. If it is lost "
        f"for good, so are these secrets: back up the database, run in it {forget}, and have their tenants enter their "
        "keys again on the payment settings page."
    )


def _missing(state: State, found: Iterable[Any]) -> dict[str, int]:
    # A row where the two disagree is damaged. That is its tenant's trouble alone, and no reason not to start.
    return {
        named: rows
        for named, noted, rows in sorted(found, key=str)
        if named == noted and named not in _ring(state) and isinstance(named, str) and _KEY_ID.fullmatch(named)
    }


def _by_key(state: State) -> sa.Select[Any]:
    """Return a query that counts ciphertexts by the key that they name themselves, and by what their rows note."""
    model, named = state.models.Secret, _key_id_in_row(state)
    columns: tuple[Any, ...] = (named, model.key_id, sa.func.count())
    return sa.select(*columns).where(*_rests(state, DatabaseStore.name)).group_by(named, model.key_id)


def _key_id_in_row(state: State) -> sa.ColumnElement[str]:
    """Return, as SQL, the id of the encryption key that a ciphertext names: it begins with ``vp1.<key id>.``"""
    return sa.func.substr(state.models.Secret.stored, 5, 16)


def _ring(state: State) -> list[str]:
    return [key_id_of(key) for key in state.config.encryption_keys]


def rows_per_store(state: State) -> dict[str, int]:
    """Return how many secrets rest in each store."""
    model = state.models.Secret
    question = sa.select(model.store, sa.func.count()).where(model.stored.is_not(None)).group_by(model.store)
    rows = _committed(state, lambda: state.session.execute(question.order_by(model.store)).all())
    return {str(store): int(count) for store, count in rows}


def move(state: State, target: SecretStore, told: Told) -> list[str]:
    """Move every secret to ``target``, and return what went wrong with which, each as a sentence.

    A secret is put, read back, and its row switched by one commit; only then is the old entry deleted. Killed in
    between, it leaves at most one entry that nothing refers to. What could not be moved rests where it was. Commits.

    :raises ValetProStripeError: if the database stays locked.
    """
    problems: list[str] = []
    for store in rows_per_store(state):
        if store != target.name:
            try:
                for problem in _move_from(state, store, target, told):
                    problems.append(problem)
            except SecretUnavailableError as error:
                problems.append(f"What rests in {store!r} was not moved any further: {error} {error.hint}")
    log.info("secrets moved to %s; problems: %s", target.name, len(problems))
    return problems


def _rotate_once(state: State, database: DatabaseStore, told: Told) -> tuple[int, list[str]]:
    last: int | None = 0
    total, problems = 0, list[str]()
    while last is not None:
        last, done, unread = _committed(state, _batch_after(state, database, last))
        total, problems = total + done, problems + unread
        told(done)
    return total, problems


def _batch_after(state: State, database: DatabaseStore, last: int) -> Callable[[], tuple[int | None, int, list[str]]]:
    """Return what encrypts the next rows anew, and gives the last row's id, how many it did, and what it could not."""

    def rotate_batch() -> tuple[int | None, int, list[str]]:
        model = state.models.Secret
        wanted = _rows(state).where(_is_old(state, database), model.id > last).limit(BATCH)
        # PostgreSQL locks the rows here and skips those of others: who waits for nobody is in no deadlock.
        rows = state.session.execute(wanted.with_for_update(of=model, skip_locked=True)).all()
        swaps, problems = [], []
        for row in rows:
            try:
                stored = database.put(_label(row), database.get(_label(row), row.stored))
                swaps.append(_swapping(row, database, stored))
            except SecretUnavailableError as error:
                problems.append(f"{_name(row)}: {error}")
        done = _swap(state, swaps) if swaps else 0
        return (rows[-1].id if rows else None), done, problems

    return rotate_batch


def _move_from(state: State, store: str, target: SecretStore, told: Told) -> Iterator[str]:
    """Move what rests in one store; give a sentence for each secret that went wrong.

    :raises SecretUnavailableError: if this store, or ``target``, cannot answer now.
    """
    model, last = state.models.Secret, 0
    while True:
        wanted = _rows(state).where(*_rests(state, store), model.id > last).limit(1)
        row = _committed(state, lambda wanted=wanted: state.session.execute(wanted).first())  # type: ignore[misc]
        if row is None:
            return
        last = row.id
        try:
            left_over = _move_one(state, row, target)
        except SecretUnavailableError as error:
            if error.code == SecretUnavailableError.default_code:
                raise
            yield f"{_name(row)} was not moved: {error} {error.hint}"
        else:
            told(1)
            if left_over:
                # Every further secret would leave an entry, too.
                yield left_over
                return


def _move_one(state: State, row: Any, target: SecretStore) -> str | None:
    """Move one secret. What it returns is about an old entry that could not be deleted."""
    source, label = custody.store_of(state, row), _label(row)
    stored = custody.put_and_read_back(target, label, source.get(label, row.stored))
    if not _committed(state, lambda: _swap(state, [_swapping(row, target, stored)]) or _holds(state, row, stored)):
        # Somebody changed the row meanwhile; what is in it now is theirs.
        custody.take_back(target, label, stored)
        return None
    if custody.take_back(source, label, row.stored):
        return None
    return (
        f"{_name(row)} was moved, but its old entry is left over in {custody.place_of(row.store, row.stored)}: delete "
        "it there. Nothing more was moved out of that store; see that it deletes, and run this again."
    )


def _rows(state: State) -> sa.Select[Any]:
    """Return a query for what makes up a secret's label and place; plain rows, oldest first."""
    secret, connection = state.models.Secret, state.models.Connection
    columns = (secret.id, secret.connection_id, secret.purpose, secret.version, secret.store, secret.stored)
    joined = sa.select(*columns, connection.tenant_id, connection.mode).join(
        connection, connection.id == secret.connection_id
    )
    return joined.order_by(secret.id)


def _rests(state: State, store: str) -> tuple[sa.ColumnElement[bool], ...]:
    model = state.models.Secret
    return model.store == store, model.stored.is_not(None)


def _is_old(state: State, database: DatabaseStore) -> sa.ColumnElement[bool]:
    model, newest = state.models.Secret, database.ring.newest
    # The column is a hint; what counts is the ciphertext.
    under_another = sa.or_(model.key_id.is_(None), model.key_id != newest, _key_id_in_row(state) != newest)
    return sa.and_(*_rests(state, database.name), under_another)


def _count(state: State, condition: sa.ColumnElement[bool]) -> int:
    question = sa.select(sa.func.count(state.models.Secret.id)).where(condition)
    return _committed(state, lambda: state.session.scalar(question) or 0)


def _swapping(row: Any, store: SecretStore, stored: str) -> dict[str, Any]:
    key_id = key_id_in(stored) if store.name == DatabaseStore.name else None
    return {"row": row.id, "seen": row.stored, "store": store.name, "stored": stored, "key_id": key_id}


def _swap(state: State, swaps: list[dict[str, Any]]) -> int:
    """Change rows that are still as they were seen, and return how many were."""
    table = cast(sa.Table, sa.inspect(state.models.Secret).local_table)
    unchanged = sa.and_(table.c.id == sa.bindparam("row"), table.c.stored == sa.bindparam("seen"))
    new: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in ("store", "stored", "key_id")}
    values = [{f"new_{name}" if name in new else name: value for name, value in swap.items()} for swap in swaps]
    result = state.session.execute(sa.update(table).where(unchanged).values(new), values)
    return cast("sa.CursorResult[Any]", result).rowcount


def _holds(state: State, row: Any, stored: str) -> bool:
    """Say whether the row has ``stored`` already: an earlier try was committed, and only the answer got lost."""
    model = state.models.Secret
    return state.session.scalar(sa.select(model.stored).where(model.id == row.id)) == stored


def _committed(state: State, act: Callable[[], T]) -> T:
    """Return what ``act`` returned in a transaction of its own, committed.

    SQLite has one writer at a time, and one that waits for too long gets an error: it is tried again.
    """
    for _ in range(_TRIES):
        try:
            answer = act()
            state.session.commit()
            return answer
        except OperationalError:
            # Its message would hold ciphertexts.
            state.session.rollback()
            state.pause(_PAUSE)
    raise ValetProStripeError(
        "The database could not be read or written, several times in a row.",
        code="database_busy",
        hint="What is done is done. See that the database answers, and run the command again.",
    )


def _label(row: Any) -> Label:
    return Label(str(row.tenant_id), row.connection_id, row.purpose, str(row.mode), row.version)


def _name(row: Any) -> str:
    return f"Secret {row.id} of tenant {row.tenant_id}, connection {row.connection_id}"


def _database(state: State) -> DatabaseStore:
    store = state.stores.get(DatabaseStore.name)
    if not isinstance(store, DatabaseStore):
        raise ValetProStripeError(
            "This app has no VALETPRO_STRIPE_ENCRYPTION_KEYS, so it has no secrets in the database.",
            code="no_encryption_keys",
            hint="The keys of a vault are rotated in the vault.",
        )
    return store
