"""Everything that may have been missed, step by step: whatever fails for one tenant is noted, and the others go on."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from .. import parked
from ..enums import EventStatus, Mode
from ..errors import InvalidKeyError, MissingPermissionError, NotConnectedError, ValetProStripeError
from ..gateway import RATE_LIMITED
from ..payments import still_open, unfinished
from ..payments.unfinished import Outcome
from ..state import State
from . import endpoint_check, missed
from .claims import claim_next
from .inbox import Fetchers, work
from .turns import tenants_waiting
from .worker import FAILURES

log = logging.getLogger(__name__)
#: How often a step is tried that Stripe is too busy for.
TRIES: Final = 5
_FIRST_PAUSE: Final = 1.0
#: How many events a problem names.
_NAMED: Final = 5
#: What only the tenant can mend: it is told on its page, and is no reason to wake the operator.
_THE_TENANTS: Final = (NotConnectedError, InvalidKeyError, MissingPermissionError)


@dataclass
class Report:
    """What was done, what is worth knowing, and what is left to do."""

    done: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """One thing to look after, for one tenant; it can be done again at any time, and by several at once."""

    whose: str
    run: Callable[[Report], object]


@dataclass(frozen=True)
class Scope:
    """What is looked after: everything, or one tenant or mode alone."""

    state: State
    fetchers: Fetchers
    tenant_id: Any = None
    mode: Mode | None = None
    #: How many missed events are listed.
    bounds: missed.Bounds = missed.BOUNDS


def reconcile(
    scope: Scope,
    *,
    on_found: Callable[[int], object] = lambda _: None,
    on_done: Callable[[int], object] = lambda _: None,
    pause: Callable[[float], object] = time.sleep,
) -> Report:
    """Look after all that may have been missed, and return what came of it. Commits, step by step.

    :param on_found: called with the number of steps that are next.
    :param on_done: called after each of them, with 1.
    """
    report = Report()
    for find_steps in _PHASES:
        # What one phase brings to its end, the next need not ask about.
        steps = list(find_steps(scope))
        scope.state.session.commit()
        on_found(len(steps))
        for step in steps:
            _take(scope.state, step, report, pause)
            on_done(1)
    return report


def _take(state: State, step: Step, report: Report, pause: Callable[[float], object]) -> None:
    try:
        _patiently(lambda: step.run(report), pause)
    except ValetProStripeError as error:
        state.session.rollback()
        told = report.notes if isinstance(error, _THE_TENANTS) else report.problems
        told.append(f"{step.whose}: {error} {error.hint}".rstrip())
    except SQLAlchemyError:
        # Without the database nobody's turn comes.
        raise
    except Exception as error:
        # A surprise with one tenant's data must not keep the others from being looked after.
        state.session.rollback()
        log.exception("reconciling failed: %s", step.whose)
        report.problems.append(f"{step.whose}: it failed with {type(error).__name__}. The log tells more.")
    finally:
        # Nothing of one tenant is left in the session for the next.
        state.db.session.remove()


def _patiently(act: Callable[[], object], pause: Callable[[float], object]) -> None:
    """Act, and again after a while if Stripe limits requests, a few times."""
    for attempt in range(TRIES):
        try:
            act()
        except ValetProStripeError as error:
            if error.code != RATE_LIMITED or attempt == TRIES - 1:
                raise
            pause(_FIRST_PAUSE * 2**attempt * random.uniform(0.75, 1.25))  # noqa: S311  spread, not secrecy
        else:
            return


def _endpoints(scope: Scope) -> Iterator[Step]:
    """First, so that from now on Stripe tells by itself."""
    for connection_id, tenant_id, mode in endpoint_check.find_endpoints(scope.state, scope.tenant_id, scope.mode):
        whose = _whose(tenant_id, mode)

        def check(report: Report, connection_id: int = connection_id, whose: str = whose) -> None:
            wrong = endpoint_check.check(scope.state, connection_id)
            report.done["webhook endpoints checked"] += 1
            if wrong is not None:
                report.notes.append(f"{whose}: its webhook endpoint was {wrong}, and works again.")

        yield Step(whose, check)


def _missed_events(scope: Scope) -> Iterator[Step]:
    for source in missed.find_sources(scope.state, scope.tenant_id, scope.mode):
        whose = _whose(source.tenant_id, source.endpoint.mode)

        def take_in(report: Report, source: missed.Source = source, whose: str = whose) -> None:
            _release(scope.state, source)
            taken = missed.take_in(scope.state, source, scope.bounds)
            report.done["missed events taken in"] += taken.new
            if not taken.is_all:
                report.problems.append(
                    f"{whose}: Stripe lists more events than one run looks at, {scope.bounds.of_run}. Run it again."
                )

        yield Step(whose, take_in)


def _release(state: State, source: missed.Source) -> None:
    """Release what was parked in the moment in which the account was linked."""
    for connection_id in source.connection_ids:
        parked.release(state, state.session.get_one(state.models.Connection, connection_id))
    state.session.commit()


def _waiting_events(scope: Scope) -> Iterator[Step]:
    """Events that are due, however they came: what failed before is tried again when its time has come."""
    for tenant_id in tenants_waiting(scope.state):
        if scope.tenant_id in (None, tenant_id):
            whose = _whose(tenant_id)

            def work_off(report: Report, tenant_id: Any = tenant_id, whose: str = whose) -> None:
                worked = list(_work_off(scope, tenant_id))
                report.done["events worked on"] += len(worked)
                failed = [event_id for event_id, status in worked if status in FAILURES]
                if failed:
                    named = ", ".join(failed[:_NAMED]) + (", …" if failed[_NAMED:] else "")
                    report.problems.append(
                        f"{whose}: events that failed, {len(failed)} in all: {named}. 'flask stripe health' tells what "
                        "to do."
                    )

            yield Step(whose, work_off)


def _work_off(scope: Scope, tenant_id: Any) -> Iterator[tuple[str, EventStatus | None]]:
    while (claimed := claim_next(scope.state, tenant_id)) is not None:
        try:
            yield claimed.event_id, work(scope.state, claimed, scope.fetchers)
        finally:
            # Nothing of one event is left in the session for the next.
            scope.state.db.session.remove()


def _unfinished_calls(scope: Scope) -> Iterator[Step]:
    for operation_id, tenant_id, mode in unfinished.find_unfinished(scope.state, scope.tenant_id, scope.mode):

        def finish(report: Report, operation_id: str = operation_id) -> None:
            report.done[_CALLS[unfinished.finish(scope.state, operation_id)]] += 1

        yield Step(_whose(tenant_id, mode), finish)


_CALLS: Final = {
    Outcome.done: "unanswered calls found done",
    Outcome.refused: "unanswered calls refused by Stripe",
    Outcome.never_made: "unanswered calls found never made",
    Outcome.left: "unanswered calls left for later",
}


def _open_payments(scope: Scope) -> Iterator[Step]:
    for payment_key, tenant_id, mode in still_open.find_open(scope.state, scope.tenant_id, scope.mode):

        def ask(report: Report, payment_key: Any = payment_key, tenant_id: Any = tenant_id) -> None:
            is_news = still_open.ask(scope.state, payment_key, tenant_id)
            report.done["open payments asked about"] += 1
            report.done["open payments that had changed"] += is_news

        yield Step(_whose(tenant_id, mode), ask)


def _bounds(scope: Scope) -> Iterator[Step]:
    def keep(report: Report) -> None:
        report.done["parked events deleted"] += parked.keep_within_bounds(scope.state)
        scope.state.session.commit()

    yield Step("All tenants", keep)


_PHASES: Final[tuple[Callable[[Scope], Iterable[Step]], ...]] = (
    _endpoints,
    _missed_events,
    _waiting_events,
    _unfinished_calls,
    _open_payments,
    _bounds,
)


def _whose(tenant_id: Any, mode: Mode | None = None) -> str:
    whose = "The platform's own account" if tenant_id is None else f"Tenant {tenant_id}"
    return whose if mode is None else f"{whose}, {mode}"
