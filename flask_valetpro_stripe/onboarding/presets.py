"""What each type of account that we make means: who sees which dashboard, who pays Stripe, who bears losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..enums import AccountType


@dataclass(frozen=True)
class Preset:
    """The terms of one type, which Stripe never lets anybody change later (Stripe docs, "Design your integration")."""

    #: Which of Stripe's dashboards the account's owner signs in to: ``full``, ``express``, ``none``.
    dashboard: str
    #: Who is charged Stripe's fees, who pays for losses, and who collects what Stripe wants to know: ``stripe`` deals
    #: with the account itself, ``application`` leaves it to the platform.
    fees: str
    losses: str
    requirements: str

    @property
    def responsibilities(self) -> dict[str, str]:
        """Return ``defaults.responsibilities`` of Accounts v2, which decides by itself who collects requirements."""
        return {"fees_collector": self.fees, "losses_collector": self.losses}

    @property
    def controller(self) -> dict[str, Any]:
        """Return ``controller`` of Accounts v1."""
        return {
            "stripe_dashboard": {"type": self.dashboard},
            "fees": {"payer": "account" if self.fees == "stripe" else "application"},
            "losses": {"payments": self.losses},
            "requirement_collection": self.requirements,
        }


#: The types that are connected by Account Links. Stripe refuses an Express account whose fees or losses it would bear.
PRESETS: Final[Mapping[AccountType, Preset]] = {
    AccountType.CONNECT_STANDARD: Preset("full", fees="stripe", losses="stripe", requirements="stripe"),
    AccountType.CONNECT_EXPRESS: Preset("express", fees="application", losses="application", requirements="stripe"),
    AccountType.CONNECT_CUSTOM: Preset("none", fees="application", losses="application", requirements="application"),
}

#: What the platform takes on with accounts of a type, in sentences for its operator.
DUTIES: Final[Mapping[AccountType, tuple[str, ...]]] = {
    AccountType.CONNECT_STANDARD: (),
    AccountType.CONNECT_EXPRESS: (
        "The platform pays Stripe's fees, and charges its tenants for them if it wants to.",
        "The platform pays for negative balances that a tenant cannot cover: refunds, disputes, fraud.",
    ),
    AccountType.CONNECT_CUSTOM: (
        "The platform pays Stripe's fees, and charges its tenants for them if it wants to.",
        "The platform pays for negative balances that a tenant cannot cover: refunds, disputes, fraud.",
        "Tenants have no dashboard at Stripe: the platform shows them their payments, payouts, refunds and disputes.",
        "The platform collects what Stripe wants to know about tenants and the people behind them, whenever Stripe "
        "asks for more, and passes on every notice about it in time.",
        "The platform gives tenants all support; Stripe does not talk to them.",
        "The platform has tenants accept Stripe's Connected Account Agreement, and answers for its own duties as their "
        "payment provider.",
    ),
}
