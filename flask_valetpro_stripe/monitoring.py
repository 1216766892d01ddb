"""What a monitor asks: health as JSON, and metrics in Prometheus' format; views that a host mounts where it wants.

They name tenants by their keys and say nothing of guests, but they are nobody's business outside. Mount them under
your own protection, on an address that only your monitor reaches::

    app.add_url_rule("/internal/stripe/health", endpoint="stripe_health", view_func=monitoring.health)
    app.add_url_rule("/internal/stripe/metrics", endpoint="stripe_metrics", view_func=monitoring.metrics)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from flask import Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from .models.types import utcnow
from .state import get_state
from .webhooks.health import Health, count_verdicts, overview

__all__ = ["health", "metrics"]

log = logging.getLogger(__name__)


def health() -> Response:
    """Answer how the inbox of each tenant and mode is: 200 if nobody has to do anything, 503 otherwise.

    The JSON is that of ``flask stripe health --json``.

    .. versionadded:: 0.1
    """
    state = get_state()
    try:
        report = as_json(overview(state))
    except (DBAPIError, PoolTimeoutError) as error:
        state.session.rollback()
        log.warning("health cannot be told: %s", type(error).__name__)
        report = {"needs_person": True, "says": "The database cannot be asked now.", "at": _iso(utcnow())}
    return _answer(json.dumps(report), "application/json", 503 if report["needs_person"] else 200)


def metrics() -> Response:
    """Answer with this app's metrics in Prometheus' text format; the extra ``metrics`` must be installed.

    Without it the answer is 501. A database that is away takes its gauges along and sets
    ``valetpro_stripe_database_up`` to 0; what the process counted is there all the same.

    .. versionadded:: 0.1
    """
    try:
        from .metrics import CONTENT_TYPE, scrape
    except ModuleNotFoundError:
        text = "There are no metrics without prometheus-client: pip install 'flask-valetpro-stripe[metrics]'.\n"
        return _answer(text, "text/plain", 501)
    return _answer(scrape(get_state()), CONTENT_TYPE, 200)


def as_json(found: Sequence[Health]) -> dict[str, Any]:
    """Return what is known of the health of some, as JSON has it: keys of tenants as text, times in ISO 8601, UTC."""
    return {
        "needs_person": any(each.needs_person for each in found),
        "at": _iso(utcnow()),
        "verdicts": count_verdicts(found),
        "tenants": [_of_one(each) for each in found],
    }


def _of_one(found: Health) -> dict[str, Any]:
    facts = asdict(found)
    tenant_id, lag = facts.pop("tenant_id"), facts.pop("lag")
    return {
        "tenant": None if tenant_id is None else str(tenant_id),
        **{name: _plain(value) for name, value in facts.items()},
        "lag_seconds": round(lag.total_seconds(), 3),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return _iso(value) if isinstance(value, datetime) else value


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _answer(body: str | bytes, content_type: str, status: int) -> Response:
    return Response(body, status, content_type=content_type, headers={"Cache-Control": "no-store"})
