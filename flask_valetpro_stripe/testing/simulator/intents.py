"""Moving a payment intent on: confirm, authenticate, settle, cancel."""

from typing import Any

from .amounts import chargeable, known_currency
from .cards import Instrument
from .changes import given, new_metadata
from .charges import fail_charge, make_charge, succeed_charge
from .disputing import dispute_by_card
from .errors import ApiError, invalid, unexpected_state
from .fees import application_fee
from .ids import new_id, token
from .ledger import Json, Record, Scope
from .methods import billing_details

_CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing")
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")


def make_intent(scope: Scope, params: Json) -> Record:
    """Store a payment intent and emit payment_intent.created."""
    currency = known_currency(params["currency"])
    chargeable(params["amount"], currency)
    _check_application_fee(scope, params)
    id = new_id("pi")
    types = params.get("payment_method_types") or ["card", "sepa_debit"]
    automatic = None if "payment_method_types" in params else {"allow_redirects": "always", "enabled": True}
    if automatic and "automatic_payment_methods" in params:
        automatic |= params["automatic_payment_methods"]
    intent = {
        "id": id,
        "object": "payment_intent",
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": scope.application,
        "application_fee_amount": given(params, "application_fee_amount"),
        "automatic_payment_methods": automatic,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": params.get("capture_method", "automatic_async"),
        "client_secret": f"{id}_secret_{token(25)}",
        "confirmation_method": params.get("confirmation_method", "automatic"),
        "created": scope.now(),
        "currency": currency,
        "customer": params.get("customer"),
        "description": given(params, "description"),
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": scope.livemode,
        "metadata": new_metadata(params),
        "next_action": None,
        "on_behalf_of": params.get("on_behalf_of"),
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": types,
        "processing": None,
        "receipt_email": given(params, "receipt_email"),
        "review": None,
        "setup_future_usage": given(params, "setup_future_usage"),
        "shipping": _shipping(given(params, "shipping")),
        "statement_descriptor": params.get("statement_descriptor"),
        "statement_descriptor_suffix": params.get("statement_descriptor_suffix"),
        "status": "requires_payment_method",
        "transfer_data": params.get("transfer_data"),
        "transfer_group": params.get("transfer_group"),
    }
    record = scope.add(intent)
    scope.emit("payment_intent.created", intent)
    return record


def _check_application_fee(scope: Scope, params: Json) -> None:
    fee = application_fee(scope, params, "PaymentIntent")
    if fee is not None and fee > params["amount"]:
        raise invalid("Your application fee cannot be larger than the charge amount.", "application_fee_amount")


def _shipping(shipping: Json | None) -> Json | None:
    if shipping is None:
        return None
    address = {**billing_details(None)["address"], **(shipping.get("address") or {})}
    return {"carrier": None, "phone": None, "tracking_number": None, **shipping, "address": address}


def confirm(scope: Scope, intent: Record, method: Record, *, return_url: str | None = None) -> None:
    """Charge ``method``; a refused one raises 402 and leaves the intent open, as at Stripe."""
    if intent.data["status"] not in _CONFIRMABLE:
        raise wrong_state(intent, "confirm", _CONFIRMABLE)
    instrument: Instrument = method.private["instrument"]
    if instrument.is_bank_debit and intent.data["capture_method"] == "manual":
        raise invalid("The payment method type sepa_debit does not support capture_method=manual.", "payment_method")
    intent.data |= {"payment_method": method.data["id"], "last_payment_error": None, "next_action": None}
    if instrument.outcome == "requires_action":
        _ask_for_action(scope, intent, return_url)
    elif instrument.outcome in ("settles", "fails_later"):
        _begin_processing(scope, intent, method)
    elif instrument.outcome == "succeeds":
        _collect(scope, intent, method)
    else:
        _refuse(scope, intent, method, instrument)


def _ask_for_action(scope: Scope, intent: Record, return_url: str | None) -> None:
    url = f"{scope.ledger.base_url}/authenticate/{intent.data['client_secret']}"
    action: Json = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url}}
    if return_url:
        action = {"type": "redirect_to_url", "redirect_to_url": {"return_url": return_url, "url": url}}
    intent.private["return_url"] = return_url
    intent.data |= {"status": "requires_action", "next_action": action}
    scope.emit("payment_intent.requires_action", intent.data)


def authenticate(scope: Scope, intent: Record, *, passed: bool) -> None:
    """End the customer's authentication; one that failed raises 402."""
    method = scope.ledger.records[intent.data["payment_method"]]
    intent.data["next_action"] = None
    if passed:
        _collect(scope, intent, method)
        return
    message = (
        "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again."
    )
    error: Json = {
        "code": "payment_intent_authentication_failure",
        "doc_url": "https://stripe.com/docs/error-codes/payment-intent-authentication-failure",
        "message": message,
        "payment_method": method.data,
        "type": "invalid_request_error",
    }
    _back_to_start(scope, intent, error)
    raise ApiError(402, message, code=error["code"], type="card_error", payment_intent=intent.data)


def _collect(scope: Scope, intent: Record, method: Record) -> None:
    if intent.data["capture_method"] == "manual":
        _hold(scope, intent, method)
        return
    take(scope, intent, make_charge(scope, intent, method), intent.data["amount"])


def _hold(scope: Scope, intent: Record, method: Record) -> None:
    charge = make_charge(scope, intent, method, captured=False)
    intent.data |= {
        "status": "requires_capture",
        "amount_capturable": intent.data["amount"],
        "latest_charge": charge.data["id"],
    }
    scope.emit("charge.succeeded", charge.data)
    scope.emit("payment_intent.amount_capturable_updated", intent.data)


def take(
    scope: Scope, intent: Record, charge: Record, amount: int, *, event: str = "charge.succeeded"
) -> None:
    """Take the money and let the intent succeed; a bank that disputes is heard of before that, as at Stripe."""
    succeed_charge(scope, charge, amount=amount, event=event)
    dispute_by_card(scope, charge)
    intent.data |= {
        "status": "succeeded",
        "amount_received": amount,
        "amount_capturable": 0,
        "latest_charge": charge.data["id"],
        "processing": None,
        "last_payment_error": None,
    }
    scope.emit("payment_intent.succeeded", intent.data)


def _refuse(scope: Scope, intent: Record, method: Record, instrument: Instrument) -> None:
    charge = make_charge(scope, intent, method)
    fail_charge(scope, charge, instrument.outcome, instrument.message, instrument.decline_code)
    error: Json = {
        "charge": charge.data["id"],
        "code": instrument.outcome,
        "decline_code": instrument.decline_code or instrument.outcome,
        "doc_url": f"https://stripe.com/docs/error-codes/{instrument.outcome.replace('_', '-')}",
        "message": instrument.message,
        "payment_method": method.data,
        "type": "card_error",
    }
    intent.data["latest_charge"] = charge.data["id"]
    _back_to_start(scope, intent, error)
    raise ApiError(
        402,
        instrument.message,
        code=instrument.outcome,
        type="card_error",
        charge=charge.data["id"],
        decline_code=error["decline_code"],
        payment_intent=intent.data,
        payment_method=method.data,
    )


def _back_to_start(scope: Scope, intent: Record, error: Json) -> None:
    intent.data |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "last_payment_error": error,
        "processing": None,
    }
    scope.emit("payment_intent.payment_failed", intent.data)


def _begin_processing(scope: Scope, intent: Record, method: Record) -> None:
    charge = make_charge(scope, intent, method)
    charge.data["status"] = "pending"
    intent.data |= {"status": "processing", "latest_charge": charge.data["id"]}
    scope.emit("charge.pending", charge.data)
    scope.emit("payment_intent.processing", intent.data)


def settle(scope: Scope, intent: Record, *, succeeded: bool) -> None:
    """End a delayed payment: the bank paid, or it didn't."""
    if intent.data["status"] != "processing":
        raise wrong_state(intent, "settle", ("processing",))
    charge = scope.ledger.records[intent.data["latest_charge"]]
    if succeeded:
        take(scope, intent, charge, intent.data["amount"])
        return
    message = "The customer's account has insufficient funds to cover this payment."
    fail_charge(scope, charge, "insufficient_funds", message, None)
    error: Json = {
        "charge": charge.data["id"],
        "code": "payment_intent_payment_attempt_failed",
        "message": message,
        "payment_method": scope.ledger.records[intent.data["payment_method"]].data,
        "type": "card_error",
    }
    _back_to_start(scope, intent, error)


def cancel(scope: Scope, intent: Record, reason: str | None) -> None:
    """Cancel an intent that has not come to its end."""
    if intent.data["status"] not in _CANCELABLE:
        raise wrong_state(intent, "cancel", _CANCELABLE)
    if intent.data["status"] == "processing":
        raise wrong_state(intent, "cancel", _CANCELABLE[:-1])
    intent.data |= {
        "status": "canceled",
        "canceled_at": scope.now(),
        "cancellation_reason": reason,
        "amount_capturable": 0,
        "next_action": None,
    }
    scope.emit("payment_intent.canceled", intent.data)


def wrong_state(intent: Record, verb: str, allowed: tuple[str, ...]) -> ApiError:
    """Return Stripe's answer for an intent that is too early or too late for ``verb``."""
    status: Any = intent.data["status"]
    message = f"You cannot {verb} this PaymentIntent because it has a status of {status}."
    if verb in ("cancel", "capture", "settle"):
        message += f" Only a PaymentIntent with one of the following statuses may be used: {', '.join(allowed)}."
    return unexpected_state("payment_intent", message, payment_intent=intent.data)
