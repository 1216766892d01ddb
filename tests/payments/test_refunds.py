"""Refunds: made once, on the account that took the money, and never more than was paid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
import stripe

from flask_valetpro_stripe import AccountType, Mode, errors, payments
from flask_valetpro_stripe.connections import disconnect
from flask_valetpro_stripe.onboarding import raw_keys
from flask_valetpro_stripe.onboarding.key_check import Pasted
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.testing import Simulator, make_event, sign
from tests.children import run_children
from tests.hosts import Host, make_host
from tests.payments.desk import Desk, in_parallel, listening, rows
from tests.payments.refunding import (
    REFUNDS,
    asked_for,
    at_stripe,
    give_back,
    hearing_refunds,
    paid,
    refunds_of,
    standing,
)
from tests.payments.serving import served
from tests.servers import free_port

ENDPOINT_SECRET = "whsec_0123456789abcdef0123456789abcdef"
LOST = ["drop_before", "drop_after"]


@pytest.fixture
def light_plaza(sqlite_url: str, simulator: Simulator) -> Iterator[Desk]:
    """Hotel Plaza on SQLite only, for what never reaches the database."""
    with make_host(sqlite_url, simulator=simulator) as host:
        yield Desk.of(host, "Plaza")


# -- what comes of a refund


@pytest.mark.oldest
@pytest.mark.both
def test_all_of_a_payment_is_given_back(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    with hearing_refunds() as heard, listening("payment_updated") as updated:
        refund = give_back(plaza, payment, reason="requested_by_customer")

    assert (refund.amount, refund.currency, refund.status) == (2500, "eur", "succeeded")
    assert refund.reason == "requested_by_customer"
    assert simulator.object(refund.stripe_refund_id)["amount"] == 2500
    assert standing(plaza, payment) == ("REFUNDED", 2500)
    assert heard == [(refund.id, "succeeded", "Plaza")]
    assert updated == [("payment_updated", payment.id)]


def test_the_request_is_made_by_the_platform_for_the_account_with_our_ids(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    refund = give_back(plaza, payment, amount=1000, reason="duplicate")

    (operation,) = [operation for operation in plaza.operations() if operation.kind == "refund.create"]
    (request,) = asked_for(simulator)
    assert request.api_key == simulator.platform.test_secret_key
    assert request.stripe_account == plaza.account
    assert request.idempotency_key == f"valetpro-{operation.id}-1"
    assert request.params == {
        "payment_intent": payment.stripe_payment_intent_id,
        "amount": "1000",
        "reason": "duplicate",
        "metadata": {
            "valetpro_operation": operation.id,
            "valetpro_payment": str(payment.id),
            "valetpro_refund": str(refund.id),
        },
    }


@pytest.mark.both
def test_two_equal_parts_without_a_key_are_two_refunds(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    first, second = give_back(plaza, payment, amount=500), give_back(plaza, payment, amount=500)

    assert first.stripe_refund_id != second.stripe_refund_id
    assert standing(plaza, payment) == ("PARTIALLY_REFUNDED", 1000)
    assert at_stripe(simulator, payment) == 1000


def test_without_an_amount_the_rest_is_given_back(plaza: Desk) -> None:
    payment = paid(plaza)
    give_back(plaza, payment, amount=700)

    assert give_back(plaza, payment).amount == 1800
    assert standing(plaza, payment) == ("REFUNDED", 2500)


@pytest.mark.oldest
@pytest.mark.both
def test_a_host_whose_sessions_do_not_flush_by_themselves_sees_its_refund(plaza: Desk) -> None:
    with plaza.host.app.app_context():
        plaza.host.db.session.configure(autoflush=False)
    payment = paid(plaza)
    give_back(plaza, payment, amount=1000)

    assert standing(plaza, payment) == ("PARTIALLY_REFUNDED", 1000)
    with pytest.raises(errors.RefundError, match="only €15.00 of this payment is left"):
        give_back(plaza, payment, amount=1501)


def test_the_webhooks_of_our_own_refund_are_no_news(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    simulator.deliver_all(plaza.host.app)
    refund = give_back(plaza, payment, amount=700)
    with hearing_refunds() as heard, listening("payment_updated") as updated:
        simulator.deliver_all(plaza.host.app)

    assert [row.id for row in refunds_of(plaza, payment)] == [refund.id]
    assert standing(plaza, payment) == ("PARTIALLY_REFUNDED", 700)
    assert (heard, updated) == ([], [])


def test_a_refund_that_the_bank_takes_its_time_with_is_pending(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza, card="4000000000007726")
    refund = give_back(plaza, payment)
    assert (refund.status, standing(plaza, payment)) == ("pending", ("REFUNDED", 2500))

    simulator.settle(refund.stripe_refund_id)
    simulator.deliver_all(plaza.host.app)

    assert [row.status for row in refunds_of(plaza, payment)] == ["succeeded"]


def test_what_a_bank_could_not_give_back_can_be_given_back_again(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    lost = give_back(plaza, payment)
    simulator.settle(lost.stripe_refund_id, succeeded=False)
    simulator.deliver_all(plaza.host.app)
    assert standing(plaza, payment) == ("COMPLETED", 0)

    again = give_back(plaza, payment)

    assert [row.status for row in refunds_of(plaza, payment)] == ["failed", "succeeded"]
    assert again.id != lost.id
    assert standing(plaza, payment) == ("REFUNDED", 2500)


def test_the_hosts_own_words_for_a_reason_stay_here(plaza: Desk, simulator: Simulator) -> None:
    refund = give_back(plaza, paid(plaza), reason="Guest left early")

    assert refund.reason == "Guest left early"
    assert "reason" not in asked_for(simulator)[0].params


# -- whose money, and whose fee


def test_the_fee_is_given_back_with_the_payment(plaza: Desk, simulator: Simulator) -> None:
    give_back(plaza, paid(plaza, application_fee=250), amount=1000)

    assert asked_for(simulator)[0].params["refund_application_fee"] == "true"
    assert asked_for(simulator)[0].status == 200


def test_two_hotels_refund_on_their_own_accounts(plaza: Desk, seaside: Desk, simulator: Simulator) -> None:
    mine, theirs = paid(plaza), paid(seaside, application_fee=100)
    give_back(plaza, mine, amount=500, idempotency_key="desk-1")
    give_back(seaside, theirs, amount=900, idempotency_key="desk-1")

    assert [r.stripe_account for r in asked_for(simulator)] == [plaza.account, seaside.account]
    assert ["refund_application_fee" in r.params for r in asked_for(simulator)] == [False, True]
    assert standing(plaza, mine) == ("PARTIALLY_REFUNDED", 500)
    assert standing(seaside, theirs) == ("PARTIALLY_REFUNDED", 900)


def test_another_tenants_payment_does_not_exist(plaza: Desk, seaside: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    with pytest.raises(ValueError, match=r"^The current tenant has no such payment\.$"):
        give_back(seaside, payment)

    assert asked_for(simulator) == []
    assert refunds_of(plaza, payment) == []


def test_what_the_platform_collected_is_refunded_from_the_platforms_account(host: Host, simulator: Simulator) -> None:
    hotel = Desk.of(host, "Managed", modes=())
    host.connect(hotel.tenant, None, account_type=AccountType.PLATFORM)
    payment = paid(hotel)
    refund = give_back(hotel, payment)

    (request,) = asked_for(simulator)
    assert (request.api_key, request.stripe_account) == (simulator.platform.test_secret_key, None)
    assert "refund_application_fee" not in request.params
    assert refund.status == "succeeded"


def with_own_key(host: Host, simulator: Simulator) -> Desk:
    """Return the desk of a hotel that pasted a key of its own."""
    desk = Desk.of(host, "By key", modes=())
    desk.account = simulator.create_account("By key").id
    paste(desk, simulator.create_restricted_key(desk.account))
    return desk


def paste(desk: Desk, key: str) -> None:
    pasted = Pasted(key=Secret(key), webhook_secret=Secret(ENDPOINT_SECRET))
    with desk.open() as tenant:
        raw_keys.save(desk.host.state, tenant, Mode.test, pasted, actor="tests")


def test_a_tenant_with_a_key_of_its_own_refunds_with_it_after_a_rotation_too(host: Host, simulator: Simulator) -> None:
    hotel = with_own_key(host, simulator)
    payment = paid(hotel)
    newer = simulator.create_restricted_key(str(hotel.account))
    paste(hotel, newer)
    refund = give_back(hotel, payment)

    request = asked_for(simulator)[-1]
    assert (request.api_key, request.stripe_account) == (newer, None)
    assert "refund_application_fee" not in request.params
    assert refund.status == "succeeded"


def test_a_fee_is_not_given_back_by_a_key_that_did_not_take_it(
    plaza: Desk, seaside: Desk, simulator: Simulator
) -> None:
    """The account was let go by the platform, and is reached by its own key since."""
    payment, theirs = paid(plaza, application_fee=250), paid(seaside, application_fee=250)
    with plaza.open() as tenant:
        disconnect(plaza.host.state, tenant, Mode.test, actor="tests")
    key = simulator.create_restricted_key(str(plaza.account))
    paste(plaza, key)
    refund = give_back(plaza, payment)
    give_back(seaside, theirs)

    mine, other = asked_for(simulator)[-2:]
    assert (mine.api_key, mine.stripe_account) == (key, None)
    assert "refund_application_fee" not in mine.params
    assert (refund.status, refund.connection_id) == ("succeeded", payment.connection_id)
    assert other.params["refund_application_fee"] == "true"


def test_a_fee_is_given_back_on_an_account_that_was_connected_again(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza, application_fee=250)
    with plaza.open() as tenant:
        disconnect(plaza.host.state, tenant, Mode.test, actor="tests")
    simulator.connect(str(plaza.account))
    plaza.host.connect(plaza.tenant, plaza.account)
    give_back(plaza, payment)

    assert asked_for(simulator)[-1].params["refund_application_fee"] == "true"


def tell_by_its_own_endpoint(desk: Desk, payment: Any) -> None:
    """Deliver a refund event that the tenant signed with the secret of its own endpoint."""
    model = desk.host.valetpro.models.Connection
    (connection,) = rows(desk.host, model, tenant_id=desk.tenant.id, account_type=AccountType.RAW_KEYS)
    thing = {
        "id": "re_1",
        "object": "refund",
        "amount": 500,
        "charge": payment.stripe_charge_id,
        "currency": "eur",
        "payment_intent": payment.stripe_payment_intent_id,
        "status": "succeeded",
    }
    body = json.dumps(make_event("refund.created", thing)).encode()
    headers = {"Content-Type": "application/json", "Stripe-Signature": sign(body, ENDPOINT_SECRET)}
    url = f"/api/webhooks/stripe/{connection.endpoint_token}"
    assert desk.host.app.test_client().post(url, data=body, headers=headers).status_code == 200


def test_a_tenants_own_endpoint_tells_of_refunds_of_what_its_key_took(host: Host, simulator: Simulator) -> None:
    hotel = with_own_key(host, simulator)
    payment = paid(hotel)
    tell_by_its_own_endpoint(hotel, payment)

    assert [row.stripe_refund_id for row in refunds_of(hotel, payment)] == ["re_1"]
    assert standing(hotel, payment) == ("PARTIALLY_REFUNDED", 500)


def test_a_tenants_own_endpoint_cannot_touch_what_the_platform_made(plaza: Desk, simulator: Simulator) -> None:
    """The tenant can sign what it likes, and the platform took a fee of this payment."""
    payment = paid(plaza, application_fee=100)
    paste(plaza, simulator.create_restricted_key(str(plaza.account)))
    tell_by_its_own_endpoint(plaza, payment)

    assert refunds_of(plaza, payment) == []
    assert standing(plaza, payment) == ("COMPLETED", 0)


def test_account_mode_and_connection_are_frozen(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    other = simulator.create_account("Plaza two").id
    simulator.connect(other)
    plaza.host.connect(plaza.tenant, other)
    plaza.change(plaza.tenant, stripe_mode=Mode.live)
    refund = give_back(plaza, payment)

    assert [(r.stripe_account, r.livemode) for r in asked_for(simulator)] == [(plaza.account, False)]
    assert (refund.connection_id, refund.status) == (payment.connection_id, "succeeded")


def test_a_disconnected_account_is_not_touched(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    with plaza.open() as tenant:
        disconnect(plaza.host.state, tenant, Mode.test, actor="tests")
    with pytest.raises(errors.ConnectionRevokedError, match="is disconnected"):
        give_back(plaza, payment)

    assert asked_for(simulator) == []
    assert refunds_of(plaza, payment) == []


def test_an_account_that_was_cut_off_says_so_and_nothing_stays_reserved(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    simulator.disconnect(str(plaza.account))
    with pytest.raises(errors.ConnectionRevokedError):
        give_back(plaza, payment)

    assert [row.status for row in refunds_of(plaza, payment)] == ["failed"]
    assert standing(plaza, payment) == ("COMPLETED", 0)


# -- what cannot work


@pytest.mark.parametrize(
    "asked",
    [
        {"amount": 0},
        {"amount": -1},
        {"amount": True},
        {"amount": 25.0},
        {"amount": "2500"},
        {"reason": ""},
        {"reason": "x" * 65},
        {"reason": "a\0b"},
        {"reason": 5},
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 256},
        {"idempotency_key": 5},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_is_written(light_plaza: Desk, asked: dict[str, Any]) -> None:
    payment = paid(light_plaza)
    with pytest.raises(ValueError, match=r"^The (amount|reason|idempotency_key) must be "):
        give_back(light_plaza, payment, **asked)

    assert asked_for(light_plaza.simulator) == []
    assert refunds_of(light_plaza, payment) == []


def test_amounts_that_the_currency_does_not_have_are_refused(light_plaza: Desk) -> None:
    payment = paid(light_plaza, amount=25_000, currency="isk")
    with pytest.raises(ValueError, match=r"^Amounts in ISK must be multiples of 100 in minor units\.$"):
        give_back(light_plaza, payment, amount=1050)


def test_more_than_is_left_is_refused_before_stripe_is_asked(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    give_back(plaza, payment, amount=2000)
    with pytest.raises(errors.RefundError) as caught:
        give_back(plaza, payment, amount=501)

    assert str(caught.value) == "€5.01 cannot be given back: only €5.00 of this payment is left."
    assert caught.value.code == "refund_too_large"
    assert len(asked_for(simulator)) == 1
    assert len(refunds_of(plaza, payment)) == 1


def test_a_payment_that_was_given_back_has_nothing_left(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    give_back(plaza, payment)
    with pytest.raises(errors.RefundError, match="has been given back already") as caught:
        give_back(plaza, payment)

    assert caught.value.code == "charge_already_refunded"
    assert len(asked_for(simulator)) == 1


def test_what_nobody_has_paid_is_not_refunded(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    with pytest.raises(errors.RefundError, match=r"^This payment has not been paid") as caught:
        give_back(plaza, payment)

    assert caught.value.code == "not_paid"
    assert asked_for(simulator) == []


def test_what_stripe_refuses_is_said_in_plain_words_and_reserves_nothing(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    in_the_dashboard(simulator, plaza, payment)
    with pytest.raises(errors.RefundError) as caught:
        give_back(plaza, payment, amount=500)

    assert str(caught.value) == "At Stripe all of this payment has been given back already."
    assert (caught.value.code, caught.value.hint) == (
        "charge_already_refunded",
        "payments.sync(payment) brings the payment to what Stripe knows.",
    )
    assert [(row.status, row.stripe_refund_id) for row in refunds_of(plaza, payment)] == [("failed", None)]


def in_the_dashboard(simulator: Simulator, desk: Desk, payment: Any, **asked: Any) -> Any:
    """Give money back as the hotel does in Stripe's dashboard."""
    client = stripe.StripeClient(
        simulator.platform.test_secret_key,
        stripe_account=desk.account,
        http_client=simulator.http_client(),
        base_addresses={"api": simulator.base_url},
    )
    return client.v1.refunds.create({"payment_intent": payment.stripe_payment_intent_id, **asked})


def test_a_reason_of_stripes_that_we_have_no_words_for_is_passed_on(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    in_the_dashboard(simulator, plaza, payment, amount=2000)
    with pytest.raises(errors.RefundError, match=r"Refund amount \(€10.00\) is greater than unrefunded amount"):
        give_back(plaza, payment, amount=1000)

    assert give_back(plaza, payment, amount=500).status == "succeeded"


# -- once, and no more than there is


@pytest.mark.both
def test_the_same_key_is_the_same_refund(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    first = give_back(plaza, payment, idempotency_key="desk-1")
    again = give_back(plaza, payment, idempotency_key="desk-1")

    assert (again.id, again.stripe_refund_id) == (first.id, first.stripe_refund_id)
    assert len(asked_for(simulator)) == 1
    assert at_stripe(simulator, payment) == 2500


def test_the_same_key_gives_the_refund_after_a_disconnect_too(plaza: Desk) -> None:
    payment = paid(plaza)
    first = give_back(plaza, payment, idempotency_key="desk-1")
    with plaza.open() as tenant:
        disconnect(plaza.host.state, tenant, Mode.test, actor="tests")

    assert give_back(plaza, payment, idempotency_key="desk-1").id == first.id


def test_the_same_key_with_other_arguments_is_refused(light_plaza: Desk) -> None:
    payment, other = paid(light_plaza), paid(light_plaza)
    give_back(light_plaza, payment, amount=500, idempotency_key="desk-1")
    for again, asked in [
        (payment, {"amount": 501}),
        (payment, {}),
        (payment, {"amount": 500, "reason": "duplicate"}),
        (other, {"amount": 500}),
    ]:
        with pytest.raises(ValueError, match=r"^This idempotency_key was used for another refund\."):
            give_back(light_plaza, again, idempotency_key="desk-1", **asked)

    assert len(asked_for(light_plaza.simulator)) == 1


def test_a_key_may_be_that_of_a_link_too(light_plaza: Desk) -> None:
    payment = paid(light_plaza, idempotency_key="ticket-7")
    refund = give_back(light_plaza, payment, idempotency_key="ticket-7")

    assert refund.status == "succeeded"
    assert light_plaza.make(idempotency_key="ticket-7").id == payment.id


@pytest.mark.oldest
@pytest.mark.both
def test_threads_with_one_key_make_one_refund(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    with hearing_refunds() as heard:
        answers = in_parallel(10, lambda: give_back(plaza, payment, amount=500, idempotency_key="desk-1"))

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert len({(answer.id, answer.stripe_refund_id, answer.status) for answer in answers}) == 1
    assert len(refunds_of(plaza, payment)) == 1
    assert at_stripe(simulator, payment) == 500
    assert heard == [(answers[0].id, "succeeded", "Plaza")]


@pytest.mark.both
def test_one_key_for_two_payments_at_once_is_one_refund_and_a_refusal(plaza: Desk, simulator: Simulator) -> None:
    both = [paid(plaza), paid(plaza)]
    left = list(both)
    answers = in_parallel(2, lambda: give_back(plaza, left.pop(), idempotency_key="desk-1"))

    assert sorted(type(answer).__name__ for answer in answers) == ["KeyUsedError", "Refund"]
    assert sum(at_stripe(simulator, payment) for payment in both) == 2500


@pytest.mark.oldest
@pytest.mark.both
def test_however_many_at_once_no_more_is_given_back_than_was_paid(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza, amount=10_000)
    answers = in_parallel(50, lambda: give_back(plaza, payment, amount=1000))

    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert {type(error) for error in refused} == {errors.RefundError}
    assert len(answers) - len(refused) == 10
    assert len(asked_for(simulator)) == 10
    assert at_stripe(simulator, payment) == 10_000
    assert standing(plaza, payment) == ("REFUNDED", 10_000)


def refund_many(database_url: str, config: dict[str, Any], tenant_id: int, payment_id: int) -> list[Any]:
    """Run in a process of its own: the same call from several threads, each as one request."""
    with make_host(database_url, config=config) as host:
        with host.app.app_context():
            desk = Desk(host, host.tenant(tenant_id), None)
            payment = host.db.session.get_one(host.Payment, payment_id)
            host.db.session.expunge_all()
        answers = in_parallel(5, lambda: give_back(desk, payment, amount=500, idempotency_key="desk-1"))
        return [repr(a) if isinstance(a, Exception) else (a.id, a.stripe_refund_id) for a in answers]


@pytest.mark.both
@pytest.mark.slow("starts processes that import the app")
def test_two_processes_with_one_key_make_one_refund(database_url: str) -> None:
    port = free_port()
    simulator = Simulator(base_url=f"http://127.0.0.1:{port}")
    with make_host(database_url, simulator=simulator) as host, served(simulator, port):
        desk = Desk.of(host, "Plaza")
        payment = paid(desk)
        known = (database_url, simulator.config(), desk.tenant.id, payment.id)
        answers = [answer for share in run_children(2, refund_many, *known) for answer in share]

        (refund,) = refunds_of(desk, payment)
        assert answers == [(refund.id, refund.stripe_refund_id)] * 10
        assert at_stripe(simulator, payment) == 500


# -- answers that do not come


@pytest.mark.oldest
@pytest.mark.both
@pytest.mark.parametrize("fault", LOST)
def test_a_lost_answer_keeps_the_amount_and_the_same_key_finishes_it(
    plaza: Desk, simulator: Simulator, fault: str
) -> None:
    payment = paid(plaza)
    simulator.faults.add("POST", REFUNDS, fault, times=3)
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        give_back(plaza, payment, amount=2000, idempotency_key="desk-1")
    assert caught.value.hint == errors.OutcomeUnknownError.default_hint
    assert [(row.status, row.stripe_refund_id) for row in refunds_of(plaza, payment)] == [("pending", None)]
    with pytest.raises(errors.RefundError, match=r"only €5\.00 of this payment is left"):
        give_back(plaza, payment, amount=1000)

    refund = give_back(plaza, payment, amount=2000, idempotency_key="desk-1")

    assert [row.id for row in refunds_of(plaza, payment)] == [refund.id]
    assert refund.status == "succeeded"
    assert at_stripe(simulator, payment) == 2000
    assert standing(plaza, payment) == ("PARTIALLY_REFUNDED", 2000)


def test_a_server_error_is_not_taken_for_a_refusal(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    simulator.faults.add("POST", REFUNDS, "server_error", times=3)
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        give_back(plaza, payment)

    assert caught.value.hint == ("The amount stays reserved until Stripe tells. Another call would be another refund.")
    assert [(row.status, row.amount) for row in refunds_of(plaza, payment)] == [("pending", 2500)]
    assert standing(plaza, payment) == ("COMPLETED", 0)


def test_one_lost_answer_is_asked_for_again_in_silence(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    simulator.faults.add("POST", REFUNDS, "drop_after", times=1)
    give_back(plaza, payment, amount=500)

    assert len({request.idempotency_key for request in asked_for(simulator)}) == 1
    assert at_stripe(simulator, payment) == 500


def test_a_webhook_tells_what_a_lost_answer_would_have_told(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    simulator.faults.add("POST", REFUNDS, "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        give_back(plaza, payment, amount=500, idempotency_key="desk-1")
    with hearing_refunds() as heard:
        simulator.deliver_all(plaza.host.app)

    (refund,) = refunds_of(plaza, payment)
    assert refund.status == "succeeded"
    assert heard == [(refund.id, "succeeded", "Plaza")]
    assert standing(plaza, payment) == ("PARTIALLY_REFUNDED", 500)
    asked = len(asked_for(simulator))
    assert give_back(plaza, payment, amount=500, idempotency_key="desk-1").id == refund.id
    assert len(asked_for(simulator)) == asked


@pytest.mark.both
def test_a_webhook_that_beats_the_answer_is_told_once(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    simulator.deliver_all(plaza.host.app)
    real = plaza.host.state.http_client

    class ToldMeanwhile(type(real)):  # type: ignore[misc]
        def request(self, *args: Any, **kwargs: Any) -> Any:
            answer = real.request(*args, **kwargs)
            simulator.deliver_all(plaza.host.app)
            return answer

    plaza.host.state.http_client = ToldMeanwhile(simulator)
    with hearing_refunds() as heard, listening("payment_updated") as updated:
        refund = give_back(plaza, payment, amount=500)

    assert heard == [(refund.id, "succeeded", "Plaza")]
    assert updated == [("payment_updated", payment.id)]
    assert [row.id for row in refunds_of(plaza, payment)] == [refund.id]


def test_after_a_refusal_the_same_key_tries_again_under_a_new_key_at_stripe(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    other = in_the_dashboard(simulator, plaza, payment)
    with pytest.raises(errors.RefundError):
        give_back(plaza, payment, amount=500, idempotency_key="desk-1")
    simulator.settle(other.id, succeeded=False)

    refund = give_back(plaza, payment, amount=500, idempotency_key="desk-1")

    assert (refund.status, refund.amount) == ("succeeded", 500)
    (operation,) = [operation for operation in plaza.operations() if operation.kind == "refund.create"]
    keys = [request.idempotency_key for request in asked_for(simulator)]
    assert keys[-2:] == [f"valetpro-{operation.id}-1", f"valetpro-{operation.id}-2"]


@pytest.mark.both
def test_a_refusal_frees_the_amount_for_others_and_the_same_key_must_wait_for_them(
    plaza: Desk, simulator: Simulator
) -> None:
    payment = paid(plaza)
    simulator.faults.add("POST", REFUNDS, "rate_limit", times=3)
    with pytest.raises(errors.ValetProStripeError, match="Stripe is limiting requests"):
        give_back(plaza, payment, amount=2000, idempotency_key="desk-1")
    give_back(plaza, payment, amount=1000)
    with pytest.raises(errors.RefundError, match=r"^€20\.00 cannot be given back: only €15\.00"):
        give_back(plaza, payment, amount=2000, idempotency_key="desk-1")

    assert at_stripe(simulator, payment) == 1000


def test_not_being_let_in_says_nothing_about_a_lost_answer(plaza: Desk, simulator: Simulator) -> None:
    payment = paid(plaza)
    simulator.faults.add("POST", REFUNDS, "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        give_back(plaza, payment, idempotency_key="desk-1")
    simulator.faults.add("POST", REFUNDS, "rate_limit", times=3)
    with pytest.raises(errors.ValetProStripeError, match="Stripe is limiting requests"):
        give_back(plaza, payment, idempotency_key="desk-1")

    assert [row.status for row in refunds_of(plaza, payment)] == ["pending"]
    assert give_back(plaza, payment, idempotency_key="desk-1").status == "succeeded"
    assert at_stripe(simulator, payment) == 2500


def test_what_was_begun_a_day_ago_is_not_repeated(plaza: Desk, simulator: Simulator) -> None:
    """Stripe has forgotten the key by then: the same call would make another refund."""
    payment = paid(plaza)
    simulator.faults.add("POST", REFUNDS, "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        give_back(plaza, payment, amount=500, idempotency_key="desk-1")
    (operation,) = [operation for operation in plaza.operations() if operation.kind == "refund.create"]
    plaza.change(operation, attempted_at=operation.attempted_at.replace(year=operation.attempted_at.year - 1))
    asked = len(asked_for(simulator))

    with pytest.raises(errors.OutcomeUnknownError, match="begun more than 23 hours ago"):
        give_back(plaza, payment, amount=500, idempotency_key="desk-1")

    assert len(asked_for(simulator)) == asked
    assert [row.status for row in refunds_of(plaza, payment)] == ["pending"]


@pytest.mark.oldest
@pytest.mark.both
def test_what_the_host_had_pending_is_kept_when_a_refund_is_refused(plaza: Desk) -> None:
    payment = paid(plaza)
    session = plaza.host.db.session
    with plaza.open() as tenant:
        row = session.get_one(plaza.host.Payment, payment.id)
        tenant.name = "Plaza Grand"
        with pytest.raises(errors.RefundError):
            payments.refund(row, amount=9_999)

    with plaza.host.app.app_context():
        assert session.scalar(sa.select(plaza.host.Tenant.name)) == "Plaza Grand"


def test_a_refunded_payment_is_still_the_one_that_its_link_made(plaza: Desk) -> None:
    payment = paid(plaza)
    give_back(plaza, payment)

    assert plaza.cancel(payment).status == "REFUNDED"


def test_a_payment_whose_row_was_given_another_tenants_connection_moves_nobodys_money(host: Host) -> None:
    plaza, seaside = Desk.of(host, "Plaza"), Desk.of(host, "Seaside")
    mine, theirs = plaza.make(), seaside.make()
    with host.app.app_context():
        row = host.db.session.get_one(host.Payment, mine.id)
        row.connection_id, row.stripe_payment_link_id = theirs.connection_id, theirs.stripe_payment_link_id
        host.db.session.commit()
    calls = len(plaza.simulator.requests)

    for act in (plaza.sync, plaza.cancel):
        with pytest.raises(errors.ValetProStripeError, match="made through another tenant's connection") as refused:
            act(mine)
        assert refused.value.code == "foreign_connection"
    assert len(plaza.simulator.requests) == calls
