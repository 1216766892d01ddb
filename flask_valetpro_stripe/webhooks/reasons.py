"""Why an event failed: what is kept of the error, and what that means to a person who is not a developer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import DBAPIError

from ..gateway import scrub

#: Why an event is given up that nobody ever recorded a failure of.
KILLED: Final = "The process that handled it ended before it was done, each time."


@dataclass(frozen=True)
class Meaning:
    """A failure in plain words, and what to do about its cause."""

    says: str
    remedy: str


def reason_of(error: Exception) -> str:
    """Return what an error says, as every database stores it, without keys and statements' parameters.

    A host's own text may quote a guest all the same.
    """
    # SQLAlchemy's own text holds the statement's parameters, guests' data among them; the driver's holds less.
    words = error.orig if isinstance(error, DBAPIError) else error
    try:
        text = str(words)
    except Exception:
        # A host's own class, which must not keep us from noting that it failed.
        text = "(its text cannot be read)"
    said = f"{type(error).__name__}: {text}".replace("\0", "").encode(errors="replace").decode()
    return scrub(said)[:500]


def meaning_of(reason: str | None) -> Meaning:
    """Return a kept reason in plain words. Of the reason itself no more than the name of the error is among them."""
    if reason == KILLED:
        return _KILLED
    name = (reason or "").partition(":")[0]
    known = next((meaning for names, meaning in _MEANINGS if name in names), None)
    return known or _own_code(name if name.isidentifier() else "an error")


def _own_code(name: str) -> Meaning:
    return Meaning(
        f"This app's own code failed over it, with {name}.", "A developer looks for the event's id in the app's log."
    )


_KILLED: Final = Meaning(
    "The process that handled it was ended before it was done, each time.",
    "The operator looks whether handlers take too much memory, or longer than processes are given.",
)
#: By the names of errors. Whatever is not here comes from somebody's code.
_MEANINGS: Final = (
    (
        frozenset({"OperationalError", "InterfaceError", "InternalError"}),
        Meaning(
            "The database did not take what was to be written.", "The operator sees that it runs, and has room left."
        ),
    ),
    (
        frozenset({"SecretUnavailableError", "StoreDownError"}),
        Meaning(
            "The store of the tenant's API key could not give it.",
            "The operator runs 'flask stripe doctor --online', which says what is wrong with the store.",
        ),
    ),
    (
        frozenset({"OutcomeUnknownError"}),
        Meaning("Stripe did not answer.", "If it goes on, Stripe's status page may say why."),
    ),
    (
        frozenset({"ConnectionRevokedError", "InvalidKeyError", "MissingPermissionError", "NotConnectedError"}),
        Meaning(
            "Stripe does not let us act on the tenant's account.",
            "An admin of the tenant sees on its payment settings page what is missing.",
        ),
    ),
)
