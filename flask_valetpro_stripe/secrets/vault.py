"""Secrets in HashiCorp Vault or OpenBao, in a key-value engine of version 2."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, TypeVar

import requests

from ..errors import ConfigurationError, SecretUnavailableError
from . import Secret
from .asking import OncePerProcess, ask
from .options import CONNECT_TIMEOUT, READ_TIMEOUT, SETTING, References, credential, import_sdk, longest, text, wrong
from .options import address as checked_address
from .store import Label, absent, down, naming_what_is_left, pack, unavailable, unpack

T = TypeVar("T")
_FIELD: Final = "packed"


@dataclass(frozen=True)
class _Client:
    """One process's client, and the lock under which it logs in."""

    hvac: Any
    lock: threading.Lock = field(default_factory=threading.Lock)


class VaultStore:
    """Keeps each secret as the first version under a random path.

    Give either ``token``, or ``role_id`` and ``secret_id`` of an AppRole; with these it logs in again when its token
    has expired.

    :param ca_file: the certificates that the vault's own is checked against; None is the usual ones.
    """

    name = "vault"

    def __init__(
        self,
        address: str,
        mount: str = "secret",
        prefix: str = "valetpro-stripe",
        token: str | None = None,
        role_id: str | None = None,
        secret_id: str | None = None,
        namespace: str | None = None,
        ca_file: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._address = checked_address(self.name, "address", address)
        self._mount = _path(self.name, "mount", mount)
        self._references = References(self.name, f"{_path(self.name, 'prefix', prefix)}/")
        self._token, self._role = _identity(self.name, token, role_id, secret_id)
        self._namespace = None if namespace is None else _path(self.name, "namespace", namespace)
        if ca_file is not None and not os.path.exists(str(ca_file)):
            raise wrong(self.name, "ca_file", "must be the path of a file, or a folder, that is there.")
        self._ca_file = ca_file
        self._longest = longest(self.name, connect_timeout, read_timeout)
        self._timeouts = (connect_timeout, read_timeout)
        self._hvac, self._exceptions = import_sdk(self.name, "hvac", "hvac.exceptions")
        self._client = OncePerProcess(self._make_client)

    def put(self, label: Label, secret: Secret) -> str:
        """Keep ``secret``, and return its path below the mount."""
        path = self._references.make()
        with naming_what_is_left(self.name, path):
            self._ask(lambda: self._put(path, pack(label, secret)))
        return path

    def get(self, label: Label, stored: str) -> Secret:
        """Return the secret that is kept under this path; see :class:`SecretStore`."""
        path = self._references.check(stored)
        return self._ask(lambda: unpack(self.name, label, self._fetch(path)))

    def delete(self, label: Label, stored: str) -> None:
        """Destroy the secret with all that the vault knows of it."""
        path = self._references.check(stored)
        self._ask(lambda: self._delete(path))

    def _put(self, path: str, packed: str) -> None:
        # With cas=0 the vault refuses to write over something.
        answer = self._logged_in(
            lambda kv: kv.create_or_update_secret(path, {_FIELD: packed}, cas=0, mount_point=self._mount)
        )
        if not isinstance(answer, dict) or answer["data"]["version"] != 1:
            raise self._not_a_vault()

    def _fetch(self, path: str) -> str:
        answer = self._logged_in(
            lambda kv: kv.read_secret_version(path, version=1, mount_point=self._mount, raise_on_deleted_version=True)
        )
        if not isinstance(answer, dict) or not isinstance(answer["data"]["data"], dict):
            raise self._not_a_vault()
        return str(answer["data"]["data"].get(_FIELD, ""))

    def _delete(self, path: str) -> None:
        answer = self._logged_in(lambda kv: kv.delete_metadata_and_all_versions(path, mount_point=self._mount))
        if getattr(answer, "status_code", None) != requests.codes.no_content:
            raise self._not_a_vault()

    def _logged_in(self, call: Callable[[Any], T]) -> T:
        """Return what the vault answers to the call, with one more login if it refuses our token."""
        client = self._client.get()
        used = client.hvac.token
        if used or not self._role:
            try:
                return call(client.hvac.secrets.kv.v2)
            except self._exceptions.Forbidden:
                if not self._role:
                    raise
        with client.lock:
            # Another thread may have logged in meanwhile.
            if client.hvac.token == used:
                self._log_in(client.hvac)
        return call(client.hvac.secrets.kv.v2)

    def _log_in(self, hvac: Any) -> None:
        role_id, secret_id = self._role
        try:
            hvac.auth.approle.login(role_id=role_id.reveal(), secret_id=secret_id.reveal())
        except self._exceptions.InvalidRequest:
            raise unavailable(self.name, "it refuses the role_id or the secret_id") from None

    def _make_client(self) -> _Client:
        # No environment: its proxies would see the token, its netrc would replace it.
        session = requests.Session()
        session.trust_env = False
        session.max_redirects = 0
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.verify = self._ca_file or True
        hvac = self._hvac.Client(
            url=self._address,
            token=self._token.reveal() if self._token else "",
            verify=session.verify,
            timeout=self._timeouts,
            session=session,
            namespace=self._namespace,
        )
        return _Client(hvac)

    def _ask(self, question: Callable[[], T]) -> T:
        return ask(self.name, question, self._explain, self._longest)

    def _explain(self, error: Exception) -> SecretUnavailableError:
        known = self._exceptions
        if isinstance(error, known.InvalidPath) and _says_absent(error):
            return absent(self.name)
        reasons: list[tuple[Any, Callable[[str, str], SecretUnavailableError], str]] = [
            ((known.Forbidden, known.Unauthorized), unavailable, "permission denied"),
            (known.RateLimitExceeded, down, "it asks for fewer requests"),
            (known.VaultDown, down, "it is sealed, or not ready"),
            (requests.Timeout, down, "it did not answer in time"),
            (requests.TooManyRedirects, unavailable, "it sends us to another address"),
            (requests.ConnectionError, down, "it cannot be reached"),
            ((LookupError, TypeError), unavailable, "what it says is not a vault's answer"),
        ]
        for kind, problem, reason in reasons:
            if isinstance(error, kind):
                return problem(self.name, reason)
        return unavailable(self.name, f"hvac says {type(error).__name__}")

    def _not_a_vault(self) -> SecretUnavailableError:
        return unavailable(self.name, "what it says is not a vault's answer")


def _path(store: str, option: str, value: object) -> str:
    pattern = r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*"
    return text(store, option, value, pattern, "words of letters, digits or _-, with a slash between them")


def _identity(store: str, token: object, role_id: object, secret_id: object) -> tuple[Secret | None, list[Secret]]:
    """Return the token, or the two parts of the role."""
    role = [(option, value) for option, value in (("role_id", role_id), ("secret_id", secret_id)) if value is not None]
    if len(role) + 2 * (token is not None) != 2:
        raise ConfigurationError(
            f"{SETTING}: the {store} store needs either token, or both role_id and secret_id, to show who it is."
        )
    if token is not None:
        return credential(store, "token", token), []
    return None, [credential(store, option, value) for option, value in role]


def _says_absent(error: Any) -> bool:
    """Say whether the engine itself says that it has no such secret, or had it deleted.

    A mount that is gone, a namespace that is wrong, and any server on the way answer 404 as well, in other words.
    """
    return isinstance(error.json, dict) and not error.errors and ("errors" in error.json or "data" in error.json)
