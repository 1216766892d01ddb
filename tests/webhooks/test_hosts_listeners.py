"""The short way past the host's Payment object is taken only where nobody would miss it, and ends as the long way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import validates

from flask_valetpro_stripe.enums import Mode, PaymentStatus
from flask_valetpro_stripe.models import locked
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.payments.paid import mark_paid
from flask_valetpro_stripe.testing import make_event
from tests.webhooks.objects import CONTRADICTION, intent, operation_of, session
from tests.webhooks.stage import TAKEN

from .stage import PLAZA, Stage, answer, make_stage

Listen = Callable[[Stage, list[str]], object]


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    with make_stage(database_url, own_models=True) as stage:
        yield stage


def before_update(stage: Stage, heard: list[str]) -> None:
    def hear(_mapper: object, _connection: object, payment: Any) -> None:
        heard.append(payment.status)

    sa.event.listen(stage.host.Payment, "before_update", hear)


def attribute(stage: Stage, heard: list[str]) -> None:
    sa.event.listen(stage.host.Payment.status, "set", lambda _payment, value, *_: heard.append(value))


def before_flush(stage: Stage, heard: list[str]) -> None:
    def hear(found: Any, *_: object) -> None:
        heard.extend(row.status for row in found.dirty if isinstance(row, stage.host.Payment))

    sa.event.listen(stage.host.db.session, "before_flush", hear)


@pytest.mark.parametrize("listen", [before_update, attribute, before_flush])
@pytest.mark.parametrize("kind", ["session", "intent"])
def test_a_host_that_listens_to_its_object_hears_of_the_payment(stage: Stage, listen: Listen, kind: str) -> None:
    payment, heard = stage.make_payment(stage.plaza), list[str]()
    listen(stage, heard)
    object_ = session(payment) if kind == "session" else intent(payment, operation_of(stage, payment))
    event_type = "checkout.session.completed" if kind == "session" else "payment_intent.succeeded"

    assert answer(stage.deliver(make_event(event_type, object_, account=PLAZA))) == TAKEN

    assert heard == ["COMPLETED"]
    assert stage.payment(payment).status == "COMPLETED"


def test_a_validator_of_the_host_is_asked(stage: Stage) -> None:
    class Checked:
        asked: list[str] = []

        @validates("status")
        def check(self, _name: str, value: str) -> str:
            self.asked.append(value)
            return value

    model = stage.host.Payment
    assert not locked._is_more_than_a_row(model, ("status",))
    model.__mapper__.validators = model.__mapper__.validators.union({"status": (Checked.check, {})})
    locked._is_more_than_a_row.cache_clear()

    assert locked._is_more_than_a_row(model, ("status",))


@pytest.mark.oldest
@pytest.mark.both
def test_an_object_that_the_session_has_already_is_brought_up_to_date(stage: Stage) -> None:
    payment, seen = stage.make_payment(stage.plaza), list[str]()
    with stage.host.app.app_context():
        state = stage.host.state
        kept = state.session.get(stage.host.Payment, payment.id)
        locking = locked.LockedPayment({"valetpro_key": payment.id})
        locking.status = PaymentStatus.FAILED

        locked.save(state.session, stage.host.Payment, locking)
        seen.append(kept.status)
        mark_paid(state, stage.plaza.id, PLAZA, Mode.test, session(payment), utcnow())
        seen.append(kept.status)
        state.session.commit()
    assert seen == ["FAILED", "COMPLETED"]
    assert stage.payment(payment).status == "COMPLETED"


@pytest.mark.oldest
@pytest.mark.both
def test_one_session_marks_one_payment_whatever_rows_name_it(stage: Stage) -> None:
    payments = [stage.make_payment(stage.plaza) for _ in range(2)]
    with stage.host.app.app_context():
        model = stage.host.Payment
        named = sa.update(model).where(model.id == payments[1].id).values(stripe_checkout_session_id="cs_test_1")
        stage.host.db.session.execute(named)
        stage.host.db.session.commit()

    event = make_event("checkout.session.completed", session(payments[0]), account=PLAZA)

    assert answer(stage.deliver(event)) == TAKEN
    assert sorted(stage.payment(payment).status for payment in payments) == ["COMPLETED", "PENDING"]


def test_what_a_host_has_changed_of_a_payment_and_not_flushed_is_kept(stage: Stage) -> None:
    payment = stage.make_payment(stage.plaza)
    with stage.host.app.app_context():
        state = stage.host.state
        kept = state.session.get(stage.host.Payment, payment.id)
        kept.description = "Two cars"
        mark_paid(state, stage.plaza.id, PLAZA, Mode.test, session(payment), utcnow())
        state.session.commit()
    now = stage.payment(payment)
    assert (now.status, now.description) == ("COMPLETED", "Two cars")


SESSIONS: dict[str, dict[str, Any]] = {
    "paid": {},
    "nothing to pay": {"payment_status": "no_payment_required"},
    "unpaid yet": {"payment_status": "unpaid"},
    "open": {"payment_status": "unpaid", "status": "open"},
    "another amount": {"amount_total": 1},
    "amount is no number": {"amount_total": "2500"},
    "amount is a bool": {"amount_total": True},
    "another currency": {"currency": "usd"},
    "no currency": {"currency": None},
    "another intent": {"payment_intent": "pi_2"},
    "no intent": {"payment_intent": None},
    "expanded intent": {"payment_intent": {"id": "pi_1", "object": "payment_intent"}},
    "no link": {"payment_link": None},
    "another link": {"payment_link": "plink_other"},
    "a link that is no text": {"payment_link": 7},
    "unprintable": {"id": "cs_\n"},
    "secret": {"client_secret": "cs_1_secret"},
    "no session": {"object": "payment_intent"},
}
BEFORE: list[tuple[PaymentStatus, str | None]] = list(product(PaymentStatus, [None, "pi_1"]))


def facts(stage: Stage, payment: Any) -> tuple[Any, ...]:
    now, row = stage.payment(payment), stage.rows()[-1]
    names = ("status", "stripe_checkout_session_id", "stripe_payment_intent_id", "amount_refunded")
    # Each stage's links have ids of their own.
    seen = {name: value for name, value in (now.stripe_object or {}).items() if name != "payment_link"}
    return (*(getattr(now, name) for name in names), seen, now.paid_at is None, row.status, row.error)


def ends(stage: Stage) -> list[tuple[Any, ...]]:
    """Deliver each session to a payment of each status; return how each ends."""
    found = []
    model = stage.host.Payment
    payment = stage.make_payment(stage.plaza)
    first: dict[str, Any] = {"stripe_checkout_session_id": None, "stripe_object": None, "paid_at": None}
    for (status, known), changes in product(BEFORE, SESSIONS.values()):
        with stage.host.app.app_context():
            begin = {**first, "status": status, "stripe_payment_intent_id": known}
            stage.host.db.session.execute(sa.update(model).where(model.id == payment.id).values(**begin))
            stage.host.db.session.commit()
        event = make_event("checkout.session.completed", session(payment, **changes), account=PLAZA)
        assert answer(stage.deliver(event)) == TAKEN
        found.append(facts(stage, payment))
    return found


@pytest.mark.slow("delivers each kind of session to a payment in each state, on three hosts")
def test_the_short_way_ends_as_the_long_way_does_whatever_a_session_says(
    sqlite_url: str, postgres_url: str, tmp_path: Any
) -> None:
    long = f"sqlite:///{tmp_path / 'long.sqlite3'}"
    listening = make_stage(long, own_models=True)
    with make_stage(sqlite_url) as short_way, listening as long_way, make_stage(postgres_url) as postgresql:
        before_update(long_way, [])
        expected = ends(long_way)

        assert ends(short_way) == expected
        assert ends(postgresql) == expected
    assert len(expected) == len(BEFORE) * len(SESSIONS)
    assert {row[0] for row in expected} == set(PaymentStatus)
    assert CONTRADICTION in {row[-1] for row in expected}
