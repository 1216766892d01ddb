"""The desk and the simulator on loopback ports, as `make demo` serves them, for as long as a test runs."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import flask_migrate
from flask import Flask
from werkzeug.serving import make_server

from flask_valetpro_stripe.testing import Simulator
from sample_app import create_app
from sample_app.extensions import db
from sample_app.seed import seed
from tests.hosts import Templates
from tests.servers import free_port
from tests.timing import seconds

MIGRATIONS = str(Path(__file__).parents[2] / "migrations")


@dataclass(frozen=True)
class Served:
    """Two servers that talk to each other over HTTP, and to a browser."""

    app: Flask
    desk_url: str
    simulator: Simulator


@contextmanager
def served(database_url: str) -> Iterator[Served]:
    """Serve the desk on this database, made by its migrations, and a simulator beside it."""
    desk_url, stripe_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    simulator = Simulator(base_url=stripe_url, public_url=desk_url)
    app = create_app(
        {
            "DEMO": True,
            "SECRET_KEY": "for tests",
            "SQLALCHEMY_DATABASE_URI": database_url,
            "VALETPRO_STRIPE_ENCRYPTION_KEYS": [base64.b64encode(os.urandom(32)).decode()],
            **simulator.config(),
        }
    )
    app.jinja_env.bytecode_cache = Templates()
    with app.app_context():
        flask_migrate.upgrade(MIGRATIONS)
        seed()
    desk = make_server("127.0.0.1", _port(desk_url), app, threaded=True)
    ready = threading.Event()
    threads = [
        threading.Thread(target=desk.serve_forever, kwargs={"poll_interval": 0.05}),
        threading.Thread(target=simulator.serve, args=[_port(stripe_url)], kwargs={"ready": ready}),
    ]
    for thread in threads:
        thread.start()
    assert ready.wait(seconds(10))
    try:
        yield Served(app, desk_url, simulator)
    finally:
        simulator.stop()
        desk.shutdown()
        for thread in threads:
            thread.join(seconds(20))
        desk.server_close()
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
