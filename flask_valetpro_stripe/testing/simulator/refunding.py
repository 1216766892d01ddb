"""Refunds: made, settled, failed."""

from .amounts import display
from .changes import new_metadata
from .charges import book, instrument_of
from .disputing import close_if_refunded, require_refundable
from .errors import ApiError, invalid, missing_param
from .ids import new_id
from .ledger import Json, Record, Scope


def make_refund(scope: Scope, params: Json) -> Record:
    """Give money back on a charge; emits refund.created, and charge.refunded."""
    charge = _charge_to_refund(scope, params)
    require_refundable(scope, charge)
    amount = _refundable(charge, params.get("amount"))
    if params.get("refund_application_fee") and not charge.data["application_fee_amount"]:
        message = f"Attempting to refund the application fee on {charge.data['id']}, but it has no application fee."
        raise invalid(message, "refund_application_fee")
    if params.get("reverse_transfer") and not charge.data["transfer_data"]:
        message = "Cannot reverse transfer on charge because it does not have an associated transfer."
        raise invalid(message, "reverse_transfer")
    status = instrument_of(scope, charge).refund
    transaction = book(scope, "refund", charge.data["id"], -amount, charge.data["currency"])
    refund = {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": transaction.data["id"],
        "charge": charge.data["id"],
        "created": scope.now(),
        "currency": charge.data["currency"],
        "destination_details": _destination(charge),
        "metadata": new_metadata(params),
        "payment_intent": charge.data["payment_intent"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }
    transaction.data["source"] = refund["id"]
    if status == "pending":
        refund["pending_reason"] = "processing"
    record = scope.add(refund)
    _add_to_charge(charge, amount)
    scope.emit("refund.created", refund)
    scope.emit("charge.refunded", charge.data)
    close_if_refunded(scope, charge)
    return record


def _destination(charge: Record) -> Json:
    kind = charge.data["payment_method_details"]["type"]
    if kind != "card":
        return {"type": kind}
    card = {
        "reference": None,
        "reference_status": "pending",
        "reference_type": "acquirer_reference_number",
        "type": "refund",
    }
    return {"card": {key: value for key, value in card.items() if value is not None}, "type": "card"}


def _charge_to_refund(scope: Scope, params: Json) -> Record:
    if "charge" in params:
        charge = scope.get("charge", params["charge"], param="charge")
    elif "payment_intent" in params:
        intent = scope.get("payment_intent", params["payment_intent"], param="payment_intent")
        latest = intent.data["latest_charge"]
        if latest is None:
            message = f"This PaymentIntent ({intent.data['id']}) does not have a successful charge to refund."
            raise ApiError(400, message, code="payment_intent_unexpected_state", param="payment_intent")
        charge = scope.get("charge", latest, param="payment_intent")
    else:
        raise missing_param("charge")
    if not charge.data["paid"] or charge.data["status"] != "succeeded":
        message = f"Charge {charge.data['id']} has no successful payment to refund."
        raise ApiError(400, message, code="charge_not_refundable")
    if not charge.data["captured"]:
        message = (
            f"This uncaptured Charge was created by a PaymentIntent ({charge.data['payment_intent']}). You must cancel "
            "the PaymentIntent to reverse the authorization instead of refunding the Charge directly. For more "
            "information, see https://stripe.com/docs/payments/place-a-hold-on-a-payment-method"
        )
        raise invalid(message)
    return charge


def _refundable(charge: Record, wanted: int | None) -> int:
    id, currency = charge.data["id"], charge.data["currency"]
    remaining: int = charge.data["amount_captured"] - charge.data["amount_refunded"]
    if remaining == 0:
        raise ApiError(400, f"Charge {id} has already been refunded.", code="charge_already_refunded")
    amount = remaining if wanted is None else wanted
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    if amount > remaining:
        message = (
            f"Refund amount ({display(amount, currency)}) is greater than unrefunded amount on charge "
            f"({display(remaining, currency)})"
        )
        raise invalid(message, "amount")
    return amount


def _add_to_charge(charge: Record, amount: int) -> None:
    refunded = charge.data["amount_refunded"] + amount
    charge.data |= {"amount_refunded": refunded, "refunded": refunded == charge.data["amount_captured"]}


def settle_refund(scope: Scope, refund: Record, *, succeeded: bool) -> None:
    """End a pending refund, or let one that looked done fail as banks do weeks later."""
    refund.data.pop("pending_reason", None)
    if succeeded:
        scope.change(refund, "refund.updated", status="succeeded")
        return
    charge = scope.ledger.records[refund.data["charge"]]
    back = book(scope, "refund_failure", refund.data["id"], refund.data["amount"], refund.data["currency"])
    refund.data |= {"failure_reason": "expired_or_canceled_card", "failure_balance_transaction": back.data["id"]}
    scope.change(refund, "refund.updated", status="failed")
    _add_to_charge(charge, -refund.data["amount"])
    scope.emit("refund.failed", refund.data)
