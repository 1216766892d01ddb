"""The stores that the tests try: each with its vault, the way to it, and how to ask for another like it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flask_valetpro_stripe.errors import SecretUnavailableError
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.store import Label, SecretStore, absent

PLAZA = Label(tenant="plaza", connection=7, purpose="secret_key", mode="test", version=1)
SEASIDE = replace(PLAZA, tenant="seaside", connection=8)
#: Every label that differs from the plaza's in one word.
OTHERS = [
    replace(PLAZA, tenant="seaside"),
    replace(PLAZA, connection=8),
    replace(PLAZA, purpose="webhook_secret"),
    replace(PLAZA, mode="live"),
    replace(PLAZA, version=2),
]
KEY = Secret("sk_test_canary7Q2x")


@dataclass(frozen=True)
class Vault:
    """A vault that is up: its port, and how a store is made that finds it there or at another port."""

    port: int
    store_at: Callable[..., SecretStore]

    def store(self, **options: Any) -> SecretStore:
        """Return a store that talks to the vault itself."""
        return self.store_at(self.port, **options)


class HostsOwn:
    """A host's own store, as a newcomer would write it."""

    name = "in_memory"

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def put(self, label: Label, secret: Secret) -> str:
        reference = f"entry-{len(self.kept)}"
        self.kept[reference] = base64.b64encode(secret.reveal().encode()).decode()
        return reference

    def get(self, label: Label, stored: str) -> Secret:
        if stored not in self.kept:
            raise absent(self.name)
        return Secret(base64.b64decode(self.kept[stored]).decode())

    def delete(self, label: Label, stored: str) -> None:
        self.kept.pop(stored, None)


def refusal(call: Callable[[], object]) -> SecretUnavailableError:
    """Return the error of a call that must not succeed."""
    try:
        call()
    except SecretUnavailableError as error:
        return error
    raise AssertionError("The store gave an answer.")
