"""Stripe accounts and the keys that open them."""

from dataclasses import dataclass, field
from typing import Any

from .ids import new_account_id, new_client_id, new_key


@dataclass
class Account:
    """One Stripe account with its keys for both modes."""

    name: str
    id: str = field(default_factory=new_account_id)
    country: str = "FR"
    currency: str = "eur"
    email: str | None = None
    charges_enabled: bool = True
    created: int = 0
    test_secret_key: str = field(default_factory=lambda: new_key("sk", livemode=False), repr=False)
    live_secret_key: str = field(default_factory=lambda: new_key("sk", livemode=True), repr=False)
    test_publishable_key: str = field(default_factory=lambda: new_key("pk", livemode=False))
    live_publishable_key: str = field(default_factory=lambda: new_key("pk", livemode=True))
    test_client_id: str = field(default_factory=new_client_id)
    live_client_id: str = field(default_factory=new_client_id)
    business_type: str | None = "company"
    kind: str = "standard"
    metadata: dict[str, str] = field(default_factory=dict)

    def client_id(self, *, livemode: bool) -> str:
        return self.live_client_id if livemode else self.test_client_id

    def publishable_key(self, *, livemode: bool) -> str:
        return self.live_publishable_key if livemode else self.test_publishable_key


@dataclass
class ApiKey:
    """What a bearer key opens. ``application`` is the platform's client id for tokens that OAuth gave out."""

    account: str
    livemode: bool
    application: str | None = None
    expired: bool = False
    allowed: frozenset[str] | None = None
    """Resources that a restricted key may use (``payment_links``, …); None for all."""


def shape(account: Account, *, connected: bool = False) -> dict[str, Any]:
    """Return the account object; ``connected`` as its platform sees it."""
    due = [] if account.charges_enabled else ["business_profile.url", "external_account", "tos_acceptance.date"]
    state = "active" if account.charges_enabled else "inactive"
    return {
        "id": account.id,
        "object": "account",
        "business_profile": _business_profile(account),
        "business_type": account.business_type,
        "capabilities": {"card_payments": state, "sepa_debit_payments": state, "transfers": state},
        "charges_enabled": account.charges_enabled,
        "controller": _controller(account, connected),
        "country": account.country,
        "created": account.created,
        "default_currency": account.currency,
        "details_submitted": account.charges_enabled,
        "email": account.email,
        "external_accounts": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/accounts/{account.id}/external_accounts",
        },
        "future_requirements": _requirements([], None),
        "metadata": dict(account.metadata),
        "payouts_enabled": account.charges_enabled,
        "requirements": _requirements(due, "requirements.past_due" if due else None),
        "settings": _settings(account),
        "tos_acceptance": {"date": None},
        "type": account.kind,
    }


def _business_profile(account: Account) -> dict[str, Any]:
    return {
        "annual_revenue": None,
        "estimated_worker_count": None,
        "mcc": "7011",
        "minority_owned_business_designation": None,
        "name": account.name,
        "product_description": None,
        "support_address": None,
        "support_email": account.email,
        "support_phone": None,
        "support_url": None,
        "url": None,
    }


def _controller(account: Account, connected: bool) -> dict[str, Any]:
    if not connected:
        return {"type": "account"}
    if account.kind == "standard":
        return {
            "fees": {"payer": "account"},
            "is_controller": True,
            "losses": {"payments": "stripe"},
            "requirement_collection": "stripe",
            "stripe_dashboard": {"type": "full"},
            "type": "application",
        }
    dashboard = {"express": "express"}.get(account.kind, "none")
    return {
        "fees": {"payer": "application"},
        "is_controller": True,
        "losses": {"payments": "application"},
        "requirement_collection": "stripe" if account.kind == "express" else "application",
        "stripe_dashboard": {"type": dashboard},
        "type": "application",
    }


def _requirements(due: list[str], disabled_reason: str | None) -> dict[str, Any]:
    return {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": list(due),
        "disabled_reason": disabled_reason,
        "errors": [],
        "eventually_due": list(due),
        "past_due": list(due),
        "pending_verification": [],
    }


def _settings(account: Account) -> dict[str, Any]:
    descriptor = account.name.upper()[:22]
    return {
        "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
        "card_payments": {
            "decline_on": {"avs_failure": False, "cvc_failure": False},
            "statement_descriptor_prefix": None,
            "statement_descriptor_prefix_kana": None,
            "statement_descriptor_prefix_kanji": None,
        },
        "dashboard": {"display_name": account.name, "timezone": "Europe/Paris"},
        "payments": {
            "statement_descriptor": descriptor,
            "statement_descriptor_kana": None,
            "statement_descriptor_kanji": None,
        },
        "payouts": {
            "debit_negative_balances": True,
            "schedule": {"delay_days": 7, "interval": "daily"},
            "statement_descriptor": None,
        },
        "sepa_debit_payments": {},
    }
