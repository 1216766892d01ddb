"""The address that a database acts for: connections made at another one, a copy made harmless, a move followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from . import audit, custody, endpoints
from .crypto import key_id_of
from .enums import Mode, OnboardingStatus, OperationState
from .models import Connection
from .models.types import UTCDateTime, utcnow
from .secrets.database import DatabaseStore
from .state import State

_REASON: Final = "neutralized: this database is a copy, and the original goes on with it"


@dataclass(frozen=True)
class Harmful:
    """What a database holds that can act in live mode, counted."""

    connections: int
    secrets: int
    tenants: int
    operations: int
    oauth_states: int

    def __bool__(self) -> bool:
        return any(vars(self).values())


def made_elsewhere(state: State) -> dict[str, int]:
    """Return how many living live connections were made at other addresses than the app's present one, by address."""
    model = state.models.Connection
    found = state.session.execute(
        sa.select(model.public_url, sa.func.count())
        .where(_living(state), model.mode == Mode.live, model.public_url != state.config.public_url)
        .group_by(model.public_url)
        .order_by(model.public_url)
    )
    return {url: count for url, count in found if url is not None}


def find_harmful(state: State) -> Harmful:
    """Return what :func:`neutralize` would end now."""
    models = state.models

    def count(model: type[Any], *which: Any) -> int:
        return state.session.scalar(sa.select(sa.func.count()).select_from(model).where(*which)) or 0

    return Harmful(
        connections=count(models.Connection, _living(state), models.Connection.mode == Mode.live),
        secrets=count(models.Secret, _is_live_secret(state)),
        tenants=count(models.Tenant, models.Tenant.stripe_mode == Mode.live),
        operations=count(models.Operation, _is_live_operation(state)),
        oauth_states=count(models.OAuthState),
    )


def neutralize(state: State) -> None:
    """Make a copied database unable to act in live mode, in one transaction. Commits.

    Neither Stripe nor a vault is asked for anything: accounts, endpoints and vault entries are the original's too, so
    only what the copy knows of them goes. Test mode works on. Done twice, it changes nothing more.
    """
    for key in sorted(state.session.scalars(sa.select(_key_of_tenants(state))), key=str):
        audit.lock_tenant(state, key)
    done: dict[Any, dict[str, Any]] = {}
    for what, statement in _endings(state).items():
        for key in state.session.scalars(statement):
            counts = done.setdefault(key, {})
            counts[what] = counts.get(what, 0) + 1
    state.session.execute(sa.delete(state.models.OAuthState))
    _take_over_test_mode(state)
    for key, counts in sorted(done.items(), key=lambda each: str(each[0])):
        audit.record(state, tenant_id=key, actor="operator", action="neutralized", **counts)
    state.session.commit()


def _endings(state: State) -> dict[str, Any]:
    """Return the statements that end what is live; each returns the tenants of the rows that it changed."""
    connection, secret, operation = state.models.Connection, state.models.Secret, state.models.Operation
    tenant: Any = state.models.Tenant
    ended = {
        "status": OnboardingStatus.NOT_CONNECTED,
        "is_current": False,
        "ended_at": utcnow(),
        "claimed_account_id": None,
        "endpoint_token": None,
        "endpoint_id": None,
    }
    living = sa.and_(_living(state), connection.mode == Mode.live)
    failed = {"state": OperationState.failed, "error": _REASON}
    to_test = sa.update(tenant).where(tenant.stripe_mode == Mode.live).values(stripe_mode=Mode.test)
    return {
        "connections": sa.update(connection).where(living).values(ended).returning(connection.tenant_id),
        "secrets": _forget(state, _is_live_secret(state)).returning(secret.tenant_id),
        "operations": sa.update(operation)
        .where(_is_live_operation(state))
        .values(failed)
        .returning(operation.tenant_id),
        "live_mode": to_test.returning(_key_of_tenants(state)),
    }


def _take_over_test_mode(state: State) -> None:
    """Let what is left act for this app, and forget the original's endpoints: they deliver to the original alone.

    All of them, also where the copy has the original's address in its settings still. What the copy lacks the
    encryption key for is forgotten as well: nobody can read it here, and the app would not start.
    """
    model, secret = state.models.Connection, state.models.Secret
    here = state.config.public_url
    elsewhere = sa.and_(_living(state), model.public_url.is_distinct_from(here))
    theirs = sa.and_(_living(state), sa.or_(model.endpoint_token.is_not(None), model.endpoint_id.is_not(None)))
    forgotten = sa.and_(
        secret.connection_id.in_(sa.select(model.id).where(theirs)),
        secret.purpose == custody.WEBHOOK_SECRET,
        secret.stored.is_not(None),
    )
    state.session.execute(_forget(state, forgotten))
    state.session.execute(_forget(state, _is_under_missing_key(state)))
    state.session.execute(sa.update(model).where(theirs).values(endpoint_token=None, endpoint_id=None))
    state.session.execute(sa.update(model).where(elsewhere).values(public_url=here))


def _forget(state: State, which: sa.ColumnElement[bool]) -> Any:
    """Return the statement that empties rows of secrets, and leaves what is in a vault alone."""
    model = state.models.Secret
    archived_at = sa.func.coalesce(model.archived_at, sa.literal(utcnow(), UTCDateTime))
    return sa.update(model).where(which).values(**custody.EMPTIED, archived_at=archived_at)


def find_moved(state: State) -> list[Connection]:
    """Return the living connections that :func:`move` has to see to, of both modes."""
    model = state.models.Connection
    elsewhere = model.public_url.is_distinct_from(state.config.public_url)
    return list(state.session.scalars(sa.select(model).where(_living(state), elsewhere).order_by(model.id)))


def move(state: State, connection: Connection) -> bool:
    """Let one connection act for the app's present address; return False if its webhook is not ours to move. Commits.

    The endpoint that we made for a raw-key tenant is made anew; one that was made by hand is its tenant's.

    :raises ValetProStripeError: if it cannot be made now; the connection stays as it was.
    """
    by_hand = connection.endpoint_token is not None and connection.endpoint_id is None
    if connection.endpoint_id is not None:
        endpoints.remake(state, connection)
    audit.lock_tenant(state, connection.tenant_id)
    connection.public_url = state.config.public_url
    audit.record_about(state, connection, actor="operator", action="moved", public_url=connection.public_url)
    state.session.commit()
    return not by_hand


def _living(state: State) -> sa.ColumnElement[bool]:
    return state.models.Connection.ended_at.is_(None)


def _is_live_secret(state: State) -> sa.ColumnElement[bool]:
    connection, secret = state.models.Connection, state.models.Secret
    live = sa.select(connection.id).where(connection.mode == Mode.live)
    return sa.and_(secret.stored.is_not(None), secret.connection_id.in_(live))


def _is_under_missing_key(state: State) -> sa.ColumnElement[bool]:
    model, ours = state.models.Secret, [key_id_of(key) for key in state.config.encryption_keys]
    return sa.and_(model.store == DatabaseStore.name, model.stored.is_not(None), model.key_id.not_in(ours))


def _is_live_operation(state: State) -> sa.ColumnElement[bool]:
    model = state.models.Operation
    return sa.and_(model.mode == Mode.live, model.state.in_([OperationState.new, OperationState.unknown]))


def _key_of_tenants(state: State) -> sa.Column[Any]:
    key: sa.Column[Any] = sa.inspect(state.models.Tenant).primary_key[0]
    return key
