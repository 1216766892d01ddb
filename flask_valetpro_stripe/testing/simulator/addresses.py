"""URLs that the simulator sends a browser or a webhook to."""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlencode, urlsplit

_NEVER_PUBLIC = ("localhost", "local", "internal")


def with_query(url: str, answer: Mapping[str, str]) -> str:
    """Return ``url`` with ``answer`` added to its query."""
    joint = "&" if urlsplit(url).query else "?"
    return f"{url}{joint}{urlencode(answer)}"


def is_public(url: str) -> bool:
    """Tell if Stripe could reach ``url`` from where it is, as far as the name alone shows."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host and host.rpartition(".")[2] not in _NEVER_PUBLIC
