"""For host apps' own tests: Stripe simulated, signatures and events made by hand."""

from .events import make_event
from .signing import sign
from .simulator import (
    DELAY,
    DROP_AFTER,
    DROP_BEFORE,
    LOCK_TIMEOUT,
    RATE_LIMIT,
    RETRY_HEADER,
    SERVER_ERROR,
    Account,
    CardDeclined,
    Delivery,
    Fault,
    Faults,
    LinkInactive,
    LoggedRequest,
    OAuthError,
    Simulator,
)

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
    "make_event",
    "sign",
]
