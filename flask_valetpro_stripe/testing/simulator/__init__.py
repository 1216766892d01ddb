"""A simulator of Stripe: the API, Connect's OAuth and the hosted pages, in one WSGI app."""

from .accounts import Account
from .app import Simulator
from .connect import OAuthError
from .delivery import Delivery
from .errors import CardDeclined, LinkInactive
from .faults import DELAY, DROP_AFTER, DROP_BEFORE, LOCK_TIMEOUT, RATE_LIMIT, RETRY_HEADER, SERVER_ERROR, Fault, Faults
from .requestlog import LoggedRequest

__all__ = [
    "DELAY",
    "DROP_AFTER",
    "DROP_BEFORE",
    "LOCK_TIMEOUT",
    "RATE_LIMIT",
    "RETRY_HEADER",
    "SERVER_ERROR",
    "Account",
    "CardDeclined",
    "Delivery",
    "Fault",
    "Faults",
    "LinkInactive",
    "LoggedRequest",
    "OAuthError",
    "Simulator",
]
