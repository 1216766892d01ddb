"""A payment that nobody may pay any more: its link, its pages and its intent are closed at Stripe."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import stripe

from .. import signals
from ..credentials import client_for
from ..enums import PaymentStatus
from ..errors import OutcomeUnknownError, ValetProStripeError
from ..gateway import ask_stripe, is_decision
from ..models import StripePaymentMixin
from ..state import State
from .apply import apply_status
from .find import PaymentT, connection_of, lock_own
from .sync import sync

log = logging.getLogger(__name__)
#: Hundreds of pages of one link that are closed in one go.
_MOST_PAGES: Final = 20


def close(state: State, tenant: Any, payment: PaymentT) -> PaymentT:
    """Return ``payment`` after closing all that it could be paid by. Commits.

    :raises ValetProStripeError: if Stripe could not be asked; nothing is changed here.
    """
    if payment.stripe_payment_link_id or payment.stripe_checkout_session_id or payment.stripe_payment_intent_id:
        client = client_for(state, connection_of(state, payment, tenant))
        _close_at_stripe(state, client, payment)
        # Whoever had the page open may have paid: ask before saying that nobody did.
        payment = sync(payment)
        if payment.amount_capturable:
            # Held as it was closed, or before we heard of it.
            _close_at_stripe(state, client, payment)
            sync(payment)
    payment = lock_own(state, tenant, payment)
    is_news = apply_status(payment, PaymentStatus.CANCELED)
    state.session.commit()
    if is_news:
        state.tell(signals.payment_updated, tenant=tenant, payment=payment)
    return payment


def _close_at_stripe(state: State, client: stripe.StripeClient, payment: StripePaymentMixin) -> None:
    link, session = payment.stripe_payment_link_id, payment.stripe_checkout_session_id
    intent, is_held = payment.stripe_payment_intent_id, payment.amount_capturable > 0
    state.session.commit()
    if link:
        ask_stripe("Closing the payment link", client.v1.payment_links.update, link, {"active": False})
        _close_pages(client, link)
    elif session:
        _try("Closing the payment page", client.v1.checkout.sessions.expire, session)
        if ask_stripe("Asking for the page", client.v1.checkout.sessions.retrieve, session).status == "open":
            raise _still_open()
    if intent and (is_held or not (link or session)):
        _try("Cancelling the payment intent", client.v1.payment_intents.cancel, intent)


def _close_pages(client: stripe.StripeClient, link: str) -> None:
    """Close the pages that guests have open: a closed link keeps nobody from paying on one."""
    for _ in range(_MOST_PAGES):
        found = ask_stripe(
            "Asking for open pages",
            client.v1.checkout.sessions.list,
            {"payment_link": link, "status": "open", "limit": 100},
        )
        if not found.data:
            return
        for session in found.data:
            _try("Closing an open page", client.v1.checkout.sessions.expire, session.id)
    raise _still_open()


def _still_open() -> ValetProStripeError:
    return ValetProStripeError(
        "A page that a guest could pay on was not closed, so the payment is not cancelled.",
        code="still_open",
        hint="Cancel it again in a moment, or close the page in the Stripe Dashboard.",
    )


def _try(what: str, call: Callable[[str], Any], object_id: str) -> None:
    """Close one object. If it was paid or closed in this moment, what it is now, sync finds out."""
    try:
        ask_stripe(what, call, object_id)
    except OutcomeUnknownError:
        raise
    except ValetProStripeError as error:
        if not is_decision(error):
            raise
        log.info("%s: %s was not closed: %s", what, object_id, error.code)
