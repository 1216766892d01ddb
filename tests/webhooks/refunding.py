"""A paid payment, refunds of it in the dashboard, and what came of them here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import stripe

from flask_valetpro_stripe import signals
from flask_valetpro_stripe.testing import make_event
from tests.webhooks.stage import PLAZA, TAKEN, Stage, answer


def paid(stage: Stage, tenant: Any, *, account: str | None = PLAZA, card: str = "4242424242424242") -> Any:
    """Return a payment that a guest has paid, as its webhooks told."""
    payment = stage.make_payment(tenant)
    with stage.events_while(account) as paying:
        stage.simulator.pay(payment.stripe_payment_link_url, card=card)
    deliver(stage, paying.made)
    return stage.payment(payment)


def deliver(stage: Stage, events: list[dict[str, Any]]) -> None:
    for event in events:
        assert answer(stage.deliver(event)) == TAKEN, event["type"]


def in_the_dashboard(stage: Stage, payment: Any, *, account: str | None = PLAZA, **asked: Any) -> str:
    """Give money back as the hotel does in Stripe's dashboard; return the refund's id."""
    client = stripe.StripeClient(
        stage.simulator.platform.test_secret_key,
        stripe_account=account,
        http_client=stage.simulator.http_client(),
        base_addresses={"api": stage.simulator.base_url},
    )
    made = client.v1.refunds.create({"payment_intent": payment.stripe_payment_intent_id, **asked})
    return str(made.id)


def told(stage: Stage, thing: dict[str, Any], *, account: str | None = PLAZA, livemode: bool = False) -> None:
    """Deliver that a refund was updated."""
    event = make_event("refund.updated", thing, account=account, livemode=livemode)
    assert answer(stage.deliver(event)) == TAKEN


def standing(stage: Stage, payment: Any) -> tuple[str, int]:
    now = stage.payment(payment)
    return now.status, now.amount_refunded


def refunds(stage: Stage) -> list[tuple[str | None, int, str]]:
    return [(row.stripe_refund_id, row.amount, row.status) for row in stage.rows("Refund")]


@contextmanager
def hearing() -> Iterator[list[tuple[str, str]]]:
    """Give what the host is told in the block: about a refund its word, about a payment its status."""
    heard: list[tuple[str, str]] = []

    def about_refund(app: Any, *, tenant: Any, refund: Any) -> None:
        heard.append((tenant.name, refund.status))

    def about_payment(app: Any, *, tenant: Any, payment: Any) -> None:
        heard.append((tenant.name, payment.status))

    with signals.refund_updated.connected_to(about_refund), signals.payment_updated.connected_to(about_payment):
        yield heard
