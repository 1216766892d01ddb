"""That nothing comes is a fault only where something should have come: after a payment that became paid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_valetpro_stripe import AccountType, Mode
from flask_valetpro_stripe.handlers import HANDLERS
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.testing import Simulator, sign
from flask_valetpro_stripe.webhooks import facts, prune
from flask_valetpro_stripe.webhooks.health import overview
from tests.hosts import Host, make_host
from tests.raw_keys.owner import Owner
from tests.reconcile.stage import lose_deliveries
from tests.webhooks.stage import PLAZA, SEASIDE, Stage, ping

from .ward import health, let_pass, pay, run, sync, within, words

NOBODY_TOLD = "One payment was paid, and Stripe has delivered no event since it was made."


def paid_unheard(stage: Stage, *, hours: float = 2) -> Any:
    """A payment of the Plaza that was found paid some time ago, without an event."""
    payment = stage.make_payment(stage.plaza)
    pay(stage, payment)
    sync(stage.host, stage.plaza, payment)
    assert stage.payment(payment).status == "COMPLETED"
    let_pass(stage.host, hours=hours)
    return payment


@pytest.mark.both
def test_a_payment_that_was_found_paid_while_nothing_came_is_held_against_the_endpoint(stage: Stage) -> None:
    paid_unheard(stage)

    found = health(stage.host, stage.plaza)

    assert words(found) == ("broken", True)
    assert found.says == NOBODY_TOLD
    assert found.remedy == (
        "The operator runs 'flask stripe doctor --online', and looks at the webhook endpoint for connected accounts in "
        "the platform's Stripe Dashboard: its address, whether it is on, and whether its signing secret is in this "
        "app's settings. The next event that arrives ends it; the Dashboard can send one again."
    )
    assert words(health(stage.host, stage.seaside)) == ("idle", False)


def test_stripe_is_given_an_hour(light_stage: Stage) -> None:
    paid_unheard(light_stage, hours=0.9)
    assert words(health(light_stage.host, light_stage.plaza)) == ("idle", False)

    let_pass(light_stage.host, hours=0.2)
    assert words(health(light_stage.host, light_stage.plaza)) == ("broken", True)


@pytest.mark.both
def test_a_payment_that_reconcile_found_is_held_against_it_until_stripe_delivers_after_all(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    with stage.events_while() as events:
        pay(stage, payment)
    lose_deliveries(stage.host, stage.simulator)
    assert run(stage.host, "reconcile").exit_code == 0
    assert stage.payment(payment).status == "COMPLETED"
    let_pass(stage.host, hours=2)

    found = health(stage.host, stage.plaza)
    assert words(found) == ("broken", True)
    assert (found.missed, found.last_received_at) == (len([e for e in events.made if _is_handled(e)]), None)
    assert found.missed > 1

    stage.deliver(events.of("checkout.session.completed"))

    mended = health(stage.host, stage.plaza)
    assert words(mended) == ("healthy", False)
    assert mended.missed == found.missed - 1
    assert mended.says.startswith("Events come, and are handled. ")
    assert mended.says.endswith(
        f" {mended.missed} events were fetched from Stripe in the last days, and not delivered."
    )


def _is_handled(event: dict[str, Any]) -> bool:
    return event["type"] in HANDLERS


@pytest.mark.both
def test_any_delivery_after_the_payment_was_made_shows_that_deliveries_arrive(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    stage.deliver(ping())
    pay(stage, payment)
    sync(stage.host, stage.plaza, payment)
    let_pass(stage.host, hours=2)

    assert words(health(stage.host, stage.plaza)) == ("healthy", False)


@pytest.mark.both
def test_a_delivery_before_the_payment_was_made_shows_nothing(stage: Stage) -> None:
    stage.deliver(ping())
    paid_unheard(stage)

    found = health(stage.host, stage.plaza)

    assert words(found) == ("broken", True)
    assert found.last_received_at == stage.rows()[0].received_at


def test_without_a_payment_nothing_has_to_come_however_long(stage: Stage) -> None:
    unpaid = stage.make_payment(stage.plaza)
    let_pass(stage.host, days=20)
    sync(stage.host, stage.plaza, unpaid)

    assert words(health(stage.host, stage.plaza)) == ("idle", False)


def test_deliveries_for_another_hotel_or_mode_show_nothing(light_stage: Stage) -> None:
    stage = light_stage
    paid_unheard(stage)
    stage.deliver(ping(account=SEASIDE))
    stage.deliver(ping(livemode=True), mode=Mode.live)

    assert words(health(stage.host, stage.plaza)) == ("broken", True)
    assert words(health(stage.host, stage.seaside)) == ("healthy", False)


def test_payments_of_an_earlier_account_are_not_held_against_the_present_one(light_stage: Stage) -> None:
    stage = light_stage
    paid_unheard(stage)
    stage.simulator.create_account("Plaza anew", id="acct_plaza_anew")
    stage.simulator.connect("acct_plaza_anew")
    stage.host.connect(stage.plaza, "acct_plaza_anew")

    assert words(health(stage.host, stage.plaza)) == ("idle", False)


@pytest.mark.both
def test_deliveries_of_an_earlier_account_show_nothing_about_the_present_one(stage: Stage) -> None:
    stage.simulator.create_account("Plaza anew", id="acct_plaza_anew")
    stage.simulator.connect("acct_plaza_anew")
    stage.host.connect(stage.plaza, "acct_plaza_anew")
    paid_unheard(stage)
    stage.deliver(ping(account=PLAZA))

    found = health(stage.host, stage.plaza)

    assert words(found) == ("broken", True)
    assert found.last_received_at is None
    stage.deliver(ping(account="acct_plaza_anew"))
    assert words(health(stage.host, stage.plaza)) == ("healthy", False)


def test_a_hotel_that_was_connected_anew_to_the_same_account_is_judged_by_both(light_stage: Stage) -> None:
    stage = light_stage
    stage.host.connect(stage.plaza, PLAZA)
    paid_unheard(stage)
    stage.deliver(ping(account=PLAZA))

    assert words(health(stage.host, stage.plaza)) == ("healthy", False)


def test_what_was_pruned_since_is_not_taken_for_something_that_never_came(light_stage: Stage) -> None:
    stage = light_stage
    payment = stage.make_payment(stage.plaza)
    pay(stage, payment)
    stage.simulator.deliver_all(stage.host.app)
    let_pass(stage.host, days=36)
    assert run(stage.host, "prune").exit_code == 0
    assert stage.rows() == []

    assert words(health(stage.host, stage.plaza)) == ("idle", False)
    # As long as a payment is held against the endpoint, its events are there.
    assert facts.HELD_AGAINST.days < prune.DEDUPE_DAYS


def test_forged_deliveries_are_no_sign_of_life(light_stage: Stage) -> None:
    stage = light_stage
    paid_unheard(stage)
    body = json.dumps(ping()).encode()
    for _ in range(20):
        assert stage.post(body, sign(body, "whsec_" + "forged00" * 4)).status_code == 400

    found = health(stage.host, stage.plaza)
    assert words(found) == ("broken", True)
    assert found.last_received_at is None


def test_an_account_that_was_disconnected_is_not_waited_for(light_stage: Stage) -> None:
    paid_unheard(light_stage)
    assert run(light_stage.host, "disconnect", light_stage.plaza.id).exit_code == 0

    assert words(health(light_stage.host, light_stage.plaza)) == ("idle", False)


def test_on_the_platforms_account_the_endpoint_for_that_is_meant(sqlite_url: str, simulator: Simulator) -> None:
    with make_host(sqlite_url, simulator=simulator) as host:
        stage = Stage(host, simulator, host.make_tenant("Plaza"), host.make_tenant("Seaside"))
        host.connect(stage.plaza, None, account_type=AccountType.PLATFORM)
        paid_unheard(stage)

        found = health(host, stage.plaza)
        assert words(found) == ("broken", True)
        assert "the webhook endpoint for your account in the platform's Stripe Dashboard" in found.remedy


@pytest.fixture
def raw_host(database_url: str, simulator: Simulator) -> Any:
    with make_host(database_url, simulator=simulator) as host:
        yield host


def test_a_hotel_with_keys_of_its_own_is_sent_to_its_own_dashboard(raw_host: Host) -> None:
    plaza, seaside = Owner.of(raw_host, "Hotel Plaza"), Owner.of(raw_host, "Seaside Resort")
    for each in (plaza, seaside):
        each.connect()
    stage = Stage(raw_host, plaza.simulator, plaza.tenant, seaside.tenant)
    payment = plaza.make_payment()
    plaza.simulator.pay(payment.stripe_payment_link_url)
    sync(raw_host, plaza.tenant, payment)
    let_pass(raw_host, hours=2)

    found = health(raw_host, plaza.tenant)
    assert words(found) == ("broken", True)
    assert found.remedy == (
        "An admin of the tenant looks at the webhook endpoint in its Stripe Dashboard: its address, whether it is on, "
        "and what answers it gets. Saving the API key again on the payment settings page mends most of it. The next "
        "event that arrives ends it; the Dashboard can send one again."
    )
    assert words(health(raw_host, seaside.tenant)) == ("idle", False)
    assert plaza.deliver(ping(account=None)).status_code == 200
    assert words(health(raw_host, plaza.tenant)) == ("healthy", False)
    assert stage.rows()[0].received_at <= utcnow()


@pytest.mark.both
def test_nothing_is_written_by_looking(stage: Stage) -> None:
    paid_unheard(stage)
    before = [(row.id, row.status) for row in stage.rows()]
    with within(stage.host) as state, stage.statements() as seen:
        overview(state)
        assert not state.session.dirty
    assert {statement.split()[0] for statement in seen} == {"SELECT", "WITH"}
    assert [(row.id, row.status) for row in stage.rows()] == before
