"""While the database cannot answer, Stripe is asked to come again, and then nothing is lost or done twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from flask_valetpro_stripe.testing import DROP_BEFORE, make_event
from tests.servers import PostgreSQL, refuse
from tests.webhooks.objects import session

from .stage import PLAZA, TAKEN, Stage, answer, make_stage, ping

AWAY = (503, "The event cannot be taken now. Deliver it again.")
IMPATIENT = {"connect_args": {"timeout": 0.05}}


@pytest.fixture
def impatient_stage(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage on SQLite whose app waits for a lock but a moment."""
    with make_stage(sqlite_url, app={"SQLALCHEMY_ENGINE_OPTIONS": IMPATIENT}) as stage:
        yield stage


def file_of(stage: Stage) -> str:
    """Return the database's file."""
    with stage.host.app.app_context():
        return str(stage.host.db.engine.url.database)


def test_while_another_process_writes_to_sqlite_stripe_is_asked_to_come_again(impatient_stage: Stage) -> None:
    stage = impatient_stage
    payment = stage.make_payment(stage.plaza)
    event = make_event("checkout.session.completed", session(payment), account=PLAZA)
    with closing(sqlite3.connect(file_of(stage), isolation_level=None)) as other:
        for lock in ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"):
            other.execute(lock)
            assert answer(stage.deliver(event)) == AWAY
            other.execute("ROLLBACK")

    assert stage.rows() == []
    assert answer(stage.deliver(event)) == TAKEN
    assert stage.payment(payment).status == "COMPLETED"
    assert stage.row().attempts == 1


def test_a_reader_that_keeps_sqlite_from_committing_is_waited_for_or_stripe_comes_again(
    impatient_stage: Stage,
) -> None:
    stage = impatient_stage
    event = ping()
    with closing(sqlite3.connect(file_of(stage), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM tenant").fetchone()
        assert answer(stage.deliver(event)) == AWAY
        reader.execute("ROLLBACK")

    assert stage.rows() == []
    assert answer(stage.deliver(event)) == TAKEN


def test_a_handlers_failure_that_cannot_be_recorded_is_a_503(impatient_stage: Stage) -> None:
    stage = impatient_stage
    with closing(sqlite3.connect(file_of(stage), isolation_level=None)) as other:

        @stage.host.valetpro.on("customer.created")
        def fail(event: Any) -> None:
            stage.host.db.session.rollback()
            other.execute("BEGIN IMMEDIATE")
            raise ValueError

        assert answer(stage.deliver(ping())) == AWAY
        other.execute("ROLLBACK")

    assert stage.rows() == []


def test_a_postgresql_that_does_not_answer_is_a_503_until_it_is_back(postgresql: PostgreSQL) -> None:
    """The server closes all connections and takes no new ones, as while it restarts."""
    with postgresql.database() as url, make_stage(url) as stage:
        payment = stage.make_payment(stage.plaza)
        event = make_event("checkout.session.completed", session(payment), account=PLAZA)
        assert answer(stage.deliver(ping(id="evt_before"))) == TAKEN
        refuse(postgresql, url, True)
        for _ in range(2):
            assert answer(stage.deliver(event)) == AWAY

        refuse(postgresql, url, False)
        assert answer(stage.deliver(event)) == TAKEN
        assert stage.payment(payment).status == "COMPLETED"
        assert len(stage.rows()) == 2


def test_a_pool_without_free_connections_is_a_503(postgres_url: str) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.05}
    with make_stage(postgres_url, app={"SQLALCHEMY_ENGINE_OPTIONS": options}) as stage:
        with stage.host.app.app_context():
            engine = stage.host.db.engine
        with engine.connect():
            assert answer(stage.deliver(ping())) == AWAY

        assert answer(stage.deliver(ping())) == TAKEN


def test_forgeries_are_refused_without_a_database(postgresql: PostgreSQL) -> None:
    with postgresql.database() as url, make_stage(url) as stage:
        refuse(postgresql, url, True)

        assert stage.post(b"{}", "t=1,v1=a").status_code == 400
        refuse(postgresql, url, False)


@pytest.mark.both
def test_while_stripe_cannot_be_asked_about_an_account_its_news_are_taken_later(stage: Stage) -> None:
    with stage.events_while() as updating:
        stage.simulator.update_account(PLAZA, charges_enabled=False)
    event = updating.of("account.updated")
    stage.simulator.faults.add(method="GET", path="/v1/account", fault=DROP_BEFORE, times=3)

    assert answer(stage.deliver(event)) == AWAY
    assert stage.rows() == []
    assert answer(stage.deliver(event)) == TAKEN
    assert stage.rows("Connection")[0].status == "PENDING"
