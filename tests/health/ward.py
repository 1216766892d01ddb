"""Two hotels whose health is looked at, and a clock that can be put forward by making everything older."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from click.testing import Result

from flask_valetpro_stripe import Mode, payments, tenant_context
from flask_valetpro_stripe.state import State
from flask_valetpro_stripe.webhooks.health import Health, health_of, overview
from tests.hosts import Host
from tests.webhooks.stage import Stage

#: Every moment that is kept, by the model that keeps it.
TIMES = {
    "WebhookEvent": ("received_at", "processed_at", "due_at"),
    "Connection": ("created_at", "connected_at", "ended_at", "endpoint_checked_at", "events_until"),
    "Operation": ("created_at", "attempted_at"),
    "Payment": ("created_at", "updated_at", "paid_at"),
}


@contextmanager
def within(host: Host) -> Iterator[State]:
    """Enter an app context of its own, as each request does."""
    with host.app.app_context():
        yield host.state


def health(host: Host, tenant: Any, mode: Mode = Mode.test) -> Health:
    """How one tenant is; None is the platform's own account."""
    with within(host) as state:
        return health_of(state, None if tenant is None else host.tenant(tenant.id), mode)


def everybody(host: Host) -> dict[tuple[Any, str], Health]:
    with within(host) as state:
        return {(each.tenant_id, str(each.mode)): each for each in overview(state)}


def words(found: Health) -> tuple[str, bool]:
    """The verdict, and whether somebody has to do something."""
    return str(found.verdict), found.needs_person


def let_pass(host: Host, **time: float) -> None:
    """Let time go by: everything that is kept happened so much earlier."""
    by = timedelta(**time)
    with within(host) as state:
        for name, columns in TIMES.items():
            model: Any = getattr(state.models, name)
            keys = sa.inspect(model).primary_key
            for row in state.session.execute(sa.select(*keys, *(getattr(model, each) for each in columns))).all():
                older = {each: row._mapping[each] - by for each in columns if row._mapping[each] is not None}
                state.session.execute(sa.update(model).where(keys[0] == row[0]).values(older))
        state.session.commit()


def change(host: Host, name: str, *which: Any, **values: Any) -> None:
    """Change rows behind everybody's back."""
    with within(host) as state:
        state.session.execute(sa.update(getattr(state.models, name)).where(*which).values(**values))
        state.session.commit()


def pay(stage: Stage, payment: Any) -> None:
    """Have the guest pay, and Stripe's deliveries about it wait."""
    stage.simulator.pay(payment.stripe_payment_link_url)


def sync(host: Host, tenant: Any, payment: Any) -> None:
    """Ask Stripe about a payment, as a host does when the guest comes back."""
    with within(host), tenant_context(host.tenant(tenant.id)):
        payments.sync(host.db.session.get_one(host.Payment, payment.id))


def run(host: Host, *words: Any) -> Result:
    """Run ``flask stripe …`` as an operator does."""
    return host.app.test_cli_runner().invoke(args=["stripe", *map(str, words)])


@dataclass
class Handler:
    """The host's own handler of ``customer.created``: it fails as long as there is something to raise."""

    raises: Exception | None = None

    @classmethod
    def of(cls, host: Host, raises: Exception | None = None) -> Handler:
        handler = cls(raises)

        @host.valetpro.on("customer.created")
        def handle(event: Any) -> None:
            if handler.raises is not None:
                raise handler.raises

        return handler
