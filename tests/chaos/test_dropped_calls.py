"""The line drops at any point of any call that changes something: in the end Stripe has done it once, and we know."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from flask_valetpro_stripe import Mode
from flask_valetpro_stripe.errors import OutcomeUnknownError
from flask_valetpro_stripe.payments import unfinished
from flask_valetpro_stripe.testing import DELAY, DROP_AFTER, DROP_BEFORE, Fault, Simulator
from tests.hosts import make_host
from tests.payments.desk import Desk

from . import sizes
from .dropping import CALLS

#: As often as the SDK tries: when each of these attempts is cut off, no answer comes.
TRIES: Final = 3
#: What nothing happens to: a call that consists of several is cut off at a later one of them.
PASSES: Final = DELAY(0)


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    with make_host(database_url, simulator=Simulator()) as host:
        yield Desk.of(host, "Plaza", modes=(Mode.test,))


def test_whatever_is_cut_off_is_done_once(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    drops, seed = sizes.size("DROPS", middle=60, full=1_000), sizes.seed()
    database = desk.host.app.config["SQLALCHEMY_DATABASE_URI"].partition(":")[0]
    sizes.tell(capsys, f"{drops} drops on {database}, SEED={seed}")
    chance, ran, began = random.Random(seed), Counter[str](), time.perf_counter()

    # Each kind of call at least once, and then whatever comes.
    kinds = [*CALLS, *chance.choices([*CALLS], k=drops)][:drops]
    for number, kind in enumerate(kinds):
        plan = plan_of(chance)
        try:
            cut_off(desk, kind, f"key-{number}", plan, ran, finds_out=chance.random() < 0.5)
        except BaseException as error:
            error.add_note(f"{kind} with {[fault.kind for fault in plan]}; repeated by SEED={seed} DROPS={drops}.")
            raise

    figures = ", ".join(f"{what} {times}" for what, times in sorted(ran.items()))
    sizes.tell(capsys, f"{drops / (time.perf_counter() - began):.1f} drops a second: {figures}; none twice, none lost")


def plan_of(chance: random.Random) -> list[Fault]:
    """Return what happens to the next calls that change something: all pass, until some attempts in a row are cut."""
    passing = chance.choice([0, 0, 0, 1])
    return [PASSES] * passing + chance.choices([DROP_BEFORE, DROP_AFTER], k=chance.randint(1, TRIES + 1))


def cut_off(desk: Desk, kind: str, key: str, plan: list[Fault], ran: Counter[str], *, finds_out: bool) -> None:
    """Make a call whose line drops, bring it to its end, and look at what there is of it, here and at Stripe."""
    call, account = CALLS[kind], desk.account
    prepared = call.prepare(desk)
    known = {operation.id for operation in desk.operations()}
    for fault in plan:
        desk.simulator.faults.add("POST", "/v1/", fault, account=account)
    row = call_once(desk, kind, prepared, key)
    taken = plan[: len(plan) - sum(planned.times for planned in desk.simulator.faults._planned)]
    ran["dropped before"] += taken.count(DROP_BEFORE)
    ran["dropped after"] += taken.count(DROP_AFTER)
    desk.simulator.faults.clear()
    ran["unknown" if row is None else "answered all the same"] += 1
    if row is None:
        waiting = [operation for operation in desk.operations() if operation.state == "unknown"]
        assert {operation.id for operation in waiting}.isdisjoint(known)
        if waiting and finds_out:
            (operation,) = waiting
            ran[f"found out: {find_out(desk, operation.id)}"] += 1
        else:
            ran["repeated"] += 1
    # The same call with the same key gives the same, whoever has finished it.
    found = call_once(desk, kind, prepared, key)
    assert found is not None
    assert row in (None, found)
    assert call.count(desk, found) == 1
    assert call.state(desk, found) == "done"
    ran[kind] += 1


def call_once(desk: Desk, kind: str, prepared: Any, key: str) -> Any:
    """Return the key of our row, or None if no answer came."""
    try:
        return CALLS[kind].act(desk, prepared, key)
    except OutcomeUnknownError:
        return None


def find_out(desk: Desk, operation_id: str) -> str:
    """Do what the reconciling command does about a call that nobody repeats."""
    with desk.host.app.app_context():
        return str(unfinished.finish(desk.host.state, operation_id))
