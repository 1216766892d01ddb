"""Payments of the current tenant: made, captured, cancelled, given back and brought up to date."""

from .cancel import cancel
from .capture import capture
from .customers import get_customer
from .intents import create_payment_intent
from .links import create_payment_link
from .refunds import refund
from .sessions import create_checkout_session
from .sync import sync

__all__ = [
    "cancel",
    "capture",
    "create_checkout_session",
    "create_payment_intent",
    "create_payment_link",
    "get_customer",
    "refund",
    "sync",
]
