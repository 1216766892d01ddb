"""Who did what to a tenant's connection: one chain for each tenant, that shows where it was changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from types import SimpleNamespace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import ORMExecuteState, object_session, scoped_session

from .models import AuditEntry, Connection, key_of
from .models.types import utcnow
from .state import State

#: Within which a tenant's entries are counted, where something may not be done too often.
WINDOW: Final = timedelta(minutes=10)
#: How many entries are in memory at once while a chain is checked.
_BATCH = 500
_APPEND_ONLY = (
    "An audit entry is never changed or deleted: it says what was done. "
    "Add another entry that says what you do now; 'flask stripe audit-verify' names every entry that was tampered with."
)


def record(
    state: State, *, tenant_id: Any, actor: str, action: str, connection: Connection | None = None, **detail: Any
) -> None:
    """Add the next link of a tenant's chain, in the present transaction; ``detail`` never holds a key or a token.

    The caller commits it with what it tells about. Until then nobody else can add to this tenant's chain.
    """
    lock_tenant(state, tenant_id)
    model = state.models.AuditEntry
    last = state.session.execute(
        sa.select(model.sequence, model.digest)
        .where(model.tenant_id == tenant_id)
        .order_by(model.sequence.desc())
        .limit(1)
    ).first()
    entry = model(
        tenant_id=tenant_id,
        sequence=last.sequence + 1 if last else 1,
        connection_id=connection.id if connection else None,
        actor=actor,
        action=action,
        # As the database will give it back: a tuple as a list, an enum as its word.
        detail=json.loads(json.dumps(detail)),
        at=utcnow(),
    )
    entry.digest = digest_of(entry, last.digest if last else "")
    state.session.add(entry)
    state.session.flush()


def record_about(state: State, connection: Connection, *, actor: str, action: str, **detail: Any) -> None:
    """Add an entry about a connection, with its account and mode, as :func:`record` does."""
    known = {"account_id": connection.account_id, "mode": connection.mode}
    tenant_id = connection.tenant_id
    record(state, tenant_id=tenant_id, connection=connection, actor=actor, action=action, **known, **detail)


def count_recent(state: State, tenant: Any, *actions: str) -> int:
    """Return how many entries of these actions a tenant has from the last :data:`WINDOW`.

    Locks the tenant: whoever adds one in the same transaction is counted by the next.
    """
    lock_tenant(state, key_of(tenant))
    model = state.models.AuditEntry
    recent = sa.select(sa.func.count()).where(
        model.tenant_id == key_of(tenant), model.action.in_(actions), model.at > utcnow() - WINDOW
    )
    return state.session.scalar(recent) or 0


def lock_tenant(state: State, tenant_id: Any) -> None:
    """Wait until nobody else changes this tenant's connections or writes its chain, and keep others out until commit.

    Whoever locks a tenant and its connections locks the tenant first; whoever locks several tenants does so in the
    order of their keys as text.
    """
    model: Any = state.models.Tenant
    key = sa.inspect(model).primary_key[0]
    lock: Any = sa.select(key).where(key == tenant_id).with_for_update(key_share=True)
    if state.session.get_bind(sa.inspect(model)).dialect.name == "sqlite":
        # SQLite has no FOR UPDATE, and one lock for the whole database: an update of no row takes it.
        lock = sa.update(key.table).where(sa.false()).values({key: key})
    # What is pending would be written first, and lock a connection before its tenant: it is written after.
    with state.session.no_autoflush:
        state.session.execute(lock)
    state.session.flush()


def digest_of(entry: AuditEntry, previous: str) -> str:
    """Return what ties an entry to the one before it: SHA-256 over all that it says, and over that one's digest."""
    told = [
        previous,
        str(entry.tenant_id),
        entry.sequence,
        entry.connection_id,
        entry.actor,
        entry.action,
        entry.detail,
        entry.at.isoformat(),
    ]
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def history(state: State, tenant: Any, *, before: int | None = None, limit: int = 50) -> list[AuditEntry]:
    """Return the newest entries of one tenant, and of no other, newest first.

    :param before: the sequence of an entry: only older ones are wanted.
    """
    model = state.models.AuditEntry
    own = sa.select(model).where(model.tenant_id == key_of(tenant))
    if before is not None:
        own = own.where(model.sequence < before)
    return list(state.session.scalars(own.order_by(model.sequence.desc()).limit(limit)))


@dataclass(frozen=True)
class Head:
    """The last entry of a tenant's chain. Kept outside the database, it shows if a chain was cut off or made anew."""

    #: The tenant's key, as text.
    tenant: str
    sequence: int
    digest: str

    def __str__(self) -> str:
        return f"{self.tenant} {self.sequence} {self.digest}"

    @classmethod
    def parse(cls, line: str) -> Head:
        """Return the head that a line of ``audit-verify --heads`` names.

        :raises ValueError: if it is no such line.
        """
        tenant, sequence, digest = line.strip().rsplit(" ", 2)
        return cls(tenant, int(sequence), digest)


@dataclass(frozen=True)
class Chain:
    """What was found of one tenant's entries."""

    head: Head
    #: How many entries there are.
    entries: int
    #: The first thing that is wrong, as a sentence; None if nothing is.
    problem: str | None


def verify(state: State, kept: Iterable[Head] = (), *, batch: int = _BATCH) -> Iterator[Chain]:
    """Give every tenant's chain with the first entry that was changed, taken out, doubled or renumbered.

    A chain proves that its entries are as they were written, one after the other. Somebody who can write to the
    database may cut its end off, or compute it anew: only a head that was kept elsewhere shows that.

    :param kept: heads from an earlier time; an entry that one of them names must still be there.
    :param batch: how many entries are read at once.
    """
    missing = {head.tenant: head for head in kept}
    for key, own in groupby(_read_all(state, batch), lambda entry: str(entry.tenant_id)):
        yield _follow(key, own, missing.pop(key, None))
    for tenant, head in missing.items():
        yield Chain(Head(tenant, 0, ""), 0, f"entries 1 to {head.sequence} were taken out: none is left")


def _read_all(state: State, batch: int) -> Iterator[Any]:
    """Give every entry, chain by chain. What was tampered with need not be of its column's type any more."""
    model: Any = state.models.AuditEntry
    columns, dialect = model.__table__.columns, state.session.get_bind(sa.inspect(model)).dialect
    convert = {c.name: c.type.dialect_impl(dialect).result_processor(dialect, None) for c in columns}
    raw = sa.select(*(sa.type_coerce(c, sa.types.NullType()).label(c.name) for c in columns))
    ordered = raw.order_by(model.tenant_id, model.sequence, model.id).execution_options(yield_per=batch)
    for row in state.session.execute(ordered).mappings():
        yield SimpleNamespace(**{name: _converted(convert[name], value) for name, value in row.items()})


def _converted(convert: Callable[[Any], Any] | None, value: Any) -> Any:
    try:
        return convert(value) if convert else value
    except (TypeError, ValueError, AttributeError):
        return value


def _follow(tenant: str, entries: Iterable[Any], kept: Head | None) -> Chain:
    count, sequence, digest, problem = 0, 0, "", None
    for entry in entries:
        problem = problem or _wrong_with(entry, sequence, digest)
        if problem is None and kept and entry.sequence == kept.sequence and entry.digest != kept.digest:
            problem = _name(entry, "is another than when its head was kept: the chain was made anew")
        count, sequence, digest = count + 1, entry.sequence, entry.digest
    if problem is None and kept and sequence < kept.sequence:
        problem = f"the end is missing: the chain went on to entry {kept.sequence} when its head was kept"
    return Chain(Head(tenant, sequence, digest), count, problem)


def _wrong_with(entry: Any, sequence: int, digest: str) -> str | None:
    """Return what is wrong with an entry that should follow the one with this sequence and digest."""
    if not isinstance(entry.sequence, int) or entry.sequence < sequence:
        return _name(entry, "was renumbered")
    if entry.sequence == sequence:
        return _name(entry, "is there twice" if sequence else "was renumbered")
    if entry.sequence > sequence + 1:
        return _name(entry, f"follows entry {sequence}: those between are missing, or it was renumbered")
    if _digest_now(entry, digest) != entry.digest:
        return _name(entry, "was changed, or made to follow another")
    return None


def _digest_now(entry: Any, previous: str) -> str | None:
    try:
        return digest_of(entry, previous)
    except (AttributeError, TypeError, ValueError):
        # Not of the kind that we write: a time that is no time, for example.
        return None


def _name(entry: Any, what: str) -> str:
    return f"entry {entry.sequence} (row {entry.id}) {what}"


def guard(session: scoped_session[Any]) -> None:
    """Refuse statements of a host's session that change or delete audit entries in bulk.

    What goes past SQLAlchemy's ORM cannot be refused here; :func:`verify` finds it.
    """
    sa.event.listen(session, "do_orm_execute", _refuse_in_bulk)


def _refuse_in_bulk(execution: ORMExecuteState) -> None:
    if execution.is_update or execution.is_delete:
        mapper = execution.bind_mapper
        if mapper is not None and issubclass(mapper.class_, AuditEntry):
            raise RuntimeError(_APPEND_ONLY)


@sa.event.listens_for(AuditEntry, "before_update", propagate=True)
def _refuse_change(_mapper: Any, _connection: Any, entry: AuditEntry) -> None:
    session = object_session(entry)
    if session is None or session.is_modified(entry):
        raise RuntimeError(_APPEND_ONLY)


@sa.event.listens_for(AuditEntry, "before_delete", propagate=True)
def _refuse_deletion(_mapper: Any, _connection: Any, _entry: AuditEntry) -> None:
    raise RuntimeError(_APPEND_ONLY)
