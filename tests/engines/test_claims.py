"""Whoever claims an event is alone with it: until it is done, failed, or the lease ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from flask_valetpro_stripe import Mode, connections, signals
from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.onboarding.status import fetch_account
from flask_valetpro_stripe.webhooks import claims, inbox
from flask_valetpro_stripe.webhooks.claims import MOST_ATTEMPTS, Claim, pause_after
from tests import timing
from tests.webhooks.stage import PLAZA, SEASIDE, TAKEN, answer, make_stage, ping

from .box import Box, fail

pytestmark = [pytest.mark.both, pytest.mark.oldest]
FAILED = (500, "A handler failed. Deliver the event again.")
IN_FLIGHT = (503, "The event is being handled now. Deliver it again.")
KILLED = "The process that handled it ended before it was done, each time."


def identity(claimed: Claim) -> tuple[int, int]:
    return claimed.id, claimed.generation


def test_a_stored_event_is_due_at_once_and_nobody_has_tried_it(box: Box) -> None:
    row = box.row(box.put())

    assert (row.status, row.attempts, row.generation) == ("received", 0, 0)
    assert row.due_at <= utcnow()


def test_a_claimed_event_is_one_workers_until_its_lease_ends(box: Box) -> None:
    row_id = box.put()

    assert identity(box.must_claim(row_id)) == (row_id, 1)
    assert box.claim(row_id) is None
    assert box.claim(row_id, early=True) is None
    assert box.drain() == Counter()
    row = box.row(row_id)
    assert (row.status, row.attempts) == ("processing", 1)
    assert timedelta(seconds=40) < row.due_at - utcnow() <= timedelta(seconds=60)


def test_the_event_of_a_worker_that_was_killed_is_taken_when_its_lease_ends(box: Box) -> None:
    box.on()
    row_id = box.put()
    box.must_claim(row_id)
    box.end_lease(row_id)

    assert box.drain() == {"processed": 1}
    assert box.row(row_id).attempts == 2
    assert box.name_of(box.stage.plaza) == "Plaza!"


def test_a_handled_event_is_nobodys_any_more(box: Box) -> None:
    row_id = box.put()

    assert box.work(box.must_claim(row_id)) is EventStatus.processed
    row = box.row(row_id)
    assert (row.status, row.due_at, row.error) == ("processed", None, None)
    assert row.processed_at is not None
    assert box.claim(row_id, early=True) is None
    assert box.drain() == Counter()


def test_a_failed_event_waits_before_it_is_tried_again_and_what_its_handlers_wrote_is_gone(box: Box) -> None:
    box.on(fail)
    row_id = box.put()

    assert box.work(box.must_claim(row_id)) is EventStatus.failed
    row = box.row(row_id)
    assert (row.status, row.attempts, row.error) == ("failed", 1, "ValueError: poison")
    assert timedelta(seconds=5) < row.due_at - utcnow() < timedelta(seconds=13)
    assert box.name_of(box.stage.plaza) == "Plaza"
    assert box.claim(row_id) is None
    assert box.drain() == Counter()


def test_a_failed_event_can_be_taken_before_its_time_by_who_asks_for_it(box: Box) -> None:
    box.on(fail)
    row_id = box.put()
    box.work(box.must_claim(row_id))

    assert identity(box.must_claim(row_id, early=True)) == (row_id, 2)


def test_the_16th_failure_is_the_last_and_the_event_is_dead_with_its_reason(light_box: Box) -> None:
    box, told = light_box, []

    def note(app: Any, **facts: Any) -> None:
        told.append(facts["error"])

    box.on(fail)
    row_id = box.put()

    with signals.webhook_failed.connected_to(note):
        became = [box.work(box.must_claim(row_id, early=True)) for _ in range(MOST_ATTEMPTS)]

    assert became == [EventStatus.failed] * (MOST_ATTEMPTS - 1) + [EventStatus.dead]
    row = box.row(row_id)
    assert (row.status, row.attempts, row.due_at, row.error) == ("dead", 16, None, "ValueError: poison")
    assert told == ["ValueError: poison"] * MOST_ATTEMPTS
    assert box.claim(row_id, early=True) is None


def test_an_event_over_which_16_processes_were_killed_is_dead_with_that_reason(box: Box) -> None:
    told = []

    def note(app: Any, **facts: Any) -> None:
        told.append(facts["error"])

    row_id = box.put()
    with signals.webhook_failed.connected_to(note):
        for _ in range(MOST_ATTEMPTS):
            box.must_claim(row_id)
            box.end_lease(row_id)

        assert box.drain() == Counter()
    row = box.row(row_id)
    assert (row.status, row.attempts, row.due_at, row.error) == ("dead", MOST_ATTEMPTS, None, KILLED)
    assert told == [KILLED]


def test_a_killer_does_not_keep_its_tenants_other_events_waiting(box: Box) -> None:
    killer, other = box.put(), box.put()
    box.set(killer, attempts=MOST_ATTEMPTS)

    assert box.drain() == {"processed": 1}
    assert (box.row(killer).status, box.row(other).status) == ("dead", "processed")


def test_parked_and_dead_events_are_not_taken(box: Box) -> None:
    parked, dead = box.put(account="acct_unknown"), box.put()
    box.set(dead, status=EventStatus.dead, due_at=None)

    assert [box.claim(row, early=True) for row in (parked, dead)] == [None, None]
    assert box.drain() == Counter()
    assert box.row(parked).status == "parked"


def test_pauses_grow_twofold_up_to_six_hours_and_no_two_are_the_same() -> None:
    middles = [sum((pause_after(n) for _ in range(400)), timedelta()) / 400 for n in range(1, MOST_ATTEMPTS)]

    for first, second in pairwise(middles[:11]):
        assert 1.8 < second / first < 2.2
    for attempts, seconds in [(1, 10), (5, 160), (12, 20480), (15, 21600), (10_000, 21600)]:
        pauses = {pause_after(attempts).total_seconds() for _ in range(200)}
        assert len(pauses) > 190
        assert 0.75 * seconds <= min(pauses) < 0.85 * seconds
        assert 1.15 * seconds < max(pauses) <= 1.25 * seconds


def test_eight_threads_that_claim_50_events_at_once_get_each_event_once(box: Box) -> None:
    rows = [box.put() for _ in range(50)]
    start = threading.Barrier(8)

    def claim_all() -> list[int]:
        start.wait(timing.seconds(30))
        return [row for row in rows if _patiently(lambda row=row: box.claim(row))]

    with ThreadPoolExecutor(8) as threads:
        won = Counter(row for share in threads.map(lambda _: claim_all(), range(8)) for row in share)

    assert won == dict.fromkeys(rows, 1)
    assert {(box.row(row).generation, box.row(row).attempts) for row in rows} == {(1, 1)}


def test_eight_workers_that_drain_at_once_handle_each_event_once(box: Box) -> None:
    box.on()
    rows = [box.put() for _ in range(40)]
    start = threading.Barrier(8)

    def drain() -> Counter[str]:
        start.wait(timing.seconds(30))
        return _patiently(box.drain)

    with ThreadPoolExecutor(8) as threads:
        done = sum(threads.map(lambda _: drain(), range(8)), Counter[str]())
    while left := [row for row in rows if box.row(row).status == "failed"]:
        # SQLite gave up waiting for its lock.
        box.work(box.must_claim(left[0], early=True))

    assert box.name_of(box.stage.plaza) == "Plaza" + "!" * 40
    assert set(done) <= {"processed", "failed"}
    assert [box.row(row).status for row in rows] == ["processed"] * 40


def _patiently(act: Any) -> Any:
    """Do it again where SQLite's lock was not got in time, as a worker does."""
    for _ in range(20):
        try:
            return act()
        except OperationalError:
            time.sleep(0.05)
    raise AssertionError("The database stayed locked.")


def test_a_slow_worker_whose_lease_has_ended_changes_nothing_any_more(box: Box) -> None:
    box.on()
    row_id = box.put()
    slow = box.must_claim(row_id)
    box.end_lease(row_id)
    quick = box.must_claim(row_id)

    assert box.work(slow) is None
    assert box.name_of(box.stage.plaza) == "Plaza"
    assert box.work(quick) is EventStatus.processed
    assert box.work(slow) is None
    assert box.name_of(box.stage.plaza) == "Plaza!"
    assert len(box.calls) == 1


def test_a_slow_worker_that_fails_after_another_took_over_leaves_no_trace(box: Box) -> None:
    row_id = box.put()
    slow = box.must_claim(row_id)
    box.end_lease(row_id)
    quick = box.must_claim(row_id)
    with box.state() as state:
        assert claims.fail(state, slow, "too slow") is False

    assert box.work(quick) is EventStatus.processed
    with box.state() as state:
        assert claims.fail(state, slow, "too slow") is False
    assert (box.row(row_id).status, box.row(row_id).error) == ("processed", None)


def test_a_worker_that_loses_its_lease_while_its_handler_runs_takes_back_what_that_wrote(box: Box) -> None:
    """A handler may commit by itself, which lets go of the row's lock; what it writes after that is not kept."""
    row_id, others = box.put(), list[Any]()

    def commit_and_be_slow(event: Any) -> None:
        if len(box.calls) == 1:
            box.stage.host.db.session.rollback()
            box.stage.host.db.session.commit()
            with ThreadPoolExecutor(1) as threads:
                threads.submit(box.end_lease, row_id).result()
                others.append(threads.submit(lambda: box.work(box.must_claim(row_id))).result())
            model = box.stage.host.Tenant
            box.stage.host.db.session.execute(sa.update(model).values(name="Slow"))

    box.on(commit_and_be_slow)

    assert box.work(box.must_claim(row_id)) is None
    assert others == [EventStatus.processed]
    assert box.name_of(box.stage.plaza) == "Plaza!"
    assert box.row(row_id).status == "processed"


def test_while_a_handler_runs_that_committed_by_itself_no_worker_takes_the_event(box: Box) -> None:
    seen = []

    def commit(event: Any) -> None:
        box.stage.host.db.session.commit()
        with ThreadPoolExecutor(1) as threads:
            seen.append(threads.submit(box.drain).result())

    box.on(commit)
    assert answer(box.stage.deliver(ping())) == TAKEN
    box.put()
    assert box.drain() == {"processed": 1}

    assert seen == [Counter(), Counter()]


def test_a_handler_that_rolls_back_what_the_others_wrote_fails_the_event_in_a_worker_too(box: Box) -> None:
    box.on(lambda event: box.stage.host.db.session.rollback())
    row_id = box.put()

    assert box.work(box.must_claim(row_id)) is EventStatus.failed
    assert box.row(row_id).error == (
        "RuntimeError: A handler rolled the session back, and the event too. Use db.session.begin_nested()."
    )


def test_a_delivery_of_an_event_that_a_worker_holds_is_a_503_and_runs_nothing(box: Box) -> None:
    box.on()
    event = ping()
    row_id = box.put(event)
    claimed = box.must_claim(row_id)

    assert answer(box.stage.deliver(event)) == IN_FLIGHT
    assert box.calls == []
    assert box.work(claimed) is EventStatus.processed
    assert answer(box.stage.deliver(event)) == TAKEN
    assert box.name_of(box.stage.plaza) == "Plaza!"


def test_a_delivery_does_not_wait_for_the_worker_that_is_at_it(box: Box) -> None:
    """Whatever PostgreSQL has locked meanwhile. SQLite as a whole is busy while a handler runs."""
    event, answers = ping(), []

    def deliver(_: Any) -> None:
        if box.stage.host.db.engine.dialect.name == "postgresql":
            with ThreadPoolExecutor(1) as threads:
                answers.append(answer(threads.submit(box.stage.deliver, event).result(timing.seconds(10))))

    box.on(deliver)
    box.put(event)

    assert box.drain() == {"processed": 1}
    assert answers in ([], [IN_FLIGHT])


def test_a_delivery_after_a_failure_is_run_at_once_whatever_pause_the_worker_makes(box: Box) -> None:
    mistakes = [True]
    box.on(lambda event: fail(event) if mistakes else None)
    event = ping()
    assert answer(box.stage.deliver(event)) == FAILED
    assert box.drain() == Counter()
    mistakes.clear()

    assert answer(box.stage.deliver(event)) == TAKEN
    row = box.stage.row()
    assert (row.status, row.attempts, row.due_at, row.error) == ("processed", 2, None, None)
    assert box.name_of(box.stage.plaza) == "Plaza!"


def test_a_worker_finishes_what_failed_inline_when_it_is_due(box: Box) -> None:
    mistakes = [True]
    box.on(lambda event: fail(event) if mistakes else None)
    event = ping()
    assert answer(box.stage.deliver(event)) == FAILED
    mistakes.clear()
    box.end_lease(box.stage.row().id)

    assert box.drain() == {"processed": 1}
    assert answer(box.stage.deliver(event)) == TAKEN
    assert box.name_of(box.stage.plaza) == "Plaza!"


def test_a_delivery_that_fails_after_the_worker_was_killed_is_counted_with_its_reason(box: Box) -> None:
    """Else it would never be dead, however often Stripe delivers it, and nobody would read why."""
    box.on(fail)
    event = ping()
    row_id = box.put(event)
    slow = box.must_claim(row_id)
    box.end_lease(row_id)

    assert answer(box.stage.deliver(event)) == FAILED
    row = box.row(row_id)
    assert (row.status, row.attempts, row.error) == ("failed", 2, "ValueError: poison")
    assert row.due_at > utcnow()
    assert box.work(slow) is None
    assert box.row(row_id).attempts == 2


def test_a_dead_event_that_stripe_delivers_again_is_taken_and_not_run(box: Box) -> None:
    box.on(fail)
    event = ping()
    box.stage.deliver(event)
    box.set(box.stage.row().id, status=EventStatus.dead, due_at=None)

    assert answer(box.stage.deliver(event)) == TAKEN
    assert len(box.calls) == 1


def test_a_parked_event_that_fails_once_it_has_a_tenant_is_retried_for_that_tenant(box: Box) -> None:
    stage, mistakes = box.stage, [True]
    box.on(lambda event: fail(event) if mistakes else None)
    event = ping(account="acct_new")
    assert answer(stage.deliver(event)) == TAKEN
    assert stage.row().status == "parked"
    box.set(stage.row().id, body=None)
    harbour = stage.host.make_tenant("Harbour")
    stage.host.connect(harbour, "acct_new")

    assert answer(stage.deliver(event)) == FAILED
    row = stage.row()
    assert (row.status, row.tenant_id, row.payload["id"]) == ("failed", harbour.id, event["id"])
    mistakes.clear()
    box.end_lease(row.id)
    assert box.drain() == {"processed": 1}
    assert (box.name_of(harbour), box.name_of(stage.plaza)) == ("Harbour!", "Plaza")


def test_a_worker_asks_stripe_outside_of_any_transaction_that_holds_the_row(box: Box) -> None:
    """While Stripe is slow, others can read and write, and a lease that ends meanwhile counts."""
    with box.stage.events_while() as updating:
        box.stage.simulator.update_account(PLAZA, charges_enabled=False)
    row_id, others = box.put(updating.of("account.updated")), list[Any]()

    def fetch_slowly(state: Any, connection: Any, _: Any) -> Any:
        fetched = fetch_account(state, connection)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(box.end_lease, row_id).result(timing.seconds(30))
            others.append(threads.submit(lambda: box.work(box.must_claim(row_id))).result(timing.seconds(30)))
        return fetched

    slow = box.must_claim(row_id)
    with box.state() as state:
        assert inbox.work(state, slow, {"account.updated": fetch_slowly}) is None

    assert others == [EventStatus.processed]
    assert box.stage.rows("Connection")[0].status == "PENDING"


def test_an_event_of_one_hotel_that_is_worked_on_by_another_process_leaves_the_other_hotel_alone(box: Box) -> None:
    box.on(lambda event: fail(event) if event.tenant_id == box.stage.plaza.id else None)
    box.put()
    box.put(account="acct_seaside")

    assert box.drain() == {"failed": 1, "processed": 1}
    assert (box.name_of(box.stage.plaza), box.name_of(box.stage.seaside)) == ("Plaza", "Seaside!")


@pytest.mark.parametrize("expire", [True, False])
def test_signals_of_a_worker_tell_what_became_of_the_event(sqlite_url: str, expire: bool) -> None:
    with make_stage(sqlite_url) as stage:
        box, told = Box(stage), []
        with box.state():
            stage.host.db.session.configure(expire_on_commit=expire)
        for signal in (signals.webhook_received, signals.webhook_parked):
            signal.connect(lambda app, event: told.append(event.status), sender=stage.host.app, weak=False)
        box.put()
        ended = box.put(account="acct_seaside")
        with box.state() as state:
            model = state.models.Connection
            state.session.execute(sa.update(model).where(model.account_id == "acct_seaside").values(ended_at=utcnow()))
            state.session.commit()

        assert box.drain() == {"processed": 1, "parked": 1}
        assert box.row(ended).error == "The tenant has disconnected this account."
        assert sorted(told) == ["parked", "processed"]


@pytest.mark.parametrize("is_stored", [True, False], ids=["stored", "inline"])
def test_a_parked_event_that_its_tenants_new_connection_takes_up_has_all_its_tries_again(
    box: Box, is_stored: bool
) -> None:
    event = ping()
    row_id, other_id = box.put(event), box.put(account=SEASIDE)
    box.set(row_id, attempts=15)
    host = box.stage.host
    with box.state() as state:
        connections.disconnect(state, host.tenant(box.stage.plaza.id), Mode.test, actor="tests")
    assert box.drain() == {"processed": 1, "parked": 1}
    parked, other = box.row(row_id), box.row(other_id)
    assert (parked.attempts, parked.processed_at) != (0, None)
    connection = host.connect(box.stage.plaza, PLAZA)
    box.on(fail)

    if is_stored:
        assert box.put(event) == row_id
        assert (box.row(row_id).status, box.row(row_id).processed_at) == ("received", None)
        assert box.drain() == {"failed": 1}
    else:
        assert box.stage.deliver(event).status_code == 500

    row = box.row(row_id)
    assert (row.status, row.attempts, row.processed_at, row.connection_id) == ("failed", 1, None, connection.id)
    assert (box.row(other_id).status, box.row(other_id).attempts) == (other.status, other.attempts)
