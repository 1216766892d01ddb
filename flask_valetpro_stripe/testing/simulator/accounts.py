"""Stripe accounts and the keys that open them."""

from dataclasses import dataclass, field
from typing import Any

from .ids import new_account_id, new_client_id, new_key
from .terms import STANDARD, Terms

_FIRST_DUE = ("business_profile.url", "external_account", "tos_acceptance.date")
_CAPABILITIES = ("card_payments", "sepa_debit_payments", "transfers")


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
    terms: Terms = STANDARD
    made_through: str | None = None
    """"v1" or "v2" if the platform made the account through that API; None if its owner signed up."""
    capabilities: tuple[str, ...] = _CAPABILITIES
    """What was requested, in the words of v1."""
    configurations: tuple[str, ...] = ("merchant",)
    locales: tuple[str, ...] = ()
    due: list[str] | None = None
    """What Stripe still wants; None leaves it to ``charges_enabled``, [] without charges means that it is checking."""
    deadline: int | None = None
    details_submitted: bool | None = None
    """None: as ``charges_enabled``."""
    disabled_reason: str | None = None
    """Why it can't be charged, such as "rejected.fraud"; None leaves it to what is due."""

    @property
    def currently_due(self) -> list[str]:
        """Return what Stripe wants now."""
        if self.due is not None:
            return list(self.due)
        return [] if self.charges_enabled else list(_FIRST_DUE)

    @property
    def is_submitted(self) -> bool:
        return self.charges_enabled if self.details_submitted is None else self.details_submitted

    @property
    def why_disabled(self) -> str | None:
        if self.charges_enabled:
            return None
        waiting = "requirements.past_due" if self.currently_due else "requirements.pending_verification"
        return self.disabled_reason or waiting

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
    """What a restricted key may do (``payment_links:read``, …); None for all."""


def shape(account: Account, *, connected: bool = False) -> dict[str, Any]:
    """Return the account object; ``connected`` as its platform sees it."""
    state = "active" if account.charges_enabled else "inactive"
    return {
        "id": account.id,
        "object": "account",
        "business_profile": _business_profile(account),
        "business_type": account.business_type,
        "capabilities": dict.fromkeys(account.capabilities, state),
        "charges_enabled": account.charges_enabled,
        "controller": account.terms.controller() if connected else {"type": "account"},
        "country": account.country,
        "created": account.created,
        "default_currency": account.currency,
        "details_submitted": account.is_submitted,
        "email": account.email,
        "external_accounts": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/accounts/{account.id}/external_accounts",
        },
        "future_requirements": _requirements([]),
        "metadata": dict(account.metadata),
        "payouts_enabled": account.charges_enabled,
        "requirements": _requirements_of(account),
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


def _requirements_of(account: Account) -> dict[str, Any]:
    past_due = [] if account.charges_enabled else account.currently_due
    more = {"current_deadline": account.deadline, "disabled_reason": account.why_disabled, "past_due": past_due}
    return _requirements(account.currently_due) | more


def _requirements(due: list[str]) -> dict[str, Any]:
    return {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": list(due),
        "disabled_reason": None,
        "errors": [],
        "eventually_due": list(due),
        "past_due": [],
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
