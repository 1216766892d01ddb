"""Each of Stripe's refusals of each call: the host's error, the operation's state, and the key of the next try."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from flask_valetpro_stripe import payments
from flask_valetpro_stripe.errors import OutcomeUnknownError, RefundError, ValetProStripeError
from flask_valetpro_stripe.payments import unfinished
from flask_valetpro_stripe.testing import Simulator
from tests.chaos.dropping import count_customers
from tests.hosts import make_host
from tests.payments.desk import Desk, links_at, rows
from tests.payments.refunding import give_back, refunds_of
from tests.payments.refusals import REFUSALS, SECRET, Answering, Refusal
from tests.webhooks.stage import Stage

#: Each host's key is used once.
NUMBER: Final = itertools.count()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Hotel Plaza on SQLite, whose Stripe may answer what it is told to."""
    database = tmp_path_factory.mktemp("refusals") / "test.sqlite3"
    with make_host(f"sqlite:///{database}", simulator=Simulator()) as host:
        desk = Desk.of(host, "Plaza")
        host.state.http_client = Answering(host.state.http_client)
        yield desk


@pytest.fixture
def stripe_says(desk: Desk) -> Iterator[Answering]:
    found = desk.host.state.http_client
    assert isinstance(found, Answering)
    found.method, found.refusal = "post", None
    found.keys.clear()
    yield found
    found.refusal = None


def making(make: Callable[..., Any]) -> Callable[[Desk], Callable[[], Any]]:
    def prepare(desk: Desk) -> Callable[[], Any]:
        key = f"key-{next(NUMBER)}"
        return lambda: make(desk, idempotency_key=key)

    return prepare


def capturing(desk: Desk) -> Callable[[], Any]:
    payment = desk.make_intent(capture_method="manual")
    desk.confirm(payment)
    payment = desk.sync(payment)
    return lambda: desk.capture(payment, 1000)


def paid(desk: Desk) -> Any:
    payment = desk.make()
    desk.simulator.pay(payment.stripe_payment_link_url)
    return desk.sync(payment)


def refunding(desk: Desk) -> Callable[[], Any]:
    payment, key = paid(desk), f"key-{next(NUMBER)}"
    return lambda: give_back(desk, payment, amount=1000, idempotency_key=key)


#: What gives the call, made ready; and the kind of its operation.
CALLS: Final[Mapping[str, Callable[[Desk], Callable[[], Any]]]] = {
    "payment_link.create": making(Desk.make),
    "checkout_session.create": making(Desk.make_session),
    "payment_intent.create": making(Desk.make_intent),
    "payment_intent.capture": capturing,
    "refund.create": refunding,
}


def refused(act: Callable[[], Any], refusal: Refusal) -> ValetProStripeError:
    with pytest.raises(ValetProStripeError) as caught:
        act()
    error = caught.value
    shown = f"{error} {error.hint} {vars(error)}"
    assert SECRET not in shown
    assert "_test_" not in shown
    assert (error.__cause__, error.__context__) == (None, None) or error.__suppress_context__
    assert error.code == refusal.code
    return error


@pytest.mark.parametrize("row", REFUSALS)
@pytest.mark.parametrize("kind", CALLS)
def test_a_refusal_is_an_outcome_or_is_not(kind: str, row: str, desk: Desk, stripe_says: Answering) -> None:
    refusal, act = REFUSALS[row], CALLS[kind](desk)
    stripe_says.keys.clear()
    stripe_says.refusal = refusal
    error = refused(act, refusal)
    is_refund = kind == "refund.create" and refusal.outcome == "refused"
    assert type(error) is (RefundError if is_refund else refusal.error)

    operation = desk.operations()[-1]
    state, attempt = ("unknown", 1) if refusal.outcome == "unknown" else ("failed", 1 + (refusal.outcome == "refused"))
    assert (operation.kind, operation.state, operation.attempt) == (kind, state, attempt)
    assert set(stripe_says.keys) == {f"valetpro-{operation.id}-1"}

    stripe_says.refusal = None
    assert act() is not None
    assert stripe_says.keys[-1] == f"valetpro-{operation.id}-{attempt}"
    done = desk.operations()[-1]
    assert (done.id, done.state, done.error) == (operation.id, "done", None)


@pytest.mark.parametrize("row", REFUSALS)
def test_what_is_not_known_stays_reserved_and_what_was_refused_does_not(
    row: str, desk: Desk, stripe_says: Answering
) -> None:
    payment = paid(desk)
    stripe_says.refusal = REFUSALS[row]
    refused(lambda: give_back(desk, payment, amount=1000, idempotency_key=f"key-{next(NUMBER)}"), REFUSALS[row])
    stripe_says.refusal = None

    (refund,) = refunds_of(desk, payment)
    assert refund.status == ("pending" if REFUSALS[row].outcome == "unknown" else "failed")
    assert desk.now(payment).amount_refunded == 0


def test_a_key_that_stripe_knows_otherwise_makes_nothing_twice(desk: Desk, stripe_says: Answering) -> None:
    """A call whose answer was lost is repeated by a release that writes its body otherwise: what it made is found."""
    key = f"key-{next(NUMBER)}"
    desk.simulator.faults.add("POST", "/v1/payment_links", "drop_after", times=3)
    with pytest.raises(OutcomeUnknownError):
        desk.make(idempotency_key=key)
    desk.simulator.faults.clear()
    operation, payment = desk.operations()[-1], desk.payments()[-1]
    sent = {**operation.params["sent"], "phone_number_collection": {"enabled": False}}
    desk.change(operation, params={**operation.params, "sent": sent})

    with pytest.raises(OutcomeUnknownError, match="was begun before with other parameters") as caught:
        desk.make(idempotency_key=key)

    assert operation.id in caught.value.hint
    assert [(each.state, each.attempt) for each in desk.operations()[-1:]] == [("unknown", 1)]
    desk.change(operation, attempted_at=operation.attempted_at - timedelta(hours=25))
    with desk.host.app.app_context():
        assert unfinished.finish(desk.host.state, operation.id) == "done"
    assert desk.now(payment).stripe_payment_link_id is not None
    links = links_at(desk.simulator, desk.account)
    made = [link["id"] for link in links if link["metadata"]["valetpro_operation"] == operation.id]
    assert made == [desk.now(payment).stripe_payment_link_id]


@pytest.mark.parametrize("row", REFUSALS)
def test_a_payment_that_stripe_refused_to_make_has_failed_and_one_that_it_may_have_made_waits(
    row: str, desk: Desk, stripe_says: Answering
) -> None:
    stripe_says.refusal = REFUSALS[row]
    refused(lambda: desk.make_session(idempotency_key=f"key-{next(NUMBER)}"), REFUSALS[row])

    payment = desk.payments()[-1]
    assert payment.status == ("PENDING" if REFUSALS[row].outcome == "unknown" else "FAILED")
    assert payment.checkout_url is None


#: A call that closes something has a new key each time, so that Stripe cannot know it.
CLOSING: Final = {row: refusal for row, refusal in REFUSALS.items() if row != "idempotency_error"}


@pytest.mark.parametrize("row", CLOSING)
def test_a_link_that_stripe_does_not_close_stays_open_here_too(row: str, desk: Desk, stripe_says: Answering) -> None:
    payment = desk.make()
    stripe_says.refusal = REFUSALS[row]
    assert type(refused(lambda: desk.cancel(payment), REFUSALS[row])) is REFUSALS[row].error
    assert desk.now(payment).status == "PENDING"

    stripe_says.refusal = None
    assert desk.cancel(payment).status == "CANCELED"


@pytest.mark.parametrize("row", [row for row, refusal in CLOSING.items() if refusal.outcome != "refused"])
@pytest.mark.parametrize("make", [Desk.make_session, Desk.make_intent])
def test_a_page_is_not_closed_by_whom_stripe_does_not_listen_to(
    row: str, make: Callable[..., Any], desk: Desk, stripe_says: Answering
) -> None:
    payment = make(desk)
    stripe_says.refusal = REFUSALS[row]
    assert type(refused(lambda: desk.cancel(payment), REFUSALS[row])) is REFUSALS[row].error

    assert desk.now(payment).status == "PENDING"


@pytest.mark.parametrize("row", REFUSALS)
def test_a_customer_that_stripe_refused_may_be_asked_for_otherwise_and_no_other_is_made_twice(
    row: str, desk: Desk, stripe_says: Answering
) -> None:
    reference, refusal = f"guest-{next(NUMBER)}", REFUSALS[row]
    stripe_says.refusal = refusal
    assert type(refused(lambda: customer_of(desk, reference, "guest@localhost"), refusal)) is refusal.error
    first = stripe_says.keys[-1]

    stripe_says.refusal = None
    customer = customer_of(desk, reference, "guest@example.com")
    assert (stripe_says.keys[-1] != first) == (refusal.outcome == "refused")
    # What may have been made is made with what it was asked for with.
    email = "guest@example.com" if refusal.outcome == "refused" else "guest@localhost"
    assert (customer.email, desk.simulator.object(customer.stripe_customer_id)["email"]) == (email, email)
    assert count_customers(desk, customer.id) == 1


def customer_of(desk: Desk, reference: str, email: str) -> Any:
    with desk.open():
        customer = payments.get_customer(reference, email=email)
        desk.host.db.session.refresh(customer)
        return customer


#: What says that the dispute cannot be seen, ever: the event's own body has to do.
UNSEEN: Final = ("resource_missing", "api_key_expired", "account_invalid")


@pytest.mark.parametrize("row", REFUSALS)
def test_a_dispute_that_cannot_be_read_now_is_told_again_later(row: str, desk: Desk, stripe_says: Answering) -> None:
    payment = paid(desk)
    dispute = desk.simulator.dispute(payment.stripe_charge_id)
    stage = Stage(desk.host, desk.simulator, desk.tenant, desk.tenant)
    news = [event for event in desk.simulator.events if event["type"] == "charge.dispute.created"][-1]
    stripe_says.method, stripe_says.refusal = "get", REFUSALS[row]
    first = stage.deliver(news).status_code
    stripe_says.refusal = None
    assert SECRET not in str(first)
    assert first == (200 if row in UNSEEN else 503)
    assert (desk.now(payment).status == "DISPUTED") == (first == 200)

    assert stage.deliver(news).status_code == 200
    assert desk.now(payment).status == "DISPUTED"
    model = desk.host.valetpro.models.Dispute
    assert [each.stripe_dispute_id for each in rows(desk.host, model, payment_id=payment.id)] == [dispute]
