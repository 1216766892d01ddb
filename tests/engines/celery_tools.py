"""An app with Celery, its queue, and a real worker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from celery import Celery
from redis import Redis as Client

from flask_valetpro_stripe.celery import bind
from tests.servers import Redis
from tests.timing import seconds, wait_until
from tests.webhooks.stage import Stage, make_stage

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = seconds(60)


@contextmanager
def celery_stage(url: str, broker: str) -> Iterator[Stage]:
    with make_stage(url, PROCESSING="celery") as stage:
        bind(Celery("host", broker=broker), stage.host.app)
        yield stage


def messages(server: Redis, database: int = 0) -> list[bytes]:
    """Return what waits in the queue, as it is on the wire."""
    with closing(Client(port=server.port, db=database)) as client:
        found: list[bytes] = client.lrange("celery", 0, -1)
        return found


def forget(server: Redis) -> None:
    """Drop every message."""
    with closing(Client(port=server.port)) as client:
        client.flushall()


@contextmanager
def celery_worker(url: str, server: Redis, folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a real worker of a host of its own on the same database."""
    command = [sys.executable, "-m", "celery", "-A", "tests.engines.celery_host", "worker", "--loglevel=INFO"]
    environment = {**os.environ, "DATABASE_URL": url, "BROKER_URL": server.url}
    with (folder / "celery.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle", "--without-heartbeat", *options],
            cwd=PROJECT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(seconds(15))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(fact: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    """Return once it is a fact; fail with what the worker wrote if it ended or took too long."""

    def written() -> str:
        return (folder / "celery.log").read_text(errors="replace")[-3000:]

    def check() -> None:
        assert process.poll() is None, written()

    wait_until(fact, lambda: f"the worker has done it. It wrote:\n{written()}", limit=60, check=check)


def statuses(stage: Stage) -> list[str]:
    return [str(row.status) for row in stage.rows()]
