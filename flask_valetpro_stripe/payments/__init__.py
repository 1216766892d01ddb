"""Payments of the current tenant: made, cancelled, given back and brought up to date."""

from .links import cancel, create_payment_link
from .refunds import refund
from .sync import sync

__all__ = ["cancel", "create_payment_link", "refund", "sync"]
