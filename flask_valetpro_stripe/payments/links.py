"""Payment links: one link is one payment, made once and paid at most once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..models import StripePaymentMixin
from .create import Way, capture_params, create, line_items, tax_params


def create_payment_link(
    *,
    amount: int,
    currency: str,
    description: str,
    reference: str | None = None,
    metadata: Mapping[str, str] | None = None,
    application_fee: int | None = None,
    automatic_tax: bool | None = None,
    success_url: str | None = None,
    capture_method: str = "automatic",
    idempotency_key: str | None = None,
) -> Any:
    """Return a new payment of the current tenant, with the link that a guest pays it by.

    The payment is committed before Stripe hears of it: whatever is pending in the session goes with it.

    :param amount: what the guest pays, tax included, in minor units of ``currency`` (25.00 EUR is 2500).
    :param currency: an ISO code that Stripe charges in.
    :param description: what is paid, as the guest reads it; at most 250 characters.
    :param reference: the host's own id of what is paid.
    :param metadata: for the host's own use, on the link and the payment intent; names that begin with ``valetpro_``
        are ours.
    :param application_fee: what the platform keeps, in minor units; by default the tenant's
        ``stripe_application_fee_bps``, rounded down.
    :param automatic_tax: let Stripe compute the tax within the amount; by default as the tenant's policy says. An
        account that is not set up for it is refused, or goes without, by ``VALETPRO_STRIPE_TAX_NOT_READY``.
    :param success_url: where Stripe sends the guest afterwards. It proves nothing.
    :param capture_method: ``manual`` only holds the amount on the guest's card: :func:`.capture` takes it, or less.
    :param idempotency_key: the same key returns the same payment and makes one link, from however many processes; in
        the other mode it is another payment.
    :raises ValueError: for an argument that cannot work, before anything is written; also for a key that was used with
        other arguments.
    :raises NotConnectedError: if the tenant cannot take payments.
    :raises OutcomeUnknownError: if Stripe's answer did not arrive: call again with the same key.
    :raises ValetProStripeError: if Stripe refused; the payment stays, as FAILED.
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
        "capture_method": capture_method,
    }
    return create(LINK, asked, idempotency_key)


def _params(payment: StripePaymentMixin, asked: Mapping[str, Any], metadata: dict[str, str]) -> dict[str, Any]:
    """Return the body of ``POST /v1/payment_links`` (Stripe API reference, "Create a payment link")."""
    params: dict[str, Any] = {
        "line_items": line_items(payment),
        # A link's metadata reach its sessions only; the intent and the charge get theirs by payment_intent_data.
        "metadata": metadata,
        "payment_intent_data": {
            "metadata": metadata,
            "description": asked["description"],
            **capture_params(payment),
        },
        # One link is one payment: a second guest, or a second click, meets a closed link.
        "restrictions": {"completed_sessions": {"limit": 1}},
        **tax_params(payment),
    }
    if payment.application_fee_amount:
        params["application_fee_amount"] = payment.application_fee_amount
    if asked["success_url"]:
        params["after_completion"] = {"type": "redirect", "redirect": {"url": asked["success_url"]}}
    return params


def _note(payment: StripePaymentMixin, link: Mapping[str, Any]) -> None:
    payment.stripe_payment_link_id = link["id"]
    payment.stripe_payment_link_url = link["url"]


LINK: Final = Way(
    kind="payment_link.create",
    what="Making the payment link",
    make_params=_params,
    service=lambda client: client.v1.payment_links,
    is_listed_by_time=False,
    is_taxed=True,
    note=_note,
)
