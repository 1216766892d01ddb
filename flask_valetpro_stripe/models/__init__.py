"""The host's mixins and the extension's tables."""

from .declare import TABLES, Models, declare_models, key_of
from .mixins import StripePaymentMixin, StripeTenantMixin
from .money import Customer, Dispute, Operation, Refund
from .tables import AuditEntry, Connection, OAuthState, Secret, WebhookEvent

__all__ = [
    "TABLES",
    "AuditEntry",
    "Connection",
    "Customer",
    "Dispute",
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
