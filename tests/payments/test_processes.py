"""One idempotency key from several processes, through sockets, makes one payment and one link."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import make_server

from flask_valetpro_stripe.testing import Simulator
from tests.hosts import make_host
from tests.payments.desk import Desk, in_parallel, links_at
from tests.servers import free_port

PROCESSES, THREADS = 2, 10


def make_many(database_url: str, config: dict[str, Any], tenant_id: int, results: Any) -> None:
    """Run in a process of its own: the same call from many threads, each as one request."""
    host = make_host(database_url, config=config)
    with host.app.app_context():
        tenant = host.tenant(tenant_id)
    desk = Desk(host, tenant, None)
    answers = in_parallel(THREADS, lambda: desk.make(idempotency_key="ticket-7"))
    results.put([repr(a) if isinstance(a, Exception) else (a.id, a.stripe_payment_link_id) for a in answers])
    host.close()


def test_two_processes_with_ten_threads_each_make_one_link(database_url: str) -> None:
    port = free_port()
    simulator = Simulator(base_url=f"http://127.0.0.1:{port}")
    host = make_host(database_url, simulator=simulator)
    desk = Desk.of(host, "Plaza")
    with served(simulator, port):
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        workers = [
            context.Process(target=make_many, args=(database_url, simulator.config(), desk.tenant.id, results))
            for _ in range(PROCESSES)
        ]
        for worker in workers:
            worker.start()
        answers = [answer for _ in workers for answer in results.get(timeout=60)]
        for worker in workers:
            worker.join(60)

    (payment,) = desk.payments() or [None]
    assert payment is not None, answers
    assert set(answers) == {(payment.id, payment.stripe_payment_link_id)}
    assert len(answers) == PROCESSES * THREADS
    assert len(links_at(simulator, desk.account)) == 1
    host.close()


@contextmanager
def served(simulator: Simulator, port: int) -> Iterator[None]:
    """Serve the simulator on a port of this machine; nobody delivers its events."""
    server = make_server("127.0.0.1", port, simulator, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
