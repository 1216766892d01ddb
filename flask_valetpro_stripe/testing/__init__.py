"""For host apps' own tests: Stripe simulated, signatures and events made by hand."""

from .events import make_event
from .signing import sign
from .simulator.accounts import Account
from .simulator.app import Simulator
from .simulator.connect import OAuthError
from .simulator.delivery import Delivery
from .simulator.errors import CardDeclined, LinkInactive
from .simulator.faults import (
    DELAY,
    DROP_AFTER,
    DROP_BEFORE,
    KEY_IN_USE,
    LOCK_TIMEOUT,
    RATE_LIMIT,
    RETRY_HEADER,
    SERVER_ERROR,
    SERVER_ERROR_AFTER,
    Fault,
    Faults,
)
from .simulator.requestlog import LoggedRequest

__all__ = [
    "DELAY",
    "DROP_AFTER",
    "DROP_BEFORE",
    "KEY_IN_USE",
    "LOCK_TIMEOUT",
    "RATE_LIMIT",
    "RETRY_HEADER",
    "SERVER_ERROR",
    "SERVER_ERROR_AFTER",
    "Account",
    "CardDeclined",
    "Delivery",
    "Fault",
    "Faults",
    "LinkInactive",
    "LoggedRequest",
    "OAuthError",
    "Simulator",
    "make_event",
    "sign",
]
