"""What a host may ask a payment to say: texts that Stripe and the database take, and where a guest may be sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from ..enums import CaptureMethod
from .find import RESERVED_METADATA

#: Stripe takes 50 names (Stripe API reference, "Metadata"); three are ours.
_MOST_METADATA: Final = 47
_LONGEST_URL: Final = 2048
_LONGEST_EMAIL: Final = 512


def check_asked(asked: dict[str, Any], idempotency_key: Any) -> None:
    """Refuse what cannot work, before anything is written. Metadata become a dict of their own.

    :raises ValueError: with a sentence that names the argument.
    """
    if not _is_text(asked["description"], 250) or not asked["description"].strip():
        raise ValueError("The description must be a text of 1 to 250 characters: the guest reads it.")
    if asked["reference"] is not None:
        check_reference(asked["reference"])
    if not _is_text(idempotency_key, 255) or not idempotency_key:
        raise ValueError("The idempotency_key must be a text of 1 to 255 characters.")
    for name in ("success_url", "cancel_url"):
        _check_address(asked, name)
    if asked["automatic_tax"] is not None and not isinstance(asked["automatic_tax"], bool):
        raise ValueError("The automatic_tax must be True, False, or None for the tenant's policy.")
    if asked["capture_method"] not in list(CaptureMethod):
        raise ValueError("The capture_method must be 'automatic' or 'manual'.")
    check_email(asked.get("receipt_email"))
    asked["metadata"] = check_metadata(asked["metadata"])
    asked["capture_method"] = CaptureMethod(asked["capture_method"])


def check_reference(reference: Any) -> None:
    """Refuse what is no id of the host's.

    :raises ValueError: with a sentence that says so.
    """
    if not _is_text(reference, 255):
        raise ValueError("The reference must be a text of at most 255 characters.")


def check_email(email: Any) -> None:
    """Refuse what is no address to write to. Whether anybody reads it, nobody can tell.

    :raises ValueError: with a sentence that says so.
    """
    if email is None:
        return
    is_address = _is_text(email, _LONGEST_EMAIL) and email.isprintable() and " " not in email
    if not is_address or not all(email.rpartition("@")[::2]):
        raise ValueError("The e-mail address must be one, like guest@example.com, or None.")


def check_name(name: Any) -> None:
    """Refuse what is nobody's name (Stripe API reference, "Create a customer").

    :raises ValueError: with a sentence that says so.
    """
    if name is not None and not _is_text(name, 256):
        raise ValueError("The name must be a text of at most 256 characters, or None.")


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


def _check_address(asked: Mapping[str, Any], name: str) -> None:
    # A session cannot do without; an intent has no such thing, and a link may.
    may_be_missing = "cancel_url" not in asked
    if asked.get(name) is None and may_be_missing:
        return
    if not _is_address(asked.get(name)):
        raise ValueError(f"The {name} must be a full address, https://….")


def _is_address(value: Any) -> bool:
    # Braces and all that Stripe replaces may stand in it; blanks and control characters may not.
    if not _is_text(value, _LONGEST_URL) or any(character <= " " for character in value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
