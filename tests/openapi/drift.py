"""What Stripe changed between the description (2026-05-27.dahlia) and the version that we send (2026-10-28.endive).

Read off the differences between the description and the classes of stripe-python 16.1, for the resources that we use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

ENDIVE = "2026-09-30"

_TEXTS: Mapping[str, Any] = {"type": "array", "items": {"type": "string"}}

# STRIPE.md 1.6 and 5.1: answered with 400 payment_method_types_no_longer_supported. Payment Links keep theirs.
GONE_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "/v1/payment_intents": ("payment_method_types",),
    "/v1/payment_intents/{intent}": ("payment_method_types",),
    "/v1/payment_intents/{intent}/confirm": ("payment_method_types",),
    "/v1/setup_intents": ("payment_method_types",),
    "/v1/checkout/sessions": ("payment_method_types",),
}

# stripe-python 16: params/_payment_intent_create_params.py, params/checkout/_session_create_params.py;
# STRIPE.md 5.1: a link's fee became updatable in 2026-08-26.
NEW_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "/v1/payment_intents": {"allowed_payment_method_types": _TEXTS},
    "/v1/payment_intents/{intent}": {"allowed_payment_method_types": _TEXTS},
    "/v1/payment_intents/{intent}/confirm": {"allowed_payment_method_types": _TEXTS},
    "/v1/checkout/sessions": {"allowed_payment_method_types": _TEXTS},
    "/v1/payment_links/{payment_link}": {"application_fee_amount": {"type": "integer"}},
}

# stripe-python 16: params/_webhook_endpoint_create_params.py; the description's list ends with its own version.
NEW_WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "/v1/webhook_endpoints": {"api_version": ("2026-09-30.endive", "2026-10-28.endive")},
}

# stripe-python 16: _payment_intent.py, checkout/_session.py, _price.py, _dispute.py.
NEW_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "payment_intent": {"allowed_payment_method_types": {**_TEXTS, "nullable": True}},
    "checkout.session": {"allowed_payment_method_types": {**_TEXTS, "nullable": True}},
    "recurring": {"trial_period_days": {"type": "integer", "nullable": True}},
    "dispute_evidence_details": {"submission_method": {"type": "string"}},
    "dispute_payment_method_details_card": {"network": {"type": "string"}},
}

# stripe-python 16: params/v2/core/_account_link_create_params.py, v2/core/_account_link.py; STRIPE.md 3.2: it fails.
GONE_V2_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "/v2/core/account_links": (
        "use_case.account_onboarding.configurations",
        "use_case.account_update.configurations",
    ),
}
GONE_V2_FIELDS: Mapping[str, tuple[str, ...]] = {"v2.core.account_link": GONE_V2_PARAMETERS["/v2/core/account_links"]}

# stripe-python 16: v2/core/_account.py, each capability's status and StatusDetail; those that our answers show.
V2_CAPABILITIES = (
    "configuration.merchant.capabilities.card_payments",
    "configuration.recipient.capabilities.stripe_balance.payouts",
    "configuration.recipient.capabilities.stripe_balance.stripe_transfers",
)
REJECTED: Mapping[str, tuple[str, ...]] = {
    "status": ("rejected",),
    "status_details.[].code": ("rejected_fraud", "rejected_other", "rejected_terms_of_service"),
}


def parameters_of(path: str, schema: Mapping[str, Any], version: str) -> Mapping[str, Any]:
    """Return a path's body schema as it is in the given API version."""
    if version < ENDIVE:
        return schema
    schema = _without(schema, GONE_V2_PARAMETERS.get(path, ()))
    gone = GONE_PARAMETERS.get(path, ())
    kept = {name: each for name, each in schema["properties"].items() if name not in gone}
    widened = {
        name: {**kept[name], "enum": [*kept[name]["enum"], *words]} for name, words in NEW_WORDS.get(path, {}).items()
    }
    return {**schema, "properties": {**kept, **widened, **NEW_PARAMETERS.get(path, {})}}


def with_new_fields(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named schemas with the fields that were added since; they are optional, so older answers fit too.

    Of v2, which has one version, what is gone is gone.
    """
    schemas = {**schemas, **{name: _without(schemas[name], gone) for name, gone in GONE_V2_FIELDS.items()}}
    for capability in V2_CAPABILITIES:
        for place, words in REJECTED.items():
            schemas["v2.core.account"] = _widened(schemas["v2.core.account"], f"{capability}.{place}", words)
    return {
        name: {**schema, "properties": {**schema["properties"], **NEW_FIELDS[name]}} if name in NEW_FIELDS else schema
        for name, schema in schemas.items()
    }


def changed(schema: Any, place: str, change: Callable[[Any], Any]) -> Any:
    """Return a schema with `change` made to the one at `place` in it: a.b.[].c, where [] is an array's items."""
    name, _, rest = place.partition(".")
    if name == "[]":
        return {**schema, "items": changed(schema["items"], rest, change)}
    inner = schema["properties"][name]
    new = changed(inner, rest, change) if rest else change(inner)
    return {**schema, "properties": {**schema["properties"], name: new}}


def _widened(schema: Any, place: str, words: Iterable[str]) -> Any:
    return changed(schema, place, lambda old: {**old, "enum": [*old["enum"], *words]})


def _without(schema: Any, places: Iterable[str]) -> Any:
    for place in places:
        parent, _, name = place.rpartition(".")
        schema = changed(schema, parent, lambda old, gone=name: _lacking(old, gone))
    return schema


def _lacking(schema: Any, name: str) -> Any:
    kept = {each: inner for each, inner in schema["properties"].items() if each != name}
    return {**schema, "properties": kept, "required": [each for each in schema.get("required", ()) if each != name]}
