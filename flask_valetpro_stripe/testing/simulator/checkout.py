"""Checkout sessions: opened by an API call or a payment link, paid on a hosted page, settled, expired."""

from typing import Any

from . import intents
from .amounts import known_currency
from .cards import Instrument
from .changes import given, new_metadata
from .customers import make_customer
from .errors import ApiError, LinkInactive, invalid
from .ids import new_id, new_session_id
from .items import total_of
from .ledger import Json, Ledger, Record, Scope, snapshot

_DAY = 86_400
TEXTS: Json = {"after_submit": None, "shipping_address": None, "submit": None, "terms_of_service_acceptance": None}
INACTIVE = "This link is no longer active."


def make_session(scope: Scope, params: Json, items: list[Json], *, link: Record | None = None) -> Record:
    """Store an open session for ``items``; nothing is emitted, as at Stripe."""
    id = new_session_id(livemode=scope.livemode)
    total, currency = total_of(items)
    tax = bool((params.get("automatic_tax") or {}).get("enabled"))
    held = (params.get("payment_intent_data") or {}).get("capture_method") == "manual"
    session = {
        "id": id,
        "object": "checkout.session",
        "adaptive_pricing": None if link else {"enabled": False},
        "after_expiration": None,
        "allow_promotion_codes": params.get("allow_promotion_codes"),
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {"enabled": tax, "liability": None, "provider": None, "status": "complete" if tax else None},
        "billing_address_collection": params.get("billing_address_collection"),
        "branding_settings": _branding(scope),
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": scope.now(),
        "currency": known_currency(currency),
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": dict(TEXTS),
        "customer": params.get("customer"),
        "customer_creation": None if params.get("customer") else params.get("customer_creation", "if_required"),
        "customer_details": None,
        "customer_email": params.get("customer_email"),
        "discounts": [],
        "expires_at": params.get("expires_at") or scope.now() + _DAY,
        "invoice": None,
        "invoice_creation": {"enabled": False, "invoice_data": invoice_data()},
        "livemode": scope.livemode,
        "locale": params.get("locale"),
        "metadata": new_metadata(params),
        "mode": params.get("mode", "payment"),
        "payment_intent": None,
        "payment_link": link.data["id"] if link else None,
        "payment_method_collection": "if_required",
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": params.get("payment_method_types") or (["card"] if held else ["card", "sepa_debit"]),
        "payment_status": "unpaid",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": params.get("submit_type", "auto"),
        "subscription": None,
        "success_url": params.get("success_url"),
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": f"{scope.ledger.base_url}/c/pay/{id}",
        "wallet_options": None,
    }
    private: Json = {"items": items, "intent_data": params.get("payment_intent_data") or {}}
    return scope.add(session, **private)


def _branding(scope: Scope) -> Json:
    return {
        "background_color": "#ffffff",
        "border_style": "rounded",
        "button_color": "#0074d4",
        "display_name": scope.account.name,
        "font_family": "default",
        "icon": None,
        "logo": None,
    }


def invoice_data() -> Json:
    """Return what a session or a link says of the invoices that it doesn't make."""
    names = ("account_tax_ids", "custom_fields", "description", "footer", "issuer", "rendering_options")
    return dict.fromkeys(names) | {"metadata": {}}


def visit(scope: Scope, link: Record) -> Record:
    """Open a session as a visit to a payment link does.

    :raises LinkInactive: with the message that the page shows.
    """
    require_active(link)
    items = snapshot(link.private["items"])
    for item in items:
        item["id"] = new_id("li")
    params = {name: link.data[name] for name in ("metadata", "customer_creation", "submit_type", "automatic_tax")}
    params |= {"payment_intent_data": _intent_data(link), "allow_promotion_codes": link.data["allow_promotion_codes"]}
    params["billing_address_collection"] = link.data["billing_address_collection"]
    after = link.data["after_completion"]
    params["success_url"] = after["redirect"]["url"] if after["type"] == "redirect" else None
    return make_session(scope, params, items, link=link)


def _intent_data(link: Record) -> Json:
    data = {name: value for name, value in (link.data["payment_intent_data"] or {}).items() if value is not None}
    for name in ("application_fee_amount", "on_behalf_of", "transfer_data"):
        if link.data[name] is not None:
            data[name] = link.data[name]
    # The platform that made the link also made, as far as Stripe knows, the payments that come of it.
    return data | {"application": link.data["application"]}


def require_active(link: Record) -> None:
    if not link.data["active"]:
        raise LinkInactive(link.data["inactive_message"] or INACTIVE)


def require_payable(scope: Scope, session: Record) -> None:
    """Raise :class:`LinkInactive` unless the session is open and its link still takes payments."""
    expire_if_due(scope, session)
    if session.data["status"] == "complete":
        raise LinkInactive("You're all done here. This payment has been completed already.")
    if session.data["status"] == "expired":
        raise LinkInactive("This checkout session has expired.")
    if session.data["payment_link"]:
        require_active(scope.ledger.records[session.data["payment_link"]])


def pay(scope: Scope, session: Record, method: Record, *, email: str | None = None) -> None:
    """Confirm a session with a payment method; a refused one raises 402 and leaves the session open."""
    require_payable(scope, session)
    if session.data["mode"] != "payment":
        raise invalid("The simulator's page takes one-time payments only, not subscriptions or setups.", "mode")
    intent = _intent_for(scope, session)
    _note_customer(scope, session, method, email)
    intents.confirm(scope, intent, method, return_url=session.data["url"])
    if intent.data["status"] != "requires_action":
        complete(scope, session)


def _intent_for(scope: Scope, session: Record) -> Record:
    """Return the session's payment intent; Stripe makes it at the first attempt to pay."""
    if session.data["payment_intent"]:
        return scope.ledger.records[session.data["payment_intent"]]
    wanted = dict(session.private["intent_data"])
    application = wanted.pop("application", None) or session.private.get("application")
    acting = Scope(scope.ledger, scope.account, scope.livemode, application=application)
    total, currency = session.data["amount_total"], session.data["currency"]
    if session.data["customer"]:
        wanted["customer"] = session.data["customer"]
    intent = intents.make_intent(acting, {**wanted, "amount": total, "currency": currency})
    intent.private["session"] = session.data["id"]
    session.data["payment_intent"] = intent.data["id"]
    return intent


def _note_customer(scope: Scope, session: Record, method: Record, email: str | None) -> None:
    billing = method.data["billing_details"]
    customer = scope.find("customer", session.data["customer"] or "")
    # The page doesn't let a guest change the address that the account knows.
    known = customer.data["email"] if customer else None
    session.data["customer_details"] = {
        "address": billing["address"],
        "business_name": None,
        "email": known or email or billing["email"] or session.data["customer_email"],
        "individual_name": None,
        "name": billing["name"],
        "phone": billing["phone"],
        "tax_exempt": "none",
        "tax_ids": [],
    }


def authenticate(scope: Scope, session: Record, *, passed: bool) -> None:
    """End the 3-D Secure step of a session's payment."""
    intent = scope.ledger.records[session.data["payment_intent"]]
    if intent.data["status"] != "requires_action":
        raise LinkInactive("There is nothing to authenticate.")
    intents.authenticate(scope, intent, passed=passed)
    complete(scope, session)


def complete(scope: Scope, session: Record) -> None:
    """Mark a session complete, emit it, and use up its link."""
    intent = scope.ledger.records[session.data["payment_intent"]]
    if session.data["customer_creation"] == "always" and session.data["customer"] is None:
        details = session.data["customer_details"]
        customer = make_customer(scope, {name: details[name] for name in ("email", "name") if details[name]})
        session.data["customer"] = intent.data["customer"] = customer.data["id"]
    # A hold is no payment: the session is unpaid until it is captured.
    paid = intent.data["status"] == "succeeded"
    session.data |= {"status": "complete", "payment_status": "paid" if paid else "unpaid", "url": None}
    scope.emit("checkout.session.completed", session.data)
    if session.data["payment_link"]:
        _count_on_link(scope, scope.ledger.records[session.data["payment_link"]])


def _count_on_link(scope: Scope, link: Record) -> None:
    restrictions = link.data["restrictions"]
    if not restrictions:
        return
    count = restrictions["completed_sessions"]["count"] + 1
    limit = restrictions["completed_sessions"]["limit"]
    counted = {"completed_sessions": {"count": count, "limit": limit}}
    scope.change(link, "payment_link.updated", restrictions=counted, active=link.data["active"] and count < limit)


def settle(scope: Scope, session: Record, *, succeeded: bool) -> None:
    """End the delayed payment of a completed session."""
    intent = scope.ledger.records[session.data["payment_intent"]]
    intents.settle(scope, intent, succeeded=succeeded)
    if succeeded:
        session.data["payment_status"] = "paid"
    word = "succeeded" if succeeded else "failed"
    scope.emit(f"checkout.session.async_payment_{word}", session.data)


def expire(scope: Scope, session: Record) -> None:
    """Expire an open session."""
    if session.data["status"] != "open":
        message = (
            "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of "
            f"{session.data['status']}."
        )
        raise ApiError(400, message)
    session.data |= {"status": "expired", "url": None}
    scope.emit("checkout.session.expired", session.data)


def expire_if_due(scope: Scope, session: Record) -> None:
    if session.data["status"] == "open" and session.data["expires_at"] <= scope.now():
        expire(scope, session)


def items_of(scope: Scope, record: Record) -> Json:
    """Return the list object of a session's or a link's line items."""
    path = "payment_links" if record.kind == "payment_link" else "checkout/sessions"
    items: list[Any] = snapshot(record.private["items"])
    return {"object": "list", "data": items, "has_more": False, "url": f"/v1/{path}/{record.data['id']}/line_items"}


def return_url(session: Json) -> str | None:
    """Return where a completed session sends its customer."""
    url = given(session, "success_url")
    return str(url).replace("{CHECKOUT_SESSION_ID}", session["id"]) if url else None


def settle_due(ledger: Ledger, after: float) -> None:
    """End the delayed payments that are ``after`` seconds old, each as its test account number says."""
    for intent in [record for record in ledger.records.values() if record.kind == "payment_intent"]:
        if intent.data["status"] != "processing" or ledger.now() - _charged_at(ledger, intent) < after:
            continue
        instrument: Instrument = ledger.records[intent.data["payment_method"]].private["instrument"]
        settle_any(ledger, intent, succeeded=instrument.outcome == "settles")


def settle_any(ledger: Ledger, intent: Record, *, succeeded: bool) -> None:
    """End a delayed payment, with its session where it has one."""
    scope = ledger.scope_of(intent)
    if "session" in intent.private:
        settle(scope, ledger.records[intent.private["session"]], succeeded=succeeded)
    else:
        intents.settle(scope, intent, succeeded=succeeded)


def _charged_at(ledger: Ledger, intent: Record) -> float:
    return float(ledger.records[intent.data["latest_charge"]].data["created"])
