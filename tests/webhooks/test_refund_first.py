"""Stripe may tell of a refund before anything that ties its intent to a payment: then Stripe is asked whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import AccountType
from flask_valetpro_stripe.testing import Simulator, make_event
from tests.engines.box import Box
from tests.hosts import make_host
from tests.raw_keys.owner import Owner
from tests.webhooks.refunding import hearing, in_the_dashboard, refunds, standing
from tests.webhooks.stage import TAKEN

from .stage import PLAZA, SEASIDE, Stage, answer, make_stage

AWAY = (503, "The event cannot be taken now. Deliver it again.")


def refunded(stage: Stage, tenant: Any, account: str | None = PLAZA) -> tuple[Any, str, dict[str, Any]]:
    """Return a payment that was paid and given back in part, the refund's id, and the event of it; nobody was told."""
    payment = stage.make_payment(tenant)
    with stage.events_while(account) as happening:
        session = stage.simulator.pay(payment.stripe_payment_link_url)
        payment.stripe_payment_intent_id = session["payment_intent"]
        made = in_the_dashboard(stage, payment, account=account, amount=500)
    return payment, made, happening.of("refund.created")


def asked(simulator: Simulator) -> list[tuple[str | None, str]]:
    """Return which intents were asked for, and on which account."""
    seen = [request for request in simulator.requests if request.path.startswith("/v1/payment_intents/")]
    return [(request.stripe_account, request.path.rpartition("/")[2]) for request in seen]


@pytest.mark.both
def test_the_refund_is_a_row_and_its_payment_is_paid(stage: Stage) -> None:
    payment, made, event = refunded(stage, stage.plaza)
    with hearing() as heard:
        assert answer(stage.deliver(event)) == TAKEN

    assert refunds(stage) == [(made, 500, "succeeded")]
    assert standing(stage, payment) == ("PARTIALLY_REFUNDED", 500)
    assert stage.payment(payment).paid_at is not None
    assert heard == [("Plaza", "succeeded"), ("Plaza", "PARTIALLY_REFUNDED")]
    assert asked(stage.simulator) == [(PLAZA, payment.stripe_payment_intent_id)]


def test_stripe_is_not_asked_where_the_payment_is_known_nor_for_a_repeat(stage: Stage) -> None:
    payment, made, event = refunded(stage, stage.plaza)
    for _ in range(2):
        assert answer(stage.deliver(event)) == TAKEN
    known = event["data"]["object"] | {"status": "failed"}
    stage.deliver(make_event("refund.failed", known, account=PLAZA))

    assert refunds(stage) == [(made, 500, "failed")]
    assert standing(stage, payment) == ("COMPLETED", 0)
    assert len(asked(stage.simulator)) == 1


def test_what_the_platform_collected_is_asked_for_on_its_own_account(stage: Stage) -> None:
    hotel = stage.host.make_tenant("Managed")
    stage.host.connect(hotel, None, account_type=AccountType.PLATFORM)
    payment, made, event = refunded(stage, hotel, account=None)

    assert answer(stage.deliver(event)) == TAKEN
    assert refunds(stage) == [(made, 500, "succeeded")]
    assert stage.rows("Refund")[0].tenant_id == hotel.id
    assert asked(stage.simulator) == [(None, payment.stripe_payment_intent_id)]


def test_a_hotel_with_its_own_key_is_asked_by_that_key(database_url: str, simulator: Simulator) -> None:
    with make_host(database_url, simulator=simulator, config={"WTF_CSRF_ENABLED": False}) as host:
        hotel = Owner.of(host, "Hotel Key")
        key = hotel.connect()
        payment = hotel.make_payment()
        session = simulator.pay(payment.stripe_payment_link_url)
        made = hotel.stripe().v1.refunds.create({"payment_intent": session["payment_intent"], "amount": 500})
        event = next(event for event in simulator.events_of(hotel.account.id) if event["type"] == "refund.created")
        simulator.requests.clear()

        assert answer(hotel.deliver({name: value for name, value in event.items() if name != "account"})) == TAKEN
        with host.app.app_context():
            row = host.db.session.scalars(sa.select(host.valetpro.models.Refund)).one()
            assert (row.tenant_id, row.payment_id, row.stripe_refund_id) == (hotel.tenant.id, payment.id, made.id)
        assert [request.api_key for request in simulator.requests] == [key]


def test_a_refund_of_the_hotels_other_business_is_asked_about_and_left_alone(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    foreign = {"object": "refund", "id": "re_1", "amount": 500, "currency": "eur", "status": "succeeded"}
    _, _, neighbours = refunded(stage, stage.seaside, SEASIDE)
    for intent in ("pi_nobodys", neighbours["data"]["object"]["payment_intent"]):
        event = make_event("refund.created", foreign | {"payment_intent": intent}, account=PLAZA)
        assert answer(stage.deliver(event)) == TAKEN

    assert [account for account, _ in asked(stage.simulator)] == [PLAZA, PLAZA]
    assert refunds(stage) == []
    assert standing(stage, payment) == ("PENDING", 0)


@pytest.mark.parametrize(
    "intent", [None, "", "pi_", "ch_1", "pi_/../../account", "pi_1?x=1", "pi_\0", 5, {}, "pi_" + "1" * 300], ids=repr
)
def test_what_is_no_intents_id_is_not_asked_for(light_stage: Stage, intent: Any) -> None:
    foreign = {"object": "refund", "id": "re_1", "amount": 500, "currency": "eur", "status": "succeeded"}
    event = make_event("refund.created", foreign | {"payment_intent": intent}, account=PLAZA)

    assert answer(light_stage.deliver(event)) == TAKEN
    assert light_stage.simulator.requests == []


def test_while_stripe_cannot_answer_it_is_asked_to_come_again(stage: Stage) -> None:
    payment, made, event = refunded(stage, stage.plaza)
    path = f"/v1/payment_intents/{payment.stripe_payment_intent_id}"
    stage.simulator.faults.add("GET", path, "drop_before", times=3)

    assert answer(stage.deliver(event)) == AWAY
    assert stage.rows() == []
    assert answer(stage.deliver(event)) == TAKEN
    assert refunds(stage) == [(made, 500, "succeeded")]
    assert standing(stage, payment) == ("PARTIALLY_REFUNDED", 500)


def test_where_we_may_not_look_any_more_the_event_is_taken_all_the_same(stage: Stage) -> None:
    payment, _, event = refunded(stage, stage.plaza)
    stage.simulator.disconnect(PLAZA)

    assert answer(stage.deliver(event)) == TAKEN
    assert refunds(stage) == []
    assert standing(stage, payment) == ("PENDING", 0)


def test_an_intent_of_another_amount_is_flagged_and_not_applied(stage: Stage) -> None:
    payment, _, event = refunded(stage, stage.plaza)
    with stage.host.app.app_context():
        stage.host.db.session.get_one(stage.host.Payment, payment.id).amount = 2600
        stage.host.db.session.commit()

    assert answer(stage.deliver(event)) == TAKEN
    assert stage.row().error == "Stripe's amount or currency is not the payment's, so the event was not applied."
    assert refunds(stage) == []
    assert standing(stage, payment) == ("PENDING", 0)


@pytest.fixture
def group(database_url: str) -> Iterator[Stage]:
    """A hotel group: Plaza and Seaside share Plaza's account."""
    with make_stage(database_url, ALLOW_SHARED_ACCOUNTS=True) as stage:
        stage.host.connect(stage.seaside, PLAZA)
        yield stage


@pytest.mark.parametrize("how", ["inline", "by a worker"])
def test_on_a_shared_account_the_intent_tells_whose_refund_it_is(group: Stage, how: str) -> None:
    payment, made, event = refunded(group, group.seaside)
    if how == "inline":
        assert answer(group.deliver(event)) == TAKEN
    else:
        box = Box(group)
        box.put(event)
        assert box.drain() == {"processed": 1}

    (row,) = group.rows("Refund")
    assert (row.stripe_refund_id, row.tenant_id, row.payment_id) == (made, group.seaside.id, payment.id)
    assert standing(group, payment) == ("PARTIALLY_REFUNDED", 500)
    assert (group.row().status, group.row().tenant_id) == ("processed", group.seaside.id)
    assert group.row().connection_id == payment.connection_id
