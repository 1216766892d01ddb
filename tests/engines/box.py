"""An inbox with events in it, and the hands of whoever works on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.handlers import FETCHERS
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.state import State
from flask_valetpro_stripe.webhooks import claims, inbox, worker
from flask_valetpro_stripe.webhooks.claims import Claim
from tests.webhooks.stage import PLAZA, Stage, ping

TYPE = "customer.created"


@dataclass
class Box:
    """The inbox of a stage. Each method is one step of one process, in an app context of its own."""

    stage: Stage
    #: The event ids that a handler of the host was called with, whatever became of what it wrote.
    calls: list[str] = field(default_factory=list)

    @contextmanager
    def state(self) -> Iterator[State]:
        with self.stage.host.app.app_context():
            yield self.stage.host.state

    def put(self, event: Mapping[str, Any] | None = None, *, account: str | None = PLAZA) -> int:
        """Store an event for a worker; return its row's id."""
        event = event or ping(TYPE, account=account)
        with self.state() as state:
            endpoint = next(
                e for e in state.platform_endpoints if e.connect is ("account" in event) and not e.mode.livemode
            )
            stored = inbox.store(state, endpoint, event, json.dumps(event))
        assert stored is not None
        return stored

    def claim(self, row_id: int, *, early: bool = False) -> Claim | None:
        with self.state() as state:
            return claims.claim(state, row_id, early=early)

    def must_claim(self, row_id: int, *, early: bool = False) -> Claim:
        claimed = self.claim(row_id, early=early)
        assert claimed is not None
        return claimed

    def work(self, claimed: Claim) -> EventStatus | None:
        with self.state() as state:
            return inbox.work(state, claimed, FETCHERS)

    def drain(self) -> Counter[str]:
        with self.state() as state:
            return worker.drain(state, FETCHERS)

    def row(self, row_id: int) -> Any:
        """Return a row as it is in the database now."""
        with self.state() as state:
            return state.session.get_one(state.models.WebhookEvent, row_id)

    def set(self, row_id: int, **values: Any) -> None:
        """Change a row behind everybody's back."""
        with self.state() as state:
            model = state.models.WebhookEvent
            state.session.execute(sa.update(model).where(model.id == row_id).values(**values))
            state.session.commit()

    def end_lease(self, row_id: int) -> None:
        """Let the time pass until a row is due."""
        self.set(row_id, due_at=utcnow() - timedelta(seconds=1))

    def on(self, act: Callable[[Any], object] | None = None, event_type: str = TYPE) -> None:
        """Give the host a handler: it renames the event's hotel, and then does what it is told."""

        @self.stage.host.valetpro.on(event_type)
        def handle(event: Any) -> None:
            self.calls.append(event.event_id)
            model = self.stage.host.Tenant
            name = sa.update(model).where(model.id == event.tenant_id).values(name=model.name + "!")
            self.stage.host.db.session.execute(name)
            if act is not None:
                act(event)

    def name_of(self, tenant: Any) -> str:
        """Return a hotel's name: one "!" for each event whose handler's writes stand."""
        with self.state():
            found: str = self.stage.host.tenant(tenant.id).name
            return found


def fail(event: Any) -> None:
    """Fail as a handler does that has a mistake."""
    raise ValueError("poison")
