"""Payments' objects at Stripe, as events carry them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from flask_valetpro_stripe.payments.find import OPERATION_METADATA
from tests.webhooks.stage import Stage

CONTRADICTION = "Stripe's amount or currency is not the payment's, so the event was not applied."


def operation_of(stage: Stage, payment: Any) -> str:
    """Return the id that ties a payment to its objects at Stripe."""
    model = stage.host.valetpro.models.Operation
    with stage.host.app.app_context():
        found: str = stage.host.db.session.scalars(sa.select(model.id).where(model.payment_id == payment.id)).one()
        return found


def session(payment: Any, **changes: Any) -> dict[str, Any]:
    """Return a paid Checkout Session of a payment's link."""
    return {
        "id": "cs_test_1",
        "object": "checkout.session",
        "amount_total": payment.amount,
        "currency": payment.currency,
        "payment_intent": "pi_1",
        "payment_link": payment.stripe_payment_link_id,
        "payment_status": "paid",
        "status": "complete",
        "metadata": {},
    } | changes


def intent(payment: Any, operation: str, **changes: Any) -> dict[str, Any]:
    """Return a succeeded PaymentIntent of a payment's link."""
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": payment.amount,
        "amount_received": payment.amount,
        "currency": payment.currency,
        "status": "succeeded",
        "latest_charge": "ch_1",
        "last_payment_error": None,
        "metadata": {OPERATION_METADATA: operation},
    } | changes


def charge(payment: Any, operation: str | None, **changes: Any) -> dict[str, Any]:
    """Return a paid charge of a payment's link."""
    return {
        "id": "ch_1",
        "object": "charge",
        "amount": payment.amount,
        "amount_refunded": 0,
        "currency": payment.currency,
        "paid": True,
        "payment_intent": "pi_1",
        "receipt_url": "https://pay.example/receipt",
        "status": "succeeded",
        "metadata": {OPERATION_METADATA: operation} if operation else {},
    } | changes


def refund(payment: Any, **changes: Any) -> dict[str, Any]:
    """Return a refund of 5.00 of a payment, as an event carries it."""
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 500,
        "charge": payment.stripe_charge_id,
        "currency": payment.currency,
        "metadata": {},
        "payment_intent": payment.stripe_payment_intent_id,
        "reason": None,
        "status": "succeeded",
    } | changes
