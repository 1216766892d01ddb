"""Requests that nobody should send, as Hypothesis makes them up, and as a server hands them to the app."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Flask
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from flask_valetpro_stripe.testing import make_event, sign
from tests.webhooks.bad_bodies import not_events
from tests.webhooks.stage import PLAZA, SEASIDE, URL

#: What the app under test takes as a body.
CAP: Final = 20_000
#: Whose secret signs: one of the platform's endpoints, or that of the hotel with keys of its own.
PLATFORMS: Final = ("TEST_WEBHOOK", "TEST_CONNECT_WEBHOOK", "LIVE_WEBHOOK", "LIVE_CONNECT_WEBHOOK")
HOTELS: Final = "the hotel's"
FOREIGN: Final = "whsec_" + "foreign0" * 4
#: The last parts of addresses that are put in when a request is sent: the hotel's, and one that is nobody's, but was
#: made by this app, as far as can be seen without asking the database.
HOTELS_TOKEN, NOBODYS_TOKEN = "<hotel>", "<nobody>"
_PART: Final = re.compile(r"<(\w+)>")


@dataclass(frozen=True)
class Way:
    """How a request comes, whatever is in it."""

    #: What follows the webhook's path.
    address: str = ""
    method: str = "POST"
    #: What Content-Length says; None for the truth, "chunked" for a body that ends where it ends.
    length: str | None = None
    content_type: str = "application/json"


@dataclass(frozen=True)
class Sent:
    """One request."""

    body: bytes
    #: With ``<now>``, ``<good>`` and the like for what is put in when it is sent; None for no such header.
    signature: str | None
    #: Whose secret makes what is ``<good>``.
    signer: str
    way: Way


# -- JSON

_texts = st.text(st.characters(), max_size=12) | st.sampled_from(["", "\0", "\ud800", "event", "evt_1", "é" * 300])
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**63, 2**64, 10**4000, 1e308, -0.0])
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts
)
json_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3), max_leaves=5
)
_no_text = json_values.filter(lambda value: not isinstance(value, str))
_no_object = json_values.filter(lambda value: not isinstance(value, dict))
_no_id = _no_text | st.sampled_from(["", " ", "evt 1", "evt_1\n", "evt_\0", "evt_é", "e" * 256, "\ud800"])

SNAPSHOT: Final[Mapping[str, Any]] = make_event("customer.created", {"id": "cus_1", "object": "customer"})
THIN: Final[Mapping[str, Any]] = {
    "id": "evt_1",
    "object": "v2.core.event",
    "created": "2026-01-01T00:00:00.000Z",
    "livemode": False,
    "type": "v2.core.account[requirements].updated",
    "related_object": {"id": PLAZA, "type": "v2.core.account", "url": "/v2/core/accounts"},
}
#: Accounts that a hotel may not speak about with its own secret.
_ACCOUNTS: Final = (PLAZA, SEASIDE, "acct_nobody")
#: What each part of an event may not be.
_WRONG: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "id": _no_id,
    "object": json_values.filter(lambda value: value != "event"),
    "type": _no_text | st.sampled_from(["", "a b", "A", "a" * 256, "v2.core.account.closed", "a\n", "é"]),
    "livemode": json_values.filter(lambda value: not isinstance(value, bool)),
    "data": _no_object | st.sampled_from([{}, {"objects": {}}]) | st.fixed_dictionaries({"object": _no_object}),
    "account": _no_id.filter(lambda value: value is not None) | st.sampled_from(["acct_", "cus_1", "acct_" + "a" * 60]),
}
_WRONG_THIN: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "id": _no_id,
    "object": json_values.filter(lambda value: value != "v2.core.event"),
    "type": _no_text | st.sampled_from(["", "customer.created", "v2.", "v2.a[", "v2.a[b][c]", "v2." + "a" * 253]),
    "livemode": _WRONG["livemode"],
    "created": _no_text,
    "account": json_values,
    "related_object": _no_object.filter(lambda value: value is not None)
    | st.fixed_dictionaries({"type": st.just("v2.core.account"), "id": _no_id | st.just("cus_1")})
    | st.fixed_dictionaries({"type": _no_text, "id": st.just(PLAZA)}),
}


def _with(event: Mapping[str, Any], wrong: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    each = [values.map(lambda value, key=key: {**event, key: value}) for key, values in wrong.items()]
    missing = st.sampled_from([key for key in wrong if key not in ("account", "related_object")])
    return st.one_of(*each) | missing.map(lambda key: {name: value for name, value in event.items() if name != key})


def _written(event: Any) -> bytes:
    return json.dumps(event).encode()


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


#: Whole events, but for what would be lost or changed by whoever reads them.
_UNREADABLE: Final = [
    _written(SNAPSHOT).replace(b'"cus_1"', absurd)
    for absurd in (b"1e999", b"-1e999", b"NaN", b"Infinity", b"9" * 5000, b'"a", "id": "b"', b'"\0"', b'"\xed\xa0\x80"')
] + [_written(SNAPSHOT).replace(b'"cus_1"', _nested(depth)) for depth in (101, 500, 900, 950, 980, 1000, 3000)]
_oversized = st.integers(1, 50).map(lambda over: _written(SNAPSHOT).ljust(CAP + over))
not_an_event = (
    _with(SNAPSHOT, _WRONG).map(_written)
    | _with(THIN, _WRONG_THIN).map(_written)
    | json_values.map(_written)
    | st.binary(max_size=60)
    | st.sampled_from(_UNREADABLE)
    | st.sampled_from([body for _, body in not_events()])
    | _oversized
)
_EVENTS: Final = [_written(event) for event in (SNAPSHOT, THIN, *({**SNAPSHOT, "account": each} for each in _ACCOUNTS))]

# -- headers

GENUINE: Final = "t=<now>,v1=<good>"
#: What might be genuine, as far as can be seen without a secret.
PLAUSIBLE: Final = ("t=<now>,v1=<bad>", "t=<now>,v1=", "t=<now>,v0=<good>,v1=<bad>", "t=<now>" + ",v1=<bad>" * 10)
_HEADERS: Final = (
    *PLAUSIBLE,
    "t=<now>,v1=<bad>",
    "t=<old>,v1=<good_old>",
    "t=<ahead>,v1=<good_ahead>",
    "t=0,v1=<good>",
    "t=-<now>,v1=<good>",
    "t=<now>.0,v1=<good>",
    "t=" + "9" * 13 + ",v1=<good>",
    "t=" + "9" * 3000 + ",v1=<good>",
    "t=\xb2,v1=<good>",
    "t=,v1=<good>",
    "t=<now>,t=<now>,v1=<good>",
    "v1=<good>",
    "t=<now>",
    "t=<now>,v0=<good>",
    "t=<now>,v2=<good>",
    "t=<now>,V1=<good>",
    "t=<now>;v1=<good>",
    "t=<now>, v1=<good>",
    "t=<now>,v1=\xe9",
    "t=<now>,v1=<good>,v1=\xe9",
    "t=<now>,v1=<good>,x=" + "y" * 5000,
    "t=<now>" + ",v1=<good>" * 11,
    "t=<now>" + ",v1=<bad>" * 1000,
    "," * 4000,
    "",
)
_headers = (
    st.sampled_from(_HEADERS)
    | st.sampled_from(_HEADERS)
    | st.text(st.characters(max_codepoint=255), max_size=40)
    | st.none()
)

# -- addresses, methods and lengths

_token_letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
#: As long as a hotel's, and of the same letters: only the database can tell.
_shaped = st.text(_token_letters, min_size=43, max_size=43)
_odd_tokens = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50) | st.sampled_from(
    ["..", "%00", "\0" * 43, "é" * 43, "a" * 42, "a" * 44, "a" * 42 + "\n", "a" * 5000, "platform:test:connect"]
)
_addresses = st.sampled_from(["", "", "", f"/{HOTELS_TOKEN}", f"/{NOBODYS_TOKEN}", "/", "//", "/a/b"]) | (
    _shaped | _odd_tokens
).map(lambda token: f"/{token}")
_methods = st.sampled_from(["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", ""])
#: What Content-Length may say beside the truth: the last two are refused by what they announce.
TOO_LONG: Final = (str(CAP + 2), "9" * 30)
_lengths = st.sampled_from(
    ["chunked", "", "0", "-1", "+3", "3.5", "1e9", "three", "\xb2", str(CAP), "9" * 5000, *TOO_LONG]
)
_content_types = st.sampled_from(
    [
        "",
        "application/json; charset=latin-1",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "é",
    ]
)
_usual = Way()
_ways = (
    st.just(_usual)
    | st.just(_usual)
    | st.builds(
        Way,
        address=_addresses,
        method=_methods | st.just("POST"),
        length=_lengths | st.none(),
        content_type=_content_types,
    )
    | st.builds(Way, address=_addresses)
)

# -- requests


def _forged(bodies: list[bytes], headers: list[str | None], ways: list[Way], signers: list[str]) -> list[Sent]:
    """Return each body with each header, on one of the ways."""
    return [
        Sent(body, header, signers[i], ways[(i + j) % len(ways)])
        for i, body in enumerate(bodies)
        for j, header in enumerate(headers)
    ]


def genuine(body: bytes, signer: str) -> Sent:
    """Return a request that comes as it should, whatever is in it."""
    return Sent(body, GENUINE, signer, Way(f"/{HOTELS_TOKEN}") if signer == HOTELS else _usual)


def _signed(bodies: list[bytes]) -> list[Sent]:
    """Return each body, that is no event, signed by everybody who could sign an event."""
    return [genuine(body, signer) for body in bodies for signer in (*PLATFORMS, HOTELS)]


#: Whole events, signed, that may not come by the address that they come by, or speak of whom they speak of.
MISDIRECTED: Final = [
    *[Sent(body, GENUINE, HOTELS, way) for body in _EVENTS for way in (_usual, Way(f"/{NOBODYS_TOKEN}"))],
    *[Sent(body, GENUINE, signer, Way(f"/{HOTELS_TOKEN}")) for body in _EVENTS for signer in PLATFORMS],
    *[Sent(body, GENUINE, HOTELS, Way(f"/{HOTELS_TOKEN}")) for body in _EVENTS if b'"account": ' in body],
]


def _flood(tokens: list[str]) -> list[Sent]:
    """Return requests for made-up addresses, more than are looked up in a second."""
    return [Sent(_EVENTS[0], PLAUSIBLE[0], HOTELS, Way(f"/{token}")) for token in tokens]


def _few(each: st.SearchStrategy[Any], number: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(each, min_size=number, max_size=number)


#: What is sent in one example: some requests of each kind.
requests: Final = st.tuples(
    st.builds(
        _forged,
        # Mostly whole events: all that keeps them out is how they come.
        bodies=st.tuples(*[st.sampled_from(_EVENTS)] * 3, not_an_event).map(list),
        headers=_few(_headers, 4),
        ways=_few(_ways, 4),
        signers=_few(st.sampled_from([*PLATFORMS, HOTELS]), 4),
    ),
    st.builds(_signed, _few(not_an_event, 4)),
    _few(st.sampled_from(MISDIRECTED), 2),
    st.just([]) | st.just([]) | st.builds(_flood, _few(_shaped, 8)),
).map(lambda kinds: [sent for kind in kinds for sent in kind])


# -- sending


class Door:
    """The app as a server calls it, without the test client: that takes as long as a refusal itself."""

    def __init__(self, app: Flask, secrets: Mapping[str, str], tokens: Mapping[str, str]) -> None:
        self._app, self._secrets, self._tokens = app, secrets, tokens
        self._environ = EnvironBuilder(method="POST", path=URL).get_environ()

    def send(self, sent: Sent) -> tuple[int, str]:
        """Return the status and the text of the answer."""
        answered: list[str] = []

        def start(status: str, headers: object, exc_info: object = None) -> Callable[[bytes], object]:
            answered.append(status)
            return lambda _: None

        chunks = self._app(self.environ_of(sent), start)
        text = b"".join(chunks)
        getattr(chunks, "close", lambda: None)()
        return int(answered[-1][:3]), text.decode()

    def environ_of(self, sent: Sent) -> dict[str, Any]:
        environ = {
            **self._environ,
            "REQUEST_METHOD": sent.way.method,
            "PATH_INFO": URL + self.address_of(sent).encode().decode("latin-1"),
            "CONTENT_TYPE": sent.way.content_type,
            "CONTENT_LENGTH": str(len(sent.body)) if sent.way.length is None else sent.way.length,
            "wsgi.input": io.BytesIO(sent.body),
        }
        if sent.way.length == "chunked":
            environ |= {"CONTENT_LENGTH": "", "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
        if sent.signature is not None:
            environ["HTTP_STRIPE_SIGNATURE"] = self._header_of(sent)
        return environ

    def address_of(self, sent: Sent) -> str:
        address = sent.way.address
        for name, token in self._tokens.items():
            address = address.replace(name, token)
        return address

    def _header_of(self, sent: Sent) -> str:
        now, secret = int(time.time()), self._secrets[sent.signer]
        times = {"now": now, "old": now - 400, "ahead": now + 400}

        def part(found: re.Match[str]) -> str:
            name = found[1]
            if name in times:
                return str(times[name])
            if name == "bad":
                return _v1(sent.body, FOREIGN, now)
            at = times.get(name.removeprefix("good_"), now)
            return _v1(sent.body, secret, at) if name.startswith("good") else found[0]

        return _PART.sub(part, str(sent.signature))


def _v1(body: bytes, secret: str, timestamp: int) -> str:
    return sign(body, secret, timestamp=timestamp).partition(",v1=")[2]
