"""The host's mixins and the extension's tables."""

from .declare import TABLES, Models, declare_models, key_of
from .mixins import StripePaymentMixin, StripeTenantMixin
from .tables import AuditEntry, Connection, OAuthState, Operation, Refund, Secret, WebhookEvent

__all__ = [
    "TABLES",
    "AuditEntry",
    "Connection",
    "Models",
    "OAuthState",
    "Operation",
    "Refund",
    "Secret",
    "StripePaymentMixin",
    "StripeTenantMixin",
    "WebhookEvent",
    "declare_models",
    "key_of",
]
