"""What events say about refunds: made here or in the dashboard, in any order, and late to fail."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from flask_valetpro_stripe import AccountType, Mode, errors, payments, tenant_context
from flask_valetpro_stripe.testing import make_event
from tests.webhooks.objects import refund
from tests.webhooks.refunding import deliver, hearing, in_the_dashboard, paid, refunds, standing, told

from .stage import PLAZA, SEASIDE, Stage

MISFIT = "The refund's amount or currency is not the payment's, so the event was not applied."


# -- made in the dashboard


@pytest.mark.oldest
@pytest.mark.both
def test_a_refund_made_in_the_dashboard_is_a_row(stage: Stage) -> None:
    payment = paid(stage, stage.plaza)
    with stage.events_while() as giving_back:
        made = in_the_dashboard(stage, payment, amount=500, reason="requested_by_customer")
    with hearing() as heard:
        deliver(stage, giving_back.made)

    (row,) = stage.rows("Refund")
    assert (row.stripe_refund_id, row.amount, row.currency, row.status) == (made, 500, "eur", "succeeded")
    assert (row.tenant_id, row.payment_id, row.connection_id) == (stage.plaza.id, payment.id, payment.connection_id)
    assert (row.reason, row.operation_id) == ("requested_by_customer", None)
    assert standing(stage, payment) == ("PARTIALLY_REFUNDED", 500)
    assert heard == [("Plaza", "succeeded"), ("Plaza", "PARTIALLY_REFUNDED")]
    assert [event["type"] for event in giving_back.made] == ["refund.created", "charge.refunded"]


def test_more_than_ten_refunds_add_up(light_stage: Stage) -> None:
    payment = paid(light_stage, light_stage.plaza)
    for number in range(12):
        told(light_stage, refund(payment, id=f"re_{number}", amount=200))

    assert len(refunds(light_stage)) == 12
    assert standing(light_stage, payment) == ("PARTIALLY_REFUNDED", 2400)


@pytest.mark.oldest
@pytest.mark.both
def test_the_same_news_twice_is_no_news(stage: Stage) -> None:
    payment = paid(stage, stage.plaza)
    told(stage, refund(payment))
    with hearing() as heard:
        told(stage, refund(payment))

    assert refunds(stage) == [("re_1", 500, "succeeded")]
    assert heard == []


# -- order


def ends(stage: Stage, payment: Any, events: list[dict[str, Any]]) -> set[Any]:
    """Return every end that the payment and its refunds come to, over all orders of ``events``."""
    host, models = stage.host, stage.host.valetpro.models
    start = {column.key: getattr(payment, column.key) for column in host.Payment.__mapper__.column_attrs}
    found = set()
    for order in itertools.permutations(events):
        with host.app.app_context():
            host.db.session.query(models.Refund).delete()
            host.db.session.query(models.WebhookEvent).delete()
            host.db.session.query(host.Payment).filter_by(id=payment.id).update(start)
            host.db.session.commit()
        deliver(stage, list(order))
        found.add((standing(stage, payment), tuple(sorted(refunds(stage)))))
    return found


def test_a_refund_that_failed_ends_the_same_in_every_order(stage: Stage) -> None:
    payment = paid(stage, stage.plaza)
    with stage.events_while() as happening:
        made = in_the_dashboard(stage, payment)
        stage.simulator.settle(made, succeeded=False)

    assert [event["type"] for event in happening.made] == [
        "refund.created",
        "charge.refunded",
        "refund.updated",
        "refund.failed",
    ]
    assert ends(stage, payment, happening.made) == {(("COMPLETED", 0), ((made, 2500, "failed"),))}


def test_two_refunds_of_which_one_failed_end_the_same_in_every_order(light_stage: Stage) -> None:
    stage = light_stage
    payment = paid(stage, stage.plaza)
    with stage.events_while() as happening:
        lost, kept = in_the_dashboard(stage, payment, amount=1000), in_the_dashboard(stage, payment, amount=700)
        stage.simulator.settle(lost, succeeded=False)
    # That the first was created, its failure tells as well.
    events = [event for event in happening.made[1:] if event["type"] != "refund.updated"]

    end = (("PARTIALLY_REFUNDED", 700), tuple(sorted([(lost, 1000, "failed"), (kept, 700, "succeeded")])))
    assert ends(stage, payment, events) == {end}


def test_a_refund_after_one_that_failed_ends_the_same_in_every_order(light_stage: Stage) -> None:
    stage = light_stage
    payment = paid(stage, stage.plaza)
    with stage.events_while() as happening:
        lost = in_the_dashboard(stage, payment)
        stage.simulator.settle(lost, succeeded=False)
        again = in_the_dashboard(stage, payment)
    events = [event for event in happening.made[1:] if event["type"] != "refund.updated"]

    end = (("REFUNDED", 2500), tuple(sorted([(lost, 2500, "failed"), (again, 2500, "succeeded")])))
    assert ends(stage, payment, events) == {end}


def test_a_refund_settled_by_the_bank_ends_the_same_in_every_order(light_stage: Stage) -> None:
    stage = light_stage
    payment = paid(stage, stage.plaza, card="4000000000007726")
    with stage.events_while() as happening:
        made = in_the_dashboard(stage, payment, amount=500)
        stage.simulator.settle(made)

    assert ends(stage, payment, happening.made) == {(("PARTIALLY_REFUNDED", 500), ((made, 500, "succeeded"),))}


@pytest.mark.parametrize("final", ["failed", "canceled"])
def test_what_failed_stays_failed_whatever_older_events_say(stage: Stage, final: str) -> None:
    payment = paid(stage, stage.plaza)
    for status in ("pending", "succeeded", final, "requires_action", "pending", "succeeded"):
        told(stage, refund(payment, status=status))

    assert refunds(stage) == [("re_1", 500, final)]
    assert standing(stage, payment) == ("COMPLETED", 0)


def test_the_host_is_told_of_each_step_after_it_is_committed(stage: Stage) -> None:
    payment = paid(stage, stage.plaza)
    with hearing() as heard:
        for status in ("pending", "succeeded", "failed"):
            told(stage, refund(payment, status=status, amount=2500))

    assert heard == [
        ("Plaza", "pending"),
        ("Plaza", "REFUNDED"),
        ("Plaza", "succeeded"),
        ("Plaza", "failed"),
        ("Plaza", "COMPLETED"),
    ]


@pytest.mark.parametrize("event_type", ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"])
def test_every_event_about_a_refund_is_heard(light_stage: Stage, event_type: str) -> None:
    payment = paid(light_stage, light_stage.plaza)
    light_stage.deliver(make_event(event_type, refund(payment, status="failed"), account=PLAZA))

    assert refunds(light_stage) == [("re_1", 500, "failed")]


def test_a_refund_that_comes_before_the_news_of_the_payment_makes_it_a_paid_one(stage: Stage) -> None:
    payment = paid(stage, stage.plaza)
    with stage.host.app.app_context():
        row = stage.host.db.session.get_one(stage.host.Payment, payment.id)
        row.status, row.paid_at = "PROCESSING", None
        stage.host.db.session.commit()

    told(stage, refund(payment))

    assert standing(stage, payment) == ("PARTIALLY_REFUNDED", 500)
    assert stage.payment(payment).paid_at is not None


# -- whose refund


@pytest.mark.parametrize("account", [SEASIDE, None, "acct_nobody"])
def test_an_event_of_another_account_never_reaches_a_tenants_refunds(stage: Stage, account: str | None) -> None:
    payment = paid(stage, stage.plaza)
    told(stage, refund(payment, metadata={"valetpro_payment": str(payment.id)}), account=account)

    assert refunds(stage) == []
    assert standing(stage, payment) == ("COMPLETED", 0)


@pytest.mark.oldest
@pytest.mark.both
def test_two_hotels_with_the_same_refund_id_keep_their_own(stage: Stage) -> None:
    mine, theirs = paid(stage, stage.plaza), paid(stage, stage.seaside, account=SEASIDE)
    told(stage, refund(mine))
    told(stage, refund(theirs, amount=700), account=SEASIDE)

    assert refunds(stage) == [("re_1", 500, "succeeded"), ("re_1", 700, "succeeded")]
    assert standing(stage, mine) == ("PARTIALLY_REFUNDED", 500)
    assert standing(stage, theirs) == ("PARTIALLY_REFUNDED", 700)


def test_a_live_event_never_reaches_a_test_payment(stage: Stage) -> None:
    payment = paid(stage, stage.plaza)
    stage.host.connect(stage.plaza, PLAZA, mode=Mode.live)
    told(stage, refund(payment), livemode=True)

    assert refunds(stage) == []
    assert standing(stage, payment) == ("COMPLETED", 0)


def test_refunds_of_the_tenants_other_business_are_nobodys(stage: Stage) -> None:
    payment = paid(stage, stage.plaza)
    for thing in (
        refund(payment, charge="ch_other", payment_intent="pi_other"),
        refund(payment, charge=None, payment_intent=None),
        refund(payment, charge="ch_other", payment_intent=None, metadata={"valetpro_operation": "0" * 32}),
    ):
        told(stage, thing)

    assert refunds(stage) == []


def test_what_the_platform_collected_is_refunded_by_the_platforms_own_events(stage: Stage) -> None:
    hotel = stage.host.make_tenant("Managed")
    stage.host.connect(hotel, None, account_type=AccountType.PLATFORM)
    payment = paid(stage, hotel, account=None)
    made = in_the_dashboard(stage, payment, account=None, amount=500)
    deliver(stage, stage.simulator.events_of(None)[-2:])

    assert refunds(stage) == [(made, 500, "succeeded")]
    assert stage.rows("Refund")[0].tenant_id == hotel.id
    assert standing(stage, payment) == ("PARTIALLY_REFUNDED", 500)


@pytest.mark.parametrize(
    "changes",
    [{"currency": "usd"}, {"amount": 2501}, {"amount": 0}, {"amount": -5}, {"amount": True}, {"amount": "500"}],
    ids=str,
)
def test_a_refund_that_does_not_fit_its_payment_is_flagged(light_stage: Stage, changes: dict[str, Any]) -> None:
    payment = paid(light_stage, light_stage.plaza)
    told(light_stage, refund(payment, **changes))

    assert light_stage.rows()[-1].error == MISFIT
    assert refunds(light_stage) == []


def test_nonsense_about_a_refund_touches_nothing_and_breaks_nothing(light_stage: Stage) -> None:
    payment = paid(light_stage, light_stage.plaza)
    for nonsense in (None, "", "\0", "\ud800", 5, True, [], {}, "re_" + "x" * 256):
        told(light_stage, refund(payment, id=nonsense))
        told(light_stage, refund(payment, status=nonsense))
        told(light_stage, refund(payment, charge=nonsense, payment_intent=nonsense))
    assert refunds(light_stage) == []

    for number, nonsense in enumerate((None, "", "\0", "\ud800", 5, [], {"valetpro_operation": "\0"})):
        told(light_stage, refund(payment, id=f"re_{number}", amount=1, metadata=nonsense, reason=nonsense))
    assert len(refunds(light_stage)) == 7


# -- a refund of ours


def give_back(stage: Stage, payment: Any, **asked: Any) -> Any:
    with stage.host.app.app_context(), tenant_context(stage.host.tenant(stage.plaza.id)):
        return payments.refund(stage.host.db.session.get_one(stage.host.Payment, payment.id), **asked)


def reserve(stage: Stage, payment: Any, **asked: Any) -> Any:
    """Make a refund whose answer is lost, and return its row."""
    stage.simulator.faults.add("POST", "/v1/refunds", "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        give_back(stage, payment, **asked)
    return stage.rows("Refund")[-1]


@pytest.mark.oldest
@pytest.mark.both
def test_an_event_finds_the_refund_whose_answer_was_lost(stage: Stage) -> None:
    payment = paid(stage, stage.plaza)
    reserved = reserve(stage, payment, amount=500)
    deliver(stage, stage.simulator.events_of(PLAZA)[-2:])

    (row,) = stage.rows("Refund")
    assert (row.id, row.status) == (reserved.id, "succeeded")
    assert row.stripe_refund_id.startswith("re_")
    (operation,) = [o for o in stage.rows("Operation") if o.kind == "refund.create"]
    assert operation.state == "done"


def test_a_refund_of_another_amount_does_not_pass_for_ours_by_its_metadata(stage: Stage) -> None:
    """Whoever owns the account can write what they like into a refund's metadata."""
    payment = paid(stage, stage.plaza)
    reserved = reserve(stage, payment, amount=500)
    told(stage, refund(payment, id="re_other", amount=700, metadata={"valetpro_operation": reserved.operation_id}))

    assert refunds(stage) == [(None, 500, "pending"), ("re_other", 700, "succeeded")]


def test_another_payments_reservation_is_not_taken_by_metadata(stage: Stage) -> None:
    payment, other = paid(stage, stage.plaza), paid(stage, stage.plaza)
    reserved = reserve(stage, payment, amount=500)
    told(stage, refund(other, metadata={"valetpro_operation": reserved.operation_id}))

    assert refunds(stage) == [(None, 500, "pending"), ("re_1", 500, "succeeded")]
    assert standing(stage, payment) == ("COMPLETED", 0)
    assert standing(stage, other) == ("PARTIALLY_REFUNDED", 500)
