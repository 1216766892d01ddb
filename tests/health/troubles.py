"""Events that failed for good, or wait for a worker."""

from __future__ import annotations

from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.handlers import FETCHERS
from flask_valetpro_stripe.webhooks.claims import MOST_ATTEMPTS
from flask_valetpro_stripe.webhooks.inbox import store
from flask_valetpro_stripe.webhooks.worker import drain
from tests.health.ward import change, within
from tests.hosts import Host
from tests.webhooks.stage import SEASIDE, Stage, ping

OWN_CODE = "This app's own code failed over it, with ValueError."


def give_up(stage: Stage, error: str = "ValueError: poison") -> None:
    """Let every failed event have failed too often."""
    model = stage.host.valetpro.models.WebhookEvent
    dead = {"status": EventStatus.dead, "attempts": MOST_ATTEMPTS, "due_at": None, "error": error}
    change(stage.host, "WebhookEvent", model.status == EventStatus.failed, **dead)


def work_off(host: Host) -> None:
    """Handle what is due, as a worker does."""
    with within(host) as state:
        drain(state, FETCHERS)


def put_for_a_worker(stage: Stage) -> None:
    event = ping(account=SEASIDE)
    with within(stage.host) as state:
        (endpoint,) = [each for each in state.platform_endpoints if each.connect and not each.mode.livemode]
        store(state, endpoint, event, "{}")
