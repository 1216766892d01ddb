"""Payment intents: for hosts whose own page asks for the card, with Stripe's elements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..context import get_tenant
from ..credentials import client_for
from ..gateway import ask_stripe
from ..models import Customer, StripePaymentMixin
from ..state import get_state
from .create import Way, capture_params, create
from .find import connection_of
from .operations import MAKE_INTENT


def create_payment_intent(
    *,
    amount: int,
    currency: str,
    description: str,
    reference: str | None = None,
    metadata: Mapping[str, str] | None = None,
    application_fee: int | None = None,
    automatic_tax: bool | None = None,
    capture_method: str = "automatic",
    customer: Customer | None = None,
    receipt_email: str | None = None,
    idempotency_key: str | None = None,
) -> Any:
    """Return a new payment of the current tenant; the guest's browser confirms it by its ``client_secret``.

    The secret is never stored: the result has it, and a call with the same key asks Stripe for it again. What can pay
    it is decided in the account's own settings (Stripe docs, "Dynamic payment methods").

    Arguments and errors are those of :func:`.create_payment_link` and :func:`.create_checkout_session`, and also:

    :param automatic_tax: must be False where the tenant's policy is to compute tax: Stripe does so for links and
        sessions only (Stripe docs, "Tax"), and untaxed is never silent.
    """
    if automatic_tax not in (None, False):
        raise ValueError("Stripe computes no tax on payment intents. Use a payment link or a checkout session.")
    asked: dict[str, Any] = {
        "amount": amount,
        "currency": currency,
        "description": description,
        "reference": reference,
        "metadata": metadata,
        "application_fee": application_fee,
        "automatic_tax": automatic_tax,
        "capture_method": capture_method,
        "customer": customer,
        "receipt_email": receipt_email,
    }
    payment = create(INTENT, asked, idempotency_key)
    if payment.stripe_payment_intent_id and payment.client_secret is None:
        _fetch_secret(payment)
    return payment


def _fetch_secret(payment: StripePaymentMixin) -> None:
    """Put the secret on a payment that was made before."""
    state, tenant = get_state(), get_tenant()
    client = client_for(state, connection_of(state, payment, tenant))
    intent_id = str(payment.stripe_payment_intent_id)
    state.session.commit()
    intent = ask_stripe("Asking for the payment", client.v1.payment_intents.retrieve, intent_id)
    payment.client_secret = intent.client_secret


def _params(payment: StripePaymentMixin, asked: Mapping[str, Any], metadata: dict[str, str]) -> dict[str, Any]:
    """Return the body of ``POST /v1/payment_intents`` (Stripe API reference, "Create a PaymentIntent")."""
    optional = {
        "application_fee_amount": payment.application_fee_amount,
        "customer": payment.stripe_customer_id,
        "receipt_email": payment.receipt_email,
    }
    return {
        "amount": payment.amount,
        "currency": payment.currency,
        "description": asked["description"],
        "metadata": metadata,
        "automatic_payment_methods": {"enabled": True},
        **capture_params(payment),
        **{name: value for name, value in optional.items() if value},
    }


def _note(payment: StripePaymentMixin, intent: Mapping[str, Any]) -> None:
    payment.stripe_payment_intent_id = intent["id"]
    payment.client_secret = intent["client_secret"]


INTENT: Final = Way(
    kind=MAKE_INTENT,
    what="Making the payment intent",
    make_params=_params,
    service=lambda client: client.v1.payment_intents,
    is_listed_by_time=True,
    is_taxed=False,
    note=_note,
)
