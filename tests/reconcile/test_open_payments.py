"""Payments and refunds that stayed open are asked about, long after their events are lost."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from flask_valetpro_stripe.payments import still_open
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host
from tests.payments.desk import Desk, listening
from tests.payments.refunding import give_back, hearing_refunds, paid, refunds_of
from tests.reconcile.stage import EVENTS, age, dashboard, look, run

OLD = timedelta(hours=3)
INTENTS = "/v1/payment_intents"


@pytest.fixture(autouse=True)
def no_events(simulator: Simulator) -> None:
    """Nothing is to be learned from events here: Stripe has forgotten them."""
    simulator.faults.add("GET", EVENTS, "rate_limit", times=10_000)


@pytest.mark.both
def test_a_payment_is_paid_although_its_events_are_gone(
    host: Host, plaza: Desk, seaside: Desk, simulator: Simulator
) -> None:
    mine, other = plaza.make(), seaside.make()
    simulator.pay(mine.stripe_payment_link_url)
    for desk, payment in [(plaza, mine), (seaside, other)]:
        age(desk, payment, OLD, "created_at")
    with listening("payment_updated") as heard:
        report = look(host)

    assert (plaza.now(mine).status, seaside.now(other).status) == ("COMPLETED", "PENDING")
    assert heard == [("payment_updated", mine.id)]
    assert (report.done["open payments asked about"], report.done["open payments that had changed"]) == (2, 1)


@pytest.mark.parametrize("ago", [timedelta(minutes=5), timedelta(days=31)])
def test_a_guest_who_is_just_paying_and_one_who_never_will_are_left_alone(
    light_host: Host, light_plaza: Desk, simulator: Simulator, ago: timedelta
) -> None:
    payment = light_plaza.make()
    age(light_plaza, payment, ago, "created_at")
    simulator.requests.clear()

    assert look(light_host).done["open payments asked about"] == 0
    assert {request.path for request in simulator.requests} == {EVENTS}


def test_one_tenants_payments_are_asked_about_alone(host: Host, plaza: Desk, seaside: Desk) -> None:
    mine, other = plaza.make(), seaside.make()
    for desk, payment in [(plaza, mine), (seaside, other)]:
        desk.simulator.pay(payment.stripe_payment_link_url)
        age(desk, payment, OLD, "created_at")

    look(host, tenant=seaside.tenant)

    assert (plaza.now(mine).status, seaside.now(other).status) == ("PENDING", "COMPLETED")


@pytest.mark.both
def test_a_payment_that_contradicts_stripe_does_not_stop_the_others(
    host: Host, plaza: Desk, seaside: Desk, simulator: Simulator
) -> None:
    mine, other = plaza.make(), seaside.make()
    for desk, payment in [(plaza, mine), (seaside, other)]:
        simulator.pay(payment.stripe_payment_link_url)
        age(desk, payment, OLD, "created_at")
    plaza.change(mine, amount=1)
    simulator.faults.clear()
    simulator.faults.add("GET", EVENTS, "drop_before", times=10_000)

    result = run(host, "--mode", "test")

    assert result.exit_code == 1
    assert f"- Tenant {plaza.tenant.id}, test: Stripe's amount or currency is not the payment's" in result.stderr
    assert (plaza.now(mine).status, seaside.now(other).status) == ("PENDING", "COMPLETED")


def test_a_run_asks_about_so_many_payments_of_a_connection(
    light_host: Host, light_plaza: Desk, light_seaside: Desk
) -> None:
    for desk in (light_plaza, light_seaside):
        for _ in range(3):
            age(desk, desk.make(), OLD, "created_at")

    with light_host.app.app_context():
        found = still_open.find_open(light_host.state, most=2)

    assert Counter(tenant_id for _, tenant_id, _ in found) == {light_plaza.tenant.id: 2, light_seaside.tenant.id: 2}
    assert look(light_host).done["open payments asked about"] == 6


def test_a_refund_that_failed_unheard_of_is_no_longer_counted(host: Host, plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    refund = give_back(plaza, payment, amount=1000)
    plaza.change(refund, status="pending")
    age(plaza, refund, OLD, "created_at")
    simulator.settle(refund.stripe_refund_id, succeeded=False)
    with hearing_refunds() as heard:
        look(host)

    assert (plaza.now(payment).status, plaza.now(payment).amount_refunded) == ("COMPLETED", 0)
    assert [row.status for row in refunds_of(plaza, payment)] == ["failed"]
    assert heard == [(refund.id, "failed", "Plaza")]


# -- what payments.sync learns of refunds


def test_sync_brings_refunds_that_were_made_in_the_dashboard(plaza: Desk, seaside: Desk, simulator: Simulator) -> None:
    payment, other = paid(plaza), paid(seaside)
    client = dashboard(simulator, str(plaza.account))
    for amount in (300, 200):
        client.v1.refunds.create({"payment_intent": payment.stripe_payment_intent_id, "amount": amount})

    synced = plaza.sync(payment)

    assert (synced.status, synced.amount_refunded) == ("PARTIALLY_REFUNDED", 500)
    assert [(row.amount, row.operation_id) for row in refunds_of(plaza, payment)] == [(300, None), (200, None)]
    assert (seaside.sync(other).status, refunds_of(seaside, other)) == ("COMPLETED", [])


def test_sync_twice_brings_each_refund_once(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    give_back(plaza, payment, amount=1000)
    with listening("payment_updated") as heard, hearing_refunds() as refunds:
        for _ in range(2):
            synced: Any = plaza.sync(payment)

    assert (synced.amount_refunded, len(refunds_of(plaza, payment))) == (1000, 1)
    assert (heard, refunds) == ([], [])


def test_sync_asks_about_refunds_only_of_what_was_paid(light_plaza: Desk, simulator: Simulator) -> None:
    payment = light_plaza.make()
    simulator.pay(payment.stripe_payment_link_url, card="bank_debit")
    light_plaza.sync(payment)

    assert [request for request in simulator.requests if request.path == "/v1/refunds"] == []


def test_sync_reads_every_page_of_refunds(light_plaza: Desk, simulator: Simulator) -> None:
    payment = paid(light_plaza)
    client = dashboard(simulator, str(light_plaza.account))
    for _ in range(101):
        client.v1.refunds.create({"payment_intent": payment.stripe_payment_intent_id, "amount": 1})

    assert light_plaza.sync(payment).amount_refunded == 101
    assert len(refunds_of(light_plaza, payment)) == 101
