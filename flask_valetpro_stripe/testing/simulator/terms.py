"""Who pays, who is liable and who collects: what a platform settles when it makes an account."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ApiError, invalid


@dataclass(frozen=True)
class Terms:
    """The four controller properties, in the words of Accounts v1; the defaults are those of a standard account."""

    dashboard: str = "full"
    fees: str = "account"
    losses: str = "stripe"
    requirements: str = "stripe"

    def controller(self) -> dict[str, Any]:
        """Return the ``controller`` hash of a v1 account as its platform sees it."""
        return {
            "fees": {"payer": self.fees},
            "is_controller": True,
            "losses": {"payments": self.losses},
            "requirement_collection": self.requirements,
            "stripe_dashboard": {"type": self.dashboard},
            "type": "application",
        }

    def responsibilities(self) -> dict[str, str]:
        """Return the ``defaults.responsibilities`` of a v2 account."""
        return {
            "fees_collector": "stripe" if self.fees == "account" else "application",
            "losses_collector": self.losses,
            "requirements_collector": self.requirements,
        }


STANDARD = Terms()
_BY_TYPE = {
    "standard": STANDARD,
    "express": Terms("express", "application", "application"),
    "custom": Terms("none", "application", "application", "application"),
}


def terms_of_v1(params: Mapping[str, Any]) -> Terms:
    """Return what ``type`` or ``controller`` of ``POST /v1/accounts`` ask for, or raise Stripe's 400."""
    if "type" in params:
        if "controller" in params:
            raise invalid("You may only specify one of these parameters: type, controller.", "type")
        return _BY_TYPE.get(params["type"], STANDARD)
    controller = params.get("controller") or {}
    terms = Terms(
        dashboard=(controller.get("stripe_dashboard") or {}).get("type", "full"),
        fees=(controller.get("fees") or {}).get("payer", "account"),
        losses=(controller.get("losses") or {}).get("payments", "stripe"),
        requirements=controller.get("requirement_collection", "stripe"),
    )
    _check_v1(terms)
    return terms


def _check_v1(terms: Terms) -> None:
    # The rules are those of the controller's reference; how Stripe words its refusals is assumed.
    if terms.losses == "application" and terms.fees != "application":
        message = (
            "When `controller[losses][payments]` is `application`, `controller[fees][payer]` must be `application`."
        )
        raise invalid(message, "controller[fees][payer]")
    if terms.requirements == "application" and (terms.dashboard, terms.losses) != ("none", "application"):
        message = (
            "When `controller[requirement_collection]` is `application`, `controller[stripe_dashboard][type]` must be "
            "`none` and `controller[losses][payments]` must be `application`."
        )
        raise invalid(message, "controller[requirement_collection]")


def terms_of_v2(params: Mapping[str, Any]) -> Terms:
    """Return what ``POST /v2/core/accounts`` asks for, or raise Stripe's 400."""
    asked = (params.get("defaults") or {}).get("responsibilities") or {}
    dashboard = params.get("dashboard", "full")
    fees, losses = asked.get("fees_collector", "stripe"), asked.get("losses_collector", "stripe")
    if dashboard == "express" and (fees, losses) != ("application", "application"):
        raise _unsupported("account_controller_express_dash_without_application_losses_or_fees")
    if losses == "application" and fees == "stripe":
        raise _unsupported("account_controller_stripe_pricing_platform_liable")
    # Stripe sets who collects requirements by itself (Accounts v2, "Design an integration").
    collects = "application" if (dashboard, losses) == ("none", "application") else "stripe"
    return Terms(dashboard, "account" if fees == "stripe" else "application", losses, collects)


def _unsupported(code: str) -> ApiError:
    message = (
        "This account configuration is not supported. Please reference "
        "https://docs.stripe.com/connect/design-an-integration."
    )
    return ApiError(400, message, code=code, user_message="This account configuration is not supported.")
