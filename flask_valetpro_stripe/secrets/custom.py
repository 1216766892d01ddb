"""A host's own secret store, held to the same rules as ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import SecretUnavailableError
from . import Secret
from .store import Label, down, pack, unavailable, unpack, without_frames

T = TypeVar("T")


class CustomStore:
    """Calls a host's object, which only keeps a text: what ties it to its label is put in, and checked, out here.

    Whatever it raises becomes :class:`SecretUnavailableError`, and never means "absent".
    """

    def __init__(self, name: str, store: Any) -> None:
        self.name = name
        self._store = store

    def put(self, label: Label, secret: Secret) -> str:
        """Keep a secret with the host's object, and return its reference."""
        return self._told(lambda: self._store.put(label, Secret(pack(label, secret))), str)

    def get(self, label: Label, stored: str) -> Secret:
        """Return a secret from the host's object, if it was put in with this label."""
        return self._told(lambda: self._unpack(label, self._store.get(label, stored)), Secret)

    def delete(self, label: Label, stored: str) -> None:
        """Have the host's object destroy a secret."""
        self._told(lambda: self._store.delete(label, stored), object)

    def _unpack(self, label: Label, found: object) -> Secret:
        if not isinstance(found, Secret):
            raise self._no(Secret)
        return unpack(self.name, label, found.reveal())

    def _told(self, call: Callable[[], T], kind: type[T]) -> T:
        try:
            found = call()
        except SecretUnavailableError as error:
            problem = without_frames(error)
        except (ConnectionError, TimeoutError) as error:
            # Of these alone it is sure that they are not about one secret.
            problem = down(self.name, f"it raised {type(error).__name__}")
        except Exception as error:
            problem = unavailable(self.name, f"it raised {type(error).__name__}")
        else:
            if isinstance(found, kind):
                return found
            problem = self._no(kind)
        # Raised out here, where no exception is at hand: its frames may hold the secret.
        found = None  # type: ignore[assignment]
        raise problem

    def _no(self, kind: type[Any]) -> SecretUnavailableError:
        return unavailable(self.name, f"it answered with no {kind.__name__}")
