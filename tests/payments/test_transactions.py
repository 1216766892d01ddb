"""No transaction, and no connection of the app's pool, waits for Stripe: it may take a minute, and others need them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from flask_valetpro_stripe import errors, payments
from flask_valetpro_stripe.payments import unfinished
from flask_valetpro_stripe.testing import Simulator
from tests.payments.desk import Desk
from tests.payments.news import page_of

pytestmark = pytest.mark.both


@pytest.fixture
def asked(plaza: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What Stripe was asked; at the end, that nothing was open meanwhile."""
    request, seen, held = plaza.host.state.http_client.request, list[str](), list[str]()
    db = plaza.host.db

    def spy(method: str, url: str, *args: Any, **more: Any) -> Any:
        seen.append(f"{method} {url.partition('/v1/')[2].partition('?')[0]}")
        if db.session().in_transaction() or db.engine.pool.checkedout():  # type: ignore[attr-defined]
            held.append(seen[-1])
        return request(method, url, *args, **more)

    monkeypatch.setattr(plaza.host.state.http_client, "request", spy)
    yield seen
    assert seen
    assert held == []


def test_while_payments_are_made_cancelled_and_looked_up(plaza: Desk, simulator: Simulator, asked: list[str]) -> None:
    for make in (plaza.make, plaza.make_session, plaza.make_intent):
        made = make(idempotency_key="one")
        make(idempotency_key="one")
        plaza.sync(made)
        plaza.cancel(made)
    with plaza.open():
        payments.get_customer("guest-7")
    assert "post payment_links" in asked


def test_while_tax_settings_are_read(plaza: Desk, asked: list[str]) -> None:
    with pytest.raises(errors.ValetProStripeError):
        plaza.make(automatic_tax=True)
    assert asked == ["get tax/settings"]


def test_while_money_is_taken_and_given_back(plaza: Desk, simulator: Simulator, asked: list[str]) -> None:
    payment = plaza.make(capture_method="manual")
    simulator.pay(page_of(payment))
    plaza.hear()
    plaza.capture(payment)
    plaza.refund(payment, amount=100)
    plaza.sync(payment)
    plaza.hear()
    assert "post refunds" in asked


def test_while_events_want_more_than_their_bodies_say(plaza: Desk, simulator: Simulator, asked: list[str]) -> None:
    payment = plaza.make()
    simulator.pay(page_of(payment), card="4000000000000259")
    plaza.hear()
    assert plaza.now(payment).status == "DISPUTED"
    assert any("disputes" in each for each in asked)


def test_while_what_became_of_calls_is_found_out(plaza: Desk, simulator: Simulator, asked: list[str]) -> None:
    paid = plaza.make()
    simulator.pay(page_of(paid))
    plaza.hear()
    simulator.faults.add("POST", "/v1/", "drop_after", times=100)
    for call in (plaza.make, lambda: plaza.refund(paid, amount=1000)):
        with pytest.raises(errors.OutcomeUnknownError):
            call()
    simulator.faults.clear()
    for operation in plaza.operations()[-2:]:
        plaza.change(operation, attempted_at=operation.attempted_at - timedelta(hours=30))
    with plaza.host.app.app_context():
        found = unfinished.find_unfinished(plaza.host.state)
        assert [unfinished.finish(plaza.host.state, key) for key, _, _ in found] == ["done"] * 2
