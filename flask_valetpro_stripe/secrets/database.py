"""Secrets in the host's own database, encrypted: what is stored is the ciphertext itself."""

from __future__ import annotations

from ..crypto import KeyRing, UnreadableError
from . import Secret
from .store import Label, unreadable


class DatabaseStore:
    """Keeps nothing itself: the ciphertext goes into the row, and the key ring reads it."""

    name = "database"

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring

    def put(self, label: Label, secret: Secret) -> str:
        """Return ``secret`` encrypted for ``label``."""
        return self.ring.encrypt(secret, label.encode())

    def get(self, label: Label, stored: str) -> Secret:
        """Return the secret in ``stored``.

        :raises SecretUnavailableError: with code ``secret_unreadable`` if it is not exactly what was put in for
            ``label``, or its key is no longer in ``ENCRYPTION_KEYS``.
        """
        try:
            return self.ring.decrypt(stored, label.encode())
        except UnreadableError as error:
            raise unreadable(self.name, str(error)) from None

    def delete(self, label: Label, stored: str) -> None:
        """Nothing is kept outside the row, which the caller empties."""
