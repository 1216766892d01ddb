"""What a host may ask a payment to say: texts that Stripe and the database take, and where a guest may be sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from .find import RESERVED_METADATA

#: Stripe takes 50 names (Stripe API reference, "Metadata"); three are ours.
_MOST_METADATA: Final = 47
_LONGEST_URL: Final = 2048


def check_texts(asked: Mapping[str, Any], idempotency_key: Any) -> None:
    """Refuse what cannot work, before anything is written.

    :raises ValueError: with a sentence that names the argument.
    """
    description, reference, success_url = asked["description"], asked["reference"], asked["success_url"]
    if not _is_text(description, 250) or not description.strip():
        raise ValueError("The description must be a text of 1 to 250 characters: the guest reads it.")
    if reference is not None and not _is_text(reference, 255):
        raise ValueError("The reference must be a text of at most 255 characters.")
    if not _is_text(idempotency_key, 255) or not idempotency_key:
        raise ValueError("The idempotency_key must be a text of 1 to 255 characters.")
    if success_url is not None and not _is_address(success_url):
        raise ValueError("The success_url must be a full address, https://….")
    if asked["automatic_tax"] is not None and not isinstance(asked["automatic_tax"], bool):
        raise ValueError("The automatic_tax must be True, False, or None for the tenant's policy.")


def check_metadata(metadata: Any) -> dict[str, str]:
    """Return the host's metadata as a dict of its own.

    :raises ValueError: for what Stripe does not take, and for names that are ours.
    """
    if not isinstance(metadata, Mapping | None):
        raise ValueError("Metadata must be a dict of texts.")
    checked = dict(metadata or {})
    for name, value in checked.items():
        if not _is_text(name, 40) or not name or not _is_text(value, 500):
            raise ValueError("Metadata are texts: names of 1 to 40 characters, values of at most 500.")
        if name.startswith(RESERVED_METADATA) or "[" in name or "]" in name:
            raise ValueError(f"Metadata names must not begin with '{RESERVED_METADATA}' or hold square brackets.")
    if len(checked) > _MOST_METADATA:
        raise ValueError(f"Metadata hold at most {_MOST_METADATA} names: Stripe takes 50, and three are ours.")
    return checked


def _is_text(value: Any, longest: int) -> bool:
    """Return whether every database and Stripe can hold ``value``: PostgreSQL has no NUL, UTF-8 no half characters."""
    if type(value) is not str or len(value) > longest or "\0" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_address(value: Any) -> bool:
    # Braces and all that Stripe replaces may stand in it; blanks and control characters may not.
    if not _is_text(value, _LONGEST_URL) or any(character <= " " for character in value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
