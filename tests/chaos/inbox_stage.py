"""The real inbox, as the model's counterpart: the surfaces that each act goes through, and what it leaves behind."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import Mode, connections
from flask_valetpro_stripe.enums import AccountType
from flask_valetpro_stripe.errors import AccountTakenError, ValetProStripeError
from flask_valetpro_stripe.handlers import FETCHERS
from flask_valetpro_stripe.models import types
from flask_valetpro_stripe.testing import Simulator, make_event, sign
from flask_valetpro_stripe.webhooks import claims, inbox, prune, replay, worker
from flask_valetpro_stripe.webhooks.claims import Claim
from tests.hosts import make_host
from tests.raw_keys.owner import PASTED
from tests.webhooks.stage import URL

from .inbox_host import MONEY, NOBODY, START, Clock, InboxHost
from .inbox_model import MOST_ATTEMPTS, MOST_REPLAYS, SOURCES, Connection, Event, Inbox, Payment

_KINDS: Final = {
    AccountType.CONNECT_STANDARD: "oauth",
    AccountType.RAW_KEYS: "key",
    AccountType.PLATFORM: "platform",
}
Key = tuple[str, str]


class Seen(NamedTuple):
    """A row of the inbox as the database has it, in the model's words."""

    status: str
    attempts: int
    tenant: str | None
    connection_id: int | None
    received: datetime
    due: datetime | None
    has_error: bool
    processed: datetime | None
    has_body: bool


class InboxStage:
    """Each method is one act of one process, or one look at the database."""

    def __init__(self, hotels: InboxHost) -> None:
        self._hotels, self._host = hotels, hotels.host
        self._names = {key: name for name, key in hotels.keys.items()} | {None: None}
        # Open all the time: each act is followed by several looks.
        self._reader = hotels.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._looks = self._make_looks()
        model = self._host.valetpro.models.Connection
        own = self._reader.execute(
            sa.select(model.id, model.endpoint_token).where(model.endpoint_token.is_not(None))
        ).one()
        self._key_url = f"{URL}/{own.endpoint_token}"
        self._scopes = {
            "platform:test:connect": "connect",
            "platform:test:account": "account",
            f"tenant:{own.id}": "key",
        }
        #: The number of each row, for those who name it by that.
        self._ids: dict[Key, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def database(self) -> str:
        return self._hotels.engine.dialect.name

    def begin(self) -> Inbox:
        """Put everything back to where it was, and return the model of it."""
        self._hotels.begin()
        with self._hotels.state() as state:
            test = sa.select(state.models.Connection).where(state.models.Connection.mode == Mode.test)
            names = self._names
            known = [
                Connection(each.id, names[each.tenant_id], each.account_id, _KINDS[each.account_type], START)
                for each in state.session.scalars(test)
            ]
        payments = {each.tenant: Payment(each.tenant, each.account) for each in known}
        return Inbox(START, known, payments, poison=self._hotels.poison)

    # -- time, and the host's own decisions

    def go_on_until(self, now: datetime) -> None:
        self._hotels.clock.time = now

    def use_engine(self, *, is_stored: bool) -> None:
        """Let events be stored for a worker whom nobody tells, or be handled before Stripe is answered."""
        self._host.state.enqueue = (lambda *_: None) if is_stored else None

    # -- Stripe delivers

    def deliver(self, event: Event) -> int:
        """Return the status of the answer."""
        body = json.dumps(self._as_sent(event)).encode()
        url, secret = self._endpoint(event.scope)
        headers = {"Stripe-Signature": sign(body, secret), "Content-Type": "application/json"}
        return self._host.app.test_client().post(url, data=body, headers=headers).status_code

    def _as_sent(self, event: Event) -> dict[str, Any]:
        source = SOURCES[event.source]
        # An account's own endpoint need not name it.
        account = source.account if event.scope != "key" or source.is_foreign else None
        type_, object_ = self._said(event)
        created = int(event.created.timestamp())
        return make_event(type_, object_, account=account, livemode=source.livemode, id=event.id, created=created)

    def _endpoint(self, scope: str) -> tuple[str, str]:
        if scope == "key":
            return self._key_url, PASTED
        name = "CONNECT_WEBHOOK_SECRETS" if scope == "connect" else "WEBHOOK_SECRETS"
        return URL, self._host.app.config[f"VALETPRO_STRIPE_TEST_{name}"][0]

    def _said(self, event: Event) -> tuple[str, dict[str, Any]]:
        """Return the type of the event, and the object that it is about."""
        client_id = self._host.app.config["VALETPRO_STRIPE_TEST_CLIENT_ID"]
        intent = {"id": f"pi_{event.about}", "object": "payment_intent", **MONEY}
        paid = {**intent, "status": "succeeded", "amount_received": MONEY["amount"]}
        charge = {"id": f"ch_{event.about}", "object": "charge", "payment_intent": intent["id"], "paid": True, **MONEY}
        session = {"id": f"cs_{event.about}", "object": "checkout.session", "payment_intent": intent["id"]}
        session |= {"amount_total": MONEY["amount"], "currency": MONEY["currency"]}
        said: dict[str, tuple[str, dict[str, Any]]] = {
            "plain": ("customer.created", {"id": "cus_1", "object": "customer"}),
            "withdrawal": ("account.application.deauthorized", {"id": client_id, "object": "application"}),
            "declined": (
                "payment_intent.payment_failed",
                {**intent, "status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}},
            ),
            "paid": ("payment_intent.succeeded", paid),
            "completed": ("checkout.session.completed", {**session, "payment_status": "paid", "status": "complete"}),
            "partly refunded": ("charge.refunded", {**charge, "amount_refunded": 1000}),
            "refunded": ("charge.refunded", {**charge, "amount_refunded": MONEY["amount"]}),
            "absurd": ("payment_intent.succeeded", {**paid, "amount": 9}),
        }
        return said[event.kind]

    # -- workers

    def meanwhile(self, act: Callable[[], object]) -> None:
        """Let this happen while the next handler runs, after it has committed by itself."""
        self._hotels.meanwhile = act

    def claim(self, key: Key, *, early: bool) -> Claim | None:
        with self._hotels.state() as state:
            return claims.claim(state, self._ids[key], early=early)

    def claim_next(self, tenant: str | None) -> Claim | None:
        with self._hotels.state() as state:
            return claims.claim_next(state, self._hotels.keys.get(tenant))

    def key_of(self, claimed: Claim | None) -> Key | None:
        """Return which event was claimed."""
        # Of the rows that are there: another story's may have had the same ids.
        return next((key for key in self.rows() if claimed is not None and self._ids[key] == claimed.id), None)

    def is_dead(self, key: Key) -> bool:
        """Tell whether an event has failed for good."""
        return self.rows()[key].status == "dead"

    def work(self, claimed: Claim) -> str | None:
        with self._hotels.state() as state:
            return inbox.work(state, claimed, FETCHERS)

    def drain(self) -> Counter[str]:
        with self._hotels.state() as state:
            return worker.drain(state, FETCHERS)

    # -- people

    def replay_own(self, key: Key, tenant: str) -> str:
        """Return what became of the event, or the code of the refusal."""
        with self._hotels.state() as state:
            try:
                admin = self._host.tenant(self._hotels.keys[tenant])
                return replay.replay_own(state, admin, self._ids[key], FETCHERS, actor=tenant)
            except ValetProStripeError as error:
                return error.code

    def replay(self, key: Key, *, force: bool) -> str:
        with self._hotels.state() as state:
            try:
                row = state.session.get_one(state.models.WebhookEvent, self._ids[key])
                return replay.replay(state, row, FETCHERS, actor="operator", force=force)
            except ValetProStripeError as error:
                return error.code

    def link(self, tenant: str, account: str) -> int | None:
        """Return the id of the new connection, or None if the account serves another tenant."""
        assert self._host.simulator is not None
        self._host.simulator.connect(account)
        try:
            id_: int = self._host.connect(self._hotels.tenants[tenant], account).id
        except AccountTakenError:
            return None
        return id_

    def disconnect(self, tenant: str) -> bool:
        with self._hotels.state() as state:
            leaving = self._host.tenant(self._hotels.keys[tenant])
            return connections.disconnect(state, leaving, Mode.test, actor=tenant)

    def prune(self) -> tuple[int, int]:
        """Return how many rows were deleted, and of how many the body."""
        with self._hotels.state() as state:
            done, problems = prune.prune(state, self._hotels.clock.time)
        assert problems == []
        return done[prune.EVENTS], done[prune.BODIES]

    # -- what there is

    def rows(self) -> dict[Key, Seen]:
        found = {}
        for row in self._read("events"):
            key = self._scopes[row.scope], row.event_id
            self._ids[key] = row.id
            found[key] = Seen(
                status=str(row.status),
                attempts=row.attempts,
                tenant=self._names[row.tenant_id],
                connection_id=row.connection_id,
                received=row.received_at,
                due=row.due_at,
                has_error=row.error is not None,
                processed=row.processed_at,
                has_body=row.body is not None,
            )
        return found

    def effects(self) -> Counter[tuple[Key, str | None]]:
        """Return how often what the host's handler wrote stands, by event and tenant, once its own count agrees."""
        effects: Counter[tuple[Key, str | None]] = Counter()
        for row in self._read("effects"):
            effects[(self._scopes[row.scope], row.event_id), None if row.tenant == NOBODY else row.tenant] += 1
        counted = sum((Counter({tenant or NOBODY: number}) for (_, tenant), number in effects.items()), Counter[str]())
        assert counted == Counter({row.tenant: row.effects for row in self._read("counts")})
        return effects

    def payments(self) -> dict[str, tuple[str, int]]:
        return {row.description: (str(row.status), row.amount_refunded) for row in self._read("payments")}

    def living(self) -> dict[int, bool]:
        """Return the connections that have not ended, and whether each is its tenant's current one."""
        return {row.id: row.is_current for row in self._read("living")}

    def _read(self, what: str) -> Any:
        return self._reader.execute(self._looks[what]).all()

    def _make_looks(self) -> dict[str, sa.Select[Any]]:
        """Return the statements that look at the database. They are built once: each act is followed by all of them."""
        models = self._host.valetpro.models
        event, connection, payment = (
            model.__table__.c for model in (models.WebhookEvent, models.Connection, self._host.Payment)
        )
        effect, count = self._hotels.effect.c, self._hotels.count.c
        told = "id scope event_id status attempts tenant_id connection_id received_at due_at error processed_at body"
        known = sa.select(connection.id, connection.is_current).where(connection.mode == Mode.test)
        return {
            "events": sa.select(*(event[name] for name in told.split())).order_by(event.id),
            "effects": sa.select(effect.scope, effect.event_id, effect.tenant),
            "counts": sa.select(count.tenant, count.effects),
            "payments": sa.select(payment.description, payment.status, payment.amount_refunded),
            "living": known.where(connection.ended_at.is_(None)),
        }


@contextmanager
def make_inbox_stage(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[InboxStage]:
    """Give the inbox on an empty database, with a clock that is moved by hand, and few tries."""
    clock = Clock()
    monkeypatch.setattr(types, "datetime", clock)
    monkeypatch.setattr(claims, "MOST_ATTEMPTS", MOST_ATTEMPTS)
    monkeypatch.setattr(replay, "MOST", MOST_REPLAYS)
    with _silence(), make_host(database_url, simulator=Simulator(), own_models=True) as host:
        with host.app.app_context():
            _wait_for_no_disk(host.db.engine)
        with InboxStage(InboxHost(host, clock)) as stage:
            yield stage


@contextmanager
def _silence() -> Iterator[None]:
    """Log nothing: thousands of handlers fail here, as they should."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _wait_for_no_disk(engine: sa.Engine) -> None:
    """Nothing here is to outlive a power cut. The tests' PostgreSQL does not wait either."""
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        engine.dispose()
