"""The ring of encryption keys: AES-256-GCM, bound to what a secret is and whose, with no other way in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .secrets import Secret

_FORMAT: Final = "vp1"
_NONCE_SIZE: Final = 12
_BLOB: Final = re.compile(rf"{_FORMAT}\.([0-9a-f]{{16}})\.([A-Za-z0-9_-]+)", re.ASCII)


class UnreadableError(Exception):
    """A blob cannot be decrypted: it was damaged, belongs elsewhere, or its key is not in the ring."""


def key_id_of(key: Secret) -> str:
    """Return 16 hex digits that name an encryption key and tell nothing about it."""
    return hmac.new(base64.b64decode(key.reveal()), b"flask-valetpro-stripe key id", hashlib.sha256).hexdigest()[:16]


class KeyRing:
    """Encrypts under its first key; the others only decrypt.

    :param keys: base64 of 32 bytes each, newest first.
    """

    def __init__(self, keys: Sequence[Secret]) -> None:
        self._ciphers = {key_id_of(key): AESGCM(base64.b64decode(key.reveal())) for key in keys}
        #: The id of the key that encrypts.
        self.newest = next(iter(self._ciphers))

    def encrypt(self, secret: Secret, bound_to: bytes) -> str:
        """Return ``secret`` encrypted under the newest key, readable only together with ``bound_to``."""
        nonce = os.urandom(_NONCE_SIZE)
        associated = _associated(self.newest, bound_to)
        sealed = self._ciphers[self.newest].encrypt(nonce, secret.reveal().encode(), associated)
        return f"{_FORMAT}.{self.newest}.{_encode(nonce + sealed)}"

    def decrypt(self, blob: str, bound_to: bytes) -> Secret:
        """Return the secret in ``blob``.

        :raises UnreadableError: unless every bit of it is as :meth:`encrypt` made it, for the same ``bound_to``.
        """
        key_id, sealed = _parse(blob)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnreadableError(f"its encryption key, {key_id}, is not in ENCRYPTION_KEYS")
        try:
            opened = cipher.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], _associated(key_id, bound_to))
        except InvalidTag:
            raise UnreadableError("it is damaged, or was put in for something else") from None
        return Secret(opened.decode())


def key_id_in(blob: str) -> str:
    """Return the id of the key that encrypted ``blob``.

    :raises UnreadableError: if it is no blob of ours.
    """
    return _parse(blob)[0]


def _parse(blob: object) -> tuple[str, bytes]:
    # SQLite gives bytes back where somebody put bytes.
    match = _BLOB.fullmatch(blob) if isinstance(blob, str) else None
    if match is None:
        raise UnreadableError("it is not in our form")
    key_id, text = match.groups()
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise UnreadableError("it is not in our form") from None
    # Base64 has several spellings of one value; only ours is taken, so that no bit of a blob can change unnoticed.
    if _encode(sealed) != text or len(sealed) <= _NONCE_SIZE + 16:
        raise UnreadableError("it is not in our form")
    return key_id, sealed


def _associated(key_id: str, bound_to: bytes) -> bytes:
    # The header is authenticated with the rest. Its length is fixed, so the two parts cannot run into each other.
    return f"{_FORMAT}.{key_id}.".encode() + bound_to


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
