"""How the inbox of each tenant and mode is: a verdict in one word, what is, and what to do, for whoever looks at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from babel.dates import format_timedelta

from ..enums import AccountType, EventStatus, Mode
from ..models import key_of
from ..models.types import utcnow
from ..state import State
from .claims import MOST_ATTEMPTS
from .endpoint_words import EndpointWords, words_of
from .facts import Facts, Failed, gather
from .reasons import Meaning, meaning_of

#: How long events may fail before somebody should look: by then they were tried several times.
FAILING_LONG: Final = timedelta(hours=1)
#: How long an event may be due before nobody seems to work them off. With Celery, beat looks every half minute;
#: inline, what waits at all waits for ``flask stripe reconcile``, which runs every hour.
OVERDUE: Final = {"celery": timedelta(minutes=5), "inline": timedelta(hours=2)}
#: After how long without an event a tenant counts as idle.
QUIET: Final = timedelta(days=7)


class Verdict(StrEnum):
    """How it is, the worst first."""

    #: Stripe's events do not reach this app.
    broken = "broken"
    #: They reach it, and cannot be handled.
    failing = "failing"
    #: They reach it, and nobody handles them in time.
    late = "late"
    #: Nothing comes, and nothing has to.
    idle = "idle"
    #: They come, and are handled.
    healthy = "healthy"


@dataclass(frozen=True)
class Failure:
    """The newest event that is dead, or else that failed, in plain words. One that was handled since is no failure."""

    #: The number of its row, and Stripe's ``evt_…``.
    id: int
    event_id: str
    type: str
    received_at: datetime
    attempts: int
    #: It is tried no more by itself.
    is_dead: bool
    says: str
    remedy: str


@dataclass(frozen=True)
class Health:
    """One tenant in one mode; the tenant None is the platform's own account."""

    tenant_id: Any
    mode: Mode
    verdict: Verdict
    #: What is, and what to do about it (empty: nothing), each in a sentence for who is no developer.
    says: str
    remedy: str
    #: False: nothing has to be done, or it mends itself.
    needs_person: bool
    #: When Stripe delivered the newest event. What had to be fetched from Stripe was not delivered.
    last_received_at: datetime | None
    #: When the newest of the events that are done was done.
    last_processed_at: datetime | None
    last_failure: Failure | None
    #: How long the oldest event that is not done has waited.
    lag: timedelta
    #: How many wait, failed ones among them; how many of these failed and wait for their next try; how many are dead.
    waiting: int
    failed: int
    dead: int
    #: How many events of the last days had to be fetched from Stripe, since nobody delivered them.
    missed: int
    #: The endpoint in a raw-key tenant's own account, as Stripe saw it last.
    endpoint: EndpointWords | None


def health_of(state: State, tenant: Any, mode: Mode) -> Health:
    """Return the health of one tenant in one mode; of the platform's own account if ``tenant`` is None.

    Judged is by when events were received here. Only genuine events, and our own rows, have a say: requests without a
    valid signature leave no trace, and parked events are no failure.

    Silence is held against an endpoint only if there was something to tell: a payment by the current connection that
    became paid (by ``reconcile``, ``payments.sync`` or a fetched event), at least :data:`.facts.PATIENCE` ago, while
    Stripe delivered no event by that connection since the payment was *made*. Any delivery after that, of whatever
    event, shows that deliveries arrive; so a payment whose event was just slow, or one that was made long before it was
    paid, never turns a verdict. Without such a payment, that nothing ever came is no fault.
    """
    key = None if tenant is None else key_of(tenant)
    now = utcnow()
    (found,) = gather(state, now, (key, mode)) or [Facts(key, mode)]
    return _judge(state, found, now)


def overview(state: State) -> list[Health]:
    """Return the health of every tenant and mode with a connection or events, as :func:`health_of` does.

    It takes the same number of statements for any number of tenants.
    """
    now = utcnow()
    found = sorted(gather(state, now), key=lambda each: (each.tenant_id is not None, str(each.tenant_id), each.mode))
    return [_judge(state, each, now) for each in found]


def count_verdicts(found: Iterable[Health]) -> dict[str, int]:
    """Return how many there are of each verdict, those that nobody has too."""
    counted = Counter(each.verdict for each in found)
    return {str(verdict): counted[verdict] for verdict in Verdict}


@dataclass(frozen=True)
class _Seen:
    """What is judged: facts, at one moment, in an app that works by one engine."""

    facts: Facts
    now: datetime
    processing: str
    endpoint: EndpointWords | None
    failure: Failure | None

    def age_of(self, moment: datetime | None) -> timedelta:
        return timedelta() if moment is None else max(self.now - moment, timedelta())


@dataclass(frozen=True)
class _Judgement:
    verdict: Verdict
    says: str
    remedy: str = ""
    needs_person: bool = False


def _judge(state: State, facts: Facts, now: datetime) -> Health:
    endpoint = words_of(facts.connection, facts.last_received_at)
    failure = _failure(facts.last_failed) if facts.last_failed else None
    seen = _Seen(facts, now, state.config.processing, endpoint, failure)
    judgement = next(found for judge in _JUDGES if (found := judge(seen)))
    return Health(
        tenant_id=facts.tenant_id,
        mode=facts.mode,
        verdict=judgement.verdict,
        says=judgement.says,
        remedy=judgement.remedy,
        needs_person=judgement.needs_person,
        last_received_at=facts.last_received_at,
        last_processed_at=facts.last_processed_at,
        last_failure=failure,
        lag=seen.age_of(facts.waiting.since),
        waiting=facts.waiting.events,
        failed=facts.waiting.failed,
        dead=facts.waiting.dead,
        missed=facts.missed,
        endpoint=endpoint,
    )


def _failure(failed: Failed) -> Failure:
    meaning: Meaning = meaning_of(failed.error)
    return Failure(
        id=failed.id,
        event_id=failed.event_id,
        type=failed.type,
        received_at=failed.received_at,
        attempts=failed.attempts,
        is_dead=failed.status is EventStatus.dead,
        says=meaning.says,
        remedy=meaning.remedy,
    )


def _endpoint_broken(seen: _Seen) -> _Judgement | None:
    if seen.endpoint is None or not seen.endpoint.is_broken:
        return None
    return _Judgement(Verdict.broken, seen.endpoint.says, seen.endpoint.remedy, needs_person=True)


def _silent(seen: _Seen) -> _Judgement | None:
    connection, unheard = seen.facts.connection, seen.facts.unheard
    if connection is None or not connection.is_living or not unheard:
        return None
    first = "it" if unheard == 1 else "the first of them"
    says = f"{_count(unheard, 'payment')} paid, and Stripe has delivered no event since {first} was made."
    return _Judgement(Verdict.broken, says, _SILENT[connection.account_type], needs_person=True)


_OPERATOR_LOOKS: Final = (
    "The operator runs 'flask stripe doctor --online', and looks at the webhook endpoint for {} in the platform's "
    "Stripe Dashboard: its address, whether it is on, and whether its signing secret is in this app's settings. The "
    "next event that arrives ends it; the Dashboard can send one again."
)
_SILENT: Final = {
    **dict.fromkeys(AccountType, _OPERATOR_LOOKS.format("connected accounts")),
    AccountType.PLATFORM: _OPERATOR_LOOKS.format("your account"),
    AccountType.RAW_KEYS: (
        "An admin of the tenant looks at the webhook endpoint in its Stripe Dashboard: its address, whether it is on, "
        "and what answers it gets. Saving the API key again on the payment settings page mends most of it. The next "
        "event that arrives ends it; the Dashboard can send one again."
    ),
}


def _given_up(seen: _Seen) -> _Judgement | None:
    dead, failure = seen.facts.waiting.dead, seen.failure
    if not dead or failure is None:
        return None
    says = f"{_count(dead, 'event')} given up after {MOST_ATTEMPTS} tries. {_named(failure)}"
    again = f"have it handled again: on the tenant's page of events, or by 'flask stripe replay {failure.event_id}'."
    remedy = f"{failure.remedy} Once that is mended, {again}"
    return _Judgement(Verdict.failing, says, remedy, needs_person=True)


def _failing(seen: _Seen) -> _Judgement | None:
    failed, failure = seen.facts.waiting.failed, seen.failure
    if not failed or failure is None:
        return None
    has_failed = _count(failed, "event", "has", "have")
    says = f"{has_failed} failed, and will be tried again. {_named(failure)} {_TRIES[seen.processing]}"
    is_long = seen.age_of(seen.facts.waiting.failed_since) > FAILING_LONG
    return _Judgement(Verdict.failing, says, failure.remedy, needs_person=is_long)


def _named(failure: Failure) -> str:
    return f"The last one is {failure.event_id}: {failure.says}"


_TRIES: Final = {
    "celery": "A worker tries again by itself, later each time.",
    "inline": "It is tried again when Stripe delivers it again, which Stripe does for three days, or by 'flask stripe "
    "reconcile' once its pause is over.",
}


def _overdue(seen: _Seen) -> _Judgement | None:
    due_for = seen.age_of(seen.facts.waiting.due_since)
    if due_for <= OVERDUE[seen.processing]:
        return None
    waiting = _count(seen.facts.waiting.events, "event", "waits", "wait")
    says = f"{waiting} to be handled, and nobody has come for {_in_words(due_for)}."
    return _Judgement(Verdict.late, says, _NOBODY_WORKS[seen.processing], needs_person=True)


_NOBODY_WORKS: Final = {
    "celery": "The operator sees that a Celery worker runs, and beat with the sweep in its schedule; or starts 'flask "
    "stripe worker'. If they run, one more of them is needed.",
    "inline": "The operator has 'flask stripe reconcile' run every hour, or keeps 'flask stripe worker' running.",
}


def _not_connected(seen: _Seen) -> _Judgement | None:
    connection = seen.facts.connection
    if seen.facts.tenant_id is None or (connection and connection.is_living):
        return None
    return _Judgement(Verdict.idle, f"No Stripe account is connected in {seen.facts.mode} mode, so nothing comes.")


def _nothing_lately(seen: _Seen) -> _Judgement | None:
    last, since = seen.facts.last_received_at, "yet"
    if last is not None:
        if (age := seen.age_of(last)) <= QUIET:
            return None
        since = f"for {_in_words(age)}"
    return _Judgement(Verdict.idle, f"No event has come {since}, and no payment was paid without one.{_fetched(seen)}")


def _well(seen: _Seen) -> _Judgement:
    return _Judgement(Verdict.healthy, f"Events come, and are handled.{_fetched(seen)}")


def _fetched(seen: _Seen) -> str:
    missed = seen.facts.missed
    return f" {_count(missed, 'event')} fetched from Stripe in the last days, and not delivered." if missed else ""


#: The first that has something to say is right.
_JUDGES: Final[tuple[Callable[[_Seen], _Judgement | None], ...]] = (
    _endpoint_broken,
    _silent,
    _given_up,
    _overdue,
    _failing,
    _not_connected,
    _nothing_lately,
    _well,
)


def _count(number: int, what: str, one: str = "was", many: str = "were") -> str:
    return f"One {what} {one}" if number == 1 else f"{number} {what}s {many}"


def _in_words(age: timedelta) -> str:
    return str(format_timedelta(age, locale="en"))
