"""Checkout Sessions: Stripe's payment page for a guest who is here now; it closes after a day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..models import Customer, StripePaymentMixin
from .create import Way, capture_params, create, line_items, tax_params


def create_checkout_session(
    *,
    amount: int,
    currency: str,
    description: str,
    success_url: str,
    cancel_url: str,
    reference: str | None = None,
    metadata: Mapping[str, str] | None = None,
    application_fee: int | None = None,
    automatic_tax: bool | None = None,
    capture_method: str = "automatic",
    customer: Customer | None = None,
    receipt_email: str | None = None,
    idempotency_key: str | None = None,
) -> Any:
    """Return a new payment of the current tenant; its ``checkout_url`` is Stripe's page, which closes after a day.

    Arguments and errors are those of :func:`.create_payment_link`, and also:

    :param success_url: where Stripe sends the guest afterwards. It proves nothing.
    :param cancel_url: where the page's way back leads.
    :param customer: who pays: one of :func:`.get_customer`, on the account that takes the payment.
    :param receipt_email: where Stripe sends the receipt, in live mode. The guest finds it filled in.
    """
    asked: dict[str, Any] = {
        "amount": amount,
        "currency": currency,
        "description": description,
        "reference": reference,
        "metadata": metadata,
        "application_fee": application_fee,
        "automatic_tax": automatic_tax,
        "success_url": success_url,
        "cancel_url": cancel_url,
        "capture_method": capture_method,
        "customer": customer,
        "receipt_email": receipt_email,
    }
    return create(SESSION, asked, idempotency_key)


def _params(payment: StripePaymentMixin, asked: Mapping[str, Any], metadata: dict[str, str]) -> dict[str, Any]:
    """Return the body of ``POST /v1/checkout/sessions`` (Stripe API reference, "Create a Checkout Session")."""
    intent: dict[str, Any] = {"metadata": metadata, "description": asked["description"], **capture_params(payment)}
    if payment.application_fee_amount:
        intent["application_fee_amount"] = payment.application_fee_amount
    params: dict[str, Any] = {
        "mode": "payment",
        "line_items": line_items(payment),
        "metadata": metadata,
        "payment_intent_data": intent,
        "success_url": asked["success_url"],
        "cancel_url": asked["cancel_url"],
        **tax_params(payment),
    }
    if payment.receipt_email:
        intent["receipt_email"] = payment.receipt_email
    if payment.stripe_customer_id:
        params["customer"] = payment.stripe_customer_id
        if payment.automatic_tax:
            # The address that the guest enters decides the tax, not one that is known already.
            params["customer_update"] = {"address": "auto"}
    elif payment.receipt_email:
        params["customer_email"] = payment.receipt_email
    return params


def _note(payment: StripePaymentMixin, session: Mapping[str, Any]) -> None:
    payment.stripe_checkout_session_id = session["id"]
    payment.checkout_url = session["url"]


SESSION: Final = Way(
    kind="checkout_session.create",
    what="Making the payment page",
    make_params=_params,
    service=lambda client: client.v1.checkout.sessions,
    is_listed_by_time=True,
    is_taxed=True,
    note=_note,
)
