"""Bodies and events that Stripe never sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.webhooks.stage import PLAZA, ping


def not_events() -> Iterator[tuple[str, bytes]]:
    """Yield a name and a body that no endpoint of Stripe's sends."""
    yield "nothing", b""
    yield "not UTF-8", b'{"object": "event", "id": "\xff"}'
    yield "UTF-16", json.dumps(ping()).encode("utf-16")
    yield "a byte order mark", json.dumps(ping()).encode("utf-8-sig")
    yield "not JSON", b"type=event"
    yield "half an object", json.dumps(ping()).encode()[:-1]
    yield "two objects", json.dumps(ping()).encode() * 2
    yield "NaN", json.dumps(ping(created=float("nan"))).encode()
    yield "Infinity", json.dumps(ping(created=float("-inf"))).encode()
    yield "a duplicate key", b'{"account": "acct_seaside", ' + json.dumps(ping()).encode()[1:]
    yield "a duplicate key deep inside", json.dumps(ping()).encode().replace(b'"cus_1"', b'"cus_1", "id": "cus_2"')
    yield "deep nesting", b'{"a":' * 40_000 + b"1" + b"}" * 40_000
    yield "deep lists", b"[" * 100_000 + b"]" * 100_000
    yield "an endless number", json.dumps(ping()).encode().replace(b'"cus_1"', b"9" * 50_000)
    yield "a number beyond every float", json.dumps(ping()).encode().replace(b'"cus_1"', b"-1e999")
    yield "a nesting that could be read and hardly written", json.dumps(ping(deep=nested(100))).encode()
    yield "a list", json.dumps([ping()]).encode()
    yield "a string", b'"event"'
    yield "a number", b"1"
    yield "null", b"null"
    yield "true", b"true"
    for name, event in wrong_events():
        yield name, json.dumps(event).encode()


def nested(levels: int) -> list[Any]:
    """Return lists and objects in each other, two levels a turn."""
    inner: list[Any] = []
    for _ in range(levels // 2):
        inner = [{"inner": inner}]
    return inner


def wrong_events() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a name and an event with one thing wrong."""
    yield "another object", ping() | {"object": "customer"}
    yield "a thin event", ping() | {"object": "v2.core.event"}
    yield "no object at all", {}
    for key in ("id", "type", "livemode", "data"):
        yield f"no {key}", {name: value for name, value in ping().items() if name != key}
        for value in (None, 0, [], {"a": 1}, ""):
            yield f"{key} is {value!r}", ping() | {key: value}
    yield "livemode is a word", ping() | {"livemode": "false"}
    yield "livemode is a number", ping() | {"livemode": 1}
    yield "data without object", ping(data={})
    yield "data with a list", ping(data={"object": []})
    yield "data with null", ping(data={"object": None})
    yield "an id with a line break", ping(id="evt_1\nevt_2")
    yield "an id with a null character", ping(id="evt_\0")
    yield "an id that is not ASCII", ping(id="evt_é")
    yield "an id without end", ping(id="e" * 256)
    yield "a type with a space", ping(event_type="customer created")
    yield "a type without end", ping(event_type="c" * 256)
    for account in ("", "plaza", 1, False, [PLAZA], {"id": PLAZA}, "acct_", "acct_\0", "acct_" + "a" * 60):
        yield f"account is {account!r}", ping(account=account)  # type: ignore[arg-type]
