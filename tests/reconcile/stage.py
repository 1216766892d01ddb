"""What goes wrong on the way from Stripe, and the command that makes it good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
import stripe
from click.testing import Result

from flask_valetpro_stripe import Mode
from flask_valetpro_stripe.handlers import FETCHERS
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.testing import LoggedRequest, Simulator
from flask_valetpro_stripe.webhooks.missed import BOUNDS, Bounds
from flask_valetpro_stripe.webhooks.reconcile import Report, Scope, reconcile
from tests.hosts import Host
from tests.payments.desk import Desk, rows
from tests.simulator.helpers import client_with

EVENTS = "/v1/events"


def run(host: Host, *words: Any) -> Result:
    """Run the command as an operator does."""
    return host.app.test_cli_runner().invoke(args=["stripe", "reconcile", *map(str, words)])


def look(
    host: Host,
    *,
    tenant: Any = None,
    mode: Mode | None = None,
    bounds: Bounds = BOUNDS,
    pauses: list[float] | None = None,
) -> Report:
    """Do what the command does, without waiting; the pauses that were asked for are in ``pauses``."""
    with host.app.app_context():
        scope = Scope(host.state, FETCHERS, tenant.id if tenant else None, mode, bounds)
        return reconcile(scope, pause=[].append if pauses is None else pauses.append)


def lose_deliveries(host: Host, simulator: Simulator) -> None:
    """Let every delivery that is under way be lost, until Stripe gives up."""
    simulator.faults.drop_deliveries(10_000)
    simulator.deliver_all(host.app, rounds=15)
    simulator.faults.clear()


def inbox(host: Host, **same: Any) -> list[Any]:
    """The events that were taken in, oldest first."""
    model = host.valetpro.models.WebhookEvent
    with host.app.app_context():
        found = list(host.db.session.scalars(sa.select(model).filter_by(**same).order_by(model.id)))
        host.db.session.expunge_all()
        return found


def connections_of(desk: Desk) -> list[Any]:
    return rows(desk.host, desk.host.valetpro.models.Connection, tenant_id=desk.tenant.id)


def listed(simulator: Simulator, account: str | None) -> list[LoggedRequest]:
    """The requests for an account's events."""
    return [each for each in simulator.requests if each.path == EVENTS and each.stripe_account == account]


def dashboard(simulator: Simulator, account: str) -> stripe.StripeClient:
    """Stripe's dashboard as the account's owner has it: what is done there, we are only told."""
    return client_with(simulator, str(simulator.config()["VALETPRO_STRIPE_TEST_SECRET_KEY"]), account=account)


def age(desk: Desk, row: Any, by: timedelta, *names: str) -> None:
    """Let a row be older than it is."""
    desk.change(row, **{name: utcnow() - by for name in names})
