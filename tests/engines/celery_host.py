"""A host's Celery app as Flask's documentation makes it, for ``celery -A tests.engines.celery_host worker``."""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy as sa
from celery import Celery, Task
from flask import Flask

from flask_valetpro_stripe.celery import beat_schedule
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import make_host


def celery_init_app(app: Flask, broker: str) -> Celery:
    """Return a Celery app whose tasks run in the Flask app's context."""

    class FlaskTask(Task):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask, broker=broker)
    celery_app.conf.beat_schedule = beat_schedule(1.0)
    app.extensions["celery"] = celery_app
    return celery_app


if url := os.environ.get("DATABASE_URL"):
    host = make_host(url, simulator=Simulator(), config={"VALETPRO_STRIPE_PROCESSING": "celery"})
    celery_app = celery_init_app(host.app, os.environ["BROKER_URL"])
    celery_app.set_default()

    @host.valetpro.on("customer.created")
    def rename(event: Any) -> None:
        """An effect that can be counted: a "!" in the name of the event's hotel."""
        name = sa.update(host.Tenant).where(host.Tenant.id == event.tenant_id).values(name=host.Tenant.name + "!")
        host.db.session.execute(name)
