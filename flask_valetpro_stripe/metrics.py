"""Prometheus' view of one app: what its processes counted, and what its database holds when it is asked.

Counters live in a registry of the app's own. With ``PROMETHEUS_MULTIPROC_DIR`` set, as prometheus-client wants it for
servers with several processes, they are the sums of all processes that share the directory.
"""

from __future__ import annotations

import logging
import os
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple, get_args

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from . import parked, rekey
from .counts import Counted, Outcome, Reason
from .enums import Mode
from .errors import ValetProStripeError
from .payments import unfinished
from .state import State
from .webhooks.health import Health, Verdict, overview

log = logging.getLogger(__name__)
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PREFIX: Final = "valetpro_stripe"
#: In a shared directory, counters of the same name are told apart by this label only. Nobody else sees it.
_APP: Final = "app"
_MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"


class _Kind(NamedTuple):
    """What a counter is called, says and is told apart by; and the words that are there from the start."""

    name: str
    says: str
    label: str
    words: tuple[str, ...] = ()


_KINDS: Final[Mapping[Counted, _Kind]] = {
    "deliveries": _Kind(
        f"{_PREFIX}_deliveries", "Genuine deliveries of events, by what became of them.", "outcome", get_args(Outcome)
    ),
    "rejected": _Kind(
        f"{_PREFIX}_rejected", "Requests to the webhook that were no genuine delivery.", "reason", get_args(Reason)
    ),
    "vault_errors": _Kind(f"{_PREFIX}_vault_errors", "Times that a secret store could not give or keep.", "store"),
}


class Counters:
    """What an app counts; call it with what is counted, and which of it.

    :param app: what names the app among all that share a directory, the same in each of its processes.
    """

    def __init__(self, app: str) -> None:
        self._app = app
        self._registry = CollectorRegistry()
        # Each begins when it is first counted: a process that counts nothing leaves no file in a shared directory.
        self._counters = {
            what: Counter(kind.name, kind.says, [_APP, kind.label], registry=self._registry)
            for what, kind in _KINDS.items()
        }
        self._begun: dict[tuple[Counted, str], Counter] = {}

    def __call__(self, what: Counted, which: str) -> None:
        """Count one more. What cannot be counted is not worth an event."""
        begun = self._begun.get((what, which))
        try:
            if begun is None:
                begun = self._begun[what, which] = self._counters[what].labels(self._app, which)
            begun.inc()
        except OSError as error:
            log.warning("nothing can be counted in %s: %s", os.environ.get(_MULTIPROCESS), type(error).__name__)

    def collect(self) -> Iterator[Metric]:
        """Give what was counted so far, of this app alone; what never happened is there as 0."""
        counted = {what: dict.fromkeys(kind.words, 0.0) for what, kind in _KINDS.items()}
        named = {f"{kind.name}_total": what for what, kind in _KINDS.items()}
        for sample in (sample for family in self._source().collect() for sample in family.samples):
            what = named.get(sample.name)
            if what and sample.labels[_APP] == self._app:
                counted[what][sample.labels[_KINDS[what].label]] = sample.value
        for what, kind in _KINDS.items():
            own = CounterMetricFamily(kind.name, kind.says, labels=[kind.label])
            for which, number in counted[what].items():
                own.add_metric([which], number)
            yield own

    def _source(self) -> Collector:
        if _MULTIPROCESS not in os.environ:
            return self._registry
        # It reads everybody's: the host may have counters of its own in the directory.
        found: Collector = MultiProcessCollector(CollectorRegistry())  # type: ignore[no-untyped-call]
        return found


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def scrape(state: State) -> bytes:
    """Return all of an app's metrics in Prometheus' text format."""
    counted = state.count.collect() if isinstance(state.count, Counters) else iter(())
    registry = CollectorRegistry()
    registry.register(_Families([*counted, *_gauges(state)]))
    return generate_latest(registry)


def _gauges(state: State) -> list[Metric]:
    try:
        return [_up(1), *_of_database(state)]
    except (DBAPIError, PoolTimeoutError, ValetProStripeError) as error:
        state.session.rollback()
        log.warning("the database's metrics cannot be told: %s", type(error).__name__)
        return [_up(0)]


def _up(is_up: int) -> Metric:
    return _gauge("database_up", "Whether the database answered.", {(): is_up})


def _of_database(state: State) -> Iterator[Metric]:
    """Give what is in the database now. By mode, never by tenant: there may be any number of tenants."""
    found = overview(state)
    for name, says, number in _SUMMED:
        yield _per_mode(name, says, {mode: sum(number(each) for each in found if each.mode is mode) for mode in Mode})
    lags = {mode: [each.lag.total_seconds() for each in found if each.mode is mode] for mode in Mode}
    longest = {mode: max(seconds, default=0) for mode, seconds in lags.items()}
    yield _per_mode("lag_seconds", "How long the oldest event has waited that is not handled yet.", longest)
    yield _per_mode("events_parked", "Events kept without a handler's work to do.", parked.count(state))
    yield _per_mode("operations_unknown", "Calls to Stripe whose outcome is unknown.", unfinished.count(state))
    verdicts = Counts((each.mode, each.verdict) for each in found)
    every = {(mode, verdict): verdicts[mode, verdict] for mode in Mode for verdict in Verdict}
    yield _gauge("tenants", "Tenants by how their events are.", every, "mode", "verdict")
    keys = {(key or "none",): rows for key, rows in rekey.rows_per_key(state).items()}
    yield _gauge("secrets", "Secrets in the database by the encryption key that they need.", keys, "key")


_SUMMED: Final[tuple[tuple[str, str, Callable[[Health], int]], ...]] = (
    ("events_waiting", "Events that are not handled yet.", attrgetter("waiting")),
    ("events_dead", "Events that were given up, and wait for a person.", attrgetter("dead")),
    ("events_missed", "Events of the last days that had to be fetched from Stripe.", attrgetter("missed")),
    ("need_person", "Tenants that wait for a person.", attrgetter("needs_person")),
)


def _per_mode(name: str, says: str, values: Mapping[Mode, float]) -> Metric:
    return _gauge(name, says, {(mode,): values.get(mode, 0) for mode in Mode}, "mode")


def _gauge(name: str, says: str, values: Mapping[Any, float], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", says, labels=labels)
    for words, value in values.items():
        family.add_metric(words, value)
    return family
