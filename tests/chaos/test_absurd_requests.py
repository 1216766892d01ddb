"""Whatever is sent to the webhook that Stripe did not send: one answer to all of it, and not one row."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.strategies import SearchStrategy

from flask_valetpro_stripe import AccountType, current_tenant, custody, endpoints, payments, tenant_context
from flask_valetpro_stripe.testing import make_event
from tests.chaos import absurd
from tests.chaos.absurd import CAP, HOTELS, HOTELS_TOKEN, NOBODYS_TOKEN, PLATFORMS, TOO_LONG, Door, Sent
from tests.chaos.absurd_events import Known, Told, events_about, truly_names
from tests.chaos.sizes import seed, size, tell
from tests.raw_keys.owner import Owner
from tests.webhooks.objects import operation_of
from tests.webhooks.stage import PLAZA, REFUSED, SEASIDE, Stage, make_stage

REQUESTS = size("ABSURD_REQUESTS", middle=10_000, full=1_000_000)
#: Examples of one run of Hypothesis, which remembers all that it has tried.
EXAMPLES = 25
EVENTS = size("ABSURD_EVENTS", middle=1000, full=100_000)
#: So many events say something true, too.
MANY = 1000
INBOX = "stripe_webhook_event"
#: Columns of a payment that nothing that Stripe says may change.
FROZEN = "tenant_id amount currency mode connection_id stripe_account_id collected_via stripe_payment_link_id".split()
TAKEN = (200, "Taken.")
TOO_LARGE = (413, "The body is too large.")
_SHAPED = re.compile(r"/[A-Za-z0-9_-]{43}", re.ASCII)


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    with make_stage(database_url, MAX_WEBHOOK_BYTES=CAP) as stage:
        yield stage


@pytest.fixture
def hotel(stage: Stage) -> Owner:
    """A hotel with keys of its own, and so with an address and a signing secret of its own."""
    owner = Owner.of(stage.host, "Hotel Key")
    owner.connect()
    return owner


def door_of(stage: Stage, hotel: Owner) -> Door:
    config = stage.host.app.config
    secrets = {name: config[f"VALETPRO_STRIPE_{name}_SECRETS"][0] for name in PLATFORMS}
    secrets[HOTELS] = hotel.in_use(custody.WEBHOOK_SECRET)
    tokens = {HOTELS_TOKEN: hotel.connection.endpoint_token, NOBODYS_TOKEN: endpoints._make_token(stage.host.state)}
    return Door(stage.host.app, secrets, tokens)


def expected(sent: Sent) -> tuple[int, str] | None:
    """Return what must be answered, by the contract's words; None where the address is none of the webhook's."""
    way = sent.way
    if way.address and not re.fullmatch(r"/[^/]+", way.address, re.DOTALL):
        return None
    if way.method != "POST":
        return (200, "") if way.method == "OPTIONS" else (405, "")
    if is_too_large(sent):
        return TOO_LARGE
    return REFUSED


def is_too_large(sent: Sent) -> bool:
    if sent.way.length in (None, "chunked"):
        return len(sent.body) > CAP
    return sent.way.length in TOO_LONG


def may_ask_the_database(sent: Sent) -> bool:
    return sent.way.address in (f"/{HOTELS_TOKEN}", f"/{NOBODYS_TOKEN}") or bool(_SHAPED.fullmatch(sent.way.address))


def row_counts(stage: Stage) -> dict[str, int]:
    """Return how many rows each table has."""
    tables = stage.host.db.metadata.sorted_tables
    with stage.host.app.app_context():
        count = [sa.select(sa.func.count()).select_from(table).scalar_subquery().label(table.name) for table in tables]
        return dict(stage.host.db.session.execute(sa.select(*count)).one()._mapping)


def try_some(check: Callable[[Any], None], examples: SearchStrategy[Any], number: int) -> None:
    """Run a check over :data:`EXAMPLES` examples; the number says which ones."""
    chosen = settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        # What failed is in the message: all that was sent with it would fill pages.
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
    )
    try:
        hypothesis.seed(number)(chosen(given(examples)(check)))()
    except Exception as error:
        error.add_note(f"The same again: SEED={number}")
        raise


@pytest.mark.slow("sends thousands of requests")
def test_what_is_forged_malformed_or_no_event_is_refused_and_leaves_no_row(
    stage: Stage, hotel: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    door, before = door_of(stage, hotel), row_counts(stage)
    answers: Counter[int] = Counter()

    def send_all(requests: list[Sent]) -> None:
        with stage.statements() as seen:
            for sent in requests:
                wanted, got = expected(sent), door.send(sent)
                answers[got[0]] += 1
                if wanted is None:
                    assert got[0] in (308, 404, 405), sent
                elif wanted[0] == 405:
                    assert got[0] == 405, sent
                else:
                    assert got == wanted, sent
        assert seen == [] or any(may_ask_the_database(sent) for sent in requests)
        assert row_counts(stage) == before

    first, runs, began = seed(), 0, time.monotonic()
    while answers.total() < REQUESTS:
        try_some(send_all, absurd.requests, first + runs)
        runs += 1
    seconds = time.monotonic() - began
    tell(
        capsys,
        f"{answers.total()} absurd requests in {seconds:.1f} s, {answers.total() / seconds:.0f} a second: "
        f"{dict(answers)}, no row (SEED={first})",
    )


# -- events about absurd objects


@dataclass
class Ledger:
    """What the database holds of payments, refunds and tenants, and how it was before anything absurd was told."""

    stage: Stage
    known: list[Known]

    def __post_init__(self) -> None:
        self.before = self.now()

    def now(self) -> dict[str, dict[Any, dict[str, Any]]]:
        """Return the rows of each table by their keys, but for the inbox, and for when Stripe was last asked."""
        tables = [table for table in self.stage.host.db.metadata.sorted_tables if table.name != INBOX]
        with self.stage.host.app.app_context():
            execute = self.stage.host.db.session.execute
            return {table.name: {row["id"]: row for row in map(_as_dict, execute(table.select()))} for table in tables}

    def reset(self) -> None:
        """Bring everything back to how it was."""
        host, models = self.stage.host, self.stage.host.valetpro.models
        with host.app.app_context():
            host.db.session.execute(sa.delete(models.Refund))
            host.db.session.execute(sa.delete(models.WebhookEvent))
            payments = host.Payment.__table__
            for key, row in self.before[payments.name].items():
                host.db.session.execute(payments.update().where(payments.c.id == key).values(row))
            host.db.session.commit()


def _as_dict(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name != "asked_at"}


def open_and_paid(stage: Stage, hotel: Owner) -> list[Known]:
    """Return an open and a paid payment of everybody who can take one, with who may tell of it."""
    managed = stage.host.make_tenant("Managed")
    stage.host.connect(managed, None, account_type=AccountType.PLATFORM)
    takers = [
        (stage.plaza, "TEST_CONNECT_WEBHOOK", PLAZA),
        (stage.seaside, "TEST_CONNECT_WEBHOOK", SEASIDE),
        (managed, "TEST_WEBHOOK", None),
        (hotel.tenant, HOTELS, None),
    ]
    found = []
    for number, (tenant, signer, account) in enumerate(takers):
        for is_paid in (False, True):
            payment = stage.make_payment(tenant, amount=2500 + number)
            if is_paid:
                stage.simulator.pay(payment.stripe_payment_link_url)
                with stage.host.app.app_context(), tenant_context(stage.host.tenant(tenant.id)):
                    payments.sync(stage.host.db.session.get_one(stage.host.Payment, payment.id))
            found.append(Known(stage.payment(payment), operation_of(stage, payment), signer, account))
    return found


def in_words(table: str, row: dict[str, Any], before: dict[str, Any], events: list[Told]) -> str:
    """Return what changed, and after which events, as the message of a failed test needs it."""
    changed = {name: (before.get(name), value) for name, value in row.items() if before.get(name) != value}
    said = "\n".join(f"{told.sent.signer} {json.dumps(told.event)}" for told in events)
    return f"{table} {row['id']} {changed} after\n{said}"


def told_about_accounts(stage: Stage) -> None:
    """Let every connection hear once of its account: what it did not know yet is no change later."""
    for account in (PLAZA, SEASIDE):
        stage.deliver(make_event("account.updated", {"id": account, "object": "account"}, account=account))


@pytest.mark.on("postgresql")
@pytest.mark.slow("delivers hundreds of events")
def test_signed_events_about_absurd_objects_break_nothing_and_change_nobody_elses_rows(
    stage: Stage, hotel: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    door, known = door_of(stage, hotel), open_and_paid(stage, hotel)
    told_about_accounts(stage)
    ledger = Ledger(stage, known)
    seen: list[Any] = []
    stage.host.valetpro.on("*")(lambda event: seen.append((event.object, event.payload, bool(current_tenant))))
    sent, applied = 0, Counter[str]()

    def tell_all(events: list[Told]) -> None:
        nonlocal sent
        ledger.reset()
        for told in events:
            assert door.send(told.sent) == TAKEN, told
            sent += 1
        now = ledger.now()
        named = {each.row.id for each in known if any(truly_names(told, each) for told in events)}
        for table, rows in now.items():
            for key, row in rows.items():
                about = {"payment": key, "stripe_refund": row.get("payment_id")}.get(table)
                if row != ledger.before[table].get(key):
                    assert about in named, in_words(table, row, ledger.before[table].get(key, {}), events)
                    applied[table] += 1
        for table, rows in ledger.before.items():
            assert rows.keys() <= now[table].keys()
        for key, row in now["payment"].items():
            assert {name: row[name] for name in FROZEN} == {
                name: ledger.before["payment"][key][name] for name in FROZEN
            }
            assert 0 <= row["amount_refunded"] <= row["amount"]
        kept = [(row.scope, row.event_id, row.status) for row in stage.rows()]
        assert len(kept) == len({(told.sent.signer, told.event["id"]) for told in events})
        assert {status for _, _, status in kept} <= {"processed", "parked"}

    examples, first, runs, began = events_about(known), seed(), 0, time.monotonic()
    while sent < EVENTS:
        try_some(tell_all, examples, first + runs)
        runs += 1
    seconds = time.monotonic() - began
    assert applied.keys() == {"payment", "stripe_refund"} or sent < MANY, "Some of it was true."
    tell(
        capsys,
        f"{sent} signed events about absurd objects in {seconds:.1f} s, {sent / seconds:.0f} a second; "
        f"rows changed by what was true after all: {dict(applied)} (SEED={first})",
    )
