"""An account as the v2 API shows it."""

from collections.abc import Collection

from .accounts import Account
from .ledger import Json
from .v2 import iso

_DETAILS: dict[str, list[Json]] = {
    "active": [],
    "pending": [{"code": "requirements_pending_verification", "resolution": "no_resolution"}],
    "restricted": [{"code": "requirements_past_due", "resolution": "provide_info"}],
}
_CONFIGURATIONS = ("customer", "merchant", "recipient")
_UNSET = ("bacs_debit_payments", "branding", "card_payments", "konbini_payments", "mcc", "script_statement_descriptor")


def capability_status(account: Account) -> str:
    """Return ``active``, ``pending``, ``restricted`` or ``rejected``: one word for all of an account's capabilities."""
    if account.charges_enabled:
        return "active"
    if (account.disabled_reason or "").startswith("rejected"):
        return "rejected"
    return "restricted" if account.currently_due else "pending"


def shape_v2(account: Account, include: Collection[str], *, livemode: bool) -> Json:
    """Return the account object; what ``include`` doesn't name is null."""
    parts = {
        "defaults": _defaults(account),
        "future_requirements": {"entries": [], "summary": None},
        "identity": _identity(account),
        "requirements": requirements(account),
    }
    return {
        "id": account.id,
        "object": "v2.core.account",
        "applied_configurations": list(account.configurations),
        "closed": False,
        "configuration": _configuration(account, include),
        "contact_email": account.email,
        "contact_phone": None,
        "created": iso(account.created),
        "dashboard": account.terms.dashboard,
        "display_name": account.name,
        "livemode": livemode,
        "metadata": dict(account.metadata),
        **{name: part if name in include else None for name, part in parts.items()},
    }


def _configuration(account: Account, include: Collection[str]) -> Json | None:
    asked = [name for name in _CONFIGURATIONS if f"configuration.{name}" in include]
    if not asked:
        return None
    applied = {name: _applied(account, name) for name in asked if name in account.configurations}
    return {name: applied.get(name) for name in _CONFIGURATIONS}


def _applied(account: Account, name: str) -> Json:
    status = capability_status(account)
    capability: Json = {"status": status, "status_details": _details(account, status)}
    if name == "merchant":
        capabilities = {word: capability for word in account.capabilities if word != "transfers"}
        more = dict.fromkeys((*_UNSET, "sepa_debit_payments", "statement_descriptor", "support"))
        return {"applied": True, "capabilities": capabilities, **more}
    if name == "recipient":
        transfers = {"stripe_balance": {"payouts": capability, "stripe_transfers": capability}}
        return {"applied": True, "capabilities": transfers if "transfers" in account.capabilities else None}
    return {"applied": True, "automatic_indirect_tax": None, "billing": None, "capabilities": None, "shipping": None}


def _details(account: Account, status: str) -> list[Json]:
    if status == "rejected":  # "rejected.fraud" in v1 is "rejected_fraud" here
        return [{"code": str(account.disabled_reason).replace(".", "_"), "resolution": "contact_stripe"}]
    return list(_DETAILS[status])


def _defaults(account: Account) -> Json:
    profile = {"business_url": None, "doing_business_as": account.name, "product_description": None}
    return {
        "currency": account.currency,
        "locales": list(account.locales),
        "profile": profile,
        "responsibilities": account.terms.responsibilities(),
    }


def _identity(account: Account) -> Json:
    return {
        "attestations": None,
        "business_details": None,
        "country": account.country.lower(),
        "entity_type": account.business_type,
        "individual": None,
    }


def requirements(account: Account) -> Json:
    """Return what Stripe still wants, an entry each, and the first deadline of all."""
    due = account.currently_due
    if not due:
        return {"entries": [], "summary": None}
    status = "currently_due" if account.charges_enabled else "past_due"
    time = iso(account.deadline) if account.deadline else None
    return {
        "entries": [_entry(wanted, status) for wanted in due],
        "summary": {"minimum_deadline": {"status": status, "time": time}},
    }


def _entry(wanted: str, status: str) -> Json:
    deadline = {"status": status}
    restricts = {"capability": "card_payments", "configuration": "merchant", "deadline": deadline}
    return {
        "awaiting_action_from": "user",
        "description": wanted,
        "errors": [],
        "impact": {"restricts_capabilities": [restricts]},
        "minimum_deadline": dict(deadline),
        "reference": None,
        "requested_reasons": [{"code": "routine_onboarding"}],
    }
