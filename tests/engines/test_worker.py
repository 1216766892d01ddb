"""The worker: fair between tenants, ended politely, and not impressed by a database that goes away."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.handlers import FETCHERS
from flask_valetpro_stripe.webhooks import worker
from tests.servers import PostgreSQL, refuse
from tests.timing import seconds, wait_until
from tests.webhooks.stage import make_stage, ping

from .box import Box, fail

pytestmark = pytest.mark.oldest

PROJECT = Path(__file__).resolve().parents[2]


def run(box: Box, *words: str) -> Any:
    return box.stage.host.app.test_cli_runner().invoke(args=["stripe", *words])


def test_twenty_tenants_are_served_before_one_tenants_500_poisonous_events(light_box: Box) -> None:
    box, poison = light_box, []
    model = box.stage.host.valetpro.models.WebhookEvent
    box.on(lambda event: fail(event) if event.tenant_id == box.stage.plaza.id else None)
    first = box.put()
    with box.state() as state:
        like = state.session.execute(sa.select(model.__table__).where(model.id == first)).mappings().one()
        poison = [{**like, "id": None, "event_id": f"evt_poison{n}"} for n in range(499)]
        state.session.execute(sa.insert(model.__table__), [{k: v for k, v in p.items() if k != "id"} for p in poison])
        state.session.commit()
    others = []
    for number in range(19):
        tenant = box.stage.host.make_tenant(f"Hotel {number}")
        box.stage.host.connect(tenant, f"acct_hotel{number}")
        others += [box.put(account=f"acct_hotel{number}") for _ in range(2)]

    done: list[EventStatus | None] = []
    with box.state() as state:
        worker.drain(state, FETCHERS, on_done=done.append, should_stop=lambda: len(done) >= 19 * 2 + worker.SHARE + 1)

    assert [box.row(row).status for row in others] == ["processed"] * 38
    assert Counter(done)[EventStatus.failed] <= worker.SHARE + 1


def test_once_the_worker_says_what_became_of_what_was_due(light_box: Box) -> None:
    light_box.on(lambda event: fail(event) if event.tenant_id == light_box.stage.plaza.id else None)
    light_box.put()
    for _ in range(7):
        light_box.put(account="acct_seaside")

    assert run(light_box, "worker", "--once").output == "1 failed, 7 processed\n"
    result = run(light_box, "worker", "--once")
    assert (result.exit_code, result.output) == (0, "Nothing was due.\n")


@pytest.mark.both
def test_a_stopped_worker_finishes_its_event_and_leaves_the_others_to_anybody(box: Box) -> None:
    rows, done = [box.put() for _ in range(4)], []
    with box.state() as state:
        assert worker.drain(state, FETCHERS, on_done=done.append, should_stop=lambda: bool(done)) == {"processed": 1}

    assert Counter(box.row(row).status for row in rows) == {"processed": 1, "received": 3}
    assert box.drain() == {"processed": 3}


def test_a_database_that_goes_away_is_waited_for(postgresql: PostgreSQL) -> None:
    with postgresql.database() as url, make_stage(url) as stage:
        box, pauses = Box(stage), list[float]()
        box.put()
        refuse(postgresql, url, True)

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                refuse(postgresql, url, False)

        with box.state() as state:
            worker.keep_draining(state, FETCHERS, should_stop=lambda: len(pauses) > 3, pause=pause)

        assert pauses == [2.0, 2.0, 2.0, 1.0]
        assert stage.row().status == "processed"


def test_the_worker_command_drains_until_sigterm_and_ends_with_0(sqlite_url: str, tmp_path: Path) -> None:
    with make_stage(sqlite_url) as stage:
        box = Box(stage)
        box.put()
        process = start_worker(sqlite_url, tmp_path)
        try:
            until(lambda: stage.rows()[0].status == "processed", process, tmp_path)
            second = box.put(ping(account="acct_seaside"))
            until(lambda: box.row(second).status == "processed", process, tmp_path)
            process.send_signal(signal.SIGTERM)
            assert process.wait(seconds(60)) == 0
        finally:
            process.kill()
            process.wait()


def start_worker(url: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start ``flask stripe worker`` for a host of its own on the same database."""
    code = (
        "import sys; from tests.hosts import make_host; from flask_valetpro_stripe.testing import Simulator\n"
        "app = make_host(sys.argv[1], simulator=Simulator()).app\n"
        "app.cli.main(['stripe', 'worker'], obj=__import__('flask').cli.ScriptInfo(create_app=lambda: app))"
    )
    with (folder / "worker.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-c", code, url], cwd=PROJECT, stdout=log, stderr=log)


def until(fact: Any, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Return once it is a fact; fail with what the worker wrote if it ended or took too long."""

    def written() -> str:
        return (folder / "worker.log").read_text(errors="replace")[-3000:]

    def check() -> None:
        assert process.poll() is None, written()

    wait_until(fact, lambda: f"the worker has done it. It wrote:\n{written()}", limit=60, check=check)
