"""The API's resources: one module each, with a table of its routes."""

from ..routing import Router
from . import (
    account_links,
    accounts,
    accounts_v2,
    catalog,
    charges,
    customers,
    dashboard,
    disputes,
    events,
    payment_intents,
    payment_links,
    refunds,
    sessions,
    tax,
    tokens,
    webhooks,
)
from .included import INCLUDED

_MODULES = (
    payment_links,
    sessions,
    payment_intents,
    charges,
    refunds,
    disputes,
    catalog,
    customers,
    accounts,
    account_links,
    accounts_v2,
    events,
    webhooks,
    tokens,
    tax,
    dashboard,
)

ROUTER = Router(route for module in _MODULES for route in module.ROUTES)

__all__ = ["INCLUDED", "ROUTER"]
