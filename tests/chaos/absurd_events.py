"""Events that are signed and have the shape of events, about objects that Stripe would not send, made up by Hypothesis.

Most begin as an object that is just right, of which a few fields are changed: by nonsense, or by what is another
payment's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from flask_valetpro_stripe.handlers import HANDLERS
from flask_valetpro_stripe.payments.find import OPERATION_METADATA
from tests.chaos.absurd import Sent, genuine, json_values
from tests.webhooks.objects import charge, intent, refund, session
from tests.webhooks.stage import PLAZA, SEASIDE

_IDS: Final = (
    "stripe_payment_link_id",
    "stripe_checkout_session_id",
    "stripe_payment_intent_id",
    "stripe_charge_id",
)
_LONG: Final = st.integers(200, 400).map(lambda length: "x" * length)
_NESTED: Final = st.integers(1, 90).map(lambda depth: json.loads('{"a":[' * (depth // 2) + "1" + "]}" * (depth // 2)))
_WORDS: Final = st.sampled_from(["paid", "unpaid", "complete", "succeeded", "processing", "requires_payment_method"])


@dataclass(frozen=True)
class Known:
    """A payment as the test knows it before anything absurd is told about it."""

    row: Any
    #: What ties its objects at Stripe to it.
    operation: str
    #: Who can tell about it: the signer, and the account that an event by that signer names.
    signer: str
    account: str | None


@dataclass(frozen=True)
class Told:
    """An event, and how it comes."""

    event: Mapping[str, Any]
    sent: Sent


def events_about(known: list[Known]) -> st.SearchStrategy[list[Told]]:
    """Return a strategy for a few events, some of them twice, about these payments or nothing at all."""
    changes = st.lists(st.tuples(st.integers(0, 100), _values(known)), max_size=3)
    return st.lists(st.one_of(*[_events_of(each, known, changes) for each in known]), min_size=8, max_size=8)


def _events_of(
    teller: Known, known: list[Known], changes: st.SearchStrategy[list[tuple[int, Any]]]
) -> st.SearchStrategy[Told]:
    """Return a strategy for an event that the account of one payment tells, or that somebody tells of it."""
    own, anybodys = _news_of(teller), [news for each in known for news in _news_of(each)]
    anything = st.tuples(st.sampled_from(sorted(HANDLERS)), st.sampled_from([thing for _, thing in anybodys] + [{}]))
    genuine = (teller.signer, teller.account)
    return st.builds(
        _told,
        st.sampled_from(own) | st.sampled_from(own) | st.sampled_from(anybodys) | anything,
        changes,
        st.just(genuine) | st.sampled_from([*_STRANGERS, genuine, genuine]),
        st.integers(0, 9).map("evt_{}".format),
        st.integers(0, 2**31) | json_values,
        st.sampled_from([False] * 9 + [True]),
    )


def _news_of(known: Known) -> list[tuple[str, dict[str, Any]]]:
    """Return types of events with an object that is just right for them."""
    return [
        (event_type, thing)
        for thing in _objects_of(known)
        for event_type in HANDLERS
        if event_type.startswith(f"{thing['object']}.")
    ]


#: Accounts of nobody's, and accounts named where none may be, or not named where one must be.
_STRANGERS: Final = [
    ("TEST_CONNECT_WEBHOOK", "acct_nobody"),
    ("TEST_CONNECT_WEBHOOK", None),
    ("TEST_WEBHOOK", PLAZA),
    ("LIVE_CONNECT_WEBHOOK", SEASIDE),
]


def _objects_of(known: Known) -> list[dict[str, Any]]:
    """Return objects that are just right; those of a payment that nobody has paid yet say that somebody did."""
    row, paid_by = known.row, known.row.stripe_payment_intent_id or f"pi_{known.row.id}"
    charged = known.row.stripe_charge_id or f"ch_{known.row.id}"
    as_intent = intent(row, known.operation, id=paid_by, latest_charge=charged)
    as_charge = charge(row, known.operation, id=charged, payment_intent=paid_by, amount_refunded=500)
    return [
        session(row, payment_intent=paid_by),
        session(row, payment_intent=paid_by, payment_status="unpaid"),
        as_intent,
        as_intent | {"latest_charge": as_charge},
        as_intent | {"status": "processing", "amount_received": 0},
        as_intent | {"status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}},
        as_charge,
        refund(row, charge=charged, payment_intent=paid_by),
        refund(row, charge=charged, payment_intent=paid_by, id="re_2", status="failed"),
    ]


def _values(known: list[Known]) -> st.SearchStrategy[Any]:
    """Return a strategy for what a field may hold: nonsense, and what is somebody's."""
    ids = [getattr(each.row, name) for each in known for name in _IDS] + [each.operation for each in known]
    somebodys = st.sampled_from([each for each in ids if each is not None])
    amounts = st.sampled_from([amount + more for amount in {each.row.amount for each in known} for more in (-1, 0, 1)])
    metadata = st.dictionaries(
        st.sampled_from([OPERATION_METADATA, "valetpro_payment", "tenant_id"]), somebodys | json_values, max_size=2
    )
    plain = json_values | somebodys | amounts | metadata | _WORDS | _LONG | _NESTED
    return plain | st.lists(plain, max_size=2) | st.fixed_dictionaries({"id": plain})


def _told(
    news: tuple[str, Mapping[str, Any]],
    changes: list[tuple[int, Any]],
    who: tuple[str, str | None],
    event_id: str,
    created: Any,
    livemode: bool,
) -> Told:
    (event_type, base), (signer, account) = news, who
    names = [*base, "metadata", "of nobody's"]
    thing = {**base, **{names[place % len(names)]: value for place, value in changes}}
    event = {"id": event_id, "type": event_type, "livemode": livemode, "created": created}
    if event_type.startswith("v2."):
        related = None if account is None else {"id": account, "type": "v2.core.account"}
        event |= {"object": "v2.core.event", "created": str(created)[:50], "related_object": related, "data": thing}
    else:
        event |= {"object": "event", "data": {"object": thing}}
        event |= {} if account is None else {"account": account}
    return Told(event, genuine(json.dumps(event).encode(), signer))


def truly_names(told: Told, known: Known) -> bool:
    """Tell whether an event is one of the payment's own account, names it, and fits its amount and currency."""
    event, thing = told.event, told.event["data"].get("object")
    if (told.sent.signer, event.get("account")) != (known.signer, known.account) or event["livemode"]:
        return False
    return isinstance(thing, dict) and _names(thing, known) and _fits(event["type"], thing, known.row)


def _names(thing: Mapping[str, Any], known: Known) -> bool:
    metadata = thing.get("metadata")
    said = [thing.get(name) for name in ("id", "payment_intent", "payment_link", "charge")]
    said += [metadata.get(OPERATION_METADATA)] if isinstance(metadata, dict) else []
    own = {getattr(known.row, name) for name in _IDS} - {None} | {known.operation}
    return any(isinstance(each, str) and each in own for each in said)


def _fits(event_type: str, thing: Mapping[str, Any], row: Any) -> bool:
    if thing.get("currency") != row.currency:
        return False
    if "refund." in event_type:
        amount = thing.get("amount")
        return type(amount) is int and 0 < amount <= row.amount
    return row.amount in (thing.get("amount"), thing.get("amount_total"))
