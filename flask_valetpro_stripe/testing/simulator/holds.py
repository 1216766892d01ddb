"""Holds: what a card was authorized for is captured, wholly or in part, or runs out."""

from . import intents
from .changes import changed
from .errors import invalid
from .fees import application_fee
from .ledger import Json, Ledger, Record, Scope


def capture(scope: Scope, intent: Record, params: Json) -> None:
    """Take what was authorized, or less, which lets go of the rest: nothing more can be taken, nothing is refunded."""
    if intent.data["status"] != "requires_capture":
        raise intents.wrong_state(intent, "capture", ("requires_capture",))
    if not params.get("final_capture", True):
        raise invalid("The simulator's cards don't support multicapture: leave final_capture out.", "final_capture")
    amount = _wanted(intent, params)
    charge = scope.ledger.records[intent.data["latest_charge"]]
    _set_fee(scope, intent, charge, params, amount)
    intent.data |= changed(intent.data, params)
    intents.take(scope, intent, charge, amount, event="charge.captured")
    if "session" in intent.private:
        # No event tells: a session is heard of when it is completed, and when a delayed payment ends.
        scope.ledger.records[intent.private["session"]].data["payment_status"] = "paid"


def _wanted(intent: Record, params: Json) -> int:
    authorized: int = intent.data["amount_capturable"]
    amount: int = params.get("amount_to_capture", authorized)
    if amount < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid(message, "amount_to_capture", "parameter_invalid_integer")
    if amount > authorized:
        message = f"The remaining amount that can be captured for this PaymentIntent is {authorized}."
        raise invalid(message, "amount_to_capture", "amount_too_large")
    return amount


def _set_fee(scope: Scope, intent: Record, charge: Record, params: Json, amount: int) -> None:
    """Set the application fee anew if ``params`` do; what is collected is capped at what is captured."""
    # A destination charge names its destination when the intent is made.
    known = {"transfer_data": intent.data["transfer_data"]} if intent.data["transfer_data"] else {}
    fee = application_fee(scope, params | known, "PaymentIntent")
    if fee is None:
        fee = intent.data["application_fee_amount"]
    intent.data["application_fee_amount"] = fee
    charge.data["application_fee_amount"] = None if fee is None else min(fee, amount)


def expire_due(ledger: Ledger) -> None:
    """Cancel the intents whose holds have run out, and emit charge.expired for each."""
    for intent in [record for record in ledger.records.values() if record.kind == "payment_intent"]:
        if intent.data["status"] != "requires_capture":
            continue
        charge = ledger.records[intent.data["latest_charge"]]
        if charge.data["payment_method_details"]["card"]["capture_before"] <= ledger.now():
            scope = ledger.scope_of(intent)
            scope.emit("charge.expired", charge.data)
            intents.cancel(scope, intent, "expired")
