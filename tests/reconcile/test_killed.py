"""A run that is killed in the middle is gone on with by the next one."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import Any

import pytest

from flask_valetpro_stripe.testing import Simulator
from tests.children import Child
from tests.hosts import make_host
from tests.payments.desk import Desk
from tests.payments.serving import served
from tests.reconcile.stage import age, inbox, look
from tests.servers import free_port

pytestmark = pytest.mark.both


def run_until_killed(database_url: str, config: dict[str, Any], dies_at: int) -> None:
    """Run in a process of its own, which is killed in its handler of the event with this number."""
    host = make_host(database_url, config=config)
    handled: list[str] = []

    @host.valetpro.on("*")
    def die(event: Any) -> None:
        handled.append(event.event_id)
        if len(handled) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    look(host)


@pytest.mark.slow("starts processes that import the app")
def test_a_run_that_was_killed_is_gone_on_with(database_url: str) -> None:
    port = free_port()
    simulator = Simulator(base_url=f"http://127.0.0.1:{port}")
    host = make_host(database_url, simulator=simulator)
    plaza, seaside = Desk.of(host, "Plaza"), Desk.of(host, "Seaside")
    payments = [(desk, desk.make()) for desk in (plaza, seaside)]
    for _, payment in payments:
        simulator.pay(payment.stripe_payment_link_url)

    with served(simulator, port):
        assert Child(run_until_killed, database_url, simulator.config(), 4).exit_code() == -signal.SIGKILL
    (held,) = inbox(host, status="processing")
    # Its lease ends by itself, a minute later.
    age(plaza, held, timedelta(seconds=1), "due_at")
    report = look(host)

    assert report.problems == []
    assert [desk.now(payment).status for desk, payment in payments] == ["COMPLETED", "COMPLETED"]
    rows = inbox(host)
    assert {row.status for row in rows} == {"processed"}
    assert len({row.event_id for row in rows}) == len(rows)
    host.close()
