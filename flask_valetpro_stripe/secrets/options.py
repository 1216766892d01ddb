"""What the options of all vaults have in common: how they are checked when the app starts."""

from __future__ import annotations

import ipaddress
import re
import secrets
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from . import Secret
from .store import unreadable

SETTING: Final = "VALETPRO_STRIPE_SECRET_STORE_OPTIONS"
#: Seconds that a vault may take to accept a connection, and to answer. Options may only lower them.
CONNECT_TIMEOUT: Final = 1.0
READ_TIMEOUT: Final = 2.0
#: Seconds after which the caller has an answer in any case: names, logins, and bytes that drip are within.
LONGEST: Final = 2.5


def wrong(store: str, option: str, rule: str) -> ConfigurationError:
    """Return the error for an option that cannot work. It never repeats the value."""
    return ConfigurationError(f"{SETTING}: {option} of the {store} store {rule}")


def import_sdk(store: str, *modules: str) -> list[Any]:
    """Return a vault's SDK, imported now, so that hosts without that vault never load it.

    :raises ConfigurationError: if it is not installed.
    """
    try:
        return [import_module(module) for module in modules]
    except ImportError:
        pass
    raise ConfigurationError(
        f"The {store} secret store needs a library that is not installed. Install it with: "
        f'pip install "flask-valetpro-stripe[{store}]"'
    )


def longest(store: str, connect_timeout: object, read_timeout: object) -> float:
    """Return how many seconds a caller may wait for a vault with these timeouts."""
    given = {
        "connect_timeout": (connect_timeout, CONNECT_TIMEOUT),
        "read_timeout": (read_timeout, READ_TIMEOUT),
    }
    total = 0.0
    for option, (value, most) in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
            raise wrong(
                store, option, f"must be a number of seconds above 0, at most {most:g}: a guest waits meanwhile."
            )
        total += value
    return min(total, LONGEST)


def text(store: str, option: str, value: object, pattern: str, form: str) -> str:
    """Return an option that is a text of this form; ``form`` tells a person what the pattern means."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise wrong(store, option, f"must be {form}.")
    return value


def credential(store: str, option: str, value: object) -> Secret:
    """Return an option that is a secret itself."""
    return Secret(text(store, option, value, r"[!-~]+", "a text without spaces"))


def address(store: str, option: str, value: object) -> str:
    """Return an option that is the address of a vault, without a slash at its end."""
    form = "an address such as https://vault.example.com:8200"
    found = text(store, option, value, r"https?://[A-Za-z0-9.:\[\]_-]+(?:/[A-Za-z0-9._~/-]*)?", form)
    try:
        parts = urlsplit(found)
        is_good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise wrong(store, option, f"must be {form}.")
    # Whoever listens on the way would read tenants' keys.
    if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
        raise wrong(store, option, "must begin with https://; http:// is for a vault on this machine only.")
    return found.rstrip("/")


def is_this_machine(host: str) -> bool:
    """Say whether a host name or address is the loopback's."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class References:
    """What the database keeps for a secret in a vault: random, and nothing that a tenant could have a hand in."""

    def __init__(self, store: str, before: str, after: str = "") -> None:
        self._store, self._before, self._after = store, before, after
        self._ours = re.compile(rf"{re.escape(before)}([0-9a-f]{{32}}){re.escape(after)}", re.ASCII)

    def make(self) -> str:
        """Return a new reference."""
        return f"{self._before}{secrets.token_hex(16)}{self._after}"

    def check(self, stored: object) -> str:
        """Return ``stored`` if :meth:`make` can have made it.

        :raises SecretUnavailableError: with code ``secret_unreadable``; nothing else is ever asked of a vault.
        """
        # SQLite gives bytes back where somebody put bytes.
        if not isinstance(stored, str) or not self._ours.fullmatch(stored):
            raise unreadable(self._store, "the database holds no reference that we made for this store")
        return stored
