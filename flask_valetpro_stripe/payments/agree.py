"""Whether what Stripe says is about our payment at all: its amount, its page, its intent, and the platform's fee."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from ..enums import CaptureMethod, PaymentStatus
from ..models import StripePaymentMixin, key_of
from ..state import get_state
from . import operations
from .find import is_id

log = logging.getLogger(__name__)

_S = PaymentStatus
#: What may still be paid.
MAY_BE_PAID: Final = frozenset({_S.PENDING, _S.PROCESSING, _S.FAILED, _S.CANCELED})
#: What was paid, whatever became of the money since.
PAID: Final = frozenset(_S) - MAY_BE_PAID


class ContradictionError(Exception):
    """What Stripe says does not fit the payment (amount, currency, paid twice): it is flagged, not applied."""


def is_deposit(payment: StripePaymentMixin) -> bool:
    return payment.capture_method is CaptureMethod.manual


def agree(payment: StripePaymentMixin, amount: Any, currency: Any) -> None:
    if (amount, currency) != (payment.amount, payment.currency):
        log.error("Stripe's amount for payment %s is not ours: it was not applied", key_of(payment))
        raise ContradictionError("Stripe's amount or currency is not the payment's, so the event was not applied.")


def agree_on_received(payment: StripePaymentMixin, received: Any) -> None:
    if is_deposit(payment) and type(received) is int and 0 < received <= payment.amount:
        return
    agree(payment, received, payment.currency)


def agree_on_intent(payment: StripePaymentMixin, intent_id: Any) -> None:
    known = payment.stripe_payment_intent_id
    if payment.status in PAID and known and intent_id and intent_id != known:
        log.error("payment %s was paid a second time, by another intent: it was not applied", key_of(payment))
        raise ContradictionError("The payment was paid before by another PaymentIntent. Give one of the two back.")
    _require_no_others(payment, intent_id)


def _require_no_others(payment: StripePaymentMixin, intent_id: Any) -> None:
    """Return if an intent that is news to a payment pays no other one of its tenant's.

    Whoever owns the account can write the operations of two payments into the metadata of one intent and its session.
    """
    if intent_id == payment.stripe_payment_intent_id or not is_id(intent_id):
        return
    models, session = get_state().models, get_state().session
    model: Any = models.Payment
    same_tenant = getattr(model, models.payment_tenant) == getattr(payment, models.payment_tenant)
    others = sa.select(sa.literal(1)).where(
        model.stripe_payment_intent_id == intent_id, same_tenant, sa.inspect(model).primary_key[0] != key_of(payment)
    )
    if session.scalar(others.limit(1)):
        log.error("an intent is said to pay payment %s, and pays another one: it was not applied", key_of(payment))
        raise ContradictionError("The PaymentIntent pays another payment, so the event was not applied to this one.")


def require_own_page(payment: StripePaymentMixin, session: Mapping[str, Any]) -> None:
    """Return if a Checkout Session is one that we made for the payment, or our link did, as far as we know.

    Whoever owns the account can write our metadata on a session of its own.
    """
    if payment.stripe_payment_link_id:
        is_own = session.get("payment_link") == payment.stripe_payment_link_id
    elif payment.stripe_checkout_session_id:
        is_own = session.get("id") == payment.stripe_checkout_session_id
    else:
        is_own = not _was_made_as_intent(payment)
    if not is_own:
        log.error("a session that is not ours is said to pay payment %s: it was not applied", key_of(payment))
        raise ContradictionError("The Checkout Session was not made for the payment, so the event was not applied.")


def _was_made_as_intent(payment: StripePaymentMixin) -> bool:
    made = operations.find_for(get_state(), payment) if payment.stripe_payment_intent_id else None
    return made is not None and made.kind == operations.MAKE_INTENT


def agree_on_fee(payment: StripePaymentMixin, paying: Mapping[str, Any]) -> None:
    """Note that the platform has waived its fee, which only it can.

    Whoever owns the account can write our metadata on a charge of its own: that one carries none either, and was made
    by no application.
    """
    if not payment.application_fee_amount or paying.get("application_fee_amount", True) is not None:
        return
    if not paying.get("application"):
        log.error("payment %s is said to be paid without the platform's fee: it was not applied", key_of(payment))
        raise ContradictionError("What was paid carries no fee for the platform, so the event was not applied.")
    payment.application_fee_amount = None


def id_of(value: Any) -> Any:
    """Return the id of what Stripe gives as an id or, expanded, as an object."""
    return value.get("id") if isinstance(value, Mapping) else value
