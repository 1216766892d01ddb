"""What events do to payments: only to the payment that they are about, and only what fits it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import AccountType
from flask_valetpro_stripe.payments.find import OPERATION_METADATA
from flask_valetpro_stripe.testing import make_event
from tests.webhooks.objects import CONTRADICTION, charge, intent, operation_of, session
from tests.webhooks.stage import TAKEN

from .stage import PLAZA, SEASIDE, Stage, answer, make_stage


def untouched(stage: Stage, payment: Any) -> bool:
    """Tell whether a payment is as it was made."""
    now = stage.payment(payment)
    return (now.status, now.updated_at, now.stripe_charge_id, now.stripe_payment_intent_id, now.paid_at) == (
        "PENDING",
        payment.updated_at,
        None,
        None,
        None,
    )


@pytest.mark.oldest
@pytest.mark.both
def test_a_paid_session_completes_its_payment(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)

    stage.deliver(make_event("checkout.session.completed", session(payment), account=PLAZA))

    paid = stage.payment(payment)
    assert paid.status == "COMPLETED"
    assert (paid.stripe_checkout_session_id, paid.stripe_payment_intent_id) == ("cs_test_1", "pi_1")
    assert paid.paid_at.utcoffset().total_seconds() == 0
    assert paid.stripe_object["id"] == "cs_test_1"


@pytest.mark.oldest
@pytest.mark.both
@pytest.mark.parametrize("kind", ["session", "intent"])
def test_a_payment_was_paid_when_stripe_says_so_and_not_when_we_hear_of_it(stage: Stage, kind: str) -> None:
    payment, now = stage.make_payment(stage.plaza), datetime.now(UTC).replace(microsecond=0)
    with stage.host.app.app_context():
        made = {"created_at": now - timedelta(days=1)}
        stage.host.db.session.execute(sa.update(stage.host.Payment).values(made))
        stage.host.db.session.commit()
    paid = {"session": session(payment), "intent": intent(payment, operation_of(stage, payment))}[kind]
    name = {"session": "checkout.session.completed", "intent": "payment_intent.succeeded"}[kind]
    hours_ago, later = now - timedelta(hours=7), now - timedelta(hours=1)

    stage.deliver(make_event(name, paid, account=PLAZA, created=int(hours_ago.timestamp())))
    assert stage.payment(payment).paid_at == hours_ago

    thing = charge(payment, operation_of(stage, payment))
    stage.deliver(make_event("charge.succeeded", thing, account=PLAZA, created=int(later.timestamp())))
    assert stage.payment(payment).receipt_url
    assert stage.payment(payment).paid_at == hours_ago


@pytest.mark.parametrize("kind", ["session", "intent"])
def test_a_payment_was_not_paid_later_than_now(stage: Stage, kind: str) -> None:
    payment = stage.make_payment(stage.plaza)
    paid = {"session": session(payment), "intent": intent(payment, operation_of(stage, payment))}[kind]
    name = {"session": "checkout.session.completed", "intent": "payment_intent.succeeded"}[kind]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    stage.deliver(make_event(name, paid, account=PLAZA, created=int(tomorrow.timestamp())))
    assert stage.payment(payment).paid_at <= datetime.now(UTC)


@pytest.mark.parametrize("account", [SEASIDE, None, "acct_nobody"])
@pytest.mark.parametrize("kind", ["session", "intent", "charge"])
def test_metadata_and_ids_never_reach_another_tenants_payment(stage: Stage, account: str | None, kind: str) -> None:
    """Whoever owns an account writes its metadata: they say nothing about whose payment it is."""
    payment = stage.make_payment(stage.plaza)
    operation = operation_of(stage, payment)
    event_type, thing = {
        "session": ("checkout.session.completed", session(payment)),
        "intent": ("payment_intent.succeeded", intent(payment, operation)),
        "charge": ("charge.succeeded", charge(payment, operation, amount_refunded=payment.amount)),
    }[kind]
    thing["metadata"] |= {"valetpro_payment": str(payment.id), "tenant_id": str(stage.plaza.id)}

    assert answer(stage.deliver(make_event(event_type, thing, account=account))) == TAKEN
    assert untouched(stage, payment)


def test_a_test_event_never_pays_a_live_payment(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    event = make_event("checkout.session.completed", session(payment), account=PLAZA, livemode=True)
    stage.host.connect(stage.plaza, PLAZA, mode=stage.host.valetpro.models.Connection.mode.type.enum_class.live)

    assert answer(stage.deliver(event)) == TAKEN
    assert stage.row().tenant_id == stage.plaza.id
    assert untouched(stage, payment)


@pytest.mark.parametrize("changes", [{"amount_total": 2499}, {"amount_total": 2501}, {"currency": "usd"}])
def test_a_session_of_another_amount_is_flagged_and_not_applied(stage: Stage, changes: dict[str, Any]) -> None:
    payment = stage.make_payment(stage.plaza)
    event = make_event("checkout.session.completed", session(payment, **changes), account=PLAZA)

    assert answer(stage.deliver(event)) == TAKEN
    assert (stage.row().status, stage.row().error) == ("processed", CONTRADICTION)
    assert untouched(stage, payment)


@pytest.mark.parametrize(
    "changes", [{"amount": 1}, {"currency": "jpy"}, {"amount": None}, {"amount": "2500"}, {"amount_received": 1}]
)
def test_an_intent_of_another_amount_is_flagged_and_not_applied(stage: Stage, changes: dict[str, Any]) -> None:
    payment = stage.make_payment(stage.plaza)
    thing = intent(payment, operation_of(stage, payment), **changes)

    assert answer(stage.deliver(make_event("payment_intent.succeeded", thing, account=PLAZA))) == TAKEN
    assert (stage.row().status, stage.row().error) == ("processed", CONTRADICTION)
    assert untouched(stage, payment)


def test_a_failure_of_another_amount_is_flagged_and_not_applied(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    failed = session(payment, amount_total=2499, payment_status="unpaid")

    assert answer(stage.deliver(make_event("checkout.session.async_payment_failed", failed, account=PLAZA))) == TAKEN
    assert (stage.row().status, stage.row().error) == ("processed", CONTRADICTION)
    assert untouched(stage, payment)


def test_a_charge_of_another_amount_is_flagged_and_not_applied(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    thing = charge(payment, operation_of(stage, payment), amount=1)

    stage.deliver(make_event("charge.succeeded", thing, account=PLAZA))

    assert stage.row().error == CONTRADICTION
    assert untouched(stage, payment)


# -- the tenant's other business on the same account


def unlinked_payment(stage: Stage) -> Any:
    """Return a payment whose link is not made yet: its column is empty, as everything at a stranger's may be."""
    payment = stage.make_payment(stage.plaza)
    with stage.host.app.app_context():
        row = stage.host.db.session.get_one(stage.host.Payment, payment.id)
        row.stripe_payment_link_id = None
        stage.host.db.session.commit()
        stage.host.db.session.refresh(row)
        return row


def test_a_session_without_link_is_not_taken_for_a_payment_whose_link_is_still_being_made(stage: Stage) -> None:
    payment = unlinked_payment(stage)
    thing = session(payment, payment_link=None)

    assert answer(stage.deliver(make_event("checkout.session.completed", thing, account=PLAZA))) == TAKEN
    assert untouched(stage, payment)


def test_a_charge_without_intent_is_not_taken_for_a_payment_that_has_none_yet(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    thing = charge(payment, None, payment_intent=None, amount_refunded=payment.amount)

    assert answer(stage.deliver(make_event("charge.refunded", thing, account=PLAZA))) == TAKEN
    assert untouched(stage, payment)


NONSENSE = [None, "", "\0", "\ud800", 5, True, [], {}, {OPERATION_METADATA: None}, {OPERATION_METADATA: {}}]


@pytest.mark.both
def test_nonsense_in_place_of_ids_touches_nothing_and_breaks_nothing(stage: Stage) -> None:
    payment = unlinked_payment(stage)
    for nonsense in NONSENSE:
        for event_type, thing in [
            ("checkout.session.completed", session(payment, id=nonsense, payment_link=nonsense)),
            ("payment_intent.succeeded", intent(payment, "", id=nonsense, metadata=nonsense)),
            ("charge.succeeded", charge(payment, None, id=nonsense, payment_intent=nonsense, metadata=nonsense)),
            ("charge.succeeded", charge(payment, None, object=nonsense)),
        ]:
            for account in (PLAZA, None):
                response = stage.deliver(make_event(event_type, thing, account=account))
                assert answer(response) == TAKEN, (event_type, account, nonsense)

    assert untouched(stage, payment)
    assert {(row.status, row.error) for row in stage.rows()} == {("processed", None)}


def test_nonsense_beside_the_right_id_is_not_written(stage: Stage) -> None:
    for nonsense in NONSENSE[1:]:
        payment = stage.make_payment(stage.plaza)
        thing = session(payment, id=nonsense, payment_intent=nonsense)

        assert answer(stage.deliver(make_event("checkout.session.completed", thing, account=PLAZA))) == TAKEN
        assert stage.payment(payment).status == "COMPLETED"
        assert stage.payment(payment).stripe_checkout_session_id is None


@pytest.mark.parametrize("nonsense", [[], {}, [None], 5, "\0"], ids=repr)
def test_a_payment_status_that_is_no_word_pays_nothing_and_breaks_nothing(stage: Stage, nonsense: Any) -> None:
    payment = stage.make_payment(stage.plaza)
    thing = session(payment, payment_status=nonsense, status=nonsense)

    assert answer(stage.deliver(make_event("checkout.session.completed", thing, account=PLAZA))) == TAKEN
    assert stage.payment(payment).status == "PENDING"


@pytest.mark.oldest
@pytest.mark.both
def test_an_id_that_no_column_holds_is_not_written(stage: Stage) -> None:
    """PostgreSQL refuses it, and would each time that Stripe delivers it again."""
    payment, long = stage.make_payment(stage.plaza), "x" * 256
    operation = operation_of(stage, payment)
    for event_type, thing in [
        ("checkout.session.completed", session(payment, id=f"cs_{long}", payment_intent=f"pi_{long}")),
        ("payment_intent.succeeded", intent(payment, operation, id=f"pi_{long}", latest_charge=f"ch_{long}")),
        ("charge.succeeded", charge(payment, operation, id=f"ch_{long}", receipt_url=f"https://pay.example/{long}")),
    ]:
        assert answer(stage.deliver(make_event(event_type, thing, account=PLAZA))) == TAKEN, event_type

    now = stage.payment(payment)
    assert (now.status, now.receipt_url) == ("COMPLETED", f"https://pay.example/{long}")
    assert (now.stripe_checkout_session_id, now.stripe_charge_id) == (None, None)
    assert now.stripe_payment_intent_id == "pi_1"


def test_a_link_that_is_paid_twice_is_flagged_and_keeps_what_was_first(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    operation = operation_of(stage, payment)
    stage.deliver(make_event("checkout.session.completed", session(payment), account=PLAZA))
    for event_type, thing in [
        ("payment_intent.succeeded", intent(payment, operation, id="pi_2", latest_charge="ch_2")),
        ("charge.refunded", charge(payment, operation, id="ch_2", payment_intent="pi_2", amount_refunded=2500)),
        ("checkout.session.completed", session(payment, id="cs_test_2", payment_intent="pi_2")),
    ]:
        stage.deliver(make_event(event_type, thing, account=PLAZA))

    errors = [row.error for row in stage.rows()]
    assert errors == [None] + ["The payment was paid before by another PaymentIntent. Give one of the two back."] * 3
    now = stage.payment(payment)
    assert (now.status, now.stripe_payment_intent_id, now.stripe_charge_id, now.amount_refunded) == (
        "COMPLETED",
        "pi_1",
        None,
        0,
    )
    assert now.stripe_checkout_session_id == "cs_test_1"


def test_a_payment_on_the_platforms_account_is_completed_by_the_platforms_own_event(stage: Stage) -> None:
    hotel = stage.host.make_tenant("Managed")
    stage.host.connect(hotel, None, account_type=AccountType.PLATFORM)
    payment = stage.make_payment(hotel)
    with stage.events_while(None) as paying:
        stage.simulator.pay(payment.stripe_payment_link_url)
    for event in paying.made:
        assert "account" not in event
        assert answer(stage.deliver(event)) == TAKEN

    paid = stage.payment(payment)
    assert (paid.status, paid.stripe_account_id, paid.collected_via) == ("COMPLETED", None, "PLATFORM")
    assert paid.receipt_url


def test_a_connected_account_cannot_complete_a_payment_that_the_platform_collects(stage: Stage) -> None:
    stage.host.connect(stage.plaza, None, account_type=AccountType.PLATFORM)
    payment = stage.make_payment(stage.plaza)

    stage.deliver(make_event("checkout.session.completed", session(payment), account=PLAZA))

    assert untouched(stage, payment)


@pytest.mark.oldest
@pytest.mark.both
def test_a_partial_and_a_full_refund_are_noted(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    operation = operation_of(stage, payment)
    stage.deliver(make_event("payment_intent.succeeded", intent(payment, operation), account=PLAZA))
    for refunded, status in [(1000, "PARTIALLY_REFUNDED"), (2500, "REFUNDED"), (1000, "REFUNDED")]:
        thing = charge(payment, operation, amount_refunded=refunded)
        stage.deliver(make_event("charge.refunded", thing, account=PLAZA))
        assert stage.payment(payment).status == status

    assert stage.payment(payment).amount_refunded == 2500


@pytest.mark.oldest
@pytest.mark.both
def test_the_host_may_load_its_payments_together_with_their_tenants(database_url: str) -> None:
    """A joined load makes an outer join, which PostgreSQL cannot lock as a whole."""
    with make_stage(database_url, own_models=True) as stage:
        stage.host.Payment.tenant = sa.orm.relationship(stage.host.Tenant, lazy="joined")
        payment = stage.make_payment(stage.plaza)

        response = stage.deliver(make_event("checkout.session.completed", session(payment), account=PLAZA))

        assert answer(response) == TAKEN
        assert stage.payment(payment).status == "COMPLETED"
