"""Payment methods: what a guest pays with."""

from .cards import INSTRUMENTS, Instrument, from_number, from_token
from .errors import ApiError, invalid, missing_param
from .ids import new_id, token
from .ledger import Json, Record, Scope

_NOTHING: Json = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}
_NO_ADDRESS: Json = {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None}


def billing_details(given: Json | None) -> Json:
    """Return complete billing details around the given ones."""
    details = {**_NOTHING, **{key: value for key, value in (given or {}).items() if value != ""}}
    details["address"] = {**_NO_ADDRESS, **(details["address"] or {})}
    return details


def make_method(scope: Scope, instrument: Instrument, *, billing: Json | None = None) -> Record:
    """Store a payment method for a card or an IBAN."""
    kind = "sepa_debit" if instrument.is_bank_debit else "card"
    method = {
        "id": new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(billing),
        "created": scope.now(),
        "customer": None,
        "livemode": scope.livemode,
        "metadata": {},
        "type": kind,
        kind: _sepa(instrument) if instrument.is_bank_debit else _card(scope, instrument),
    }
    return scope.add(method, instrument=instrument)


def _sepa(instrument: Instrument) -> Json:
    return {
        "bank_code": instrument.number[4:9],
        "branch_code": "",
        "country": instrument.number[:2],
        "fingerprint": token(16),
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": instrument.last4,
    }


def _card(scope: Scope, instrument: Instrument) -> Json:
    return {
        "brand": instrument.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "FR",
        "display_brand": instrument.brand,
        "exp_month": 12,
        "exp_year": expiry_year(scope),
        "fingerprint": token(16),
        "funding": "credit",
        "generated_from": None,
        "last4": instrument.last4,
        "networks": {"available": [instrument.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def expiry_year(scope: Scope) -> int:
    return 1970 + scope.now() // 31_556_952 + 3


def resolve(scope: Scope, id: str, *, param: str = "payment_method") -> Record:
    """Return a stored payment method, or a new one for a test token such as ``pm_card_visa``."""
    instrument = from_token(id)
    if instrument is None:
        return scope.get("payment_method", id, param=param)
    if scope.livemode:
        raise invalid(f"No such PaymentMethod: '{id}'", param, "resource_missing")
    return make_method(scope, instrument)


def from_params(scope: Scope, params: Json) -> Record:
    """Return a new payment method for ``POST /v1/payment_methods`` and ``payment_method_data``."""
    kind = params.get("type") or ("card" if "card" in params else None)
    if kind == "card":
        instrument = _from_card(params.get("card") or {})
    elif kind == "sepa_debit":
        instrument = _from_iban((params.get("sepa_debit") or {}).get("iban"))
    elif kind is None:
        raise missing_param("type")
    else:
        raise invalid(f"The simulator makes payment methods of the types card and sepa_debit, not {kind}.", "type")
    return make_method(scope, instrument, billing=params.get("billing_details"))


def _from_card(card: Json) -> Instrument:
    if "token" in card:
        instrument = from_token(card["token"])
        if instrument is None:
            raise ApiError(404, f"No such token: '{card['token']}'", code="resource_missing", param="card[token]")
        return instrument
    if "number" not in card:
        raise missing_param("card[number]")
    instrument = from_number(card["number"])
    if instrument.outcome == "incorrect_number":
        raise ApiError(402, instrument.message, code="incorrect_number", param="number", type="card_error")
    return instrument


def _from_iban(iban: str | None) -> Instrument:
    if iban is None:
        raise missing_param("sepa_debit[iban]")
    instrument = INSTRUMENTS.get(iban.replace(" ", "").upper())
    if instrument is None or not instrument.is_bank_debit:
        raise invalid("The IBAN you provided is invalid.", "sepa_debit[iban]", "invalid_bank_account_iban")
    return instrument
