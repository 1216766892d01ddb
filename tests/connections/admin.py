"""A tenant's admin in a browser: on the settings page here, and on the consent page at Stripe."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_valetpro_stripe import tenant_context
from flask_valetpro_stripe.testing import LoggedRequest, Simulator
from tests.hosts import Host

PAGE = "/settings/payments"


@dataclass
class Admin:
    """One person of one tenant, in one browser; :meth:`elsewhere` is the same person in another one."""

    host: Host
    tenant: Any
    user: Any
    browser: FlaskClient

    @classmethod
    def of(cls, host: Host, tenant: Any, *, role: str = "admin") -> Admin:
        user = host.make_user(tenant, role)
        return cls(host, tenant, user, host.client_as(user))

    def elsewhere(self) -> Admin:
        return Admin(self.host, self.tenant, self.user, self.host.client_as(self.user))

    @property
    def simulator(self) -> Simulator:
        assert self.host.simulator is not None
        return self.host.simulator

    def press_connect(self, mode: str = "test", **headers: str) -> str:
        """Press the button, and return the address at Stripe that the browser is sent to."""
        answer = self.browser.post(f"{PAGE}/connect", data={"mode": mode}, headers=headers)
        assert answer.status_code == 303, text_of(answer)
        return str(answer.location)

    def agree(self, account_id: str | None, mode: str = "test", *, deny: bool = False) -> str:
        """Press the button, answer at Stripe, and return the address that Stripe sends the browser back to."""
        return self.simulator.authorize(self.press_connect(mode), account_id, deny=deny)

    def follow(self, back: str) -> TestResponse:
        """Open the address that Stripe sent the browser back to."""
        parts = urlsplit(back)
        return self.browser.get(f"{parts.path}?{parts.query}")

    def connect(self, account_id: str, mode: str = "test") -> TestResponse:
        return self.follow(self.agree(account_id, mode))

    def disconnect(self, mode: str = "test") -> TestResponse:
        return self.browser.post(f"{PAGE}/disconnect", data={"mode": mode})

    def switch(self, mode: str) -> TestResponse:
        return self.browser.post(f"{PAGE}/mode", data={"mode": mode})

    def page(self) -> str:
        return text_of(self.browser.get(f"{PAGE}/"))

    def row(self) -> Any:
        """The tenant's row, with what its mixin says about the connection already read."""
        with self.host.app.app_context():
            row = self.host.tenant(self.tenant.id)
            assert row.stripe_connection is None or row.stripe_connection.mode == row.stripe_mode
            self.host.db.session.expunge_all()
            return row

    def connections(self) -> list[Any]:
        return rows(self.host, self.host.valetpro.models.Connection, tenant_id=self.tenant.id)

    def audit(self) -> list[tuple[str, str]]:
        """Who did what to this tenant's connections, oldest first."""
        entries = rows(self.host, self.host.valetpro.models.AuditEntry, tenant_id=self.tenant.id)
        return [(entry.actor, entry.action) for entry in entries]


def rows(host: Host, model: Any, **same: Any) -> list[Any]:
    """Return the rows of a model, oldest first, detached, with all their columns."""
    with host.app.app_context():
        key = sa.inspect(model).primary_key[0]
        found = list(host.db.session.scalars(sa.select(model).filter_by(**same).order_by(key)))
        host.db.session.expunge_all()
        return found


def change(host: Host, row: Any, **columns: Any) -> None:
    """Change a row in the database, as somebody else does it meanwhile."""
    with host.app.app_context():
        key = sa.inspect(type(row)).primary_key[0]
        host.db.session.execute(sa.update(type(row)).where(key == row.id).values(**columns))
        host.db.session.commit()


@contextmanager
def as_tenant(host: Host, tenant: Any) -> Iterator[Any]:
    """Enter an app context in which ``tenant`` is the current one, and give its row."""
    with host.app.app_context():
        row = host.tenant(tenant.id)
        with tenant_context(row):
            yield row


def text_of(answer: TestResponse) -> str:
    return html.unescape(answer.text)


def query_of(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def asked(simulator: Simulator, path: str) -> list[LoggedRequest]:
    """The requests to one path at Stripe."""
    return [request for request in simulator.requests if request.path == path]
