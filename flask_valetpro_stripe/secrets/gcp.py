"""Secrets in Google Cloud's Secret Manager."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

import requests

from ..errors import SecretUnavailableError
from . import Secret
from .asking import OncePerProcess, ask, keep_out_of_logs
from .options import CONNECT_TIMEOUT, READ_TIMEOUT, References, import_sdk, is_this_machine, longest, text, wrong
from .store import Label, absent, delete_if_there, down, naming_what_is_left, pack, unavailable, unpack

T = TypeVar("T")
_PACKAGE: Final = "google.cloud.secretmanager_v1"
_SERVICE: Final = f"{_PACKAGE}.services.secret_manager_service"
#: gRPC waits longer and longer, up to two minutes, before it tries a lost connection again. We say when to ask.
_CHANNEL_OPTIONS: Final = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1000)]


class GcpStore:
    """Keeps each secret as the one version of a secret of its own, under a random name.

    Who we are comes from Google's application default credentials.

    :param endpoint: host and port of another endpoint than Google's public one. One on this machine is an emulator:
        it is spoken to in plain text, and is told nobody's credentials.
    :param transport: ``"rest"`` where a server forks after the first secret was read, which gRPC does not survive.
    """

    name = "gcp"

    def __init__(
        self,
        project: str,
        prefix: str = "valetpro-stripe-",
        endpoint: str | None = None,
        transport: Literal["grpc", "rest"] = "grpc",
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        project = text(self.name, "project", project, r"[a-z0-9][a-z0-9.:-]*", "a project's id or number")
        self._project = f"projects/{project}"
        prefix = text(self.name, "prefix", prefix, r"[A-Za-z0-9_-]{1,200}", "1 to 200 letters, digits or _-")
        self._references = References(self.name, prefix, "/versions/1")
        self._endpoint = endpoint
        if endpoint is not None:
            text(self.name, "endpoint", endpoint, r"[A-Za-z0-9.-]+(:[0-9]+)?", "a host, or host:port, without https://")
        if transport not in ("grpc", "rest"):
            raise wrong(self.name, "transport", "must be 'grpc' or 'rest'.")
        self._transport = transport
        self._longest = longest(self.name, connect_timeout, read_timeout)
        # Google's clients know one timeout; for gRPC it covers all, for REST each wait.
        self._limits = {"timeout": float(read_timeout), "retry": None}
        self._import()
        self._client = OncePerProcess(self._make_client)

    def put(self, label: Label, secret: Secret) -> str:
        """Keep ``secret``, and return the name of its one version."""
        reference = self._references.make()
        with naming_what_is_left(self.name, reference):
            self._ask(lambda: self._put(reference, pack(label, secret)))
        return reference

    def get(self, label: Label, stored: str) -> Secret:
        """Return the secret that is kept under this name; see :class:`SecretStore`."""
        name = f"{self._project}/secrets/{self._references.check(stored)}"
        return self._ask(lambda: unpack(self.name, label, self._fetch(name)))

    def delete(self, label: Label, stored: str) -> None:
        """Destroy the secret with its version."""
        name = f"{self._project}/secrets/{self._references.check(stored).partition('/')[0]}"
        delete_if_there(
            lambda: self._ask(lambda: self._client.get().delete_secret(request={"name": name}, **self._limits))
        )

    def _put(self, reference: str, packed: str) -> None:
        client, secret_id = self._client.get(), reference.partition("/")[0]
        made = client.create_secret(
            request={"parent": self._project, "secret_id": secret_id, "secret": {"replication": {"automatic": {}}}},
            **self._limits,
        )
        version = client.add_secret_version(
            request={"parent": made.name, "payload": {"data": packed.encode()}}, **self._limits
        )
        if not version.name.endswith(reference):
            raise unavailable(self.name, "it named a new secret in a way that we do not know")

    def _fetch(self, name: str) -> str:
        answer = self._client.get().access_secret_version(request={"name": name}, **self._limits)
        return str(answer.payload.data, "utf-8", "replace")

    def _import(self) -> None:
        self._sdk, self._transports, self._exceptions, self._credentials, self._auth_exceptions = import_sdk(
            self.name,
            _PACKAGE,
            f"{_SERVICE}.transports",
            "google.api_core.exceptions",
            "google.auth.credentials",
            "google.auth.exceptions",
        )
        keep_out_of_logs(f"{_SERVICE}.client", f"{_SERVICE}.transports.grpc", f"{_SERVICE}.transports.rest")

    def _make_client(self) -> Any:
        if self._endpoint and is_this_machine(urlsplit(f"//{self._endpoint}").hostname or ""):
            return self._sdk.SecretManagerServiceClient(transport=self._plain_transport(self._endpoint))
        options = {"api_endpoint": self._endpoint} if self._endpoint else None
        transport: Any = self._transport
        if transport == "grpc":
            grpc_transport = self._transports.SecretManagerServiceGrpcTransport
            transport = partial(grpc_transport, channel=partial(_open_channel, grpc_transport.create_channel))
        return self._sdk.SecretManagerServiceClient(transport=transport, client_options=options)

    def _plain_transport(self, endpoint: str) -> Any:
        nobody = self._credentials.AnonymousCredentials()
        if self._transport == "rest":
            transport = self._transports.SecretManagerServiceRestTransport
            return transport(host=endpoint, credentials=nobody, url_scheme="http")
        (grpc,) = import_sdk(self.name, "grpc")
        channel = grpc.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
        return self._transports.SecretManagerServiceGrpcTransport(host=endpoint, credentials=nobody, channel=channel)

    def _ask(self, question: Callable[[], T]) -> T:
        return ask(self.name, question, self._explain, self._longest)

    def _explain(self, error: Exception) -> SecretUnavailableError:
        known = self._exceptions
        if self._says_absent(error):
            return absent(self.name)
        if isinstance(error, (known.Forbidden, known.Unauthorized)):
            return unavailable(self.name, "permission denied")
        if isinstance(error, self._auth_exceptions.GoogleAuthError):
            return unavailable(self.name, "Google's libraries find no credentials that work")
        if isinstance(error, known.TooManyRequests):
            return down(self.name, "it asks for fewer requests")
        if isinstance(error, known.GatewayTimeout) or "Timeout" in type(error).__name__:
            return down(self.name, "it did not answer in time")
        reason = f"Google's client says {type(error).__name__}"
        # Over gRPC, what cannot be reached is "service unavailable".
        is_cut_off = isinstance(error, (known.ServiceUnavailable, requests.ConnectionError))
        return down(self.name, reason) if is_cut_off else unavailable(self.name, reason)

    def _says_absent(self, error: Exception) -> bool:
        """Say whether Secret Manager itself says so: another server on the way may answer 404 as well."""
        if isinstance(error, self._exceptions.NotFound):
            # Over gRPC there is no HTTP answer to doubt.
            answer: Any = getattr(error, "response", None)
            return not hasattr(answer, "headers") or "json" in answer.headers.get("content-type", "")
        # A version that was destroyed is there as a name, and cannot come back.
        return isinstance(error, self._exceptions.BadRequest) and "DESTROYED" in str(error.message).upper()


def _open_channel(create: Any, *arguments: Any, **named: Any) -> Any:
    return create(*arguments, **{**named, "options": [*named.get("options", []), *_CHANNEL_OPTIONS]})
