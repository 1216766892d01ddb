"""What a secret store is: three methods, and a label that ties each secret to its place."""

from __future__ import annotations

import base64
import json
import logging
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from ..errors import SecretUnavailableError
from . import Secret

log = logging.getLogger(__name__)


class StoreDownError(SecretUnavailableError):
    """The store as a whole cannot answer now, so that asking it for another secret would be no use either."""


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
    """Where secrets rest. Each method may raise :class:`SecretUnavailableError`; that never means "absent".

    A :class:`StoreDownError` keeps everybody from asking the store for a few seconds; what is wrong with one secret
    must not be one.
    """

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
    """Return the error for a question that a store cannot answer now; ``reason`` says why in a word or two."""
    return SecretUnavailableError(_cannot_answer(store, reason))


def down(store: str, reason: str) -> StoreDownError:
    """Return the error for a store that cannot answer anything now: not reached, too slow, sealed, or throttling."""
    return StoreDownError(_cannot_answer(store, reason))


def _cannot_answer(store: str, reason: str) -> str:
    return f"The secret store ({store}) cannot answer now: {reason}."


def without_frames(error: SecretUnavailableError) -> SecretUnavailableError:
    """Return the same error anew: the one that was raised remembers frames where the secret was at hand."""
    kind = StoreDownError if isinstance(error, StoreDownError) else SecretUnavailableError
    return kind(str(error), code=error.code, hint=error.hint)


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


def delete_if_there(delete: Callable[[], object]) -> None:
    """Delete something in a vault. That it is gone already is no error."""
    try:
        delete()
    except SecretUnavailableError as error:
        if error.code != "secret_absent":
            raise


@contextmanager
def naming_what_is_left(store: str, reference: str) -> Iterator[None]:
    """Log the reference of what is put in within, if that fails: whoever got no answer cannot know that it was not."""
    try:
        yield
    except SecretUnavailableError:
        log.warning("a secret that nothing refers to may be left in %s as %s", store, reference)
        raise


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
