"""URLs that the simulator sends a browser to."""

from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit


def with_query(url: str, answer: Mapping[str, str]) -> str:
    """Return ``url`` with ``answer`` added to its query."""
    joint = "&" if urlsplit(url).query else "?"
    return f"{url}{joint}{urlencode(answer)}"
