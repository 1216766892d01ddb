"""/v1/payment_intents"""

from .. import holds, intents
from ..amounts import chargeable
from ..changes import changed
from ..customers import require_own
from ..errors import invalid, unexpected_state
from ..ledger import Json, Record, Scope
from ..lists import matching, page
from ..methods import from_params, resolve
from ..routing import Route


def _create(scope: Scope, params: Json) -> Json:
    require_own(scope, params)
    method = _method(scope, params)
    intent = intents.make_intent(scope, params)
    if method:
        intent.data |= {"payment_method": method.data["id"], "status": "requires_confirmation"}
    if params.get("confirm"):
        _confirm_with(scope, intent, method, params)
    return intent.data


def _method(scope: Scope, params: Json) -> Record | None:
    if params.get("payment_method"):
        return resolve(scope, params["payment_method"])
    return from_params(scope, params["payment_method_data"]) if "payment_method_data" in params else None


def _confirm_with(scope: Scope, intent: Record, method: Record | None, params: Json) -> None:
    if method is None:
        message = (
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken."
        )
        raise unexpected_state("payment_intent", message, payment_intent=intent.data)
    intents.confirm(scope, intent, method, return_url=params.get("return_url"))


def _get(scope: Scope, id: str) -> Record:
    return scope.get("payment_intent", id, param="intent")


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    intent = _get(scope, id)
    if "client_secret" in params and params["client_secret"] != intent.data["client_secret"]:
        raise invalid("The client_secret provided does not match this PaymentIntent.", "client_secret")
    return intent.data


def _update(scope: Scope, params: Json, id: str) -> Json:
    intent = _get(scope, id)
    if intent.data["status"] in ("succeeded", "canceled") and set(params) - {"metadata", "description", "expand"}:
        message = f"This PaymentIntent could not be updated because it has a status of {intent.data['status']}."
        raise unexpected_state("payment_intent", message, payment_intent=intent.data)
    require_own(scope, params)
    if "amount" in params:
        chargeable(params["amount"], intent.data["currency"])
    plain = ("amount", "application_fee_amount", "customer", "description", "receipt_email", "setup_future_usage")
    intent.data |= changed(intent.data, params, *plain)
    method = _method(scope, params)
    if method:
        intent.data |= {"payment_method": method.data["id"], "status": "requires_confirmation"}
    return intent.data


def _confirm(scope: Scope, params: Json, id: str) -> Json:
    intent = _get(scope, id)
    current = intent.data["payment_method"]
    method = _method(scope, params) or (scope.ledger.records[current] if current else None)
    _confirm_with(scope, intent, method, params)
    return intent.data


def _capture(scope: Scope, params: Json, id: str) -> Json:
    intent = _get(scope, id)
    holds.capture(scope, intent, params)
    return intent.data


def _cancel(scope: Scope, params: Json, id: str) -> Json:
    intent = _get(scope, id)
    if "session" in intent.private:
        session = scope.ledger.records[intent.private["session"]]
        if session.data["status"] == "open":
            message = (
                "You cannot cancel this PaymentIntent because it was created by a Checkout Session. Expire the "
                "Checkout Session instead."
            )
            raise invalid(message)
    intents.cancel(scope, intent, params.get("cancellation_reason"))
    return intent.data


def _list(scope: Scope, params: Json) -> Json:
    found = matching(scope, "payment_intent", params, "customer")
    return page(scope, found, params, "/v1/payment_intents", kind="payment_intent")


ROUTES = (
    Route("POST", "/v1/payment_intents", _create, "PaymentIntentCreateParams"),
    Route("GET", "/v1/payment_intents", _list, "PaymentIntentListParams"),
    Route("GET", "/v1/payment_intents/{id}", _retrieve, "PaymentIntentRetrieveParams"),
    Route("POST", "/v1/payment_intents/{id}", _update, "PaymentIntentUpdateParams"),
    Route("POST", "/v1/payment_intents/{id}/confirm", _confirm, "PaymentIntentConfirmParams"),
    Route("POST", "/v1/payment_intents/{id}/capture", _capture, "PaymentIntentCaptureParams"),
    Route("POST", "/v1/payment_intents/{id}/cancel", _cancel, "PaymentIntentCancelParams"),
)
