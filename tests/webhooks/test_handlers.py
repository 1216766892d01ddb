"""The host's handlers: in the inbox's transaction, as the event's tenant, and again after a failure."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import mapped_column

from flask_valetpro_stripe import AccountType, Mode, current_stripe, current_tenant, errors, payments, signals
from flask_valetpro_stripe.testing import make_event
from tests.engines.box import Box
from tests.webhooks.objects import session

from .stage import PLAZA, SEASIDE, TAKEN, Stage, answer, make_stage, ping

FAILED = (500, "A handler failed. Deliver the event again.")


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    with make_stage(database_url, own_models=True) as stage:
        yield stage


@pytest.fixture
def notes(stage: Stage) -> Any:
    """A table of the host's own."""
    Model: Any = stage.host.db.Model

    class Note(Model):  # type: ignore[misc]
        id = mapped_column(sa.Integer, primary_key=True)
        text = mapped_column(sa.String(255), unique=True)

    with stage.host.app.app_context():
        stage.host.db.create_all()
    return Note


def written(stage: Stage, notes: Any) -> list[str]:
    """Return the texts of the host's table."""
    with stage.host.app.app_context():
        return list(stage.host.db.session.scalars(sa.select(notes.text).order_by(notes.id)))


@contextmanager
def hearing(stage: Stage, *names: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Collect what the app tells by these signals."""
    heard: list[tuple[str, dict[str, Any]]] = []
    receivers = []
    for name in names:

        def hear(app: Any, _name: str = name, **facts: Any) -> None:
            heard.append((_name, facts))

        receivers.append(hear)
        getattr(signals, name).connect(hear, sender=stage.host.app)
    yield heard


@pytest.mark.oldest
@pytest.mark.both
def test_a_handlers_writes_commit_with_the_event(stage: Stage, notes: Any) -> None:
    @stage.host.valetpro.on("customer.created")
    def write(event: Any) -> None:
        stage.host.db.session.add(notes(text=event.event_id))

    stage.deliver(ping(id="evt_1"))

    assert written(stage, notes) == ["evt_1"]


def test_a_handler_gets_the_event_of_the_contract(stage: Stage) -> None:
    seen: dict[str, Any] = {}

    @stage.host.valetpro.on("customer.created")
    def look(event: Any) -> None:
        names = "event_id type mode account_id tenant_id connection_id payload object attempts error processed_at"
        seen.update({name: getattr(event, name) for name in [*names.split(), "received_at", "status"]})

    event = ping(id="evt_1")
    stage.deliver(event)

    assert seen["payload"] == event
    assert seen["object"] == {"id": "cus_1", "object": "customer"}
    assert (seen["event_id"], seen["type"], seen["mode"]) == ("evt_1", "customer.created", Mode.test)
    assert (seen["account_id"], seen["tenant_id"], seen["attempts"]) == (PLAZA, stage.plaza.id, 1)
    assert seen["received_at"].tzinfo is not None
    assert seen["error"] is None


def test_handlers_of_the_type_run_before_those_of_all_and_only_for_their_type(stage: Stage) -> None:
    ran: list[str] = []
    on = stage.host.valetpro.on
    on("*")(lambda event: ran.append("all"))
    on("customer.created")(lambda event: ran.append("first"))
    on("customer.deleted")(lambda event: ran.append("other"))
    on("customer.created")(lambda event: ran.append("second"))

    stage.deliver(ping())

    assert ran == ["first", "second", "all"]


@pytest.mark.oldest
@pytest.mark.both
def test_a_handler_that_raises_takes_everything_back_and_is_run_again(stage: Stage, notes: Any) -> None:
    """Ours, the host's before it and its own: all of one event is written, or nothing of it."""
    payment = stage.make_payment(stage.plaza)
    broken = True
    on = stage.host.valetpro.on

    @on("checkout.session.completed")
    def before(event: Any) -> None:
        stage.host.db.session.add(notes(text=f"before, {event.attempts}"))

    @on("checkout.session.completed")
    def raises(event: Any) -> None:
        stage.host.db.session.add(notes(text=f"itself, {event.attempts}"))
        stage.host.db.session.flush()
        if broken:
            raise LookupError("The printer is on fire, whsec_" + "a" * 32)

    event = make_event("checkout.session.completed", session(payment), account=PLAZA, id="evt_1")
    for attempt in (1, 2):
        assert answer(stage.deliver(event)) == FAILED
        assert stage.payment(payment).status == "PENDING"
        assert written(stage, notes) == []
        row = stage.row()
        assert (row.status, row.attempts) == ("failed", attempt)
        assert row.error == "LookupError: The printer is on fire, …"
        assert row.processed_at is None
        assert row.tenant_id == stage.plaza.id

    broken = False
    assert answer(stage.deliver(event)) == TAKEN
    assert stage.payment(payment).status == "COMPLETED"
    assert written(stage, notes) == ["before, 3", "itself, 3"]
    row = stage.row()
    assert (row.status, row.attempts, row.error) == ("processed", 3, None)
    assert row.processed_at is not None

    assert answer(stage.deliver(event)) == TAKEN
    assert written(stage, notes) == ["before, 3", "itself, 3"]


@pytest.mark.oldest
@pytest.mark.both
def test_a_write_that_the_database_refuses_is_a_failed_handler(stage: Stage, notes: Any) -> None:
    @stage.host.valetpro.on("customer.created")
    def write_twice(event: Any) -> None:
        stage.host.db.session.add_all([notes(text="same"), notes(text="same")])

    assert answer(stage.deliver(ping())) == FAILED
    assert written(stage, notes) == []
    assert (stage.row().status, stage.row().error.split(":")[0]) == ("failed", "IntegrityError")


@pytest.mark.oldest
@pytest.mark.both
def test_a_handler_that_commits_on_its_own_and_then_fails_is_run_again(stage: Stage) -> None:
    """The calls of payments commit, so a handler that makes a payment does; what follows must not get lost."""
    made: list[str] = []
    broken = True

    @stage.host.valetpro.on("customer.created")
    def make_a_payment(event: Any) -> None:
        payment = payments.create_payment_link(
            amount=500, currency="eur", description="Deposit", idempotency_key=f"deposit for {event.event_id}"
        )
        made.append(payment.stripe_payment_link_id)
        if broken:
            raise ValueError("The mail server is away.")

    event = ping(id="evt_1")
    for tries in (1, 2):
        assert answer(stage.deliver(event)) == FAILED
        # What is committed with the handler's own writes is counted once all the same.
        assert (stage.row().status, stage.row().attempts) == ("failed", tries)

    broken = False
    assert answer(stage.deliver(event)) == TAKEN
    assert (stage.row().status, stage.row().attempts, stage.row().error) == ("processed", 3, None)
    assert len(made) == 3
    assert len(set(made)) == 1


@pytest.mark.both
@pytest.mark.parametrize("is_stored", [False, True], ids=["inline", "stored"])
def test_a_refused_refund_that_a_handler_knows_how_to_take_is_no_failure(stage: Stage, is_stored: bool) -> None:
    payment, other = stage.make_payment(stage.plaza), stage.make_payment(stage.seaside)
    with stage.events_while() as paying:
        stage.simulator.pay(payment.stripe_payment_link_url)
    refused: list[str] = []

    @stage.host.valetpro.on("checkout.session.completed")
    def give_more_back(event: Any) -> None:
        stage.host.tenant(event.tenant_id).name += "!"
        try:
            payments.refund(stage.host.db.session.get_one(stage.host.Payment, payment.id), amount=9999)
        except errors.RefundError as error:
            refused.append(error.code)

    event = paying.of("checkout.session.completed")
    if is_stored:
        box = Box(stage)
        box.put(event)
        assert box.drain() == {"processed": 1}
    else:
        assert answer(stage.deliver(event)) == TAKEN

    assert refused == ["refund_too_large"]
    assert (stage.row().status, stage.row().attempts, stage.row().error) == ("processed", 1, None)
    with stage.host.app.app_context():
        assert stage.host.tenant(stage.plaza.id).name == "Plaza!"
    assert (stage.payment(payment).status, stage.payment(other).status) == ("COMPLETED", "PENDING")


@pytest.mark.both
@pytest.mark.parametrize("text", ["a null \0 character", "half a \ud83d sign", "x" * 5000, ""], ids=range(4))
def test_whatever_an_error_says_is_recorded(stage: Stage, text: str, caplog: pytest.LogCaptureFixture) -> None:
    # Half a sign in the log is more than pytest-xdist can send.
    caplog.set_level(logging.CRITICAL, "flask_valetpro_stripe.webhooks.inbox")

    @stage.host.valetpro.on("customer.created")
    def fail(event: Any) -> None:
        raise ValueError(text)

    assert answer(stage.deliver(ping())) == FAILED
    row = stage.row()
    assert (row.status, row.attempts) == ("failed", 1)
    assert row.error.startswith("ValueError")
    assert len(row.error) <= 500


@pytest.mark.oldest
@pytest.mark.both
def test_a_failure_of_one_event_does_not_hold_up_others(stage: Stage) -> None:
    @stage.host.valetpro.on("*")
    def fail(event: Any) -> None:
        if event.event_id == "evt_poison":
            raise ValueError

    assert answer(stage.deliver(ping(id="evt_poison"))) == FAILED
    assert answer(stage.deliver(ping(id="evt_2"))) == TAKEN
    assert answer(stage.deliver(ping(id="evt_poison"))) == FAILED
    assert [(row.event_id, row.status) for row in stage.rows()] == [("evt_poison", "failed"), ("evt_2", "processed")]


# -- who the tenant is


def test_a_handler_works_on_the_connection_of_the_event_even_if_the_tenant_now_works_in_another_mode(
    stage: Stage,
) -> None:
    seen: dict[str, Any] = {}
    stage.simulator.connect(PLAZA, livemode=True)
    stage.host.connect(stage.plaza, PLAZA, Mode.live)
    with stage.host.app.app_context():
        stage.host.tenant(stage.plaza.id).stripe_mode = Mode.live
        stage.host.db.session.commit()

    @stage.host.valetpro.on("customer.created")
    def look(event: Any) -> None:
        seen.update(
            tenant=current_tenant.name,
            tenants_mode=current_tenant.stripe_mode,
            mode=current_stripe.mode,
            account_id=current_stripe.account_id,
            status=current_stripe.status,
            account_type=current_stripe.account_type,
        )
        current_stripe.client.v1.customers.list({"limit": 1})

    assert answer(stage.deliver(ping())) == TAKEN
    assert seen == {
        "tenant": "Plaza",
        "tenants_mode": "live",
        "mode": "test",
        "account_id": PLAZA,
        "status": "CONNECTED",
        "account_type": "CONNECT_STANDARD",
    }
    asked = stage.simulator.requests[-1]
    assert (asked.api_key, asked.stripe_account) == (stage.simulator.platform.test_secret_key, PLAZA)


def test_a_handler_works_on_the_account_of_the_event_even_if_the_tenant_has_moved_on(stage: Stage) -> None:
    seen: list[str | None] = []
    stage.simulator.create_account("New", id="acct_new")
    stage.simulator.connect("acct_new")
    stage.host.connect(stage.plaza, "acct_new")
    stage.host.valetpro.on("customer.created")(lambda event: seen.append(current_stripe.account_id))

    stage.deliver(ping(account=PLAZA))
    stage.deliver(ping(account="acct_new"))

    assert seen == [PLAZA, "acct_new"]


def test_a_handler_of_a_platform_event_has_neither_tenant_nor_stripe(stage: Stage) -> None:
    stage.host.connect(stage.plaza, None, account_type=AccountType.PLATFORM)
    seen: list[Any] = []

    @stage.host.valetpro.on("customer.created")
    def look(event: Any) -> None:
        seen.append(bool(current_tenant))
        for ask in (lambda: current_tenant.name, lambda: current_stripe.client):
            with pytest.raises(errors.NoTenantError):
                ask()

    assert answer(stage.deliver(ping(account=None), headers={"X-Tenant": str(stage.plaza.id)})) == TAKEN
    assert seen == [False]


# -- signals


def test_a_handler_that_wants_a_tenant_of_a_platform_event_is_told_what_to_ask(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    @stage.host.valetpro.on("customer.created")
    def greet(event: Any) -> None:
        str(current_tenant.name)

    assert answer(stage.deliver(ping(account=None))) == FAILED
    assert "NoTenantError: No tenant here: this is an event of the platform's own account" in stage.row().error
    assert answer(stage.deliver(ping())) == TAKEN


@pytest.mark.oldest
@pytest.mark.both
def test_the_host_is_told_after_the_commit_and_only_then(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    heard: list[tuple[str, str]] = []

    def look(*_: Any, **facts: Any) -> None:
        with stage.host.db.engine.connect() as another:
            status = another.scalar(sa.select(stage.host.Payment.__table__.c.status))
        heard.append((facts["tenant"].name, status))

    with signals.payment_updated.connected_to(look, sender=stage.host.app):
        stage.deliver(make_event("checkout.session.completed", session(payment), account=PLAZA))

    assert heard == [("Plaza", "COMPLETED")]


def test_each_outcome_has_its_signal(stage: Stage) -> None:
    @stage.host.valetpro.on("invoice.paid")
    def fail(event: Any) -> None:
        raise ValueError("No.")

    names = ("webhook_received", "webhook_parked", "webhook_failed", "payment_updated")
    with hearing(stage, *names) as heard:
        for _ in range(2):
            stage.deliver(ping(id="evt_1"))
            stage.deliver(ping(id="evt_2", account="acct_nobody"))
        stage.deliver(ping("invoice.paid", id="evt_3"))

    told = [(name, getattr(facts.get("event"), "event_id", None) or facts["event_id"]) for name, facts in heard]
    assert told == [("webhook_received", "evt_1"), ("webhook_parked", "evt_2"), ("webhook_failed", "evt_3")]
    assert heard[-1][1]["error"] == "ValueError: No."


def test_a_failed_event_tells_nothing_but_its_failure(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)

    @stage.host.valetpro.on("checkout.session.completed")
    def fail(event: Any) -> None:
        raise ValueError

    with hearing(stage, "payment_updated", "webhook_received", "webhook_failed") as heard:
        stage.deliver(make_event("checkout.session.completed", session(payment), account=PLAZA))

    assert [name for name, _ in heard] == ["webhook_failed"]


@pytest.mark.oldest
@pytest.mark.both
@pytest.mark.parametrize("name", ["webhook_received", "webhook_parked", "payment_updated"])
def test_a_listener_that_raises_changes_neither_the_answer_nor_what_others_hear(stage: Stage, name: str) -> None:
    payment = stage.make_payment(stage.plaza)
    heard: list[str] = []

    def fail(*_: Any, **__: Any) -> None:
        # A broken transaction must not spoil the next listener's either.
        stage.host.db.session.execute(sa.text("SELECT nothing FROM nowhere"))

    with (
        getattr(signals, name).connected_to(fail, sender=stage.host.app),
        signals.payment_updated.connected_to(
            lambda *_, **facts: heard.append(facts["tenant"].name), sender=stage.host.app
        ),
    ):
        account = "acct_nobody" if name == "webhook_parked" else PLAZA
        response = stage.deliver(make_event("checkout.session.completed", session(payment), account=account))

    assert answer(response) == TAKEN
    if name == "webhook_received":
        assert heard == ["Plaza"]
    assert stage.payment(payment).status == ("PENDING" if name == "webhook_parked" else "COMPLETED")


def test_a_listener_that_raises_does_not_hide_a_failure(stage: Stage) -> None:
    @stage.host.valetpro.on("customer.created")
    def fail(event: Any) -> None:
        raise ValueError("The true reason.")

    def fail_too(*_: Any, **__: Any) -> None:
        raise LookupError

    with signals.webhook_failed.connected_to(fail_too, sender=stage.host.app):
        assert answer(stage.deliver(ping())) == FAILED

    assert (stage.row().status, stage.row().error) == ("failed", "ValueError: The true reason.")


def test_a_listener_is_never_told_in_the_name_of_the_hosts_own_tenant(stage: Stage) -> None:
    """The request is Stripe's: whom the host's loader takes it for has nothing to do with the event."""
    heard: list[str | None] = []

    def look(*_: Any, **__: Any) -> None:
        heard.append(current_tenant.name if current_tenant else None)

    with signals.webhook_received.connected_to(look, sender=stage.host.app):
        stage.deliver(ping(account=SEASIDE), headers={"X-Tenant": str(stage.plaza.id)})
        stage.deliver(ping(account=None), headers={"X-Tenant": str(stage.plaza.id)})

    assert heard == ["Seaside", None]


def test_after_the_webhook_no_tenant_is_left_behind(stage: Stage) -> None:
    stage.deliver(ping())

    with stage.host.app.test_request_context():
        assert not current_tenant


@pytest.mark.oldest
@pytest.mark.both
def test_a_handler_that_rolls_the_session_back_is_told_so_and_run_again(stage: Stage, notes: Any) -> None:
    rolling_back = [True, False]

    @stage.host.valetpro.on("customer.created")
    def write(event: Any) -> None:
        if rolling_back.pop(0):
            stage.host.db.session.rollback()
        else:
            stage.host.db.session.add(notes(text=event.event_id))

    event = ping(account=PLAZA)

    assert answer(stage.deliver(event)) == FAILED
    assert (stage.row().status, stage.row().attempts) == ("failed", 1)
    assert "Use db.session.begin_nested()." in stage.row().error
    assert answer(stage.deliver(event)) == TAKEN
    assert written(stage, notes) == [event["id"]]


@pytest.mark.oldest
@pytest.mark.both
def test_a_savepoint_that_a_handler_rolls_back_takes_nothing_else_along(stage: Stage, notes: Any) -> None:
    @stage.host.valetpro.on("customer.created")
    def write(event: Any) -> None:
        stage.host.db.session.add(notes(text="kept"))
        nested = stage.host.db.session.begin_nested()
        stage.host.db.session.add(notes(text="not kept"))
        nested.rollback()

    assert answer(stage.deliver(ping())) == (200, "Taken.")
    assert (stage.row().status, written(stage, notes)) == ("processed", ["kept"])


def test_an_error_that_cannot_be_read_is_recorded_all_the_same(stage: Stage) -> None:
    class Unreadable(Exception):
        def __str__(self) -> str:
            raise KeyError("reason")

    @stage.host.valetpro.on("customer.created")
    def fail(event: Any) -> None:
        raise Unreadable

    assert stage.deliver(ping()).status_code == 500
    row = stage.row()
    assert (row.status, row.error) == ("failed", "Unreadable: (its text cannot be read)")


@pytest.mark.oldest
@pytest.mark.both
def test_an_error_of_the_database_is_kept_without_what_was_written(stage: Stage, notes: Any) -> None:
    @stage.host.valetpro.on("customer.created")
    def write_twice(event: Any) -> None:
        stage.host.db.session.execute(sa.insert(notes).values(text="+33612345678"))
        stage.host.db.session.execute(sa.insert(notes).values(id=None, text="+33612345678"))

    assert answer(stage.deliver(ping(account=PLAZA))) == FAILED
    assert stage.row().error.startswith("IntegrityError: ")
    assert "parameters" not in stage.row().error
