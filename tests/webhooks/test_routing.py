"""Whose event is it? The endpoint decides; the body may only name an account that the endpoint may speak about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flask_valetpro_stripe import AccountType, Mode, OnboardingStatus, connections
from flask_valetpro_stripe.onboarding import status
from flask_valetpro_stripe.testing import make_event
from tests.webhooks.stage import TAKEN, seen_by_handlers

from .stage import PLAZA, SEASIDE, Stage, answer, make_stage, ping


@pytest.mark.oldest
@pytest.mark.both
def test_an_event_of_a_connected_account_is_its_tenants(stage: Stage) -> None:
    seen = seen_by_handlers(stage)

    stage.deliver(ping(id="evt_1", account=PLAZA))
    stage.deliver(ping(id="evt_2", account=SEASIDE))

    assert seen == [("evt_1", "Plaza"), ("evt_2", "Seaside")]
    first, second = stage.rows()
    assert (first.tenant_id, first.account_id, first.status) == (stage.plaza.id, PLAZA, "processed")
    assert (second.tenant_id, second.account_id, second.scope) == (stage.seaside.id, SEASIDE, "platform:test:connect")
    assert first.connection_id != second.connection_id
    assert first.error is None
    assert first.processed_at >= first.received_at


@pytest.mark.parametrize("forged", [SEASIDE, "acct_nobody", "", "é", "x" * 3000])
def test_a_stripe_account_header_changes_nothing(stage: Stage, forged: str) -> None:
    payment = stage.make_payment(stage.plaza)
    other = stage.make_payment(stage.seaside)
    with stage.events_while() as paying:
        stage.simulator.pay(payment.stripe_payment_link_url)
    seen = seen_by_handlers(stage)

    response = stage.deliver(paying.of("checkout.session.completed"), headers={"Stripe-Account": forged})

    assert answer(response) == TAKEN
    row = stage.row()
    assert (row.tenant_id, row.account_id, row.status) == (stage.plaza.id, PLAZA, "processed")
    assert seen == [(row.event_id, "Plaza")]
    assert stage.payment(payment).status == "COMPLETED"
    assert stage.payment(other).status == "PENDING"


def test_a_stripe_account_header_does_not_make_a_platform_event_a_tenants(stage: Stage) -> None:
    seen = seen_by_handlers(stage)

    stage.deliver(ping(account=None), headers={"Stripe-Account": PLAZA})

    assert stage.row().tenant_id is None
    assert [tenant for _, tenant in seen] == [None]


def test_an_event_that_comes_again_in_another_way_is_handled_as_it_came_then(stage: Stage) -> None:
    """Found by absurd events: one that named no account, and later one, ran with the first body as nobody's."""
    payment = stage.make_payment(stage.plaza)
    first = ping(id="evt_twice", account=None)
    again = ping(id="evt_twice")
    seen = seen_by_handlers(stage)

    stage.deliver(first, connect=True)
    assert (stage.row().status, seen) == ("parked", [])
    stage.deliver(again)

    row = stage.row()
    assert (row.status, row.tenant_id, row.account_id) == ("processed", stage.plaza.id, PLAZA)
    assert row.payload == again
    assert [tenant for _, tenant in seen] == ["Plaza"]
    assert stage.payment(payment).status == "PENDING"


@pytest.mark.parametrize(
    "account, connect, why",
    [
        (PLAZA, False, "It names an account, but is signed with a secret of the platform's own account."),
        (None, True, "It names no account, but came by the endpoint for connected accounts."),
    ],
)
def test_only_the_connect_endpoint_may_name_an_account(
    stage: Stage, account: str | None, connect: bool, why: str
) -> None:
    seen = seen_by_handlers(stage)

    response = stage.deliver(ping(account=account), connect=connect)

    assert answer(response) == TAKEN
    row = stage.row()
    assert (row.status, row.error, row.tenant_id, row.connection_id) == ("parked", why, None, None)
    assert row.processed_at is None
    assert seen == []


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("account", [PLAZA, None])
def test_an_event_of_the_other_mode_than_its_endpoint_is_only_kept(
    stage: Stage, mode: Mode, account: str | None
) -> None:
    """A live Connect endpoint gets the test events of its accounts too."""
    seen = seen_by_handlers(stage)
    stage.host.connect(stage.plaza, PLAZA, Mode.live)

    response = stage.deliver(ping(account=account, livemode=not mode.livemode), mode=mode)

    assert answer(response) == TAKEN
    row = stage.row()
    assert (row.status, row.error) == ("parked", "It is of the other mode than its endpoint.")
    assert (row.mode, row.tenant_id) == (Mode.of(not mode.livemode), None)
    assert seen == []


def test_an_account_is_connected_in_one_mode_only(stage: Stage) -> None:
    response = stage.deliver(ping(livemode=True))

    assert answer(response) == TAKEN
    assert (stage.row().status, stage.row().error) == ("parked", "No tenant has this account.")


@pytest.mark.oldest
@pytest.mark.both
def test_the_same_account_in_both_modes_keeps_its_worlds_apart(stage: Stage) -> None:
    live = stage.host.connect(stage.plaza, PLAZA, Mode.live)

    stage.deliver(ping(livemode=True))

    assert (stage.row().connection_id, stage.row().mode) == (live.id, "live")


@pytest.mark.oldest
@pytest.mark.both
def test_the_event_of_an_unknown_account_is_kept_for_audit(stage: Stage) -> None:
    seen = seen_by_handlers(stage)
    event = ping(account="acct_nobody")

    assert answer(stage.deliver(event)) == TAKEN
    row = stage.row()
    assert (row.status, row.error, row.account_id) == ("parked", "No tenant has this account.", "acct_nobody")
    assert row.tenant_id is None
    assert row.payload == event
    assert seen == []


@pytest.mark.oldest
@pytest.mark.both
def test_a_parked_event_that_is_delivered_again_finds_the_tenant_that_has_connected_since(stage: Stage) -> None:
    seen = seen_by_handlers(stage)
    event = ping(account="acct_new")
    stage.deliver(event)
    stage.simulator.create_account("New", id="acct_new")
    stage.host.connect(stage.plaza, "acct_new")

    assert answer(stage.deliver(event)) == TAKEN
    row = stage.row()
    assert (row.status, row.error, row.tenant_id, row.attempts) == ("processed", None, stage.plaza.id, 2)
    assert seen == [(event["id"], "Plaza")]


@pytest.mark.parametrize("account_type", [AccountType.RAW_KEYS, AccountType.PLATFORM])
def test_the_account_of_a_pasted_key_proves_nothing_at_the_platforms_endpoint(
    stage: Stage, account_type: AccountType
) -> None:
    stage.host.connect(stage.plaza, "acct_raw", account_type=account_type)

    stage.deliver(ping(account="acct_raw"))

    assert (stage.row().status, stage.row().tenant_id) == ("parked", None)


def test_a_revoked_tenant_keeps_the_row_and_runs_no_handler(stage: Stage) -> None:
    seen = seen_by_handlers(stage)
    with stage.host.app.app_context():
        connections.disconnect(stage.host.state, stage.host.tenant(stage.plaza.id), Mode.test, actor="tests")

    assert answer(stage.deliver(ping())) == TAKEN
    row = stage.row()
    assert (row.status, row.tenant_id) == ("parked", stage.plaza.id)
    assert row.error == "The tenant has disconnected this account."
    assert seen == []


def test_a_tenant_that_reconnected_gets_its_events_on_the_new_connection(stage: Stage) -> None:
    with stage.host.app.app_context():
        connections.disconnect(stage.host.state, stage.host.tenant(stage.plaza.id), Mode.test, actor="tests")
    connection = stage.host.connect(stage.plaza, PLAZA)

    stage.deliver(ping())

    assert (stage.row().status, stage.row().connection_id) == ("processed", connection.id)


@pytest.mark.oldest
@pytest.mark.both
def test_an_account_that_moved_to_another_tenant_takes_no_old_payments_along(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    with stage.events_while() as paying:
        stage.simulator.pay(payment.stripe_payment_link_url)
    with stage.host.app.app_context():
        connections.disconnect(stage.host.state, stage.host.tenant(stage.plaza.id), Mode.test, actor="tests")
    stage.host.connect(stage.seaside, PLAZA)

    stage.deliver(paying.of("checkout.session.completed"))

    assert stage.row().status == "parked"
    assert stage.row().tenant_id == stage.plaza.id
    assert (stage.payment(payment).status, stage.payment(payment).tenant_id) == ("PENDING", stage.plaza.id)


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "inline"])
@pytest.mark.parametrize("parked", [True, False], ids=["parked", "failed"])
def test_an_event_that_came_for_one_tenant_never_becomes_anothers(stage: Stage, stored: bool, parked: bool) -> None:
    """Plaza's account is Seaside's by the time that Stripe delivers the event again."""
    if not parked:
        stage.host.valetpro.on("customer.created")(lambda event: 1 / 0)
        assert stage.deliver(ping(id="evt_1")).status_code == 500
    with stage.host.app.app_context():
        connections.disconnect(stage.host.state, stage.host.tenant(stage.plaza.id), Mode.test, actor="tests")
    stage.deliver(ping(id="evt_1"))
    stage.host.connect(stage.seaside, PLAZA)
    seen = seen_by_handlers(stage)
    stage.host.state.enqueue = (lambda *_: None) if stored else None

    assert answer(stage.deliver(ping(id="evt_1"))) == TAKEN
    assert (stage.row().tenant_id, stage.row().status) == (stage.plaza.id, "parked" if parked else "failed")
    assert seen == []
    stage.deliver(ping(id="evt_2"))
    assert stage.rows()[1].tenant_id == stage.seaside.id


@pytest.mark.oldest
@pytest.mark.both
def test_a_duplicate_is_answered_and_changes_nothing(stage: Stage) -> None:
    seen = seen_by_handlers(stage)
    event = ping()

    answers = [answer(stage.deliver(event)) for _ in range(3)]

    assert answers == [TAKEN] * 3
    assert len(seen) == 1
    assert (stage.row().status, stage.row().attempts) == ("processed", 1)


@pytest.mark.oldest
@pytest.mark.both
def test_the_same_event_id_by_two_endpoints_is_two_events(stage: Stage) -> None:
    """Otherwise whoever may sign for one endpoint could use up the ids of another."""
    seen = seen_by_handlers(stage)

    stage.deliver(ping(id="evt_same", account=PLAZA))
    stage.deliver(ping(id="evt_same", account=None))
    stage.deliver(ping(id="evt_same", account=None, livemode=True))

    assert [tenant for _, tenant in seen] == ["Plaza", None, None]
    assert [row.scope for row in stage.rows()] == [
        "platform:test:connect",
        "platform:test:account",
        "platform:live:account",
    ]


@pytest.mark.oldest
@pytest.mark.both
def test_a_platforms_own_event_has_no_tenant_even_when_the_host_would_name_one(stage: Stage) -> None:
    seen = seen_by_handlers(stage)

    stage.deliver(ping(account=None), headers={"X-Tenant": str(stage.plaza.id)})

    assert [tenant for _, tenant in seen] == [None]
    assert (stage.row().tenant_id, stage.row().connection_id, stage.row().status) == (None, None, "processed")


def test_the_hosts_tenant_loader_has_no_say_in_whose_an_event_is(stage: Stage) -> None:
    seen = seen_by_handlers(stage)

    stage.deliver(ping(account=SEASIDE), headers={"X-Tenant": str(stage.plaza.id)})

    assert [tenant for _, tenant in seen] == ["Seaside"]


# -- one account for several tenants (ALLOW_SHARED_ACCOUNTS)


@pytest.fixture
def group(database_url: str) -> Any:
    """A hotel group: Plaza and Seaside share Plaza's account."""
    with make_stage(database_url, ALLOW_SHARED_ACCOUNTS=True) as stage:
        stage.host.connect(stage.seaside, PLAZA)
        yield stage


@pytest.mark.oldest
@pytest.mark.both
def test_on_a_shared_account_the_payment_tells_whose_event_it_is(group: Stage) -> None:
    seen = seen_by_handlers(group)
    ours, theirs = group.make_payment(group.seaside), group.make_payment(group.plaza)
    with group.events_while() as paying:
        group.simulator.pay(ours.stripe_payment_link_url)
    for event in paying.made:
        group.deliver(event)

    assert (group.payment(ours).status, group.payment(theirs).status) == ("COMPLETED", "PENDING")
    assert ("Seaside" in dict(seen).values(), "Plaza" in dict(seen).values()) == (True, False)


def test_on_a_shared_account_an_event_of_the_account_itself_is_nobodys(group: Stage) -> None:
    seen = seen_by_handlers(group)

    assert answer(group.deliver(ping("payout.paid"))) == TAKEN
    assert [tenant for _, tenant in seen] == [None]
    assert (group.row().status, group.row().tenant_id) == ("processed", None)


@pytest.mark.oldest
@pytest.mark.both
def test_news_of_a_shared_account_reach_every_tenant_that_has_it(group: Stage) -> None:
    with group.events_while() as updating:
        group.simulator.update_account(PLAZA, charges_enabled=False)

    assert answer(group.deliver(updating.of("account.updated"))) == TAKEN
    current = [row.status for row in group.rows("Connection") if row.account_id == PLAZA]
    assert current == ["PENDING", "PENDING"]


def test_when_one_tenant_of_a_shared_account_leaves_the_other_gets_its_events(group: Stage) -> None:
    seen = seen_by_handlers(group)
    with group.host.app.app_context():
        connections.disconnect(group.host.state, group.host.tenant(group.plaza.id), Mode.test, actor="tests")

    group.deliver(ping())

    assert [tenant for _, tenant in seen] == ["Seaside"]


def test_news_of_an_account_are_asked_from_stripe_not_believed(stage: Stage) -> None:
    """An event may be older than what we know: its body is only a hint to ask."""
    stale = make_event("account.updated", {"id": PLAZA, "object": "account", "charges_enabled": False}, account=PLAZA)

    assert answer(stage.deliver(stale)) == TAKEN
    assert {row.status for row in stage.rows("Connection")} == {"CONNECTED"}
    asked = stage.simulator.requests[-1]
    assert (asked.method, asked.path, asked.stripe_account) == ("GET", "/v1/account", PLAZA)


@pytest.mark.oldest
@pytest.mark.both
def test_an_answer_to_an_earlier_question_does_not_overwrite_a_later_one(stage: Stage) -> None:
    connection = stage.rows("Connection")[0]
    waiting, ready = ({"id": connection.account_id, "charges_enabled": able} for able in (False, True))
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)

    status.apply_account(connection, waiting, early)
    assert status.apply_account(connection, ready, late)
    assert not status.apply_account(connection, waiting, early)
    assert connection.status == "CONNECTED"


@pytest.mark.parametrize("odd", [{}, {"charges_enabled": True}, {"id": "acct_other", "charges_enabled": True}])
def test_an_answer_about_another_account_changes_nothing(stage: Stage, odd: dict[str, Any]) -> None:
    connection = stage.rows("Connection")[0]
    connection.status = OnboardingStatus.PENDING

    assert not status.apply_account(connection, odd, datetime(2126, 1, 1, tzinfo=UTC))
    assert connection.status == "PENDING"


@pytest.mark.parametrize("able", [None, "false", "true", 1])
def test_only_what_stripe_says_plainly_makes_an_account_ready(stage: Stage, able: Any) -> None:
    connection = stage.rows("Connection")[0]
    answer = {"id": connection.account_id, "charges_enabled": able}

    assert not status.apply_account(connection, answer, datetime(2126, 1, 1, tzinfo=UTC))
    assert connection.status == "PENDING"
