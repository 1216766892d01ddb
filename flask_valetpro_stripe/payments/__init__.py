"""Payments of the current tenant: made, cancelled and brought up to date."""

from .links import cancel, create_payment_link
from .sync import sync

__all__ = ["cancel", "create_payment_link", "sync"]
