"""One key is one payment and one link: however often, from wherever, and whatever happens on the way."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import errors, payments
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.payments.desk import USUAL, Desk, in_parallel, links_at, listening, made


@pytest.mark.both
def test_the_same_key_is_the_same_payment_and_one_link(plaza: Desk, simulator: Simulator) -> None:
    first = plaza.make(idempotency_key="ticket-7", currency="eur")
    again = plaza.make(idempotency_key="ticket-7", currency="EUR")

    assert (again.id, again.stripe_payment_link_url) == (first.id, first.stripe_payment_link_url)
    assert len(made(simulator)) == 1
    assert len(plaza.payments()) == 1


def test_without_a_key_every_call_is_a_payment_of_its_own(plaza: Desk, simulator: Simulator) -> None:
    assert plaza.make().id != plaza.make().id
    assert len(links_at(simulator, plaza.account)) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 2501},
        {"currency": "usd"},
        {"description": "Another"},
        {"reference": "T-8"},
        {"metadata": {"plate": "X"}},
        {"application_fee": 1},
        {"automatic_tax": True},
        {"success_url": "https://plaza.example/"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_the_same_key_with_other_arguments_is_refused(
    sqlite_url: str, simulator: Simulator, other: dict[str, Any]
) -> None:
    host = make_host(sqlite_url, simulator=simulator)
    desk = Desk.of(host, "Plaza")
    desk.make(idempotency_key="ticket-7")
    with pytest.raises(ValueError, match="This idempotency_key was used for another payment"):
        desk.make(idempotency_key="ticket-7", **other)

    assert len(desk.payments()) == 1
    assert len(made(simulator)) == 1
    host.close()


@pytest.mark.oldest
@pytest.mark.both
def test_twenty_threads_with_one_key_make_one_payment_and_one_link(plaza: Desk, simulator: Simulator) -> None:
    with listening("payment_created") as heard:
        answers = in_parallel(20, lambda: plaza.make(idempotency_key="ticket-7"))

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert len({(a.id, a.status, a.stripe_payment_link_id, a.stripe_payment_link_url) for a in answers}) == 1
    assert len(plaza.payments()) == 1
    assert len(plaza.operations()) == 1
    assert len(links_at(simulator, plaza.account)) == 1
    assert len({request.idempotency_key for request in made(simulator)}) == 1
    assert heard == [("payment_created", answers[0].id)]


@pytest.mark.both
def test_twenty_threads_with_their_own_keys_make_twenty(plaza: Desk, simulator: Simulator) -> None:
    answers = in_parallel(20, plaza.make)

    assert len({answer.id for answer in answers}) == 20
    assert len(links_at(simulator, plaza.account)) == 20


@pytest.mark.oldest
@pytest.mark.both
def test_what_the_host_had_pending_commits_with_the_payment(plaza: Desk) -> None:
    with plaza.open():
        plaza.host.db.session.add(plaza.host.Tenant(name="Pending"))
        payments.create_payment_link(**USUAL)
        plaza.host.db.session.rollback()

    assert len(rows_named(plaza.host, "Pending")) == 1


def test_what_the_host_had_pending_stays_if_another_was_first_with_the_key(
    postgres_url: str, simulator: Simulator
) -> None:
    """Both look for the key before either has written it. (On SQLite, whoever has something pending is alone.)"""
    host = make_host(postgres_url, simulator=simulator)
    plaza = Desk.of(host, "Plaza")
    first: list[Any] = []

    def meanwhile(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("INSERT INTO payment") and not first:
            first.append(None)
            first[0:] = in_parallel(1, lambda: plaza.make(idempotency_key="ticket-7"))

    with plaza.open():
        sa.event.listen(host.db.engine, "before_cursor_execute", meanwhile)
        host.db.session.add(host.Tenant(name="Pending"))
        payment = payments.create_payment_link(**USUAL, idempotency_key="ticket-7")
        host.db.session.rollback()
        assert (payment.id, payment.stripe_payment_link_url) == (first[0].id, first[0].stripe_payment_link_url)

    assert len(rows_named(host, "Pending")) == 1
    assert len(plaza.payments()) == 1
    assert len(made(simulator)) == 1
    host.close()


def rows_named(host: Host, name: str) -> list[Any]:
    with host.app.app_context():
        return list(host.db.session.query(host.Tenant).filter_by(name=name))


@pytest.mark.both
def test_a_crash_between_the_commit_and_the_call_leaves_a_row_that_a_repeat_finishes(
    plaza: Desk, simulator: Simulator
) -> None:
    real = plaza.host.state.http_client

    class PowerCut(BaseException):
        pass

    class Cut(type(real)):  # type: ignore[misc]
        def request(self, *args: Any, **kwargs: Any) -> Any:
            raise PowerCut

    plaza.host.state.http_client = Cut(simulator)
    with pytest.raises(PowerCut):
        plaza.make(idempotency_key="ticket-7")
    plaza.host.state.http_client = real

    (left,) = plaza.payments()
    assert (left.status, left.stripe_payment_link_id) == ("PENDING", None)
    payment = plaza.make(idempotency_key="ticket-7")
    assert (payment.id, payment.status) == (left.id, "PENDING")
    assert payment.stripe_payment_link_url
    assert len(plaza.payments()) == 1
    assert len(links_at(simulator, plaza.account)) == 1


@pytest.mark.oldest
@pytest.mark.both
def test_the_row_is_durable_before_stripe_hears_of_it(plaza: Desk, simulator: Simulator) -> None:
    real = plaza.host.state.http_client
    seen: list[Any] = []

    class Watching(type(real)):  # type: ignore[misc]
        def request(self, *args: Any, **kwargs: Any) -> Any:
            # Another connection sees only what is committed.
            thread = threading.Thread(target=lambda: seen.append([p.status for p in plaza.payments()]))
            thread.start()
            thread.join()
            return real.request(*args, **kwargs)

    plaza.host.state.http_client = Watching(simulator)
    plaza.make()

    assert seen == [["PENDING"]]


@pytest.mark.both
@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_lost_answer_is_unknown_and_a_repeat_finishes_it_once(
    plaza: Desk, simulator: Simulator, fault: str
) -> None:
    simulator.faults.add("POST", "/v1/payment_links", fault, times=3)
    with listening("payment_created") as heard:
        with pytest.raises(errors.OutcomeUnknownError) as unknown:
            plaza.make(idempotency_key="ticket-7")
        assert str(unknown.value) == "Making the payment link did not get an answer from Stripe."
        assert "same idempotency_key" in unknown.value.hint
        assert [(p.status, p.stripe_payment_link_id) for p in plaza.payments()] == [("PENDING", None)]
        assert [o.state for o in plaza.operations()] == ["unknown"]
        assert heard == []

        payment = plaza.make(idempotency_key="ticket-7")
    assert payment.stripe_payment_link_url
    assert len(links_at(simulator, plaza.account)) == 1
    assert len({request.idempotency_key for request in made(simulator)} - {None}) == 1
    assert heard == [("payment_created", payment.id)]


def test_one_lost_answer_is_repeated_by_itself(plaza: Desk, simulator: Simulator) -> None:
    simulator.faults.add("POST", "/v1/payment_links", "drop_after", times=1)

    assert plaza.make().stripe_payment_link_url
    assert len(links_at(simulator, plaza.account)) == 1


def test_a_server_error_that_stripe_saved_stays_unknown_and_makes_no_second_link(
    plaza: Desk, simulator: Simulator
) -> None:
    simulator.faults.add("POST", "/v1/payment_links", "server_error", times=1)
    for _ in range(2):
        with pytest.raises(errors.OutcomeUnknownError):
            plaza.make(idempotency_key="ticket-7")

    assert [p.status for p in plaza.payments()] == ["PENDING"]
    assert len({request.idempotency_key for request in made(simulator)}) == 1
    # Whoever does not want to wait takes another key.
    assert plaza.make(idempotency_key="ticket-7b").stripe_payment_link_url


def test_being_limited_is_a_refusal_and_a_repeat_works(plaza: Desk, simulator: Simulator) -> None:
    simulator.faults.add("POST", "/v1/payment_links", "rate_limit", times=3)
    with pytest.raises(errors.ValetProStripeError, match="Stripe is limiting requests") as limited:
        plaza.make(idempotency_key="ticket-7")
    assert limited.value.code == "rate_limit"
    assert [p.status for p in plaza.payments()] == ["FAILED"]

    payment = plaza.make(idempotency_key="ticket-7")
    assert payment.status == "PENDING"
    assert len(plaza.payments()) == 1


def test_a_refusal_is_failed_and_a_repeat_is_a_new_attempt(plaza: Desk, simulator: Simulator) -> None:
    """Stripe would replay its saved refusal under the first attempt's key."""
    for _ in range(2):
        with pytest.raises(errors.ValetProStripeError) as refused:
            plaza.make(amount=1, idempotency_key="ticket-7")
        assert refused.value.code == "amount_too_small"
        assert not isinstance(refused.value, errors.OutcomeUnknownError)

    (payment,) = plaza.payments()
    assert (payment.status, payment.stripe_payment_link_id) == ("FAILED", None)
    assert [str(request.idempotency_key)[-2:] for request in made(simulator)] == ["-1", "-2"]


def test_a_payment_that_was_refused_is_made_by_a_repeat(plaza: Desk, simulator: Simulator) -> None:
    real = plaza.host.state.http_client

    class RefusingOnce(type(real)):  # type: ignore[misc]
        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            plaza.host.state.http_client = real
            return '{"error": {"type": "invalid_request_error", "message": "No."}}', 400, {}

    plaza.host.state.http_client = RefusingOnce(simulator)
    with pytest.raises(errors.ValetProStripeError, match="was refused by Stripe: No"):
        plaza.make(idempotency_key="ticket-7")
    (payment,) = plaza.payments()
    assert payment.status == "FAILED"

    again = plaza.make(idempotency_key="ticket-7")
    assert (again.id, again.status) == (payment.id, "PENDING")
    assert [str(request.idempotency_key)[-2:] for request in made(simulator)] == ["-2"]


def test_a_refusal_on_the_way_does_not_hide_that_stripe_may_have_acted(plaza: Desk, simulator: Simulator) -> None:
    """The first call made the link and its answer was lost; the second was not even looked at."""
    simulator.faults.add("POST", "/v1/payment_links", "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.make(idempotency_key="ticket-7")
    simulator.faults.clear()
    simulator.faults.add("POST", "/v1/payment_links", "rate_limit", times=3)
    with pytest.raises(errors.ValetProStripeError, match="limiting"):
        plaza.make(idempotency_key="ticket-7")

    assert plaza.make(idempotency_key="ticket-7").stripe_payment_link_url
    assert len(links_at(simulator, plaza.account)) == 1


def test_a_key_that_stripe_forgot_is_not_repeated(plaza: Desk, simulator: Simulator) -> None:
    simulator.faults.add("POST", "/v1/payment_links", "drop_after", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.make(idempotency_key="ticket-7")
    (operation,) = plaza.operations()
    plaza.change(operation, attempted_at=operation.attempted_at - timedelta(hours=23, seconds=1))
    with pytest.raises(errors.OutcomeUnknownError, match="could be made twice") as unknown:
        plaza.make(idempotency_key="ticket-7")

    assert f"valetpro_operation={operation.id}" in unknown.value.hint
    assert len(links_at(simulator, plaza.account)) == 1


def test_an_old_refusal_may_be_tried_again(plaza: Desk, simulator: Simulator) -> None:
    simulator.faults.add("POST", "/v1/payment_links", "rate_limit", times=3)
    with pytest.raises(errors.ValetProStripeError):
        plaza.make(idempotency_key="ticket-7")
    (operation,) = plaza.operations()
    plaza.change(operation, attempted_at=operation.attempted_at - timedelta(days=3))

    assert plaza.make(idempotency_key="ticket-7").status == "PENDING"
