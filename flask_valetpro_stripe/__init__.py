"""Stripe for multi-tenant Flask apps: each tenant's payments in its own Stripe account."""

from . import errors, money, payments, signals
from .context import current_stripe, current_tenant, tenant_context
from .enums import AccountType, CollectedVia, Mode, OnboardingStatus, PaymentStatus
from .extension import ValetProStripe
from .models import StripePaymentMixin, StripeTenantMixin, WebhookEvent

__version__ = "0.1.0"

__all__ = [
    "AccountType",
    "CollectedVia",
    "Mode",
    "OnboardingStatus",
    "PaymentStatus",
    "StripePaymentMixin",
    "StripeTenantMixin",
    "ValetProStripe",
    "WebhookEvent",
    "current_stripe",
    "current_tenant",
    "errors",
    "money",
    "payments",
    "signals",
    "tenant_context",
]
