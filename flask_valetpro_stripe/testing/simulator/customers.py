"""Customers: whom an account remembers."""

from .changes import given, new_metadata
from .ids import new_id, token
from .ledger import Json, Record, Scope

_SETTINGS: Json = {"custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None}


def require_own(scope: Scope, params: Json) -> None:
    """Raise Stripe's "No such customer" if ``params`` name one that this account hasn't got in this mode."""
    if params.get("customer"):
        scope.get("customer", params["customer"], param="customer")


def make_customer(scope: Scope, params: Json) -> Record:
    """Store a customer and emit customer.created."""
    customer = {
        "id": new_id("cus"),
        "object": "customer",
        "address": given(params, "address"),
        "balance": params.get("balance", 0),
        "created": scope.now(),
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": given(params, "description"),
        "discount": None,
        "email": given(params, "email"),
        "invoice_prefix": token(8).upper(),
        "invoice_settings": dict(_SETTINGS),
        "livemode": scope.livemode,
        "metadata": new_metadata(params),
        "name": given(params, "name"),
        "next_invoice_sequence": 1,
        "phone": given(params, "phone"),
        "preferred_locales": params.get("preferred_locales") or [],
        "shipping": given(params, "shipping"),
        "tax_exempt": params.get("tax_exempt") or "none",
        "test_clock": None,
    }
    record = scope.add(customer)
    scope.emit("customer.created", customer)
    return record
