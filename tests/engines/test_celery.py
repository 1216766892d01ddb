"""With Celery: stored and answered at once, a message as a hint, and one effect whatever becomes of the message."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kombu.pools
import pytest
from celery import Celery

from flask_valetpro_stripe import signals
from flask_valetpro_stripe.celery import PROCESS_EVENT, SWEEP, beat_schedule
from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.errors import ConfigurationError
from flask_valetpro_stripe.testing import Simulator
from tests.engines.celery_tools import celery_stage, celery_worker, forget, messages, statuses, until
from tests.hosts import make_host
from tests.servers import Redis, running_redis
from tests.webhooks.stage import TAKEN, Stage, answer, make_stage, ping

from .box import Box, fail
from .celery_host import celery_init_app


@pytest.fixture
def redis(redis_program: str) -> Iterator[Redis]:
    """A Redis of the test's own."""
    with running_redis(redis_program) as server:
        yield server


@pytest.fixture(autouse=True)
def _closed_pools() -> Iterator[None]:
    yield
    kombu.pools.reset()


@pytest.fixture
def stage(sqlite_url: str, redis: Redis) -> Iterator[Stage]:
    """Two hotels whose events are handled by Celery."""
    with celery_stage(sqlite_url, redis.url) as stage:
        yield stage


@pytest.fixture
def pg_stage(postgres_url: str, redis: Redis) -> Iterator[Stage]:
    """The same on PostgreSQL."""
    with celery_stage(postgres_url, redis.url) as stage:
        yield stage


@pytest.fixture
def idle_stage(sqlite_url: str) -> Iterator[Stage]:
    """The same, where messages go nowhere: tasks are called by the test."""
    with celery_stage(sqlite_url, "memory://") as stage:
        yield stage


def call(stage: Stage, name: str, **message: Any) -> Any:
    """Run a task in this process, as a worker does that got the message."""
    result = stage.host.app.extensions["celery"].tasks[name].apply(kwargs=message)
    return result.get(disable_sync_subtasks=False)


def test_a_delivery_is_stored_and_answered_and_its_message_is_json_without_anything_in_it(
    stage: Stage, redis: Redis
) -> None:
    event = ping()
    event["data"]["object"]["email"] = "guest-canary@example.com"

    assert answer(stage.deliver(event)) == TAKEN

    row = stage.row()
    assert (row.status, row.attempts) == ("received", 0)
    (raw,) = messages(redis)
    message = json.loads(raw)
    assert (message["content-type"], message["headers"]["task"]) == ("application/json", PROCESS_EVENT)
    arguments, keywords, _ = json.loads(base64.b64decode(message["body"]))
    assert (arguments, keywords) == ([], {"id": row.id, "type": "customer.created"})
    whole = raw.decode() + base64.b64decode(message["body"]).decode()
    secrets = [value for key, value in stage.simulator.config().items() if "SECRET" in key]
    told = ["guest-canary", "acct_", "cus_1", event["id"], "whsec_", "sk_test", *(str(s) for s in secrets)]
    assert [word for word in told if word in whole] == []


def test_a_repeat_and_an_event_of_nobodys_send_no_message_and_who_listens_hears_of_it(
    stage: Stage, redis: Redis
) -> None:
    parked, event = [], ping()

    def note(app: Any, event: Any) -> None:
        parked.append(event.error)

    with signals.webhook_parked.connected_to(note, sender=stage.host.app):
        for delivered in (event, event, ping(account="acct_unknown")):
            assert answer(stage.deliver(delivered)) == TAKEN

    assert statuses(stage) == ["received", "parked"]
    assert len(messages(redis)) == 1
    assert parked == ["No tenant has this account."]


def test_a_forgery_is_refused_and_sends_nothing(stage: Stage, redis: Redis) -> None:
    assert stage.post(b"{}", "t=1,v1=a").status_code == 400
    assert messages(redis) == []


@pytest.mark.slow("starts a Celery worker")
@pytest.mark.parametrize(
    "pool",
    [
        pytest.param("--pool=solo", marks=pytest.mark.thorough("a worker that forks does the same, and forks besides")),
        "--concurrency=2",
    ],
)
def test_a_real_worker_handles_each_event_once_though_each_message_comes_five_times(
    pg_stage: Stage, redis: Redis, postgres_url: str, tmp_path: Path, pool: str
) -> None:
    """The host has a connection open when its worker forks: it makes its tables as it starts."""
    stage = pg_stage
    with celery_worker(postgres_url, redis, tmp_path, pool) as process:
        for number in range(6):
            stage.deliver(ping(account=["acct_plaza", "acct_seaside"][number % 2]))
        celery_app = stage.host.app.extensions["celery"]
        for row in stage.rows() * 4:
            celery_app.send_task(PROCESS_EVENT, kwargs={"id": row.id, "type": row.type})
        until(lambda: statuses(stage) == ["processed"] * 6 and not messages(redis), process, tmp_path)

    box = Box(stage)
    assert (box.name_of(stage.plaza), box.name_of(stage.seaside)) == ("Plaza!!!", "Seaside!!!")
    assert {row.attempts for row in stage.rows()} == {1}


def test_events_whose_messages_were_dropped_are_swept_up(stage: Stage, redis: Redis) -> None:
    box = Box(stage)
    box.on()
    for _ in range(3):
        stage.deliver(ping())
    forget(redis)

    assert call(stage, SWEEP) == {"processed": 3}
    assert call(stage, SWEEP) == {}
    assert box.name_of(stage.plaza) == "Plaza!!!"


def test_a_message_for_a_row_that_nobody_has_to_work_on_does_nothing(idle_stage: Stage) -> None:
    box = Box(idle_stage)
    box.on()
    done, held, dead, failed = (box.put() for _ in range(4))
    parked = box.put(account="acct_unknown")
    box.work(box.must_claim(done))
    box.must_claim(held)
    box.set(dead, status=EventStatus.dead, due_at=None)
    box.set(failed, status=EventStatus.failed, due_at=box.row(held).due_at)
    before = [(row.status, row.generation) for row in idle_stage.rows()]

    ids = [done, held, dead, failed, parked, 4711, 0, -1, 2**70, True, "1", None, {"id": 1}]
    assert [call(idle_stage, PROCESS_EVENT, id=given, type="x") for given in ids] == [None] * len(ids)
    assert [(row.status, row.generation) for row in idle_stage.rows()] == before
    assert box.name_of(idle_stage.plaza) == "Plaza!"


def test_a_task_says_what_became_of_its_event_and_a_failure_waits_for_its_sweep(idle_stage: Stage) -> None:
    box, mistakes = Box(idle_stage), [True]
    box.on(lambda event: fail(event) if mistakes else None)
    row_id = box.put()

    assert call(idle_stage, PROCESS_EVENT, id=row_id) == "failed"
    assert call(idle_stage, PROCESS_EVENT, id=row_id) is None
    assert call(idle_stage, SWEEP) == {}
    mistakes.clear()
    box.end_lease(row_id)
    assert call(idle_stage, SWEEP) == {"processed": 1}


def test_tasks_run_in_the_app_of_flasks_own_recipe(sqlite_url: str) -> None:
    with make_stage(sqlite_url, PROCESSING="celery") as stage:
        celery_init_app(stage.host.app, "memory://")
        row_id = Box(stage).put()

        assert call(stage, PROCESS_EVENT, id=row_id) == "processed"


def test_a_celery_app_that_knows_no_flask_app_is_told_what_to_do(idle_stage: Stage) -> None:
    task = Celery("stranger", broker="memory://").tasks[PROCESS_EVENT]

    with pytest.raises(ConfigurationError, match=r"call flask_valetpro_stripe\.celery\.bind\(celery_app, flask_app\)"):
        task.apply(kwargs={"id": 1}).get(disable_sync_subtasks=False)


def test_two_apps_of_one_process_tell_each_its_own_workers(sqlite_url: str, redis: Redis, tmp_path: Path) -> None:
    other_url, other_broker = f"sqlite:///{tmp_path / 'other.sqlite3'}", redis.url.removesuffix("0") + "1"
    with celery_stage(sqlite_url, redis.url) as one, celery_stage(other_url, other_broker) as other:
        one.deliver(ping())
        assert (len(messages(redis)), len(messages(redis, 1))) == (1, 0)
        other.deliver(ping())
        assert (len(messages(redis)), len(messages(redis, 1))) == (1, 1)


def test_a_host_whose_celery_is_eager_handles_events_at_once(sqlite_url: str) -> None:
    with celery_stage(sqlite_url, "memory://") as stage:
        stage.host.app.extensions["celery"].conf.task_always_eager = True
        box = Box(stage)
        box.on()

        assert answer(stage.deliver(ping())) == TAKEN
        assert statuses(stage) == ["processed"]
        assert box.name_of(stage.plaza) == "Plaza!"


def test_celery_that_is_not_installed_is_named_with_what_installs_it(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)
    monkeypatch.delitem(sys.modules, "flask_valetpro_stripe.celery")

    with pytest.raises(ConfigurationError) as caught:
        make_host(sqlite_url, simulator=Simulator(), config={"VALETPRO_STRIPE_PROCESSING": "celery"})

    assert str(caught.value) == (
        "VALETPRO_STRIPE_PROCESSING is 'celery', but the package celery is not installed. Install it with: "
        "pip install 'flask-valetpro-stripe[celery]'"
    )


def test_beat_sweeps_every_half_minute_and_drops_sweeps_that_nobody_took() -> None:
    assert beat_schedule() == {SWEEP: {"task": SWEEP, "schedule": 30.0, "options": {"expires": 30.0}}}
