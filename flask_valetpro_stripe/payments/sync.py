"""Ask Stripe how a payment stands, what was given back of it too, and apply the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import stripe

from .. import signals
from ..context import get_tenant
from ..credentials import client_for
from ..errors import ValetProStripeError
from ..gateway import ask_stripe
from ..models import Refund, StripePaymentMixin
from ..state import get_state
from .agree import ContradictionError
from .apply import apply_failed_session, apply_intent, apply_session
from .apply_refunds import apply_refund
from .find import PaymentT, connection_of, find_own, lock_own
from .pages import each_of

#: Pages of a hundred refunds that are asked for: nobody gives back a payment in so many parts.
_MOST_PAGES: Final = 10
_ASK_STRIPE = "Nothing was changed. Look at the payment in the Stripe Dashboard."


def sync(payment: PaymentT) -> PaymentT:
    """Return ``payment`` as Stripe has it now: asked on the account and in the mode that it was made with. Commits.

    :raises ValueError: if the payment is another tenant's.
    :raises ConnectionRevokedError: if that account can no longer be reached.
    :raises ValetProStripeError: if Stripe could not be asked, or its amount is not ours; nothing is changed.
    """
    state, tenant = get_state(), get_tenant()
    payment = find_own(state, tenant, payment)
    client = client_for(state, connection_of(state, payment, tenant))
    link, page = payment.stripe_payment_link_id, payment.stripe_checkout_session_id
    intent = payment.stripe_payment_intent_id
    state.session.commit()
    session = _fetch_completed(client, link) if link else _fetch_page(client, page) if page else None
    # The session that was completed may not be the one whose attempt we heard of first.
    intent = (session or {}).get("payment_intent") or intent
    found = _fetch_intent(client, intent) if intent else None
    refunds = _fetch_refunds(client, found) if found else []

    payment = lock_own(state, tenant, payment)
    before = payment.status, payment.amount_refunded
    changed = False
    try:
        if session and session.get("status") == "complete" and _has_failed(found):
            changed = apply_failed_session(payment, session)
        elif session:
            changed = apply_session(payment, session)
        if found:
            changed |= apply_intent(payment, found)
        given_back = _apply_refunds(payment, refunds)
    except ContradictionError as error:
        state.session.rollback()
        raise ValetProStripeError(str(error), code="contradiction", hint=_ASK_STRIPE) from None
    changed |= before != (payment.status, payment.amount_refunded)
    state.session.commit()
    for refund in given_back:
        state.tell(signals.refund_updated, tenant=tenant, refund=refund)
    if changed:
        state.tell(signals.payment_updated, tenant=tenant, payment=payment)
    return payment


def _fetch_page(client: stripe.StripeClient, session: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = ask_stripe(
        "Asking for the payment", client.v1.checkout.sessions.retrieve, session
    ).to_dict()
    return found


def _fetch_completed(client: stripe.StripeClient, link: str) -> Mapping[str, Any] | None:
    """Return the link's session that was completed, if any: guests may open and leave several."""
    listed = ask_stripe(
        "Asking for the payment", client.v1.checkout.sessions.list, {"payment_link": link, "status": "complete"}
    )
    return listed.data[0].to_dict() if listed.data else None


def _fetch_intent(client: stripe.StripeClient, intent: str) -> Mapping[str, Any]:
    found = ask_stripe(
        "Asking for the payment", client.v1.payment_intents.retrieve, intent, {"expand": ["latest_charge"]}
    )
    return found.to_dict()


def _has_failed(intent: Mapping[str, Any] | None) -> bool:
    """Tell whether the bank refused what a completed session asked it for."""
    return intent is not None and intent.get("status") == "requires_payment_method"


def _fetch_refunds(client: stripe.StripeClient, intent: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the refunds of an intent, the oldest first: the charge's sum says nothing about one that failed since."""
    if intent.get("status") != "succeeded":
        return []
    same = {"payment_intent": intent["id"]}
    found = each_of(client.v1.refunds.list, same, what="Asking for the refunds", most_pages=_MOST_PAGES)
    return list(found)[::-1]


def _apply_refunds(payment: StripePaymentMixin, refunds: Sequence[Mapping[str, Any]]) -> list[Refund]:
    """Apply what Stripe lists; return the rows that changed."""
    applied = [apply_refund(payment, refund) for refund in refunds]
    return [row for row in applied if row is not None]
