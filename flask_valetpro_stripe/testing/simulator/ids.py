"""Identifiers, keys and secrets that look like Stripe's."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def token(length: int) -> str:
    """Return random letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_id(prefix: str) -> str:
    return f"{prefix}_1{token(23)}"


def new_account_id() -> str:
    return f"acct_1{token(15)}"


def new_key(kind: str, *, livemode: bool) -> str:
    """Return an API key; ``kind`` is sk, rk or pk."""
    return f"{kind}_{mode_word(livemode)}_51{token(48)}"


def new_client_id() -> str:
    return f"ca_{token(32)}"


def new_session_id(*, livemode: bool) -> str:
    return f"cs_{mode_word(livemode)}_{token(58)}"


def new_webhook_secret() -> str:
    return f"whsec_{token(32)}"


def mode_word(livemode: bool) -> str:
    return "live" if livemode else "test"
