"""A host with four hotels, put back to its beginning between two stories, and a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import mapped_column

from flask_valetpro_stripe import Mode, connections, current_tenant
from flask_valetpro_stripe.enums import AccountType, CollectedVia
from flask_valetpro_stripe.state import State
from flask_valetpro_stripe.webhooks.tenants import TenantEndpoints
from tests.hosts import Host
from tests.raw_keys.owner import PASTED, Owner

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
#: Plaza and Seaside let us in by OAuth, Harbour pastes its own key, Lodge takes payments on the platform's account.
OAUTH: Final = ("plaza", "seaside")
TENANTS: Final = (*OAUTH, "harbour", "lodge")
MONEY: Final = {"amount": 2500, "currency": "eur"}
NOBODY: Final = "nobody"


class Clock:
    """Stands still until it is moved; in the place of ``datetime`` where the package asks for the time."""

    time = START

    def now(self, zone: tzinfo) -> datetime:
        return self.time.astimezone(zone)


class PoisonError(Exception):
    """The host's handler fails, as it was told."""


class InboxHost:
    """The host, what its handler writes for each event, and the scene that every story begins with."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self.host, self.clock = host, clock
        #: Tenants, and ids of events, that the host's handler fails for. None: where there is no tenant.
        self.poison: set[str | None] = set()
        #: Happens once, while a handler runs that has committed by itself.
        self.meanwhile: Callable[[], object] | None = None
        with host.app.app_context():
            self.engine = host.db.engine
        self._declare_effects()
        host.valetpro.on("*")(self._handle)
        self.tenants = {name: host.make_tenant(name) for name in TENANTS}
        self.keys = {name: tenant.id for name, tenant in self.tenants.items()}
        self._settle_in()
        self._scene = self._photograph()

    @contextmanager
    def state(self) -> Iterator[State]:
        """Enter an app context, as each request and each worker has one of its own."""
        with self.host.app.app_context():
            yield self.host.state

    def begin(self) -> None:
        """Put everything back to where it was."""
        self.clock.time, self.meanwhile = START, None
        self.poison.clear()
        state = self.host.state
        state.enqueue, state.tenant_endpoints = None, TenantEndpoints(lambda: self.clock.time.timestamp())
        with self.engine.begin() as database:
            for table, _ in reversed(self._scene):
                database.execute(table.delete())
            for table, rows in self._scene:
                for row in rows:
                    database.execute(table.insert(), row)

    def _photograph(self) -> list[tuple[sa.Table, list[dict[str, Any]]]]:
        """Return what is in each table; what is NULL is left out, where JSON of None would be the word "null"."""
        with self.engine.connect() as database:
            return [
                (table, [{k: v for k, v in row.items() if v is not None} for row in found.mappings()])
                for table in self.host.db.metadata.sorted_tables
                for found in [database.execute(table.select())]
            ]

    # -- what the host does about an event

    def _declare_effects(self) -> None:
        """Give the host a table with a row for each effect, and one that counts them."""
        Model: Any = self.host.db.Model

        class Effect(Model):  # type: ignore[misc]
            id = mapped_column(sa.Integer, primary_key=True)
            scope = mapped_column(sa.String(64))
            event_id = mapped_column(sa.String(255))
            tenant = mapped_column(sa.String(80))

        class Count(Model):  # type: ignore[misc]
            tenant = mapped_column(sa.String(80), primary_key=True)
            effects = mapped_column(sa.Integer)

        self.effect, self.count = Effect.__table__, Count.__table__
        mine, more = self.count.c.tenant == sa.bindparam("name"), self.count.c.effects + 1
        self._add_effect, self._count_effect = (
            sa.insert(self.effect),
            sa.update(self.count).where(mine).values(effects=more),
        )
        with self.state() as state:
            state.db.create_all()
            state.session.add_all(Count(tenant=name, effects=0) for name in (*TENANTS, NOBODY))
            state.session.commit()

    def _handle(self, event: Any) -> None:
        session = self.host.db.session
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            session.commit()
            act()
        tenant = current_tenant.name if current_tenant else None
        name = tenant or NOBODY
        session.execute(self._add_effect, {"scope": event.scope, "event_id": event.event_id, "tenant": name})
        session.execute(self._count_effect, {"name": name})
        if self.poison & {event.event_id, tenant}:
            raise PoisonError("poison")

    # -- the hotels

    def _settle_in(self) -> None:
        """Let the hotels connect as each of them does, and take a payment each."""
        simulator = self.host.simulator
        assert simulator is not None
        accounts = {name: simulator.create_account(name, id=f"acct_{name}") for name in TENANTS}
        for name in OAUTH:
            self.host.connect(self.tenants[name], f"acct_{name}")
        harbour = Owner(self.host, self.tenants["harbour"], accounts["harbour"])
        harbour.save(harbour.account.test_secret_key, webhook_secret=PASTED)
        with self.state() as state:
            connections.allow_platform(state, self.host.tenant(self.keys["lodge"]), actor="tests")
            for name, key in self.keys.items():
                state.session.add(self._payment(name, self._connection_of(state, key)))
            state.session.commit()

    def _connection_of(self, state: State, key: Any) -> Any:
        model = state.models.Connection
        return state.session.scalars(sa.select(model).where(model.tenant_id == key, model.mode == Mode.test)).one()

    def _payment(self, name: str, connection: Any) -> Any:
        is_lent = connection.account_type is AccountType.PLATFORM
        return self.host.Payment(
            tenant_id=connection.tenant_id,
            mode=connection.mode,
            description=name,
            stripe_account_id=connection.account_id,
            collected_via=CollectedVia.PLATFORM if is_lent else CollectedVia.TENANT,
            stripe_checkout_session_id=f"cs_{name}",
            stripe_payment_intent_id=f"pi_{name}",
            connection_id=connection.id,
            **MONEY,
        )
