"""From what Stripe says to our rows: guarded transitions that give the same end in whatever order facts arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ..enums import PaymentStatus
from ..models import StripePaymentMixin
from .agree import (
    MAY_BE_PAID,
    PAID,
    agree,
    agree_on_fee,
    agree_on_intent,
    agree_on_received,
    id_of,
    is_deposit,
    require_own_page,
)
from .find import is_address, is_id, is_text
from .refunded import came_back

_S = PaymentStatus
#: For each word, the words that it may follow. Money wins over everything that is not money; a failed attempt is not
#: the end, since the guest may try another card; and nothing makes a paid payment unpaid.
_MAY_FOLLOW: Final[Mapping[PaymentStatus, frozenset[PaymentStatus]]] = {
    _S.PENDING: frozenset({_S.FAILED}),
    _S.PROCESSING: frozenset({_S.PENDING, _S.FAILED}),
    _S.FAILED: frozenset({_S.PENDING, _S.PROCESSING}),
    _S.CANCELED: frozenset({_S.PENDING, _S.FAILED}),
    _S.COMPLETED: MAY_BE_PAID,
    # These follow from how much was given back, and from nothing else.
    _S.PARTIALLY_REFUNDED: frozenset(),
    _S.REFUNDED: frozenset(),
    _S.DISPUTED: frozenset(),
}
#: The words of a paid payment that refunds, and their failures, lead to and fro.
_BY_REFUNDS: Final = frozenset({_S.COMPLETED, _S.PARTIALLY_REFUNDED, _S.REFUNDED})
#: The ``payment_status`` of a Checkout Session that is paid, and of one that asked for nothing, as ours never do
#: (Stripe docs, "Fulfill orders").
PAID_SESSION, _FREE_SESSION = "paid", "no_payment_required"
#: The year 9999.
_LAST_STAMP: Final = 253_370_764_800


def apply_status(payment: StripePaymentMixin, status: PaymentStatus) -> bool:
    """Move ``payment`` to ``status`` if that may follow what it is; return whether it moved."""
    if payment.status not in _MAY_FOLLOW[status]:
        return False
    payment.status = status
    return True


def apply_session(payment: StripePaymentMixin, session: Mapping[str, Any]) -> bool:
    """Apply a Checkout Session; return whether the payment changed.

    Completed is not yet paid: with a delayed method ``payment_status`` is "unpaid" until the bank settles (Stripe docs,
    "Fulfill orders"). And what is held on a card is not taken: of that, only the intent tells.

    :raises ContradictionError: if amount or currency is not the payment's, or it was paid otherwise.
    """
    if session.get("status") == "expired":
        return _apply_expired(payment, session)
    if session.get("payment_status") == _FREE_SESSION:
        # None of ours, whatever its metadata say.
        return False
    intent = id_of(session.get("payment_intent"))
    require_own_page(payment, session)
    agree(payment, session.get("amount_total"), session.get("currency"))
    agree_on_intent(payment, intent)
    changed = False
    if session.get("payment_status") == PAID_SESSION and not is_deposit(payment):
        changed = apply_paid(payment)
    elif session.get("status") == "complete":
        changed = _apply_processing(payment)
    changed |= _note(payment, "stripe_checkout_session_id", session.get("id"))
    if session.get("status") == "complete":
        payment.checkout_url = None
    changed |= _note(payment, "stripe_payment_intent_id", intent)
    if changed:
        payment.stripe_object = snapshot(session)
    return changed


def _apply_expired(payment: StripePaymentMixin, session: Mapping[str, Any]) -> bool:
    """Note that a payment's own page has closed. A link opens another one for the next guest."""
    if payment.stripe_payment_link_id or payment.stripe_checkout_session_id != session.get("id"):
        return False
    payment.checkout_url = None
    return apply_status(payment, PaymentStatus.CANCELED)


def apply_failed_session(payment: StripePaymentMixin, session: Mapping[str, Any]) -> bool:
    """Apply a Checkout Session whose delayed payment failed; return whether the payment changed.

    :raises ContradictionError: if amount or currency is not the payment's.
    """
    if payment.status in PAID:
        return False
    require_own_page(payment, session)
    agree(payment, session.get("amount_total"), session.get("currency"))
    agree_on_intent(payment, id_of(session.get("payment_intent")))
    changed = _note(payment, "stripe_checkout_session_id", session.get("id"))
    changed |= _note(payment, "stripe_payment_intent_id", id_of(session.get("payment_intent")))
    payment.checkout_url = None
    return apply_status(payment, PaymentStatus.FAILED) or changed


def apply_intent(payment: StripePaymentMixin, intent: Mapping[str, Any]) -> bool:
    """Apply a PaymentIntent; return whether the payment changed.

    :raises ContradictionError: if amount or currency is not the payment's, or it was paid otherwise.
    """
    status = str(intent.get("status"))
    paid = status == "succeeded"
    has_failed = status == "requires_payment_method" and bool(intent.get("last_payment_error"))
    is_under_way = _is_page_done(payment) or payment.amount_capturable > 0
    is_waited_for = payment.status is PaymentStatus.PROCESSING and is_under_way
    if (payment.status in PAID and not paid) or (is_waited_for and has_failed):
        # What was tried before, or by another guest with the same link open. Of what the bank is asked for now, the
        # session tells that it failed: the link has no other.
        return False
    if status == "canceled":
        return _apply_canceled(payment, intent)
    agree(payment, intent.get("amount"), intent.get("currency"))
    agree_on_fee(payment, intent)
    if paid:
        agree_on_received(payment, intent.get("amount_received", payment.amount))
    agree_on_intent(payment, intent.get("id"))
    changed = _note(payment, "stripe_payment_intent_id", intent.get("id"))
    if has_failed:
        changed |= apply_status(payment, PaymentStatus.FAILED)
    elif status in _APPLY_INTENT:
        changed |= _APPLY_INTENT[status](payment, intent)
    changed |= _apply_latest_charge(payment, intent.get("latest_charge"), paid=paid)
    if changed:
        payment.stripe_object = snapshot(intent)
    return changed


def _apply_latest_charge(payment: StripePaymentMixin, charge: Any, *, paid: bool) -> bool:
    if isinstance(charge, Mapping):
        return apply_charge(payment, charge)
    # That of a try that failed would be the last one heard of, not the last one made.
    return paid and _note(payment, "stripe_charge_id", charge)


def _apply_held(payment: StripePaymentMixin, intent: Mapping[str, Any]) -> bool:
    """Note how much is held on the guest's card, unless it was taken or let go since."""
    held = intent.get("amount_capturable")
    if type(held) is not int or not 0 < held <= payment.amount:
        return False
    before = payment.status, payment.amount_capturable
    if payment.status is PaymentStatus.PROCESSING or apply_status(payment, PaymentStatus.PROCESSING):
        payment.amount_capturable = held
    return before != (payment.status, payment.amount_capturable)


def _apply_taken(payment: StripePaymentMixin, intent: Mapping[str, Any]) -> bool:
    """Mark the payment paid, with how much of what was held was taken, and the platform's fee of that."""
    is_news = apply_paid(payment)
    if not is_deposit(payment):
        return is_news
    before = payment.amount_captured, payment.application_fee_amount, payment.status
    payment.amount_capturable, payment.capture_before = 0, None
    received, fee = intent.get("amount_received", payment.amount), intent.get("application_fee_amount")
    payment.amount_captured = None if received == payment.amount else received
    if type(fee) is int and fee >= 0:
        # What is collected is capped at what was captured (Stripe API reference, "application_fee_amount").
        payment.application_fee_amount = min(fee, received) or None
    if payment.status in _BY_REFUNDS:
        payment.status = word_by_refunds(payment)
    return is_news or before != (payment.amount_captured, payment.application_fee_amount, payment.status)


def _apply_canceled(payment: StripePaymentMixin, intent: Mapping[str, Any]) -> bool:
    """Note that an intent was canceled, if it is the one that the payment depended on.

    A link outlives the intents of the pages that it opens, until one of them has held the money, or the bank was asked
    for it.
    """
    known = payment.stripe_payment_intent_id
    was_held = bool(payment.amount_capturable) or (
        is_deposit(payment) and bool(intent.get("latest_charge")) and not intent.get("last_payment_error")
    )
    is_last = was_held or not payment.stripe_payment_link_id or payment.status is PaymentStatus.PROCESSING
    if payment.status not in MAY_BE_PAID or not is_last or (known and intent.get("id") != known):
        return False
    before = payment.status, payment.amount_capturable
    payment.amount_capturable, payment.capture_before, payment.checkout_url = 0, None, None
    payment.status = PaymentStatus.CANCELED
    return before != (payment.status, payment.amount_capturable)


#: What an intent's status leads to (Stripe docs, "PaymentIntent lifecycle"). Of the others, nothing follows.
_APPLY_INTENT: Final[Mapping[str, Callable[[StripePaymentMixin, Mapping[str, Any]], bool]]] = {
    "succeeded": _apply_taken,
    "requires_capture": _apply_held,
    "processing": lambda payment, _: _apply_processing(payment),
}


def _is_page_done(payment: StripePaymentMixin) -> bool:
    """Tell whether a guest went through with a page: it has no other try."""
    return payment.stripe_checkout_session_id is not None and payment.checkout_url is None


def may_be_let_go(payment: StripePaymentMixin) -> bool:
    """Tell whether it is a deposit that was not taken, as far as we know."""
    return is_deposit(payment) and payment.status in MAY_BE_PAID


def apply_charge(payment: StripePaymentMixin, charge: Mapping[str, Any]) -> bool:
    """Apply a Charge: its receipt, and how much of it was given back; return whether the payment changed.

    :raises ContradictionError: if amount or currency is not the payment's, or it was paid otherwise.
    """
    if not charge.get("paid"):
        return False
    agree(payment, charge.get("amount"), charge.get("currency"))
    agree_on_fee(payment, charge)
    changed = note_paying(payment, charge.get("payment_intent"), charge.get("id"))
    changed |= _note(payment, "receipt_url", charge.get("receipt_url"), fits=is_address)
    changed |= _note(payment, "receipt_email", charge.get("receipt_email"), fits=is_text)
    refunded = charge.get("amount_refunded")
    if charge.get("captured") is False:
        return _note_deadline(payment, charge) or changed
    if type(refunded) is not int:
        return changed
    # Endpoints of API versions before 2025-03-31.basil count what was held and let go as given back. How much was
    # taken, the charge itself says: of the intent we may hear later.
    taken = charge.get("amount_captured")
    refunded -= payment.amount - (taken if type(taken) is int else payment.amount_taken)
    if refunded <= payment.amount_refunded:
        return changed
    # The event may be older than what we know: a refund that is in its sum may have failed since.
    return apply_refunded(payment, max(payment.amount_refunded, refunded - came_back(payment))) or changed


def _note_deadline(payment: StripePaymentMixin, charge: Mapping[str, Any]) -> bool:
    """Note until when what is held can be taken (Stripe docs, "Place a hold on a payment method")."""
    details = charge.get("payment_method_details")
    card = details.get("card") if isinstance(details, Mapping) else None
    found = time_of(card.get("capture_before") if isinstance(card, Mapping) else None)
    if found is None or payment.status not in MAY_BE_PAID or payment.capture_before == found:
        return False
    payment.capture_before = found
    return True


def time_of(stamp: Any) -> datetime | None:
    """Return Stripe's time as aware UTC; None if it is none that a database holds."""
    return datetime.fromtimestamp(stamp, UTC) if type(stamp) is int and 0 < stamp < _LAST_STAMP else None


def happened_at(event: Mapping[str, Any]) -> datetime:
    """Return when the thing happened that a Stripe event tells of, as aware UTC: not later than now."""
    now = datetime.now(UTC)
    return min(time_of(event.get("created")) or now, now)


def apply_refunded(payment: StripePaymentMixin, amount: int) -> bool:
    """Note how much was given back, more or less than before, and the word that follows; return whether it is news."""
    before = payment.amount_refunded, payment.status
    payment.amount_refunded = min(amount, payment.amount_taken)
    if amount:
        # What is given back was paid, even if the event that says so comes later.
        apply_paid(payment)
    if payment.status in _BY_REFUNDS:
        payment.status = word_by_refunds(payment)
    return before != (payment.amount_refunded, payment.status)


def word_by_refunds(payment: StripePaymentMixin) -> PaymentStatus:
    """Return the word of a paid payment that nobody disputes."""
    if payment.amount_refunded >= payment.amount_taken:
        return _S.REFUNDED
    return _S.PARTIALLY_REFUNDED if payment.amount_refunded else _S.COMPLETED


def apply_paid(payment: StripePaymentMixin) -> bool:
    """Mark the payment paid; return whether that is news."""
    if not apply_status(payment, PaymentStatus.COMPLETED):
        return False
    payment.paid_at = payment.paid_at or datetime.now(UTC)
    return True


def _apply_processing(payment: StripePaymentMixin) -> bool:
    """Note that the bank has been asked, unless it has answered: of a completed page there is no other try."""
    if payment.status is PaymentStatus.FAILED and _is_page_done(payment):
        return False
    return apply_status(payment, PaymentStatus.PROCESSING)


def note_paying(payment: StripePaymentMixin, intent: Any, charge: Any) -> bool:
    """Note what money was taken by, in place of another guest's intent whose card was declined.

    :raises ContradictionError: if the payment was paid by another intent.
    """
    agree_on_intent(payment, id_of(intent))
    changed = _note(payment, "stripe_payment_intent_id", id_of(intent))
    return _note(payment, "stripe_charge_id", id_of(charge)) or changed


def _note(payment: StripePaymentMixin, column: str, value: Any, *, fits: Callable[[Any], bool] = is_id) -> bool:
    if not fits(value) or getattr(payment, column) == value:
        return False
    setattr(payment, column, value)
    return True


def snapshot(object_: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a Stripe object: all but what would let a browser act on it."""
    return {name: value for name, value in object_.items() if name != "client_secret"}
