"""Calls whose answer never came: repeated under their key, then looked for, and never made twice."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from flask_valetpro_stripe import errors
from flask_valetpro_stripe.connections import disconnect
from flask_valetpro_stripe.enums import Mode, OperationState
from flask_valetpro_stripe.payments import unfinished
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host
from tests.payments.desk import LINKS, Desk, in_parallel, links_at, listening, made
from tests.payments.refunding import REFUNDS, asked_for, at_stripe, give_back, paid, refunds_of
from tests.raw_keys.owner import Crash, put_transport
from tests.reconcile.stage import age, dashboard, look, run
from tests.simulator.helpers import link_params

MINUTES, HOURS = timedelta(minutes=2), timedelta(hours=25)
KEY = "ticket-7"


def begin(desk: Desk, fault: str, *, ago: timedelta = MINUTES, **asked: Any) -> Any:
    """Make a payment link whose answer is lost, a while ago; return the payment."""
    desk.simulator.faults.add("POST", LINKS, fault, times=3, account=desk.account)
    with pytest.raises(errors.OutcomeUnknownError):
        desk.make(**{"idempotency_key": KEY, **asked})
    desk.simulator.faults.clear()
    grow_old(desk, ago)
    return desk.payments()[-1]


def begin_refund(desk: Desk, fault: str, *, ago: timedelta = MINUTES) -> Any:
    """Give a payment back, and lose the answer; return the payment."""
    payment = paid(desk)
    desk.simulator.faults.add("POST", REFUNDS, fault, times=3, account=desk.account)
    with pytest.raises(errors.OutcomeUnknownError):
        give_back(desk, payment, amount=1000, idempotency_key=KEY)
    desk.simulator.faults.clear()
    grow_old(desk, ago)
    return payment


def grow_old(desk: Desk, by: timedelta) -> None:
    """Let what is unfinished have been begun that long ago, here and at Stripe."""
    for operation in desk.operations():
        if operation.state is not OperationState.done:
            age(desk, operation, by, "attempted_at", "created_at")
    desk.simulator.advance(by.total_seconds())


@pytest.fixture(params=["drop_before", "drop_after"])
def lost(request: pytest.FixtureRequest) -> str:
    """The call was lost on its way, or its answer was."""
    return str(request.param)


# -- links


@pytest.mark.both
def test_a_link_whose_answer_was_lost_is_made_once(
    host: Host, plaza: Desk, seaside: Desk, simulator: Simulator, lost: str
) -> None:
    payment, other = begin(plaza, lost), seaside.make()
    with listening("payment_created") as heard:
        result = run(host)

    assert (result.exit_code, "unanswered calls found done: 1" in result.output) == (0, True)
    (link,) = links_at(simulator, plaza.account)
    assert plaza.now(payment).stripe_payment_link_url == link["url"]
    assert heard == [("payment_created", payment.id)]
    assert seaside.now(other).stripe_payment_link_id == other.stripe_payment_link_id
    simulator.pay(link["url"])
    simulator.deliver_all(host.app)
    assert plaza.now(payment).status == "COMPLETED"


def test_a_link_whose_maker_died_before_the_call_is_made(host: Host, plaza: Desk, simulator: Simulator) -> None:
    transport = put_transport(host)

    def die(method: str, url: str) -> None:
        raise Crash

    transport.before = die
    with suppress(Crash):
        plaza.make(idempotency_key=KEY)
    transport.before = lambda method, url: None
    grow_old(plaza, MINUTES)

    look(host)

    (payment,) = plaza.payments()
    assert payment.stripe_payment_link_id == links_at(simulator, plaza.account)[0]["id"]


def test_a_call_that_may_be_under_way_is_left_to_its_maker(
    light_host: Host, light_plaza: Desk, simulator: Simulator
) -> None:
    begin(light_plaza, "drop_before", ago=timedelta(seconds=30))
    simulator.requests.clear()

    look(light_host)

    assert made(simulator) == []
    assert light_plaza.operations()[0].state is OperationState.unknown


@pytest.mark.both
def test_two_runs_at_once_make_one_link(host: Host, plaza: Desk, simulator: Simulator, lost: str) -> None:
    payment = begin(plaza, lost)

    in_parallel(3, lambda: look(host))
    look(host)

    (link,) = links_at(simulator, plaza.account)
    assert plaza.now(payment).stripe_payment_link_id == link["id"]


def test_a_refusal_is_an_outcome_too(light_host: Host, light_plaza: Desk, simulator: Simulator) -> None:
    payment = begin(light_plaza, "drop_before")
    light_plaza.change(light_plaza.operations()[0], params=_with_a_wrong_price(light_plaza))

    result = run(light_host)

    assert (result.exit_code, "unanswered calls refused by Stripe: 1" in result.output) == (0, True)
    assert light_plaza.now(payment).status == "FAILED"
    assert links_at(simulator, light_plaza.account) == []


def _with_a_wrong_price(desk: Desk) -> dict[str, Any]:
    params: dict[str, Any] = desk.operations()[0].params
    params["sent"]["line_items"][0]["price_data"]["currency"] = "xxx"
    return params


def test_an_old_link_that_was_made_is_found_by_its_metadata(
    host: Host, plaza: Desk, seaside: Desk, simulator: Simulator
) -> None:
    for _ in range(3):
        plaza.make()
    seaside.make()
    payment = begin(plaza, "drop_after", ago=HOURS)
    simulator.requests.clear()

    result = run(host)

    assert (result.exit_code, "unanswered calls found done: 1" in result.output) == (0, True)
    assert made(simulator) == []
    assert plaza.now(payment).stripe_payment_link_id == links_at(simulator, plaza.account)[-1]["id"]


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_an_old_link_is_looked_for_until_what_was_made_before(
    light_host: Host, light_plaza: Desk, simulator: Simulator, fault: str
) -> None:
    """Stripe lists links without their times: a hotel may have thousands that were made before."""
    client = dashboard(simulator, str(light_plaza.account))
    for _ in range(100):
        client.v1.payment_links.create(link_params())  # type: ignore[arg-type]
    light_plaza.make()
    for operation in light_plaza.operations():
        age(light_plaza, operation, 2 * HOURS, "attempted_at", "created_at")
    payment = begin(light_plaza, fault, ago=HOURS)
    for _ in range(2):
        light_plaza.make()
    simulator.requests.clear()

    report = look(light_host)

    assert report.problems == []
    looked = [each for each in simulator.requests if (each.method, each.path) == ("GET", LINKS)]
    assert len(looked) == 1, "The second page has older ones only."
    found = light_plaza.now(payment)
    assert (found.status, found.stripe_payment_link_id is None) == (
        ("FAILED", True) if fault == "drop_before" else ("PENDING", False)
    )


def test_whom_we_do_not_ask_for_has_not_been_refused_by_stripe(
    light_host: Host, light_plaza: Desk, light_seaside: Desk, simulator: Simulator
) -> None:
    payment = begin(light_plaza, "drop_before")
    # Somebody has written another tenant's connection into the row.
    light_plaza.change(light_plaza.operations()[-1], connection_id=light_seaside.make().connection_id)
    simulator.requests.clear()

    report = look(light_host)

    assert report.done["unanswered calls refused by Stripe"] == 0
    assert made(simulator) == []
    assert (light_plaza.operations()[0].state, light_plaza.now(payment).status) == ("unknown", "PENDING")
    assert [problem for problem in report.problems if "another tenant's connection" in problem]


def test_an_account_that_nobody_can_ask_keeps_no_other_waiting(
    light_host: Host, light_plaza: Desk, light_seaside: Desk
) -> None:
    for key in ("one", "two", "three"):
        begin(light_plaza, "drop_after", ago=HOURS, idempotency_key=key)
    other = begin(light_seaside, "drop_after")
    with light_host.app.app_context():
        disconnect(light_host.state, light_host.tenant(light_plaza.tenant.id), Mode.test, actor="tests")
        found = unfinished.find_unfinished(light_host.state, most=2)

    look(light_host)

    assert {tenant_id for _, tenant_id, _ in found} == {light_plaza.tenant.id, light_seaside.tenant.id}
    assert light_seaside.now(other).stripe_payment_link_id is not None


def test_an_old_link_that_was_never_made_frees_the_hosts_key(host: Host, plaza: Desk, simulator: Simulator) -> None:
    payment = begin(plaza, "drop_before", ago=HOURS)
    with listening("payment_updated") as heard:
        result = run(host)

    assert (result.exit_code, "unanswered calls found never made: 1" in result.output) == (0, True)
    assert plaza.now(payment).status == "FAILED"
    assert heard == [("payment_updated", payment.id)]
    again = plaza.make(idempotency_key=KEY)
    assert (again.id, again.status) == (payment.id, "PENDING")
    assert [link["id"] for link in links_at(simulator, plaza.account)] == [again.stripe_payment_link_id]


def test_between_two_certainties_nothing_is_done(light_host: Host, light_plaza: Desk, simulator: Simulator) -> None:
    """The key may be forgotten at any moment, and a call may still be under way."""
    begin(light_plaza, "drop_before", ago=timedelta(hours=23, minutes=30))
    simulator.requests.clear()

    result = run(light_host)

    assert "unanswered calls left for later: 1" in result.output
    assert [request for request in simulator.requests if request.path == LINKS] == []


def test_an_old_link_of_a_cancelled_payment_is_closed(
    light_host: Host, light_plaza: Desk, simulator: Simulator
) -> None:
    payment = begin(light_plaza, "drop_after", ago=HOURS)
    light_plaza.change(payment, status="CANCELED")

    look(light_host)

    (link,) = links_at(simulator, light_plaza.account)
    assert not link["active"]
    assert light_plaza.now(payment).status == "CANCELED"


def test_a_disconnected_account_is_left_alone(light_host: Host, light_plaza: Desk, light_seaside: Desk) -> None:
    begin(light_plaza, "drop_after")
    other = begin(light_seaside, "drop_after")
    with light_host.app.app_context():
        disconnect(light_host.state, light_host.tenant(light_plaza.tenant.id), Mode.test, actor="tests")

    report = look(light_host)

    assert report.problems == []
    assert [note.split(" is ")[0] for note in report.notes] == [
        f"Tenant {light_plaza.tenant.id}, test: The Stripe account An account"
    ]
    assert light_seaside.now(other).stripe_payment_link_id is not None


def test_one_tenants_trouble_does_not_stop_the_others(host: Host, plaza: Desk, seaside: Desk, lost: str) -> None:
    begin(plaza, lost)
    other = begin(seaside, lost)
    plaza.simulator.faults.add("POST", LINKS, "drop_before", times=100, account=plaza.account)

    result = run(host)

    assert result.exit_code == 1
    assert f"- Tenant {plaza.tenant.id}, test: Making the payment link did not get an answer" in result.stderr
    assert seaside.now(other).stripe_payment_link_id is not None


# -- refunds


@pytest.mark.both
def test_a_refund_whose_answer_was_lost_is_made_once(
    host: Host, plaza: Desk, seaside: Desk, simulator: Simulator, lost: str
) -> None:
    other = paid(seaside)
    payment = begin_refund(plaza, lost)

    result = run(host)

    # If it was made, its event is missed too, and says it first.
    assert ("unanswered calls found done: 1" in result.output) == (lost == "drop_before")
    assert result.exit_code == 0
    assert (at_stripe(simulator, payment), at_stripe(simulator, other)) == (1000, 0)
    assert plaza.now(payment).amount_refunded == 1000
    assert [refund.status for refund in refunds_of(plaza, payment)] == ["succeeded"]


def test_an_old_refund_that_was_made_is_found_by_its_metadata(host: Host, plaza: Desk, simulator: Simulator) -> None:
    payment = begin_refund(plaza, "drop_after", ago=HOURS)
    simulator.requests.clear()

    look(host)

    assert asked_for(simulator) == []
    (refund,) = refunds_of(plaza, payment)
    assert (refund.status, refund.amount, refund.stripe_refund_id is not None) == ("succeeded", 1000, True)
    assert plaza.now(payment).status == "PARTIALLY_REFUNDED"


@pytest.mark.both
def test_an_old_refund_that_was_never_made_frees_what_it_reserved(
    host: Host, plaza: Desk, simulator: Simulator
) -> None:
    payment = begin_refund(plaza, "drop_before", ago=HOURS)
    with pytest.raises(errors.RefundError, match="only €15"):
        give_back(plaza, payment, amount=2500)

    result = run(host)

    assert (result.exit_code, "unanswered calls found never made: 1" in result.output) == (0, True)
    assert [refund.status for refund in refunds_of(plaza, payment)] == ["failed"]
    give_back(plaza, payment, amount=2500)
    assert at_stripe(simulator, payment) == 2500


@pytest.mark.both
def test_two_runs_at_once_give_back_once(host: Host, plaza: Desk, simulator: Simulator, lost: str) -> None:
    payment = begin_refund(plaza, lost)

    in_parallel(3, lambda: look(host))
    look(host)

    assert at_stripe(simulator, payment) == 1000
    assert plaza.now(payment).amount_refunded == 1000
