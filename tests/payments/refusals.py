"""What Stripe refuses these calls with (Stripe docs, "Error codes"), body by body, and what we make of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import stripe

from flask_valetpro_stripe.errors import (
    ConnectionRevokedError,
    InvalidKeyError,
    OutcomeUnknownError,
    ValetProStripeError,
)

SECRET: Final = "51canary4242"
#: ``refused``: Stripe looked at it, and its answer is saved, so the next try takes a new key. ``not let in``: it did
#: not look. ``unknown``: it may have acted. In both of these, the next try takes the same key.
Outcome = Literal["refused", "not let in", "unknown"]


@dataclass(frozen=True)
class Refusal:
    """One answer of Stripe's, and what the host gets of it."""

    status: int
    body: bytes
    error: type[ValetProStripeError]
    code: str
    outcome: Outcome


def _said(type_: str, message: str, code: str | None = None, **more: Any) -> bytes:
    coded = {"code": code, "doc_url": f"https://stripe.com/docs/error-codes/{code}"} if code else {}
    link = "https://dashboard.stripe.com/test/logs/req_1?t=1780000000"
    return json.dumps({"error": {"type": type_, "message": message, "request_log_url": link, **coded, **more}}).encode()


def _invalid(message: str, code: str | None, status: int = 400, **more: Any) -> Refusal:
    body = _said("invalid_request_error", message, code, **more)
    return Refusal(status, body, ValetProStripeError, code or "InvalidRequestError", "refused")


def _card(message: str, code: str, decline_code: str | None = None) -> Refusal:
    more = {"decline_code": decline_code} if decline_code else {}
    return Refusal(402, _said("card_error", message, code, charge="ch_1", **more), ValetProStripeError, code, "refused")


def _not_let_in(status: int, message: str, code: str, error: type[ValetProStripeError], ours: str) -> Refusal:
    return Refusal(status, _said("invalid_request_error", message, code), error, ours, "not let in")


def _unknown(status: int, body: bytes, code: str = "outcome_unknown") -> Refusal:
    return Refusal(status, body, OutcomeUnknownError, code, "unknown")


_STATE = "You cannot capture this PaymentIntent because it has a status of canceled."
_OTHER = (
    "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key "
    "other than 'valetpro-1' if you meant to execute a different request."
)
_UNDER_WAY = (
    "There is currently another in-progress request using this Idempotent Key (that probably means you submitted "
    "twice, and the other request is still going through): valetpro-1. Please try again later."
)
_LOCKED = "This object cannot be accessed right now because another API request or Stripe process is accessing it."
_CUT_OFF = (
    f"The provided key 'sk_test_********{SECRET}' does not have access to account 'acct_1' (or that account does not "
    "exist). Application access may have been revoked."
)
_EXPIRED = f"Expired API Key provided: sk_test_********{SECRET}"
_INACTIVE = "You must have a valid head office address to enable automatic tax calculation in test mode."

REFUSALS: Final[Mapping[str, Refusal]] = {
    "card_declined": _card("Your card was declined.", "card_declined", "generic_decline"),
    "insufficient_funds": _card("Your card has insufficient funds.", "card_declined", "insufficient_funds"),
    "expired_card": _card("Your card has expired.", "expired_card"),
    "incorrect_cvc": _card("Your card's security code is incorrect.", "incorrect_cvc"),
    "processing_error": _card("An error occurred while processing your card. Try again.", "processing_error"),
    "amount_too_small": _invalid("Amount must be at least €0.50 eur", "amount_too_small", param="amount"),
    "amount_too_large": _invalid("Amount must be no more than €999,999.99", "amount_too_large", param="amount"),
    "charge_already_refunded": _invalid("Charge ch_1 has already been refunded.", "charge_already_refunded"),
    "charge_disputed": _invalid("Charge ch_1 has been charged back; cannot issue a refund.", "charge_disputed"),
    "charge_not_refundable": _invalid("Charge ch_1 cannot be refunded.", "charge_not_refundable"),
    "balance_insufficient": _invalid("Insufficient funds in your Stripe balance.", "balance_insufficient"),
    "payment_intent_unexpected_state": _invalid(_STATE, "payment_intent_unexpected_state"),
    "parameter_missing": _invalid("Missing required param: currency.", "parameter_missing", param="currency"),
    "resource_missing": _invalid("No such payment_intent: 'pi_1'", "resource_missing", 404, param="intent"),
    "stripe_tax_inactive": _invalid(_INACTIVE, "stripe_tax_inactive"),
    "a refund over the amount": _invalid(
        "Refund amount (€30.00) is greater than unrefunded amount on charge (€25.00)", None, param="amount"
    ),
    "api_key_expired": _not_let_in(401, _EXPIRED, "api_key_expired", InvalidKeyError, "api_key_expired"),
    "account_invalid": _not_let_in(403, _CUT_OFF, "account_invalid", ConnectionRevokedError, "connection_revoked"),
    "lock_timeout": _not_let_in(429, _LOCKED, "lock_timeout", ValetProStripeError, "rate_limit"),
    "rate_limit": _not_let_in(429, "Request rate limit exceeded.", "rate_limit", ValetProStripeError, "rate_limit"),
    "idempotency_key_in_use": _unknown(409, _said("idempotency_error", _UNDER_WAY, "idempotency_key_in_use")),
    "idempotency_error": _unknown(400, _said("idempotency_error", _OTHER), "IdempotencyError"),
    "a server error": _unknown(500, _said("api_error", "Sorry! There was an error while talking to a backend.")),
    "a proxy's page": _unknown(502, b"<html><h1>502 Bad Gateway</h1></html>"),
}


class Answering(stripe.HTTPClient):
    """Answers calls of one method with a refusal while there is one, and passes on what else there is."""

    name = "answering"

    def __init__(self, inner: stripe.HTTPClient) -> None:
        super().__init__()
        self._inner = inner
        self.refusal: Refusal | None = None
        self.method = "post"
        #: The idempotency keys of all calls that change something.
        self.keys: list[str] = []

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        """Answer one request."""
        if method == "post":
            self.keys.append(str((headers or {}).get("Idempotency-Key")))
        if self.refusal is not None and method == self.method:
            return self.refusal.body.decode(), self.refusal.status, {"Request-Id": "req_1"}
        answer: tuple[Any, int, Mapping[str, str]] = self._inner.request(method, url, headers, post_data)
        return answer

    def close(self) -> None:
        """Nothing is open."""
