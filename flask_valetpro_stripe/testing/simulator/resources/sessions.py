"""/v1/checkout/sessions"""

from .. import checkout
from ..changes import changed
from ..customers import require_own
from ..errors import ApiError, invalid, missing_param
from ..items import make_items, payable_total
from ..ledger import Json, Record, Scope
from ..lists import matching, page
from ..methods import resolve
from ..routing import Route
from ..tax import require_active


def _create(scope: Scope, params: Json) -> Json:
    if params.get("mode", "payment") != "payment":
        raise invalid("The simulator's sessions take one-time payments only: use mode=payment.", "mode")
    if "line_items" not in params:
        raise missing_param("line_items")
    if params.get("ui_mode", "hosted_page") == "hosted_page" and "success_url" not in params:
        raise missing_param("success_url")
    require_active(scope, params.get("automatic_tax"))
    items = make_items(scope, params["line_items"])
    payable_total(items, "Checkout Session")
    if params.get("customer") and "customer_email" in params:
        raise invalid("You may only specify one of these parameters: customer, customer_email.")
    require_own(scope, params)
    if "expires_at" in params and not 1800 <= params["expires_at"] - scope.now() <= 86_400 + 60:
        message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation."
        raise invalid(message, "expires_at")
    session = checkout.make_session(scope, params, items)
    session.private["application"] = scope.application
    return session.data


def _get(scope: Scope, id: str) -> Record:
    return scope.get("checkout.session", id, param="session")


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    return _get(scope, id).data


def _update(scope: Scope, params: Json, id: str) -> Json:
    session = _get(scope, id)
    session.data |= changed(session.data, params)
    return session.data


def _list(scope: Scope, params: Json) -> Json:
    sessions = matching(scope, "checkout.session", params, "payment_link", "payment_intent", "status", "customer")
    return page(scope, sessions, params, "/v1/checkout/sessions", kind="checkout.session")


def _expire(scope: Scope, params: Json, id: str) -> Json:
    session = _get(scope, id)
    checkout.expire(scope, session)
    return session.data


def _line_items(scope: Scope, params: Json, id: str) -> Json:
    items = checkout.items_of(scope, _get(scope, id))
    return page(scope, items["data"], params, items["url"], kind="item")


def _hosted(scope: Scope, params: Json, id: str) -> Json:
    session = _get(scope, id)
    total = session.data["amount_total"]
    return {
        "id": session.data["id"],
        "object": "checkout.session",
        "line_item_group": {"total": total, "due": total, "currency": session.data["currency"]},
        "status": session.data["status"],
    }


def _hosted_confirm(scope: Scope, params: Json, id: str) -> Json:
    session = _get(scope, id)
    if str(params.get("expected_amount", session.data["amount_total"])) != str(session.data["amount_total"]):
        raise ApiError(400, "The amount of the Checkout Session has changed.", code="checkout_amount_mismatch")
    checkout.pay(scope, session, resolve(scope, params["payment_method"]))
    return session.data


ROUTES = (
    Route("POST", "/v1/checkout/sessions", _create, "checkout.SessionCreateParams"),
    Route("GET", "/v1/checkout/sessions", _list, "checkout.SessionListParams"),
    Route("GET", "/v1/checkout/sessions/{id}", _retrieve),
    Route("POST", "/v1/checkout/sessions/{id}", _update, "checkout.SessionUpdateParams"),
    Route("POST", "/v1/checkout/sessions/{id}/expire", _expire),
    Route("GET", "/v1/checkout/sessions/{id}/line_items", _line_items, "checkout.SessionListLineItemsParams"),
    # Not in Stripe's description: what its own hosted page, and so the official CLI's trigger, calls.
    Route("GET", "/v1/payment_pages/{id}", _hosted, checked=False),
    Route("POST", "/v1/payment_pages/{id}/confirm", _hosted_confirm, checked=False),
)
