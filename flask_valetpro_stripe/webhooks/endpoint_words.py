"""What Stripe said about the endpoint in a tenant's own account, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ..enums import AccountType
from .endpoint_check import DISABLED, ELSEWHERE, ENABLED, MISSING
from .facts import Shown


@dataclass(frozen=True)
class EndpointWords:
    """How an endpoint is, and what to do about it (empty: nothing)."""

    #: Stripe's word for it, or ours: ``enabled``, ``disabled``, ``missing``, ``elsewhere``, ``unknown``, ``unchecked``,
    #: ``by_hand``.
    state: str
    says: str
    remedy: str = ""
    #: Nothing comes by it.
    is_broken: bool = False
    #: When Stripe was asked.
    checked_at: datetime | None = None


def words_of(connection: Shown | None, last_received_at: datetime | None) -> EndpointWords | None:
    """Return how the endpoint of a connection is; None if it has none of its own.

    An event that was delivered by it since Stripe was asked knows better than what Stripe said.
    """
    if connection is None or connection.account_type is not AccountType.RAW_KEYS or not connection.is_living:
        return None
    checked_at = connection.endpoint_checked_at
    if connection.endpoint_id is None:
        return _BY_HAND
    if connection.endpoint_state is None or checked_at is None:
        return _UNCHECKED
    works = last_received_at is not None and last_received_at > checked_at
    found = _WORDS[ENABLED] if works else _WORDS.get(str(connection.endpoint_state), _UNKNOWN)
    return EndpointWords(found.state, found.says, found.remedy, found.is_broken, checked_at)


_BY_HAND: Final = EndpointWords("by_hand", "The webhook endpoint was made by hand, so Stripe is not asked about it.")
_UNCHECKED: Final = EndpointWords("unchecked", "Stripe has not been asked about the webhook endpoint yet.")
_UNKNOWN: Final = EndpointWords(
    "unknown",
    "Stripe could not be asked about the webhook endpoint.",
    "An admin of the tenant looks at the API key on the payment settings page: whether it works, and may look at "
    "webhook endpoints.",
)
_MENDS: Final = "The operator runs 'flask stripe reconcile', which {}. If that fails, it says why."
_WORDS: Final[Mapping[str, EndpointWords]] = {
    ENABLED: EndpointWords(ENABLED, "Stripe has the webhook endpoint, and it is on."),
    DISABLED: EndpointWords(
        DISABLED,
        "The webhook endpoint is switched off at Stripe, so no event comes.",
        _MENDS.format("switches it on again"),
        is_broken=True,
    ),
    MISSING: EndpointWords(
        MISSING,
        "The webhook endpoint was deleted at Stripe, so no event comes.",
        _MENDS.format("makes a new one"),
        is_broken=True,
    ),
    ELSEWHERE: EndpointWords(
        ELSEWHERE,
        "The webhook endpoint at Stripe leads to another address than this app's, so no event comes.",
        "If the app has moved, the operator runs 'flask stripe moved'. If this is a copy, 'flask stripe neutralize'.",
        is_broken=True,
    ),
}
