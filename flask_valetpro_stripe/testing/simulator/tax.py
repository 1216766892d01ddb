"""Stripe Tax: whether an account can have tax computed, and where it is registered to collect it."""

from collections.abc import Iterable

from .errors import invalid
from .ids import new_id
from .ledger import Json, Record, Scope

_CODE = "txcd_20030000"
"""General services."""
_INACTIVE = {
    True: (
        "Stripe Tax has not been activated on your account. Please visit "
        "https://dashboard.stripe.com/settings/tax/activate to get started."
    ),
    False: (
        "You must have a valid head office address to enable automatic tax calculation in test mode. Visit "
        "https://dashboard.stripe.com/test/settings/tax to update it."
    ),
}


def settings_of(scope: Scope) -> Json:
    """Return the tax settings of this account in this mode; those of a new account are pending.

    Active settings say that tax can be computed, not that it is collected: that takes a registration.
    """
    ready = scope.ledger.tax_settings.get((scope.account.id, scope.livemode))
    return ready or _settings(scope, None)


def _settings(scope: Scope, head_office: Json | None) -> Json:
    pending = {"pending": {"missing_fields": ["head_office"]}}
    return {
        "object": "tax.settings",
        "defaults": {"provider": "stripe", "tax_behavior": None, "tax_code": _CODE if head_office else None},
        "head_office": {"address": head_office} if head_office else None,
        "livemode": scope.livemode,
        "status": "active" if head_office else "pending",
        "status_details": {"active": {}} if head_office else pending,
    }


def enable(scope: Scope, countries: Iterable[str]) -> None:
    """Make an account's settings complete, register it in ``countries``, and emit tax.settings.updated."""
    address = {"city": None, "country": scope.account.country, "line1": None, "line2": None, "postal_code": None}
    settings = _settings(scope, address | {"state": None})
    scope.ledger.tax_settings[scope.account.id, scope.livemode] = settings
    for country in countries:
        _register(scope, country.upper())
    scope.emit("tax.settings.updated", settings)


def _register(scope: Scope, country: str) -> Record:
    registration = {
        "id": new_id("taxreg"),
        "object": "tax.registration",
        "active_from": scope.now(),
        "country": country,
        "country_options": {country.lower(): _options(country.lower())},
        "created": scope.now(),
        "expires_at": None,
        "livemode": scope.livemode,
        "status": "active",
    }
    return scope.add(registration)


def _options(country: str) -> Json:
    if country == "us":
        return {"state": "CA", "type": "state_sales_tax"}
    return {"standard": {"place_of_supply_scheme": "standard"}, "type": "standard"}


def require_active(scope: Scope, automatic_tax: Json | None) -> None:
    """Raise Stripe's answer if ``automatic_tax`` is enabled and the settings aren't complete."""
    if not (automatic_tax or {}).get("enabled") or settings_of(scope)["status"] == "active":
        return
    # The code is the one that Stripe documents for this. Whether test mode's sentence carries it, nobody says.
    raise invalid(_INACTIVE[scope.livemode], code="stripe_tax_inactive")
