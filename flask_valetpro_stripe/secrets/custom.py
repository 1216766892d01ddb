"""A host's own secret store, held to the same rules as ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import SecretUnavailableError
from . import Secret
from .store import Label, unavailable

T = TypeVar("T")


class CustomStore:
    """Calls a host's object. Whatever it raises becomes :class:`SecretUnavailableError`, and never means "absent"."""

    def __init__(self, name: str, store: Any) -> None:
        self.name = name
        self._store = store

    def put(self, label: Label, secret: Secret) -> str:
        """Keep a secret with the host's object, and return its reference."""
        return self._told(lambda: self._store.put(label, secret), str)

    def get(self, label: Label, stored: str) -> Secret:
        """Return a secret from the host's object."""
        return self._told(lambda: self._store.get(label, stored), Secret)

    def delete(self, label: Label, stored: str) -> None:
        """Have the host's object destroy a secret."""
        self._told(lambda: self._store.delete(label, stored), object)

    def _told(self, call: Callable[[], T], kind: type[T]) -> T:
        try:
            found = call()
        except SecretUnavailableError as error:
            problem = SecretUnavailableError(str(error), code=error.code, hint=error.hint)
        except Exception as error:
            problem = unavailable(self.name, f"it raised {type(error).__name__}")
        else:
            if isinstance(found, kind):
                return found
            problem = unavailable(self.name, f"it answered with no {kind.__name__}")
        # Raised out here, where no exception is at hand: its frames may hold the secret.
        found = None  # type: ignore[assignment]
        raise problem
