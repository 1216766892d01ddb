"""Charges and what they leave in the balance."""

from typing import Any

from .cards import Instrument
from .fees import transfer_data
from .ids import new_id, token
from .ledger import Json, Record, Scope

HOLD_LIFETIME = 7 * 86_400
"""Seconds that a card's hold lasts (docs.stripe.com/payments/place-a-hold-on-a-payment-method)."""


def make_charge(scope: Scope, intent: Record, method: Record, *, captured: bool = True) -> Record:
    """Store a charge of an intent; nothing is emitted yet."""
    data, id = intent.data, new_id("ch")
    charge = {
        "id": id,
        "object": "charge",
        "amount": data["amount"],
        "amount_captured": data["amount"] if captured else 0,
        "amount_refunded": 0,
        "application": data["application"],
        "application_fee": None,
        "application_fee_amount": data["application_fee_amount"],
        "balance_transaction": None,
        "billing_details": method.data["billing_details"],
        "calculated_statement_descriptor": scope.account.name.upper()[:22],
        "captured": captured,
        "created": scope.now(),
        "currency": data["currency"],
        "customer": data["customer"],
        "description": data["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": scope.livemode,
        "metadata": dict(data["metadata"]),
        "on_behalf_of": data["on_behalf_of"],
        "outcome": _outcome("authorized"),
        "paid": not captured,
        "payment_intent": data["id"],
        "payment_method": method.data["id"],
        "payment_method_details": _details(scope, method, data["amount"]),
        "radar_options": {},
        "receipt_email": data["receipt_email"],
        "receipt_number": None,
        "receipt_url": f"{scope.ledger.base_url}/receipts/{id}",
        "refunded": False,
        "review": None,
        "shipping": data["shipping"],
        "source_transfer": None,
        "statement_descriptor": data["statement_descriptor"],
        "statement_descriptor_suffix": data["statement_descriptor_suffix"],
        "status": "succeeded",
        "transfer_data": transfer_data(data["transfer_data"]),
        "transfer_group": data["transfer_group"],
    }
    if not captured:
        charge["payment_method_details"]["card"]["capture_before"] = scope.now() + HOLD_LIFETIME
    return scope.add(charge)


def _outcome(kind: str, reason: str | None = None, message: str = "Payment complete.") -> Json:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network" if kind == "authorized" else "declined_by_network",
        "reason": reason,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": message,
        "type": kind,
    }


def _details(scope: Scope, method: Record, amount: int) -> Json:
    kind = method.data["type"]
    facts = method.data[kind]
    if kind == "sepa_debit":
        names = ("bank_code", "branch_code", "country", "fingerprint", "last4")
        return {"sepa_debit": {name: facts[name] for name in names} | {"mandate": None}, "type": "sepa_debit"}
    card = {
        "amount_authorized": amount,
        "authorization_code": None,
        "brand": facts["brand"],
        "checks": facts["checks"],
        "country": facts["country"],
        "exp_month": facts["exp_month"],
        "exp_year": facts["exp_year"],
        "extended_authorization": {"status": "disabled"},
        "fingerprint": facts["fingerprint"],
        "funding": facts["funding"],
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": facts["last4"],
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": facts["brand"],
        "network_token": {"used": False},
        "network_transaction_id": token(15),
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": None,
        "wallet": None,
    }
    return {"card": card, "type": "card"}


def succeed_charge(
    scope: Scope, charge: Record, *, amount: int | None = None, event: str = "charge.succeeded"
) -> None:
    """Book a charge's money and emit ``event``."""
    taken = charge.data["amount"] if amount is None else amount
    fee = round(taken * 0.014) + 25
    transaction = book(scope, "charge", charge.data["id"], taken, charge.data["currency"], fee=fee)
    charge.data |= {
        "amount_captured": taken,
        "captured": True,
        "paid": True,
        "status": "succeeded",
        "balance_transaction": transaction.data["id"],
    }
    scope.emit(event, charge.data)


def fail_charge(scope: Scope, charge: Record, code: str, message: str, decline_code: str | None) -> None:
    """Mark a charge as refused and emit charge.failed."""
    charge.data |= {
        "amount_captured": 0,
        "captured": charge.data["status"] == "pending",
        "failure_code": code,
        "failure_message": message,
        "outcome": _outcome("issuer_declined", decline_code or code, "The bank did not return any further details."),
        "paid": False,
        "receipt_url": None,
        "status": "failed",
    }
    scope.emit("charge.failed", charge.data)


def book(
    scope: Scope,
    kind: str,
    source: str,
    amount: int,
    currency: str,
    *,
    fee: int = 0,
    fee_text: str = "Stripe processing fees",
) -> Record:
    """Store a balance transaction."""
    details = [
        {
            "amount": fee,
            "application": None,
            "currency": currency,
            "description": fee_text,
            "type": "stripe_fee",
        }
    ]
    transaction = {
        "id": new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": scope.now() + 7 * 86_400,
        "balance_type": "payments",
        "created": scope.now(),
        "currency": currency,
        "description": None,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": details if fee else [],
        "net": amount - fee,
        "reporting_category": kind,
        "source": source,
        "status": "pending",
        "type": kind,
    }
    return scope.add(transaction)


def instrument_of(scope: Scope, charge: Record) -> Instrument:
    method = scope.ledger.records[charge.data["payment_method"]]
    instrument: Any = method.private["instrument"]
    assert isinstance(instrument, Instrument)
    return instrument
