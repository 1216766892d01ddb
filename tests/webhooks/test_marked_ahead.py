"""An event is marked as done before its handlers run: nobody ever sees that of one which is not done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.webhooks import ahead, claims
from tests.clocks import Clock
from tests.timing import seconds
from tests.webhooks.stage import TAKEN, Stage, answer, make_stage, ping

pytestmark = [pytest.mark.both, pytest.mark.oldest]
FAILED = (500, "A handler failed. Deliver the event again.")
UNAVAILABLE = (503, "The event is being handled now. Deliver it again.")


def seen_by_others(stage: Stage) -> list[Any]:
    """Return the inbox as another connection to the database sees it at this moment."""
    events = stage.host.valetpro.models.WebhookEvent.__table__
    with stage.host.db.engine.connect() as another:
        return list(another.execute(sa.select(events.c.status, events.c.due_at, events.c.processed_at)))


def on(stage: Stage, handler: Callable[[Any], object]) -> None:
    stage.host.valetpro.on("customer.created")(handler)


def test_while_handlers_run_nobody_else_sees_the_event(stage: Stage) -> None:
    seen: list[Any] = []
    on(stage, lambda event: seen.extend([seen_by_others(stage), event.status, event.processed_at]))

    with stage.statements() as statements:
        assert answer(stage.deliver(ping())) == TAKEN

    assert seen == [[], "received", None]
    assert [statement.split()[0] for statement in statements] == ["INSERT", "SELECT"]
    row = stage.row()
    assert (row.status, row.due_at, row.processed_at) == ("processed", None, row.received_at)


def test_who_commits_while_the_handlers_run_takes_the_mark_back(stage: Stage) -> None:
    seen: list[Any] = []

    def commit(event: Any) -> None:
        stage.host.db.session.commit()
        seen.append(seen_by_others(stage))
        stage.host.db.session.commit()
        seen.append(seen_by_others(stage))

    on(stage, commit)
    before = utcnow()

    assert answer(stage.deliver(ping())) == TAKEN

    assert len(seen) == 2
    for [(status, due_at, processed_at)] in seen:
        assert (status, processed_at) == ("received", None)
        assert due_at >= before + claims.LONG_LEASE
    row = stage.row()
    assert (row.status, row.due_at) == ("processed", None)
    assert row.processed_at > row.received_at


def test_a_handler_that_commits_and_is_killed_leaves_an_event_that_is_delivered_again(stage: Stage) -> None:
    class Killed(BaseException):
        pass

    fatal, ran = True, []

    def commit(event: Any) -> None:
        ran.append(event.event_id)
        stage.host.db.session.commit()
        if fatal:
            raise Killed

    on(stage, commit)
    event = ping(id="evt_1")
    with pytest.raises(Killed):
        stage.deliver(event)
    assert stage.row().status == "received"

    fatal = False
    assert answer(stage.deliver(event)) == TAKEN
    assert ran == ["evt_1", "evt_1"]
    assert stage.row().status == "processed"


def test_a_handler_that_forgets_the_event_and_commits_is_run_again(stage: Stage) -> None:
    def forget(event: Any) -> None:
        stage.host.db.session.expunge_all()
        stage.host.db.session.commit()

    on(stage, forget)

    assert answer(stage.deliver(ping())) == FAILED
    assert (stage.row().status, stage.row().processed_at) == ("failed", None)


@pytest.mark.parametrize("end", ["rollback", "close", "remove"])
def test_what_a_handler_commits_after_it_took_the_event_back_marks_nothing(stage: Stage, end: str) -> None:
    def take_back(event: Any) -> None:
        getattr(stage.host.db.session, end)()
        stage.host.db.session.execute(sa.update(stage.host.Tenant).values(name="Renamed"))
        stage.host.db.session.commit()

    on(stage, take_back)

    assert answer(stage.deliver(ping())) == FAILED
    assert (stage.row().status, stage.row().processed_at) == ("failed", None)


def test_what_a_handler_commits_after_it_rolled_back_leaves_other_events_alone(stage: Stage) -> None:
    """SQLite gives the number of a row that was rolled back to the next one."""

    def take_back(event: Any) -> None:
        if event.event_id != "evt_1":
            return
        stage.host.db.session.rollback()
        other = threading.Thread(target=lambda: stage.deliver(ping(id="evt_2")))
        other.start()
        other.join(seconds(30))
        stage.host.db.session.execute(sa.update(stage.host.Tenant).values(name="Renamed"))
        stage.host.db.session.commit()

    on(stage, take_back)

    assert answer(stage.deliver(ping(id="evt_1"))) == FAILED
    assert {row.event_id: row.status for row in stage.rows()} == {"evt_1": "failed", "evt_2": "processed"}


def test_a_savepoint_leaves_the_mark(stage: Stage) -> None:
    def write(event: Any) -> None:
        with stage.host.db.session.begin_nested():
            stage.host.db.session.execute(sa.update(stage.host.Tenant).values(name="Renamed"))

    on(stage, write)

    with stage.statements() as statements:
        assert answer(stage.deliver(ping())) == TAKEN

    assert [s.split()[0] for s in statements if "SAVEPOINT" not in s] == ["INSERT", "UPDATE"]
    assert stage.row().status == "processed"


def test_a_commit_from_within_a_savepoint_takes_the_mark_back(stage: Stage) -> None:
    def write(event: Any) -> None:
        stage.host.db.session.begin_nested()
        stage.host.db.session.commit()
        raise ValueError("No.")

    on(stage, write)

    assert answer(stage.deliver(ping())) == FAILED
    assert (stage.row().status, stage.row().processed_at) == ("failed", None)


def test_slow_handlers_are_done_when_they_end(stage: Stage) -> None:
    ended: list[Any] = []
    clock = stage.host.state.clock = Clock()

    def handle_slowly(event: Any) -> None:
        clock.move(ahead.AT_ONCE)
        ended.append(utcnow())

    on(stage, handle_slowly)

    assert answer(stage.deliver(ping())) == TAKEN

    assert stage.row().processed_at >= ended[0]


def test_who_has_committed_and_lost_the_event_since_keeps_nothing(stage: Stage) -> None:
    """Another delivery may have taken what was let go: the slower of the two ends in a 503."""
    event, ran, answers = ping(), [], []

    def write(_: Any) -> None:
        ran.append(len(ran))
        if len(ran) > 1:
            return
        stage.host.db.session.commit()
        other = threading.Thread(target=lambda: answers.append(answer(stage.deliver(event))))
        other.start()
        other.join(seconds(30))
        stage.host.db.session.execute(sa.update(stage.host.Tenant).values(name="Slow"))

    on(stage, write)

    assert answer(stage.deliver(event)) == UNAVAILABLE
    assert answers == [TAKEN]
    assert {tenant.name for tenant in stage.rows("Tenant")} == {"Plaza", "Seaside"}


def test_where_each_statement_is_committed_at_once_the_event_is_marked_last(database_url: str) -> None:
    """There, an event that is marked first would be lost if its process is killed while its handlers run."""
    seen: list[Any] = []
    with make_stage(database_url, app={"SQLALCHEMY_ENGINE_OPTIONS": {"isolation_level": "AUTOCOMMIT"}}) as stage:
        on(stage, lambda event: seen.extend(status for status, *_ in seen_by_others(stage)))
        with stage.statements() as statements:
            assert answer(stage.deliver(ping())) == TAKEN

        assert seen == ["received"]
        assert stage.row().status == "processed"
    assert [statement.split()[0] for statement in statements] == ["INSERT", "SELECT", "UPDATE"]
