"""Every success and every injected failure that a tenant's secrets can go through, and everything that is said there.

By ``--every`` every failure; otherwise a part, in which each kind of failure and each place of it is.

Runs in a process of its own: an error collector changes Flask and logging for the whole process. Prints, as JSON, what
was collected and every place that holds a secret.
"""

from __future__ import annotations

import json
import logging
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sentry_sdk
import sqlalchemy as sa
import stripe
from flask import Flask, Response
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from flask_valetpro_stripe import Mode, current_stripe, payments, tenant_context
from flask_valetpro_stripe.errors import ValetProStripeError
from flask_valetpro_stripe.testing import Simulator
from flask_valetpro_stripe.testing.simulator.faults import (
    DROP_AFTER,
    DROP_BEFORE,
    RATE_LIMIT,
    SERVER_ERROR,
)
from tests.chaos.sizes import seed
from tests.connections.admin import PAGE, Admin
from tests.hosts import ENCRYPTION_KEY, Host, make_host

PASTED_WEBHOOK_SECRET = "whsec_" + "Q7canaryQ7canaryQ7canaryQ7canary"
FAULTS = [RATE_LIMIT, SERVER_ERROR, DROP_BEFORE, DROP_AFTER]
PATHS = ["/v1/balance", "/v1/account", "/v1/tokens", "/v1/webhook_endpoints", "/v1/payment_links", "/v1/refunds"]
#: Statements of one save after which the database may go away.
MOST_STATEMENTS = 200


class Collected:
    """What was said, by whom: pages, logs, the error collector, the command line, the database."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.secrets: set[str] = {ENCRYPTION_KEY}

    def add(self, who: str, text: str) -> None:
        self.said.append((who, text))

    def places(self) -> list[str]:
        held = [(who, secret) for who, text in self.said for secret in self.secrets if secret in text]
        return sorted({f"{who}: {secret[:9]}…" for who, secret in held})

    def counts(self) -> Counter[str]:
        return Counter(who.partition(" ")[0] for who, _ in self.said)


class _Everything(logging.Handler):
    """Keeps each record as a collector would: the message, its arguments, and the traceback with all locals."""

    def __init__(self, collected: Collected) -> None:
        super().__init__(logging.DEBUG)
        self._collected = collected
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        # A host's own sink of tracebacks has frames, but not their locals; the error collector's has.
        self._collected.add("log", f"{self.format(record)} {record.args!r}")


class _Sink(Transport):
    def __init__(self, options: dict[str, Any], collected: Collected) -> None:
        super().__init__(options)
        self._collected = collected

    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            self._collected.add("sentry", item.get_bytes().decode(errors="replace"))


def collect_errors(collected: Collected) -> None:
    """Set Sentry up as its documentation begins, with all its defaults."""

    class Sink(_Sink):
        def __init__(self, options: dict[str, Any]) -> None:
            super().__init__(options, collected)

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Sink, traces_sample_rate=1.0)


def listen(app: Flask, collected: Collected) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.after_request
    def keep(response: Response) -> Response:
        response.direct_passthrough = False
        collected.add("page", f"{response.status} {response.headers} {response.get_data(as_text=True)}")
        return response


def everything_stored(host: Host) -> str:
    with host.app.app_context():
        tables = host.db.metadata.sorted_tables
        return "".join(repr(host.db.session.execute(sa.select(table)).all()) for table in tables)


@contextmanager
def database_gone_after(engine: sa.Engine, statements: int) -> Iterator[list[int]]:
    """Let the database fail at one statement, by a constraint of its own kind of error."""
    seen = [0]

    def count(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        seen[0] += 1
        if seen[0] == statements:
            raise sa.exc.OperationalError(statement, parameters, Exception("the database went away"))

    sa.event.listen(engine, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", count)


class Run:
    def __init__(self, host: Host, simulator: Simulator, collected: Collected) -> None:
        self.host, self.simulator, self.collected = host, simulator, collected

    def tenant(self, name: str) -> tuple[Admin, Any]:
        account = self.simulator.create_account(name)
        for key in (account.test_secret_key, account.live_secret_key):
            self.collected.secrets.add(key)
        return Admin.of(self.host, self.host.make_tenant(name)), account

    def key(self, account: Any, **options: Any) -> str:
        key = self.simulator.create_restricted_key(account.id, **options)
        self.collected.secrets.add(key)
        return key

    def post(self, admin: Admin, path: str, **form: str) -> int:
        answer = admin.browser.post(f"{PAGE}/{path}", data={"mode": "test", **form})
        # What the simulator signs with from now on is a secret too.
        for record in list(self.simulator._ledger.records.values()):
            if record.kind == "webhook_endpoint":
                self.collected.secrets |= {secret for secret, _ in record.private["secrets"]}
        return answer.status_code

    def pay(self, admin: Admin) -> Any:
        with self.host.app.app_context(), tenant_context(self.host.tenant(admin.tenant.id)):
            payment = payments.create_payment_link(amount=2500, currency="eur", description="Valet parking")
            key, link = payment.id, str(payment.stripe_payment_link_url)
            self.collected.add("object", repr(current_stripe.client.v1.payment_links.retrieve(link_id(payment))))
        self.simulator.pay(link)
        self.simulator.deliver_all(self.host.app)
        return key

    # -- what goes well

    def successes(self) -> None:
        admin, account = self.tenant("Plaza")
        assert self.post(admin, "keys", secret_key=account.test_secret_key) == 303
        first = self.pay(admin)
        assert self.post(admin, "keys", secret_key=self.key(account), webhook_secret=PASTED_WEBHOOK_SECRET) == 303
        assert self.post(admin, "keys", publishable_key=account.test_publishable_key) == 303
        assert self.post(admin, "keys/rollback") == 303
        self.pay(admin)
        with self.host.app.app_context(), tenant_context(self.host.tenant(admin.tenant.id)):
            payments.refund(self.host.db.session.get_one(self.host.Payment, first))
        for page in ("", "status", "history", "events"):
            assert admin.browser.get(f"{PAGE}/{page}").status_code == 200
        for command in ("doctor --online", "tenants", "audit-verify", "rotate-kek"):
            answer = self.host.app.test_cli_runner().invoke(args=["stripe", *command.split()])
            self.collected.add("terminal", answer.output)
        assert self.post(admin, "keys/destroy") == 303
        with self.host.app.app_context():
            state = self.host.state
            self.collected.add("object", f"{state!r} {state.config!r} {state.stores!r} {vars(state)!r}")
        self.collected.add("database", everything_stored(self.host))
        assert self.post(admin, "disconnect") == 303

    # -- what goes wrong

    def wrong_keys(self) -> None:
        admin, account = self.tenant("Mistaken")
        expired, weak = self.key(account), self.key(account, allow=["payment_links"])
        self.simulator.expire_key(expired)
        unknown = "rk_test_51canaryUnknownCanaryUnknownCanary"
        self.collected.secrets |= {unknown, "pk_test_51canaryInTheWrongField", "sk_org_test_51canaryCanary"}
        fields = ("secret_key", "publishable_key", "webhook_secret", "switch_to")
        entered = [expired, weak, unknown, account.live_secret_key, "pk_test_51canaryInTheWrongField"]
        for text in [*entered, "sk_org_test_51canaryCanary", PASTED_WEBHOOK_SECRET, f"{unknown}\r\nX: y"]:
            for field in fields:
                assert self.post(admin, "keys", **{field: text}) in (422, 400)

    def faults_at_stripe(self, *, every: bool) -> None:
        """Let each path fail: at first in every second way by turns, so that each fault hits three paths."""
        for number, path in enumerate(PATHS):
            for fault in FAULTS if every else FAULTS[number % 2 :: 2]:
                admin, account = self.tenant("Unlucky")
                self.simulator.faults.add(None, path, fault, times=9)
                self.post(admin, "keys", secret_key=account.test_secret_key)
                self.simulator.faults.clear()
                self.post(admin, "keys", secret_key=account.test_secret_key)
                self.simulator.faults.add(None, path, fault, times=9)
                self.post(admin, "keys", secret_key=self.key(account))
                self.post(admin, "keys/rollback")
                try:
                    self.pay(admin)
                except (ValetProStripeError, stripe.StripeError):
                    logging.getLogger("host").exception("the host logs what it caught")
                self.post(admin, "disconnect")
                self.simulator.faults.clear()

    def database_gone(self, first: int, step: int) -> None:
        """Let the statements of a save fail one by one, from the first on, or only some of them."""
        engine = self._engine()
        for number in range(first, MOST_STATEMENTS, step):
            admin, account = self.tenant("Interrupted")
            with database_gone_after(engine, number) as seen:
                self.post(admin, "keys", secret_key=account.test_secret_key, webhook_secret=PASTED_WEBHOOK_SECRET)
            if seen[0] < number:
                return
        raise AssertionError(f"A save has more than {MOST_STATEMENTS} statements.")

    def _engine(self) -> sa.Engine:
        with self.host.app.app_context():
            return self.host.db.engine

    def handlers_that_fail(self, *, plant: bool) -> None:
        admin, account = self.tenant("Buggy")
        assert self.post(admin, "keys", secret_key=account.test_secret_key) == 303

        @self.host.valetpro.on("payment_intent.succeeded")
        def buggy(event: Any) -> None:
            client = current_stripe.client
            planted = account.test_secret_key if plant else ""
            raise RuntimeError(f"a bug in the host's code, {len(planted)} {client.v1 is None}")

        @self.host.valetpro.on("checkout.session.completed")
        def asks_wrongly(event: Any) -> None:
            current_stripe.client.v1.payment_intents.retrieve("pi_nobody")

        try:
            self.simulator.faults.add("GET", "/v1/payment_intents", DROP_BEFORE, times=3)
            self.pay(admin)
        finally:
            self.simulator.faults.clear()


def link_id(payment: Any) -> str:
    return str(payment.stripe_payment_link_id)


def main(database_url: str, *flags: str) -> dict[str, Any]:
    every, plant, chosen = "--every" in flags, "--plant" in flags, seed()
    stripe.HTTPClient.INITIAL_DELAY = stripe.HTTPClient.MAX_DELAY = 0
    collected = Collected()
    collected.secrets.add(PASTED_WEBHOOK_SECRET)
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger().addHandler(_Everything(collected))
    collect_errors(collected)
    simulator = Simulator()
    with make_host(database_url, simulator=simulator, config={"WTF_CSRF_ENABLED": False}) as host:
        for name in ("TEST_SECRET_KEY", "LIVE_SECRET_KEY"):
            collected.secrets.add(host.app.config[f"VALETPRO_STRIPE_{name}"])
        for mode in Mode:
            for scope in ("WEBHOOK_SECRETS", "CONNECT_WEBHOOK_SECRETS"):
                collected.secrets |= set(host.app.config[f"VALETPRO_STRIPE_{mode.upper()}_{scope}"])
        listen(host.app, collected)
        run = Run(host, simulator, collected)
        if not plant:
            run.successes()
            run.wrong_keys()
            run.faults_at_stripe(every=every)
            run.database_gone(*((1, 1) if every else (random.Random(chosen).randint(1, 3), 3)))
        run.handlers_that_fail(plant=plant)
        sentry_sdk.flush()
        collected.add("database", everything_stored(host))
    return {
        "places": collected.places(),
        "counts": collected.counts(),
        "secrets": len(collected.secrets),
        "seed": chosen,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])) + "\n")
