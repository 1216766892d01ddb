"""One worker process of a host: its own app and engine, and threads that take deliveries side by side."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient
from sqlalchemy.orm import mapped_column

from flask_valetpro_stripe import signals
from flask_valetpro_stripe.testing import sign
from tests.hosts import Host, make_host
from tests.timing import seconds

URL = "/api/webhooks/stripe"
#: Stripe tries again for days. Here, each delivery is tried this often before the test gives up.
TRIES = 40
#: Seconds after which a process that waits for the others gives up.
PATIENCE = seconds(120)


@dataclass
class Figures:
    """What one process has seen."""

    answers: Counter[int] = field(default_factory=Counter)
    updates: int = 0
    broken: list[str] = field(default_factory=list)


def add_effects(host: Host, event_type: str = "checkout.session.completed") -> Any:
    """Give the host a handler with an effect that can be counted: a row for each event, and one shared counter."""
    Model: Any = host.db.Model

    class Effect(Model):  # type: ignore[misc]
        id = mapped_column(sa.Integer, primary_key=True)
        event_id = mapped_column(sa.String(255))

    class Total(Model):  # type: ignore[misc]
        id = mapped_column(sa.Integer, primary_key=True)
        count = mapped_column(sa.Integer)

    @host.valetpro.on(event_type)
    def count(event: Any) -> None:
        host.db.session.add(Effect(event_id=event.event_id))
        host.db.session.execute(sa.update(Total).values(count=Total.count + 1))

    return Effect, Total


def work(url: str, config: Mapping[str, Any], deliveries: list[tuple[bytes, str]], barrier: Any, results: Any) -> None:
    """Deliver each of ``deliveries`` (body, secret) once from each thread, everybody at the same moment; a process."""
    figures = Figures()
    with make_host(url, config=config, own_models=True) as host:
        add_effects(host)
        signals.payment_updated.connect(lambda *_, **__: _add_update(figures), weak=False, sender=host.app)
        threads = [
            threading.Thread(target=_deliver, args=(host.app.test_client(), deliveries, barrier, figures))
            for _ in range(barrier.parties // 4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    results.put((dict(figures.answers), figures.updates, figures.broken))


_lock = threading.Lock()


def _add_update(figures: Figures) -> None:
    with _lock:
        figures.updates += 1


def _deliver(client: FlaskClient, deliveries: list[tuple[bytes, str]], barrier: Any, figures: Figures) -> None:
    try:
        for body, secret in deliveries:
            barrier.wait(PATIENCE)
            _deliver_one(client, body, secret, figures)
    except Exception as error:
        barrier.abort()
        figures.broken.append(f"{type(error).__name__}: {error}")


def _deliver_one(client: FlaskClient, body: bytes, secret: str, figures: Figures) -> None:
    """Deliver as Stripe does: again, with a fresh signature, after every answer that is not a 2xx."""
    for _ in range(TRIES):
        response = client.post(URL, data=body, headers={"Stripe-Signature": sign(body, secret)})
        with _lock:
            figures.answers[response.status_code] += 1
        if response.status_code == 200:
            return
    figures.broken.append(f"A delivery was refused {TRIES} times.")
