"""A host app and the simulator on loopback ports, and browsers where an admin of the host is signed in."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask, send_file
from jinja2 import DictLoader
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from werkzeug.serving import make_server

from flask_valetpro_stripe import Mode
from flask_valetpro_stripe.credentials import find_connection
from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.servers import free_port
from tests.timing import seconds

HTMX_2 = Path(__file__).parents[2] / "node_modules/htmx2/dist/htmx.min.js"
#: A layout as hosts have it: its own htmx 2, which takes over every link and form that does not defend itself.
HOST_LAYOUT = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{% block title %}Host{% endblock %}</title><link rel="icon" href="data:,">
  <script src="/htmx-2.js" defer></script>{% block head %}{% endblock %}
</head>
<body hx-boost="true"><nav><a href="/sign-in">Elsewhere</a></nav><main>{% block content %}{% endblock %}</main></body>
</html>"""
OWN_LAYOUT: Mapping[str, Any] = {}
HOSTS_LAYOUT: Mapping[str, Any] = {"VALETPRO_STRIPE_BASE_TEMPLATE": "layout.html", "VALETPRO_STRIPE_HTMX": None}


@dataclass
class Stage:
    """The host, its admin, and where they are served."""

    host: Host
    simulator: Simulator
    address: str
    tenant: Any
    admin: Any
    #: What a browser complained about: broken policies, failed scripts.
    complaints: list[str] = field(default_factory=list)
    #: Options of each browser context.
    look: Mapping[str, Any] = field(default_factory=dict)
    contexts: list[BrowserContext] = field(default_factory=list)

    def open(self, browser: Browser, **look: Any) -> Page:
        """Return the settings page in a new browser window of the admin, with a clock that tests may move."""
        context = browser.new_context(**{**self.look, **look})
        context.set_default_timeout(seconds(30) * 1000)
        self.contexts.append(context)
        cookie = self.host.client_as(self.admin).get_cookie("session")
        assert cookie
        context.add_cookies([{"name": "session", "value": cookie.value, "url": self.address}])
        page = context.new_page()
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.clock.install()
        page.goto(f"{self.address}/settings/payments/")
        return page

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def connect(self, mode: Mode = Mode.test, *, name: str | None = "Plaza Hotel SAS", **options: Any) -> Any:
        """Connect the tenant to a new account."""
        connection = self.host.connect(self.tenant, self.simulator.create_account("Any").id, mode, **options)
        with self.host.context():
            self.host.db.session.merge(connection).account_name = name
            self.host.db.session.commit()
        return connection

    def receive(self, event_type: str, status: EventStatus = EventStatus.processed, **columns: Any) -> int:
        """Put an event in the tenant's inbox, received a minute ago, of its test account if it has one.

        Returns its row's key.
        """
        with self.host.context():
            connection = find_connection(self.host.state, self.tenant, Mode.test)
            known = {
                "scope": "platform:test:connect",
                "event_id": f"evt_{event_type}",
                "mode": Mode.test,
                "account_id": connection.account_id if connection else None,
                "connection_id": connection.id if connection else None,
                "received_at": utcnow() - timedelta(minutes=1),
            }
            model = self.host.state.models.WebhookEvent
            row = model(type=event_type, status=status, tenant_id=self.tenant.id, **{**known, **columns})
            self.host.db.session.add(row)
            self.host.db.session.commit()
            key: int = row.id
            return key


@contextmanager
def staged(database_url: str, config: Mapping[str, Any] = OWN_LAYOUT) -> Iterator[Stage]:
    """Serve a host with one tenant, and a simulator whose pages the browser can reach."""
    address, stripe_address = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    simulator = Simulator(base_url=stripe_address, public_url=address)
    with make_host(database_url, simulator=simulator, config=config) as host:
        host.app.jinja_loader = DictLoader({"layout.html": HOST_LAYOUT})
        host.app.add_url_rule("/htmx-2.js", "htmx_2", lambda: send_file(HTMX_2))
        tenant = host.make_tenant("Plaza")
        with serving(host.app, address), simulating(simulator, stripe_address):
            stage = Stage(host, simulator, address, tenant, host.make_user(tenant))
            yield stage
            for context in stage.contexts:
                context.close()


@contextmanager
def serving(app: Flask, address: str) -> Iterator[None]:
    """Serve an app at ``address``."""
    server = make_server("127.0.0.1", _port(address), app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(seconds(20))
        server.server_close()


@contextmanager
def simulating(simulator: Simulator, address: str) -> Iterator[None]:
    """Serve a simulator at ``address``."""
    ready = threading.Event()
    thread = threading.Thread(target=simulator.serve, args=[_port(address)], kwargs={"ready": ready})
    thread.start()
    assert ready.wait(seconds(10))
    try:
        yield
    finally:
        simulator.stop()
        thread.join(seconds(20))


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
