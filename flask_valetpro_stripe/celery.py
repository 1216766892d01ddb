"""Celery: a message for each stored event, and the tasks that work off the inbox. Rows are the truth, messages hints.

With ``VALETPRO_STRIPE_PROCESSING="celery"`` messages go by the host's Celery app: ``app.extensions["celery"]``, as
Flask's documentation makes it ("Background Tasks with Celery"), or else Celery's current one. Its tasks must run in the
Flask app's context, as that page's ``FlaskTask`` sees to; :func:`bind` is for a Celery app without it.

Beat sends what :func:`beat_schedule` returns: events that failed, or whose message was lost, come by it::

    celery_app.conf.beat_schedule |= beat_schedule()
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

from celery import Celery, Task, shared_task
from celery import current_app as current_celery
from celery.signals import worker_process_init
from flask import Flask, current_app, has_app_context
from kombu.pools import producers
from sqlalchemy.exc import SQLAlchemyError

from .errors import ConfigurationError
from .handlers import FETCHERS
from .state import get_state
from .webhooks.claims import claim
from .webhooks.inbox import work
from .webhooks.worker import drain

__all__ = ["PROCESS_EVENT", "SWEEP", "beat_schedule", "bind"]

log = logging.getLogger(__name__)
#: The tasks' names, for ``task_routes`` and the like.
PROCESS_EVENT: Final = "flask_valetpro_stripe.process_event"
SWEEP: Final = "flask_valetpro_stripe.sweep"
#: Seconds that a webhook waits for the broker, at most: Stripe is waiting too, and the event is stored already.
_PATIENCE: Final = 1.0
#: Once, and at once.
_HURRIED: Final = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "connect_retries_timeout": _PATIENCE}
_HURRIED_REDIS: Final = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE}
#: Seconds after which a sweep begins no further event: the next one goes on.
_SWEEP_SECONDS: Final = 20.0
_FLASK_APP: Final = "valetpro_stripe_flask_app"
#: Keys of rows are 64-bit numbers, whatever a message says.
_LARGEST_KEY: Final = 2**63 - 1


def bind(celery_app: Celery, flask_app: Flask) -> None:
    """Let a Celery app that knows nothing of Flask carry a Flask app's messages, and run our tasks in its context."""
    flask_app.extensions["celery"] = celery_app
    setattr(celery_app, _FLASK_APP, flask_app)


def beat_schedule(seconds: float = 30.0) -> dict[str, dict[str, Any]]:
    """Return the entry for Celery's ``beat_schedule`` that sweeps the inbox, every so many seconds."""
    # A sweep that nobody took before the next one is sent is not wanted any more.
    return {SWEEP: {"task": SWEEP, "schedule": seconds, "options": {"expires": seconds}}}


def is_swept(flask_app: Flask) -> bool:
    """Tell whether the app's beat has an entry that sweeps the inbox, whatever the entry is called."""
    entries = dict(_celery_of(flask_app).conf.beat_schedule or {}).values()
    return any((each["task"] if isinstance(each, Mapping) else each.task) == SWEEP for each in entries)


def enqueue_for(flask_app: Flask) -> Callable[[int, str], None]:
    """Return what tells a worker of a stored event. It never fails: without a broker, the next sweep sees it."""

    def enqueue(event_id: int, event_type: str) -> None:
        try:
            _send(_celery_of(flask_app), id=event_id, type=event_type)
        except Exception as error:
            # The event is committed; whatever is wrong with the broker must not make Stripe deliver it again.
            log.warning(
                "the Celery broker did not take the message for event row %s (%s): beat's sweep, or 'flask stripe "
                "worker', handles it",
                event_id,
                _name_of(error),
            )

    _drop_connections_after_fork(flask_app)
    return enqueue


def _drop_connections_after_fork(flask_app: Flask) -> None:
    """Let each of Celery's processes open connections of its own: two that write to one socket corrupt both."""
    known = weakref.ref(flask_app)

    def drop(**_: Any) -> None:
        app = known()
        if app is not None:
            with app.app_context():
                for engine in get_state().db.engines.values():
                    # They stay open: they are the parent's.
                    engine.dispose(close=False)

    worker_process_init.connect(drop, weak=False)


def _celery_of(flask_app: Flask) -> Celery:
    found: Celery = flask_app.extensions.get("celery") or current_celery._get_current_object()
    return found


def _send(celery_app: Celery, **message: Any) -> None:
    """Send a message without a payload, by JSON whatever the host has chosen, and give up soon."""
    task = celery_app.tasks[PROCESS_EVENT]
    url = str(celery_app.conf.broker_write_url or celery_app.conf.broker_url)
    options = _HURRIED | (_HURRIED_REDIS if url.startswith(("redis", "sentinel")) else {})
    connection = celery_app.connection(connect_timeout=_PATIENCE, transport_options=options)
    with producers[connection].acquire(block=True, timeout=_PATIENCE) as producer:
        task.apply_async(kwargs=message, producer=producer, serializer="json", retry=False)


@shared_task(name=PROCESS_EVENT, bind=True, ignore_result=True)  # type: ignore[untyped-decorator]
def process_event(task: Task, id: int, type: str = "") -> str | None:
    """Handle one stored event, if it is due; return what became of it.

    :param type: only for those who look at messages: what is done says the row.
    """
    if not _is_key(id):
        log.warning("a message names no row of the inbox")
        return None
    with _flask_app(task).app_context():
        state = get_state()
        try:
            claimed = claim(state, id)
            status = work(state, claimed, FETCHERS) if claimed else None
        except SQLAlchemyError as error:
            log.warning("inbox row %s cannot be handled now: %s; a sweep will", id, _name_of(error))
            return None
    return str(status) if status else None


@shared_task(name=SWEEP, bind=True, ignore_result=True)  # type: ignore[untyped-decorator]
def sweep(task: Task) -> dict[str, int]:
    """Handle what is due and nobody was told of, or what failed before; return how many events became what."""
    until = time.monotonic() + _SWEEP_SECONDS
    with _flask_app(task).app_context():
        try:
            return dict(drain(get_state(), FETCHERS, should_stop=lambda: time.monotonic() > until))
        except SQLAlchemyError as error:
            log.warning("the inbox cannot be read now: %s", _name_of(error))
            return {}


def _is_key(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST_KEY


def _name_of(error: Exception) -> str:
    return type(error).__name__


def _flask_app(task: Task) -> Flask:
    """Return the Flask app whose inbox it is. A context of its own keeps the task's session apart."""
    bound = getattr(task.app, _FLASK_APP, None)
    if bound is None and not has_app_context():
        raise ConfigurationError(
            "This Celery app runs tasks outside of any Flask app, so there is no inbox. Make it as Flask's "
            "documentation does ('Background Tasks with Celery'), or call "
            "flask_valetpro_stripe.celery.bind(celery_app, flask_app)."
        )
    found: Flask = bound or current_app._get_current_object()  # type: ignore[attr-defined]
    return found
