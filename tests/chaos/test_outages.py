"""A database that refuses, a broker that goes away, messages that are lost: each is waited out, and costs no event."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import kombu.pools
import pytest
import sqlalchemy as sa

from flask_valetpro_stripe.celery import PROCESS_EVENT
from tests import timing
from tests.engines.box import Box
from tests.engines.celery_tools import PATIENCE, celery_stage, celery_worker, forget, messages, statuses, until
from tests.servers import Redis, running_redis
from tests.webhooks.stage import PLAZA, SEASIDE, TAKEN, Stage, answer, make_stage, ping

from .counting import count, ends, prepare, wait_until_drained, wanted_ends
from .nursery import nursery
from .sizes import seed, size, tell
from .traffic import Sender, make_stories

pytestmark = pytest.mark.alone

UNTOLD = "the Celery broker did not take the message for event row"

EVENTS = size("OUTAGE_EVENTS", middle=200, full=200)
#: Seconds.
OUTAGE = size("OUTAGE", small=3, middle=10, full=10)
#: SQLite waits for a lock, but not as long as the outage lasts.
OPTIONS = {"sqlite": {"connect_args": {"timeout": OUTAGE / 5}}, "postgresql": {}}
FULL_DISK = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END $$;
    CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON stripe_webhook_event
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@contextmanager
def refused_commits(url: str) -> Iterator[None]:
    """Let whatever is written fail when it is committed, or on SQLite, where another process writes all the time."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(sa.make_url(url).database or "", isolation_level=None, timeout=60)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as admin:
        admin.execute(sa.text(FULL_DISK))
        yield
        admin.execute(sa.text("DROP TRIGGER refuse ON stripe_webhook_event"))
    engine.dispose()


@pytest.mark.on("postgresql")
@pytest.mark.slow("waits for the end of the outage")
def test_seconds_without_commits_cost_no_event_and_no_restart(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the processes handle inline and half store, as while PROCESSING is being changed."""
    chosen, backend = seed(), sa.make_url(database_url).get_backend_name()
    with make_stage(database_url, own_models=True) as stage:
        models, stories = prepare(stage), make_stories(stage, EVENTS)
        config = stage.simulator.config() | {"SQLALCHEMY_ENGINE_OPTIONS": OPTIONS[backend]}

        with nursery(database_url, config, "inline", "stored", "worker", "worker") as crew:
            sender = Sender(crew.port, random.Random(chosen))
            with ThreadPoolExecutor(1) as background:
                sending = background.submit(sender.send, stories)
                while len(sender.taken) < EVENTS // 4 and not sending.done():
                    time.sleep(0.01)
                with refused_commits(database_url):
                    committed, began = {row.event_id for row in stage.rows()}, time.monotonic()
                    time.sleep(OUTAGE)
                    ended = time.monotonic()
                sending.result()
            wait_until_drained(stage)
            seconds = time.monotonic() - ended
            crew.close()

        found = count(stage, models, stories)
        meanwhile = [each for each in sender.answers if began < each.began and each.ended < ended]
        refused = Counter(each.status for each in meanwhile if each.event_id not in committed)
        tell(
            capsys,
            f"{backend}: {EVENTS} events, no commits for {ended - began:.0f} s; answers meanwhile {dict(refused)}, in "
            f"all {sender.figures}; done {seconds:.1f} s later; {found.figures}; SEED={chosen}",
        )
        assert len(committed) < EVENTS, "All was delivered before."
        assert refused.total() > 10
        assert set(refused) <= {500, 503}
        assert sender.broken == []
        assert crew.died == []
        assert found.statuses == {"processed": EVENTS}
        assert (found.lost, found.doubled, found.counted) == (0, 0, EVENTS)
        assert ends(stage) == wanted_ends(stories)


@pytest.fixture
def redis(redis_program: str) -> Iterator[Redis]:
    """A Redis of the test's own."""
    with running_redis(redis_program) as server:
        yield server


@pytest.fixture
def celery(postgres_url: str, redis: Redis) -> Iterator[Stage]:
    """Two hotels whose events are handled by Celery."""
    with celery_stage(postgres_url, redis.url) as stage:
        yield stage
    kombu.pools.reset()


@pytest.mark.slow("starts a Celery worker, and its broker twice")
def test_lost_messages_a_broker_that_goes_away_and_messages_that_come_five_times_cost_no_event(
    celery: Stage,
    postgres_url: str,
    redis: Redis,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage, each = celery, 15

    def deliver() -> list[int]:
        before = len(stage.rows())
        for number in range(each):
            assert answer(stage.deliver(ping(account=[PLAZA, SEASIDE][number % 2]))) == TAKEN
        return [row.id for row in stage.rows()[before:]]

    def is_done() -> bool:
        return statuses(stage) == ["processed"] * 4 * each

    deliver()
    assert len(messages(redis)) == each
    forget(redis)
    beat = ("--concurrency=2", "--beat", f"--schedule={tmp_path}/beat")
    with ExitStack() as workers:
        process = workers.enter_context(celery_worker(postgres_url, redis, tmp_path, *beat))
        # The sweep has found what was lost: the worker is at work.
        until(lambda: "processed" in statuses(stage), process, tmp_path)
        for row_id in deliver() * 4:
            stage.host.app.extensions["celery"].send_task(PROCESS_EVENT, kwargs={"id": row_id})
        # What it holds is gone, and the worker is cut off.
        redis.stop()
        began = time.monotonic()
        untold = deliver()
        seconds = time.monotonic() - began
        redis.start()
        deliver()
        while not is_done() and process.poll() is None and time.monotonic() < began + PATIENCE:
            time.sleep(0.1)
        restarts = int(process.poll() is not None)
        if restarts:
            # kombu may trip over a broker that goes away; a supervisor starts what has ended.
            process = workers.enter_context(celery_worker(postgres_url, redis, tmp_path, *beat))
        until(is_done, process, tmp_path)
        whole = time.monotonic() - began

    tell(
        capsys,
        f"celery: {each} events whose messages were dropped, {each} that came five times, {each} without a broker in "
        f"{seconds:.1f} s, {each} after it was back; all processed {whole:.1f} s after it went away; "
        f"{restarts} workers ended and were started again",
    )
    box = Box(stage)
    assert box.name_of(stage.plaza) == "Plaza" + "!" * 4 * (each - each // 2)
    assert box.name_of(stage.seaside) == "Seaside" + "!" * 4 * (each // 2)
    assert seconds < timing.seconds(2 * each), "Stripe was kept waiting."
    told = [record.getMessage() for record in caplog.records if record.name == "flask_valetpro_stripe.celery"]
    assert [line.partition(" (")[0] for line in told] == [f"{UNTOLD} {id_}" for id_ in untold]
