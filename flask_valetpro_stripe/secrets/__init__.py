"""A secret that cannot be printed, logged, serialised or compared by accident."""

from __future__ import annotations

import hmac
import re
from typing import Final, NoReturn

#: What may be shown of the beginning of a secret: its kind, as Stripe prints it.
_KIND: Final = re.compile(r"(?:sk|rk|pk)_(?:test|live)_|whsec_", re.ASCII)


class Secret:
    """Hold a secret string; only :meth:`reveal` gives it out, and only the gateway calls that."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself. Never keep, log or format what this returns."""
        return self._value

    @property
    def masked(self) -> str:
        """Return the kind and the last four characters, as a person may see them: ``sk_live_…4242``."""
        kind = _KIND.match(self._value)
        prefix = kind[0] if kind else ""
        # Four of only a few characters would not be a mask.
        shown = self._value[-4:] if len(self._value) >= len(prefix) + 12 else ""
        return f"{prefix}…{shown}"

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Secret is never pickled or copied. Pass the id of what it belongs to instead.")
