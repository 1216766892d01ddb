"""Events that never arrived are found in Stripe's list, and end where their delivery would have ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flask_valetpro_stripe import AccountType, Mode
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.testing import RATE_LIMIT, SERVER_ERROR, CardDeclined, Simulator
from flask_valetpro_stripe.webhooks import missed
from flask_valetpro_stripe.webhooks.missed import Bounds
from tests.hosts import Host
from tests.payments.desk import Desk, rows
from tests.raw_keys.owner import Crash, Owner, put_transport
from tests.reconcile.stage import EVENTS, age, connections_of, dashboard, inbox, listed, look, lose_deliveries, run


def is_paid(desk: Desk, payment: Any) -> None:
    desk.simulator.pay(payment.stripe_payment_link_url)


def is_declined_and_paid(desk: Desk, payment: Any) -> None:
    with pytest.raises(CardDeclined):
        desk.simulator.pay(payment.stripe_payment_link_url, card="4000000000000002")
    is_paid(desk, payment)


def is_debited_in_vain(desk: Desk, payment: Any) -> None:
    session = desk.simulator.pay(payment.stripe_payment_link_url, card="bank_debit")
    desk.simulator.settle(session["id"], succeeded=False)


def is_given_back_in_the_dashboard(desk: Desk, payment: Any) -> None:
    session = desk.simulator.pay(payment.stripe_payment_link_url)
    client = dashboard(desk.simulator, str(desk.account))
    client.v1.refunds.create({"payment_intent": session["payment_intent"], "amount": 1000})
    last = client.v1.refunds.create({"payment_intent": session["payment_intent"], "amount": 500})
    desk.simulator.settle(last.id, succeeded=False)


def end_of(desk: Desk, payment: Any) -> dict[str, Any]:
    """What the end of a payment is, apart from its own ids and times."""
    now = desk.now(payment)
    known = ("paid_at", "receipt_url", "stripe_charge_id", "stripe_payment_intent_id", "stripe_checkout_session_id")
    same = ("status", "amount", "amount_refunded")
    ends = {name: getattr(now, name) is not None for name in known} | {name: getattr(now, name) for name in same}
    refunds = rows(desk.host, desk.host.valetpro.models.Refund, payment_id=payment.id)
    return ends | {"refunds": [(refund.amount, refund.status) for refund in refunds]}


@pytest.mark.both
@pytest.mark.parametrize("happens", [is_paid, is_declined_and_paid, is_debited_in_vain, is_given_back_in_the_dashboard])
def test_what_was_lost_ends_as_what_was_delivered(
    host: Host, plaza: Desk, seaside: Desk, simulator: Simulator, happens: Callable[[Desk, Any], None]
) -> None:
    delivered, lost = plaza.make(), seaside.make()
    happens(plaza, delivered)
    simulator.deliver_all(host.app)
    happens(seaside, lost)
    lose_deliveries(host, simulator)
    assert seaside.now(lost).status == "PENDING"

    result = run(host)

    assert (result.exit_code, result.stderr) == (0, "")
    assert end_of(seaside, lost) == end_of(plaza, delivered)
    assert {row.tenant_id for row in inbox(host, account_id=seaside.account, status="processed")} == {seaside.tenant.id}


def test_an_event_that_was_delivered_is_not_taken_in_again(host: Host, plaza: Desk, simulator: Simulator) -> None:
    seen: list[str] = []
    host.valetpro.on("checkout.session.completed")(lambda event: seen.append(event.event_id))
    simulator.pay(plaza.make().stripe_payment_link_url)
    simulator.deliver_all(host.app)
    before = [(row.scope, row.event_id) for row in inbox(host)]

    assert "missed events taken in: 0" in run(host).output
    assert [(row.scope, row.event_id) for row in inbox(host)] == before
    assert len(seen) == 1


def test_an_event_that_is_delivered_after_all_does_nothing(host: Host, plaza: Desk, simulator: Simulator) -> None:
    seen: list[str] = []
    host.valetpro.on("checkout.session.completed")(lambda event: seen.append(event.event_id))
    simulator.pay(plaza.make().stripe_payment_link_url)
    look(host)
    before = {row.event_id: row.processed_at for row in inbox(host)}
    simulator.deliver_all(host.app)

    same_endpoint = inbox(host, scope="platform:test:connect")
    after = [(row.event_id, row.processed_at) for row in same_endpoint if row.event_id in before]
    assert after == list(before.items())
    assert len(seen) == 1


def test_events_of_a_tenants_own_account_are_known_by_its_own_endpoint(
    host: Host, simulator: Simulator, seaside: Desk
) -> None:
    owner = Owner.of(host, "Hotel Plaza")
    owner.connect()
    payment = owner.make_payment()
    simulator.pay(payment.stripe_payment_link_url)
    lose_deliveries(host, simulator)

    look(host)

    desk = Desk(host, owner.tenant, owner.account.id)
    assert desk.now(payment).status == "COMPLETED"
    assert {row.scope for row in inbox(host)} == {f"tenant:{owner.connection.id}"}
    assert {row.tenant_id for row in inbox(host)} == {owner.tenant.id}


def test_events_of_the_platforms_own_account_are_asked_for_once(host: Host, simulator: Simulator) -> None:
    plaza, seaside = Desk.of(host, "Plaza", modes=()), Desk.of(host, "Seaside", modes=())
    for desk in (plaza, seaside):
        host.connect(desk.tenant, None, account_type=AccountType.PLATFORM)
    paid, open_ = plaza.make(), seaside.make()
    simulator.pay(paid.stripe_payment_link_url)
    lose_deliveries(host, simulator)
    simulator.requests.clear()

    look(host, mode=Mode.test)

    assert (plaza.now(paid).status, seaside.now(open_).status) == ("COMPLETED", "PENDING")
    assert len(listed(simulator, None)) == 1
    assert {(row.scope, row.tenant_id) for row in inbox(host)} == {("platform:test:account", plaza.tenant.id)}


def test_one_tenant_is_looked_after_alone(host: Host, plaza: Desk, seaside: Desk, simulator: Simulator) -> None:
    mine, other = plaza.make(), seaside.make()
    simulator.pay(mine.stripe_payment_link_url)
    simulator.pay(other.stripe_payment_link_url)
    simulator.requests.clear()

    result = run(host, "--tenant", plaza.tenant.id, "--mode", "test")

    assert result.exit_code == 0
    assert (plaza.now(mine).status, seaside.now(other).status) == ("COMPLETED", "PENDING")
    assert {request.stripe_account for request in simulator.requests} == {plaza.account}
    assert {row.tenant_id for row in inbox(host)} == {plaza.tenant.id}


def test_an_unknown_tenant_is_named(light_host: Host) -> None:
    result = run(light_host, "--tenant", "4711")

    assert result.exit_code == 1
    assert "There is no tenant 4711. 'flask stripe tenants' lists them." in result.output


def test_the_next_run_begins_where_the_last_one_ended(
    light_host: Host, light_plaza: Desk, simulator: Simulator
) -> None:
    for connection in connections_of(light_plaza):
        age(light_plaza, connection, timedelta(days=9), "created_at", "connected_at")
    look(light_host, mode=Mode.test)
    simulator.requests.clear()
    look(light_host, mode=Mode.test)

    (asked,) = listed(simulator, light_plaza.account)
    since = int(asked.params["created"]["gte"])
    expected = utcnow() - missed.OVERLAP
    assert abs(since - expected.timestamp()) < 60


def test_what_was_before_the_account_was_linked_is_not_taken_in(
    light_host: Host, light_plaza: Desk, simulator: Simulator
) -> None:
    simulator.advance(-3600)
    simulator.pay(light_plaza.make().stripe_payment_link_url)
    simulator.advance(3600)

    look(light_host)

    assert inbox(light_host) == []


def test_types_that_nobody_handles_are_left_at_stripe(
    light_host: Host, light_plaza: Desk, simulator: Simulator
) -> None:
    light_plaza.make()
    look(light_host)
    assert inbox(light_host) == []

    light_host.valetpro.on("*")(lambda event: None)
    look(light_host)
    assert "payment_link.created" in {row.type for row in inbox(light_host)}


def test_a_month_of_a_busy_account_comes_in_windows(light_host: Host, light_plaza: Desk, simulator: Simulator) -> None:
    for connection in connections_of(light_plaza):
        age(light_plaza, connection, timedelta(days=20), "created_at", "connected_at")
    payments = [light_plaza.make() for _ in range(6)]
    simulator.advance(-10 * 24 * 3600)
    for payment in payments:
        simulator.pay(payment.stripe_payment_link_url)
        simulator.advance(24 * 3600)

    assert look(light_host, bounds=Bounds(of_window=6, of_page=3)).problems == []
    assert {light_plaza.now(payment).status for payment in payments} == {"COMPLETED"}
    times = [row.payload["created"] for row in inbox(light_host)]
    assert times == sorted(times)


def test_more_events_than_one_run_looks_at_are_gone_on_with(
    light_host: Host, light_plaza: Desk, simulator: Simulator
) -> None:
    for connection in connections_of(light_plaza):
        age(light_plaza, connection, timedelta(days=20), "created_at", "connected_at")
    payments = [light_plaza.make() for _ in range(6)]
    simulator.advance(-10 * 24 * 3600)
    for payment in payments:
        simulator.pay(payment.stripe_payment_link_url)
        simulator.advance(24 * 3600)

    first, *_, last = [look(light_host, bounds=Bounds(of_run=6, of_window=6)) for _ in range(7)]

    assert first.problems == [
        f"Tenant {light_plaza.tenant.id}, test: Stripe lists more events than one run looks at, 6. Run it again."
    ]
    assert last.problems == []
    assert {light_plaza.now(payment).status for payment in payments} == {"COMPLETED"}


def test_a_busy_moment_long_ago_does_not_cut_the_days_since_into_seconds(
    light_host: Host, light_plaza: Desk, simulator: Simulator
) -> None:
    for connection in connections_of(light_plaza):
        age(light_plaza, connection, timedelta(days=20), "created_at", "connected_at")
    payments = [light_plaza.make() for _ in range(3)]
    simulator.advance(-15 * 24 * 3600)
    for payment in payments:
        simulator.pay(payment.stripe_payment_link_url)
    simulator.advance(15 * 24 * 3600)
    simulator.requests.clear()

    assert look(light_host, bounds=Bounds(of_window=6)).problems == []

    assert {light_plaza.now(payment).status for payment in payments} == {"COMPLETED"}
    assert len([request for request in simulator.requests if request.path == "/v1/events"]) < 120


@pytest.mark.both
def test_a_handler_that_fails_does_not_stop_the_others(
    host: Host, plaza: Desk, seaside: Desk, simulator: Simulator
) -> None:
    @host.valetpro.on("charge.succeeded")
    def fail(event: Any) -> None:
        if event.tenant_id == plaza.tenant.id:
            raise RuntimeError("not today")

    mine, other = plaza.make(), seaside.make()
    simulator.pay(mine.stripe_payment_link_url)
    simulator.pay(other.stripe_payment_link_url)

    result = run(host)

    assert result.exit_code == 1
    (failed,) = inbox(host, status="failed")
    assert result.stderr.splitlines() == [
        f"- Tenant {plaza.tenant.id}: events that failed, 1 in all: {failed.event_id}. 'flask stripe health' tells "
        "what to do."
    ]
    assert (plaza.now(mine).status, seaside.now(other).status) == ("COMPLETED", "COMPLETED")
    assert (failed.type, failed.error) == ("charge.succeeded", "RuntimeError: not today")


def test_an_account_that_stripe_limits_is_waited_for(light_host: Host, light_plaza: Desk, simulator: Simulator) -> None:
    payment = light_plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    simulator.faults.add("GET", EVENTS, RATE_LIMIT, times=2, account=light_plaza.account)
    pauses: list[float] = []

    report = look(light_host, mode=Mode.test, pauses=pauses)

    assert light_plaza.now(payment).status == "COMPLETED"
    assert [1 if 0.7 < pause < 1.3 else 2 if 1.4 < pause < 2.6 else 0 for pause in pauses] == [1, 2]
    assert report.problems == []


@pytest.mark.parametrize("fault", [RATE_LIMIT, SERVER_ERROR, "drop_before"])
def test_an_account_that_cannot_be_asked_does_not_stop_the_others(
    host: Host, plaza: Desk, seaside: Desk, simulator: Simulator, fault: Any
) -> None:
    mine, other = plaza.make(), seaside.make()
    simulator.pay(mine.stripe_payment_link_url)
    simulator.pay(other.stripe_payment_link_url)
    simulator.faults.add("GET", EVENTS, fault, times=100, account=plaza.account)

    report = look(host, mode=Mode.test)

    assert [problem.split(":")[0] for problem in report.problems] == [f"Tenant {plaza.tenant.id}, test"]
    assert (plaza.now(mine).status, seaside.now(other).status) == ("PENDING", "COMPLETED")
    simulator.faults.clear()
    assert look(host, mode=Mode.test).problems == []
    assert plaza.now(mine).status == "COMPLETED"


def test_a_tenant_that_withdrew_is_told_of_and_wakes_nobody(
    light_host: Host, light_plaza: Desk, light_seaside: Desk, simulator: Simulator
) -> None:
    payment = light_seaside.make()
    simulator.pay(payment.stripe_payment_link_url)
    simulator.disconnect(str(light_plaza.account))

    result = run(light_host, "--mode", "test")

    assert result.exit_code == 0
    assert f"- Tenant {light_plaza.tenant.id}, test: Listing events failed: the platform no longer has" in result.output
    assert light_seaside.now(payment).status == "COMPLETED"


def test_a_key_that_may_not_list_events_is_told_of(light_host: Host, light_seaside: Desk, simulator: Simulator) -> None:
    owner = Owner.of(light_host, "Hotel Plaza")
    owner.save(owner.new_key("events"))
    payment = light_seaside.make()
    simulator.pay(payment.stripe_payment_link_url)

    result = run(light_host, "--mode", "test")

    assert result.exit_code == 0
    assert f"- Tenant {owner.tenant.id}, test: Listing events failed: the API key lacks a permission" in result.output
    assert light_seaside.now(payment).status == "COMPLETED"


@pytest.mark.parametrize("dies_at", range(1, 5))
def test_a_crash_anywhere_costs_nothing_and_doubles_nothing(
    host: Host, plaza: Desk, simulator: Simulator, dies_at: int
) -> None:
    """The process dies before one of the pages that it asks for, or before it asks about a payment."""
    bounds = Bounds(of_page=2)
    seen: list[str] = []
    host.valetpro.on("*")(lambda event: seen.append(event.event_id))
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)
    transport = put_transport(host)
    pages: list[str] = []

    def die(method: str, url: str) -> None:
        pages.append(url)
        if len(pages) == dies_at:
            raise Crash

    transport.before = die
    with pytest.raises(Crash):
        look(host, mode=Mode.test, bounds=bounds)
    transport.before = lambda method, url: None
    look(host, mode=Mode.test, bounds=bounds)

    assert plaza.now(payment).status == "COMPLETED"
    happened = [event["id"] for event in simulator.events_of(plaza.account) if not event["livemode"]]
    # That the account was connected, Stripe tells its platform, and does not list.
    assert sorted(seen) == sorted(happened[1:])
    assert [row.event_id for row in inbox(host)] == happened[1:]
