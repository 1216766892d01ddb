"""The API's resources: one module each, with a table of its routes."""

from ..routing import Router
from . import (
    accounts,
    catalog,
    charges,
    customers,
    events,
    payment_intents,
    payment_links,
    refunds,
    sessions,
    webhooks,
)
from .included import INCLUDED

_MODULES = (
    payment_links,
    sessions,
    payment_intents,
    charges,
    refunds,
    catalog,
    customers,
    accounts,
    events,
    webhooks,
)

ROUTER = Router(route for module in _MODULES for route in module.ROUTES)

__all__ = ["INCLUDED", "ROUTER"]
