"""What a secret store is: three methods, and a label that ties each secret to its place."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from typing import Protocol

from ..errors import SecretUnavailableError
from . import Secret


@dataclass(frozen=True)
class Label:
    """What a secret is and whose. A store gives a secret out only under the label that it was put in with."""

    tenant: str
    connection: int
    #: ``secret_key`` or ``webhook_secret``.
    purpose: str
    #: ``test`` or ``live``.
    mode: str
    version: int

    def encode(self) -> bytes:
        """Return the label as bytes, each part with its length before it: no two labels read the same."""
        parts = [self.tenant, str(self.connection), self.purpose, self.mode, str(self.version)]
        return b"".join(struct.pack(">I", len(part.encode())) + part.encode() for part in parts)


class SecretStore(Protocol):
    """Where secrets rest. Each method may raise :class:`SecretUnavailableError`; that never means "absent"."""

    #: The word that the database keeps beside each secret, to find its store again.
    name: str

    def put(self, label: Label, secret: Secret) -> str:
        """Keep ``secret``, and return what the database shall hold for it: a ciphertext, or a reference.

        Every call makes a new entry; nothing that was put in before is overwritten.
        """

    def get(self, label: Label, stored: str) -> Secret:
        """Return the secret that :meth:`put` answered ``stored`` for.

        :raises SecretUnavailableError: with code ``secret_unavailable`` if the store cannot answer now,
            ``secret_absent`` if it says that there is none, ``secret_unreadable`` if what is there is damaged or was
            put in with another label.
        """

    def delete(self, label: Label, stored: str) -> None:
        """Destroy the secret for good. One that is gone already is no error."""


def unavailable(store: str, reason: str) -> SecretUnavailableError:
    """Return the error for a store that cannot answer now; ``reason`` says why in a word or two."""
    return SecretUnavailableError(f"The secret store ({store}) cannot answer now: {reason}.")


def absent(store: str) -> SecretUnavailableError:
    """Return the error for a secret that the store says it does not have."""
    return SecretUnavailableError(
        f"The secret store ({store}) has no such secret.",
        code="secret_absent",
        hint="A tenant admin enters the key again on the payment settings page.",
    )


def unreadable(store: str, reason: str) -> SecretUnavailableError:
    """Return the error for a secret that is there, and is not what was put in."""
    return SecretUnavailableError(
        f"A secret in the secret store ({store}) cannot be read: {reason}.",
        code="secret_unreadable",
        hint="A tenant admin enters the key again on the payment settings page.",
    )


def pack(label: Label, secret: Secret) -> str:
    """Return what a vault keeps: the secret, together with its label."""
    return json.dumps({"label": base64.b64encode(label.encode()).decode(), "secret": secret.reveal()})


def unpack(store: str, label: Label, packed: str) -> Secret:
    """Return the secret in ``packed``.

    :raises SecretUnavailableError: with code ``secret_unreadable`` if it was packed with another label, or not by us.
    """
    try:
        found = json.loads(packed)
        same, secret = base64.b64decode(found["label"], validate=True) == label.encode(), found["secret"]
    except (ValueError, KeyError, TypeError):
        raise unreadable(store, "it is not in our form") from None
    if not same or not isinstance(secret, str):
        raise unreadable(store, "it was put in for something else")
    return Secret(secret)
