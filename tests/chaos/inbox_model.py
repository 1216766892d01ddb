"""What the inbox must do, in plain Python: no database, no Stripe, and nothing of the package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

#: How long an event is one worker's alone.
LEASE: Final = timedelta(seconds=60)
#: The pause after a first failure; twice as long after each further one, and a quarter more or less.
FIRST_PAUSE: Final = timedelta(seconds=10)
#: What came so long before an account was linked came for whoever links it.
CONSENT: Final = timedelta(minutes=10)
#: How long the endpoint of a tenant that took its key away is answered.
RETRIES: Final = timedelta(days=3)
RETENTION, DEDUPE = timedelta(days=30), timedelta(days=35)
#: Fewer than the product's own, so that short stories reach them.
MOST_ATTEMPTS: Final = 3
MOST_REPLAYS: Final = 3
REPLAY_WINDOW: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Source:
    """One way in: the endpoint that an event comes by, and the account that it is about there."""

    scope: str
    account: str | None = None
    livemode: bool = False
    #: It names an account that its endpoint may not speak about.
    is_foreign: bool = False


#: The platform's Connect endpoint, the platform's own, and the one in Harbour's own account, all for test mode.
SOURCES: Final = {
    "plaza": Source("connect", "acct_plaza"),
    "seaside": Source("connect", "acct_seaside"),
    # A pasted key, and an account that nobody has yet: neither is known at the platform's endpoint.
    "harbour": Source("connect", "acct_harbour"),
    "lodge": Source("connect", "acct_lodge"),
    "other mode": Source("connect", "acct_plaza", livemode=True),
    "nameless": Source("connect"),
    "platform": Source("account"),
    "posing": Source("account", "acct_plaza"),
    "key": Source("key", "acct_harbour"),
    "foreign": Source("key", "acct_plaza", is_foreign=True),
}


#: What an event may say about a payment; ``absurd`` has another amount.
SAID: Final = ("declined", "paid", "completed", "partly refunded", "refunded", "absurd")


@dataclass(frozen=True)
class Event:
    """What Stripe sends, and sends again."""

    id: str
    source: str
    #: ``plain``, ``withdrawal``, or one of :data:`SAID`.
    kind: str
    #: The tenant whose payment it is about.
    about: str
    created: datetime

    @property
    def scope(self) -> str:
        return SOURCES[self.source].scope

    @property
    def account(self) -> str | None:
        return SOURCES[self.source].account

    @property
    def key(self) -> tuple[str, str]:
        return self.scope, self.id


@dataclass(eq=False)
class Connection:
    """One tenant's leave to use one account: ``oauth``, ``key``, or the ``platform``'s own."""

    id: int
    tenant: str
    account: str | None
    kind: str
    since: datetime
    is_current: bool = True
    ended: datetime | None = None


@dataclass
class Payment:
    """What was said about a payment, in any order and any number of times."""

    tenant: str
    account: str | None
    amount: int = 2500
    has_failed: bool = False
    is_paid: bool = False
    refunded: int = 0

    def apply(self, kind: str) -> None:
        refunded = {"partly refunded": 1000, "refunded": self.amount}.get(kind, 0)
        self.refunded = max(self.refunded, refunded)
        self.is_paid |= kind in ("paid", "completed") or bool(refunded)
        self.has_failed |= kind == "declined"

    @property
    def status(self) -> str:
        if self.refunded:
            return "REFUNDED" if self.refunded == self.amount else "PARTIALLY_REFUNDED"
        return "COMPLETED" if self.is_paid else "FAILED" if self.has_failed else "PENDING"


class Route(NamedTuple):
    tenant: str | None = None
    connection: Connection | None = None
    #: Why it is parked.
    reason: str | None = None


@dataclass(eq=False)
class Row:
    event: Event
    status: str
    attempts: int
    tenant: str | None
    connection: Connection | None
    received: datetime
    due: datetime | None
    #: How much earlier or later than ``due`` it may be.
    spread: timedelta = timedelta()
    reason: str | None = None
    processed: datetime | None = None
    has_body: bool = True
    holder: Claim | None = None

    def is_due(self, now: datetime) -> bool:
        return self.due is not None and self.due <= now

    def is_held(self, now: datetime) -> bool:
        return self.status == "processing" and not self.is_due(now)

    def become(self, status: str, reason: str | None = None, due: datetime | None = None) -> str:
        """Be nobody's, and this."""
        self.status, self.reason, self.due, self.holder, self.spread = status, reason, due, None, timedelta()
        return status


@dataclass(eq=False)
class Claim:
    """What a worker has in hand; whether the row is still its own is for the row to say."""

    row: Row


@dataclass
class Inbox:
    """The rows, and all that decides about them. Each method is one act, and says what whoever acts is told."""

    now: datetime
    connections: list[Connection]
    payments: dict[str, Payment]
    #: The host has Celery: events are stored for a worker.
    is_stored: bool = False
    #: Tenants, and ids of events, that the host's handler fails for.
    poison: set[str | None] = field(default_factory=set)
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    #: Runs of the host's handler that stand, by event and tenant.
    effects: Counter[tuple[tuple[str, str], str | None]] = field(default_factory=Counter)
    replays: list[tuple[str, datetime]] = field(default_factory=list)

    # -- whose is it

    def route(self, event: Event) -> Route:
        if SOURCES[event.source].livemode:
            return Route(reason="other mode")
        if event.scope == "key":
            return self._of_key(event)
        if event.scope == "connect":
            return Route(reason="nameless") if event.account is None else self._of_account(event)
        return Route(reason="posing") if event.account is not None else self._of_platform(event)

    def _of_key(self, event: Event) -> Route:
        (own,) = (each for each in self.connections if each.kind == "key")
        reason = "ended" if own.ended else "not its to tell" if event.kind == "withdrawal" else None
        return Route(own.tenant, own, reason)

    def _of_platform(self, event: Event) -> Route:
        if event.kind not in SAID or self.payments[event.about].account is not None:
            return Route()
        (lent,) = (each for each in self.connections if each.kind == "platform")
        return Route(lent.tenant, lent)

    def _of_account(self, event: Event) -> Route:
        known = [each for each in self.connections if each.kind == "oauth" and each.account == event.account]
        known.sort(key=lambda each: (each.ended is not None, not each.is_current, -each.id))
        if not known:
            return Route(reason="unknown")
        owner = known[0]
        if len({each.tenant for each in known}) > 1:
            # Of several tenants that have, or had, the account, it is the one's whose payment it is about.
            mine = [each for each in known if self._payment_of(event, each.tenant)]
            living = [each for each in known if not each.ended]
            if not mine and not living:
                return Route(reason="ended")
            owner = (mine or living)[0]
        return Route(owner.tenant, owner, "ended" if owner.ended else None)

    def _payment_of(self, event: Event, tenant: str | None) -> Payment | None:
        payment = self.payments[event.about]
        is_about = event.kind in SAID and payment.account == event.account
        return payment if is_about and (event.account is None or payment.tenant == tenant) else None

    # -- Stripe delivers

    def deliver(self, event: Event) -> int:
        """Return the status of the answer."""
        if SOURCES[event.source].is_foreign or (event.scope == "key" and self._is_forgotten()):
            return 400
        found, row = self.route(event), self.rows.get(event.key)
        if row is None:
            row = self._insert(event, found)
            return 200 if self.is_stored or found.reason else self._run_inline(row)
        # What came for one tenant never becomes another's.
        if found.reason or row.status in ("processed", "dead") or row.tenant not in (None, found.tenant):
            return 200
        if self.is_stored and row.status != "parked":
            return 200
        if row.is_held(self.now):
            return 503
        if row.status == "parked":
            row.attempts, row.processed = 0, None
        row.tenant, row.connection, row.has_body = found.tenant, found.connection, True
        if self.is_stored:
            row.become("received", due=self.now)
            return 200
        row.attempts += 1
        return self._run_inline(row)

    def _is_forgotten(self) -> bool:
        (own,) = (each for each in self.connections if each.kind == "key")
        return own.ended is not None and self.now >= own.ended + RETRIES

    def _insert(self, event: Event, found: Route) -> Row:
        status, due = ("parked", None) if found.reason else ("received", self.now)
        attempts = 0 if self.is_stored else 1
        row = Row(event, status, attempts, found.tenant, found.connection, self.now, due, reason=found.reason)
        self.rows[event.key] = row
        return row

    def _run_inline(self, row: Row) -> int:
        return 200 if self._run(row) == "processed" else 500

    # -- handlers run

    def _run(self, row: Row) -> str:
        if self.poison & {row.tenant, row.event.id}:
            return self._fail(row)
        self.effects[row.event.key, row.tenant] += 1
        payment, reason = self._payment_of(row.event, row.tenant), None
        if payment and row.event.kind == "absurd":
            reason = "contradiction"
        elif payment:
            payment.apply(row.event.kind)
        if row.event.kind == "withdrawal":
            self._withdraw(row.event)
        row.processed = self.now
        return row.become("processed", reason)

    def _fail(self, row: Row) -> str:
        if row.attempts >= MOST_ATTEMPTS:
            return row.become("dead", "poison")
        pause = FIRST_PAUSE * 2 ** (row.attempts - 1)
        row.become("failed", "poison", due=self.now + pause)
        row.spread = pause / 4
        return "failed"

    def _withdraw(self, event: Event) -> None:
        for each in self._living():
            if each.kind == "oauth" and each.account == event.account and each.since <= event.created:
                each.ended = self.now

    def _living(self) -> list[Connection]:
        return [each for each in self.connections if not each.ended]

    # -- workers

    def claim(self, row: Row, *, early: bool = False) -> Claim | None:
        waits = row.status in ("received", "failed") and (early or row.is_due(self.now))
        if not waits and not (row.status == "processing" and row.is_due(self.now)):
            return None
        if row.attempts >= MOST_ATTEMPTS:
            row.become("dead", "killed")
            return None
        row.attempts += 1
        reason, claimed = row.reason, Claim(row)
        row.become("processing", reason, due=self.now + LEASE)
        row.holder = claimed
        return claimed

    def claim_next(
        self, tenant: str | None, picked: tuple[str, str] | None, is_dead: Callable[[tuple[str, str]], bool]
    ) -> Claim | None:
        """Return the claim on the tenant's event that is due for longest: of several that are, the one picked.

        Those that were claimed too often die on the way to it.
        """
        due = [row for row in self._due() if row.tenant == tenant]
        longest = min((row.due or self.now for row in due if row.attempts < MOST_ATTEMPTS), default=self.now)
        claimed = None
        for row in due:
            is_next = row.event.key == picked and row.due == longest
            if is_next or (row.attempts >= MOST_ATTEMPTS and is_dead(row.event.key)):
                claimed = self.claim(row) or claimed
        return claimed

    def _due(self) -> list[Row]:
        due = [row for row in self.rows.values() if row.is_due(self.now)]
        # Sorting keeps the order in which they came.
        return sorted(due, key=lambda row: row.due or self.now)

    def work(self, claimed: Claim) -> str | None:
        row = claimed.row
        if row.holder is not claimed:
            return None
        if row.connection and row.connection.ended:
            row.processed = self.now
            return row.become("parked", "ended")
        return self._run(row)

    def drain(self) -> Counter[str]:
        done = Counter[str]()
        for row in self._due():
            if claimed := self.claim(row):
                done[str(self.work(claimed))] += 1
        return done

    # -- people

    def replay_own(self, row: Row, tenant: str) -> str:
        """Return what becomes of the event, or why it is not replayed."""
        if row.tenant != tenant:
            return "unknown_event"
        if sum(who == tenant and at > self.now - REPLAY_WINDOW for who, at in self.replays) >= MOST_REPLAYS:
            return "too_many_replays"
        return self.replay(row)

    def replay(self, row: Row, *, force: bool = False) -> str:
        if not row.has_body:
            return "event_pruned"
        if row.status == "processed" and not force:
            return "already_processed"
        if row.is_held(self.now):
            return "in_flight"
        if row.status == "parked":
            found = self.route(row.event)
            if found.reason or row.tenant not in (None, found.tenant):
                return "parked"
            row.tenant, row.connection = found.tenant, found.connection
        if row.tenant:
            self.replays.append((row.tenant, self.now))
        row.become("received", due=self.now)
        row.attempts, row.processed = 0, None
        claimed = self.claim(row)
        assert claimed is not None
        return str(self.work(claimed))

    def may_link(self, tenant: str, account: str) -> bool:
        return not any(each.account == account and each.tenant != tenant for each in self._living())

    def link(self, tenant: str, account: str, id: int) -> int:
        """Return how many events were released to the new connection."""
        for each in self.connections:
            each.is_current &= each.tenant != tenant
        new = Connection(id, tenant, account, "oauth", self.now)
        self.connections.append(new)
        mine = [row for row in self.rows.values() if self._came_while_linking(row, account)]
        for row in mine:
            row.tenant, row.connection = tenant, new
            row.become("received", due=self.now)
        return len(mine)

    def _came_while_linking(self, row: Row, account: str) -> bool:
        is_nobodys = row.status == "parked" and row.reason == "unknown" and row.has_body
        is_late = row.received >= self.now - CONSENT and row.event.kind != "withdrawal"
        return is_nobodys and is_late and row.event.account == account

    def disconnect(self, tenant: str) -> bool:
        own = [each for each in self._living() if each.tenant == tenant and each.kind != "platform"]
        for each in own:
            each.ended, each.is_current = self.now, False
        return bool(own)

    def prune(self) -> tuple[int, int]:
        """Return how many rows are deleted, and of how many the body."""
        old = [key for key, row in self.rows.items() if self._is_over(row, DEDUPE)]
        for key in old:
            del self.rows[key]
        read = [row for row in self.rows.values() if self._is_over(row, RETENTION) and row.has_body]
        for row in read:
            row.has_body = False
        return len(old), len(read)

    def _is_over(self, row: Row, age: timedelta) -> bool:
        touched = max(row.received, row.processed or row.received)
        return row.status in ("processed", "parked") and touched < self.now - age
