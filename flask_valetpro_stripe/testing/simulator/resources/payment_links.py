"""/v1/payment_links"""

from typing import Any

from ..changes import changed, given, new_metadata
from ..checkout import TEXTS, invoice_data, items_of
from ..errors import invalid
from ..fees import application_fee, transfer_data
from ..ids import mode_word, new_id, token
from ..items import make_items, payable_total, total_of
from ..ledger import Json, Record, Scope
from ..lists import matching, page
from ..routing import Route
from ..tax import require_active

_PLAIN = (
    "active",
    "allow_promotion_codes",
    "application_fee_amount",
    "billing_address_collection",
    "customer_creation",
    "inactive_message",
    "on_behalf_of",
    "payment_method_types",
    "submit_type",
)
_INTENT_DATA = (
    "capture_method",
    "description",
    "setup_future_usage",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)


def _create(scope: Scope, params: Json) -> Json:
    require_active(scope, params.get("automatic_tax"))
    items = make_items(scope, params["line_items"])
    recurring = any(item["price"]["recurring"] for item in items)
    total, currency = total_of(items) if recurring else payable_total(items, "Payment Link")
    _check_fee(scope, params, total)
    id = new_id("plink")
    slug = f"{'' if scope.livemode else mode_word(scope.livemode) + '_'}{token(18)}"
    link = {
        "id": id,
        "object": "payment_link",
        "active": True,
        "after_completion": _after_completion(params.get("after_completion")),
        "allow_promotion_codes": params.get("allow_promotion_codes", False),
        "application": scope.application,
        "application_fee_amount": given(params, "application_fee_amount"),
        "application_fee_percent": given(params, "application_fee_percent"),
        "automatic_tax": _tax(params.get("automatic_tax")),
        "billing_address_collection": params.get("billing_address_collection", "auto"),
        "consent_collection": None,
        "currency": currency,
        "custom_fields": [],
        "custom_text": dict(TEXTS),
        "customer_creation": params.get("customer_creation", "if_required"),
        "inactive_message": given(params, "inactive_message"),
        "invoice_creation": None if recurring else {"enabled": False, "invoice_data": invoice_data()},
        "livemode": scope.livemode,
        "metadata": new_metadata(params),
        "on_behalf_of": given(params, "on_behalf_of"),
        "payment_intent_data": None if recurring else _intent_data(params.get("payment_intent_data")),
        "payment_method_collection": "always" if recurring else "if_required",
        "payment_method_types": given(params, "payment_method_types"),
        "phone_number_collection": params.get("phone_number_collection", {"enabled": False}),
        "restrictions": _restrictions(given(params, "restrictions")),
        "shipping_address_collection": None,
        "shipping_options": [],
        "submit_type": params.get("submit_type", "auto"),
        "subscription_data": _subscription_data() if recurring else None,
        "tax_id_collection": {"enabled": False, "required": "never"},
        "transfer_data": transfer_data(given(params, "transfer_data")),
        "url": f"{scope.ledger.base_url}/pay/{slug}",
    }
    scope.add(link, items=items, slug=slug)
    scope.emit("payment_link.created", link)
    return link


def _check_fee(scope: Scope, params: Json, total: int) -> None:
    fee = application_fee(scope, params, "Payment Link")
    if fee is not None and not 0 <= fee <= total:
        message = "The application_fee_amount must be between 0 and the total amount of the line items."
        raise invalid(message, "application_fee_amount")


def _after_completion(wanted: Json | None) -> Json:
    if wanted and wanted["type"] == "redirect":
        if "redirect" not in wanted:
            raise invalid("Missing required param: after_completion[redirect].", "after_completion[redirect]")
        url = wanted["redirect"]["url"]
        if not url.startswith(("http://", "https://")):
            raise invalid("Not a valid URL", "after_completion[redirect][url]", "url_invalid")
        return {"type": "redirect", "redirect": {"url": url}}
    message = ((wanted or {}).get("hosted_confirmation") or {}).get("custom_message")
    return {"type": "hosted_confirmation", "hosted_confirmation": {"custom_message": message or None}}


def _tax(wanted: Json | None) -> Json:
    return {"enabled": bool((wanted or {}).get("enabled")), "liability": (wanted or {}).get("liability")}


def _intent_data(wanted: Json | None) -> Json | None:
    if wanted is None:
        return None
    return {name: given(wanted, name) for name in _INTENT_DATA} | {"metadata": new_metadata(wanted)}


def _subscription_data() -> Json:
    settings = {"issuer": {"type": "self"}}
    return {
        "description": None,
        "invoice_settings": settings,
        "metadata": {},
        "trial_period_days": None,
        "trial_settings": None,
    }


def _restrictions(wanted: Json | None) -> Json | None:
    if wanted is None:
        return None
    limit = wanted["completed_sessions"]["limit"]
    if limit < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid(message, "restrictions[completed_sessions][limit]", "parameter_invalid_integer")
    return {"completed_sessions": {"count": 0, "limit": limit}}


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    return scope.get("payment_link", id, param="payment_link").data


def _update(scope: Scope, params: Json, id: str) -> Json:
    link = scope.get("payment_link", id, param="payment_link")
    changes = changed(link.data, params, *_PLAIN)
    if "after_completion" in params:
        changes["after_completion"] = _after_completion(params["after_completion"])
    if "automatic_tax" in params:
        require_active(scope, params["automatic_tax"])
        changes["automatic_tax"] = _tax(params["automatic_tax"])
    if "payment_intent_data" in params:
        changes["payment_intent_data"] = _changed_intent_data(link, params["payment_intent_data"])
    if "restrictions" in params:
        changes["restrictions"] = _changed_restrictions(link, given(params, "restrictions"))
    if changes.get("active") and _used_up(changes.get("restrictions", link.data["restrictions"])):
        message = "This Payment Link has reached its limit of completed sessions. Raise the limit to activate it again."
        raise invalid(message, "active")
    scope.change(link, "payment_link.updated", **changes)
    return link.data


def _changed_intent_data(link: Record, wanted: Json) -> Json | None:
    before = link.data["payment_intent_data"] or {"metadata": {}}
    return _intent_data({**before, **changed(before, wanted, *(name for name in wanted if name != "metadata"))})


def _changed_restrictions(link: Record, wanted: Json | None) -> Json | None:
    restrictions = _restrictions(wanted)
    if restrictions and link.data["restrictions"]:
        restrictions["completed_sessions"]["count"] = link.data["restrictions"]["completed_sessions"]["count"]
    return restrictions


def _used_up(restrictions: Json | None) -> bool:
    if not restrictions:
        return False
    sessions = restrictions["completed_sessions"]
    return bool(sessions["count"] >= sessions["limit"])


def _list(scope: Scope, params: Json) -> Json:
    links = matching(scope, "payment_link", params, "active")
    return page(scope, links, params, "/v1/payment_links", kind="payment_link")


def _line_items(scope: Scope, params: Json, id: str) -> Json:
    link = scope.get("payment_link", id, param="payment_link")
    items: Any = items_of(scope, link)
    return page(scope, items["data"], params, items["url"], kind="item")


ROUTES = (
    Route("POST", "/v1/payment_links", _create, "PaymentLinkCreateParams"),
    Route("GET", "/v1/payment_links", _list, "PaymentLinkListParams"),
    Route("GET", "/v1/payment_links/{id}", _retrieve),
    Route("POST", "/v1/payment_links/{id}", _update, "PaymentLinkUpdateParams"),
    Route("GET", "/v1/payment_links/{id}/line_items", _line_items, "PaymentLinkListLineItemsParams"),
)
