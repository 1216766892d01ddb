"""Everything that the simulator knows, under one lock."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from .accounts import Account, ApiKey
from .errors import missing
from .ids import new_id
from .versions import CURRENT

Json = dict[str, Any]
T = TypeVar("T")


def snapshot(value: T) -> T:
    """Return a copy of JSON that no later change reaches; several times faster than ``copy.deepcopy``."""
    if isinstance(value, dict):
        return cast(T, {key: snapshot(child) for key, child in value.items()})
    if isinstance(value, list):
        return cast(T, [snapshot(child) for child in value])
    return value


# The words of Stripe's "No such …" where they differ from the object's own name.
_SPOKEN = {
    "payment_method": "PaymentMethod",
    "tax.registration": "registration",
    "webhook_endpoint": "webhook endpoint",
}


@dataclass
class Record:
    """One object of one account in one mode. ``private`` holds what Stripe knows and doesn't show."""

    account: str
    livemode: bool
    data: Json
    private: Json = field(default_factory=dict)
    deleted: bool = False

    @property
    def kind(self) -> str:
        return str(self.data["object"])


@dataclass(frozen=True)
class Emitted:
    """One event, whose it is, and whether only the platform's endpoints hear of it."""

    account: str
    livemode: bool
    body: Json
    connected: bool
    platform_only: bool = False
    thin: bool = False
    """A thin event of the v2 API, which v1 doesn't list."""


class Ledger:
    """Accounts, keys, connections, objects and events. Hold ``lock`` around anything that reads or writes them."""

    def __init__(self, *, clock: Callable[[], float], base_url: str) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.base_url = base_url
        self.clock_offset = 0.0
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, ApiKey] = {}
        self.publishable_keys: dict[str, ApiKey] = {}
        """Apart from the others, as they must never pass for a secret one."""
        self.refuse_private_urls = False
        self.most_webhook_endpoints = 16
        self.accounts_v1 = True
        """False for a platform so new that it may only create accounts through v2."""
        self.connections: set[tuple[str, bool]] = set()
        self.records: dict[str, Record] = {}
        self.slugs: dict[str, Record] = {}
        """Payment links by the last part of their URL."""
        self.tax_settings: dict[tuple[str, bool], Json] = {}
        """By account and mode; missing where nobody completed them."""
        self._by_kind: dict[tuple[str, str, bool], list[Record]] = {}
        self.events: list[Emitted] = []
        self.platform_id = ""
        self.on_event: Callable[[Emitted], None] = lambda emitted: None

    def now(self) -> float:
        """Return the simulator's time: the clock's, plus what ``Simulator.advance`` added."""
        return self.clock() + self.clock_offset

    def open_account(self, account: Account) -> Account:
        account.created = account.created or int(self.now())
        self.accounts[account.id] = account
        self.keys[account.test_secret_key] = ApiKey(account.id, livemode=False)
        self.keys[account.live_secret_key] = ApiKey(account.id, livemode=True)
        self.publishable_keys[account.test_publishable_key] = ApiKey(account.id, livemode=False)
        self.publishable_keys[account.live_publishable_key] = ApiKey(account.id, livemode=True)
        return account

    def of_kind(self, kind: str, account: str, livemode: bool) -> Iterator[Record]:
        """Yield the objects of one kind of one account in one mode, newest first."""
        for record in reversed(self._by_kind.get((kind, account, livemode), [])):
            if not record.deleted:
                yield record

    def store(self, record: Record) -> Record:
        self.records[record.data["id"]] = record
        if "slug" in record.private:
            self.slugs[record.private["slug"]] = record
        self._by_kind.setdefault((record.kind, record.account, record.livemode), []).append(record)
        return record

    def scope(self, account: str, livemode: bool) -> "Scope":
        """Return a scope in which the account itself acts, as from its dashboard or a hosted page."""
        return Scope(self, self.accounts[account], livemode)

    def scope_of(self, record: Record) -> "Scope":
        return self.scope(record.account, record.livemode)


@dataclass
class Scope:
    """The account and mode that something happens in, and the request that caused it."""

    ledger: Ledger
    account: Account
    livemode: bool
    request_id: str | None = None
    idempotency_key: str | None = None
    application: str | None = None
    api_key: str = ""
    through_platform: bool = False

    def now(self) -> int:
        return int(self.ledger.now())

    def add(self, data: Json, **private: Any) -> Record:
        """Store a new object of this account."""
        return self.ledger.store(Record(self.account.id, self.livemode, data, private))

    def find(self, kind: str, id: str) -> Record | None:
        """Return this account's object, or None; another account's is as good as none."""
        record = self.ledger.records.get(id)
        if record is None or record.deleted or record.kind != kind:
            return None
        return record if (record.account, record.livemode) == (self.account.id, self.livemode) else None

    def get(self, kind: str, id: str, *, param: str = "id") -> Record:
        """Return this account's object or raise Stripe's "No such …"."""
        found = self.find(kind, id)
        if found:
            return found
        elsewhere = self.ledger.records.get(id)
        ours = elsewhere is not None and elsewhere.account == self.account.id and elsewhere.kind == kind
        other_mode = elsewhere.livemode if elsewhere and ours and elsewhere.livemode != self.livemode else None
        raise missing(_SPOKEN.get(kind, kind), id, param=param, other_mode=other_mode)

    def list(self, kind: str) -> list[Record]:
        """Return this account's objects of one kind, newest first."""
        return list(self.ledger.of_kind(kind, self.account.id, self.livemode))

    def emit(self, type: str, data: Json, *, previous: Json | None = None, platform_only: bool = False) -> Json:
        """Record that something happened and hand it to the endpoints that listen."""
        content: Json = {"object": snapshot(data)}
        if previous is not None:
            content["previous_attributes"] = snapshot(previous)
        body = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": CURRENT,
            "created": self.now(),
            "data": content,
            "livemode": self.livemode,
            "pending_webhooks": 0,
            "request": {"id": self.request_id, "idempotency_key": self.idempotency_key},
            "type": type,
        }
        connected = platform_only or (self.account.id, self.livemode) in self.ledger.connections
        emitted = Emitted(self.account.id, self.livemode, body, connected, platform_only)
        self.ledger.events.append(emitted)
        self.ledger.on_event(emitted)
        return body

    def change(self, record: Record, event: str, **changes: Any) -> None:
        """Set ``changes`` on an object and emit ``event`` with what they were before."""
        previous = {key: record.data.get(key) for key, value in changes.items() if record.data.get(key) != value}
        previous = snapshot(previous)
        record.data.update(changes)
        self.emit(event, record.data, previous=previous)
