"""Secrets in AWS Secrets Manager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..errors import SecretUnavailableError
from . import Secret
from .asking import OncePerProcess, ask, keep_out_of_logs
from .options import CONNECT_TIMEOUT, READ_TIMEOUT, References, address, import_sdk, longest, text
from .store import Label, absent, delete_if_there, down, naming_what_is_left, pack, unavailable, unpack

T = TypeVar("T")
_REASONS: Final = {
    "AccessDeniedException": "permission denied",
    "ExpiredTokenException": "permission denied",
    "InvalidSignatureException": "permission denied",
    "UnrecognizedClientException": "permission denied",
}
_THROTTLED: Final = frozenset({"LimitExceededException", "ThrottlingException", "TooManyRequestsException"})


class AwsStore:
    """Keeps each secret as one of its own in Secrets Manager, under a random name.

    Who we are comes from where boto3 looks: the environment, its files, or the role of the machine.

    :param kms_key_id: the key that AWS encrypts under; None is the account's own for Secrets Manager.
    """

    name = "aws"

    def __init__(
        self,
        region: str,
        prefix: str = "valetpro-stripe/",
        endpoint_url: str | None = None,
        kms_key_id: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._region = text(self.name, "region", region, r"[a-z0-9-]+", "a region such as eu-west-1")
        prefix = text(self.name, "prefix", prefix, r"[A-Za-z0-9/_+=.@-]{1,200}", "1 to 200 letters, digits or /_+=.@-")
        self._references = References(self.name, prefix)
        self._endpoint = None if endpoint_url is None else address(self.name, "endpoint_url", endpoint_url)
        self._key = {}
        if kms_key_id is not None:
            form = "the id, ARN or alias of a KMS key"
            self._key = {"KmsKeyId": text(self.name, "kms_key_id", kms_key_id, r"[A-Za-z0-9:/_-]{1,2048}", form)}
        self._longest = longest(self.name, connect_timeout, read_timeout)
        self._timeouts = {"connect_timeout": connect_timeout, "read_timeout": read_timeout}
        self._boto3, self._config, self._exceptions = import_sdk(
            self.name, "boto3", "botocore.config", "botocore.exceptions"
        )
        keep_out_of_logs("botocore.auth", "botocore.endpoint", "botocore.parsers")
        self._client = OncePerProcess(self._make_client)

    def put(self, label: Label, secret: Secret) -> str:
        """Keep ``secret``, and return its name in Secrets Manager."""
        name = self._references.make()
        with naming_what_is_left(self.name, name):
            self._ask(
                lambda: self._client.get().create_secret(Name=name, SecretString=pack(label, secret), **self._key)
            )
        return name

    def get(self, label: Label, stored: str) -> Secret:
        """Return the secret that is kept under this name; see :class:`SecretStore`."""
        name = self._references.check(stored)
        return self._ask(lambda: unpack(self.name, label, self._fetch(name)))

    def delete(self, label: Label, stored: str) -> None:
        """Destroy the secret at once, without AWS's window in which it could be restored."""
        name = self._references.check(stored)
        delete_if_there(
            lambda: self._ask(lambda: self._client.get().delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True))
        )

    def _fetch(self, name: str) -> str:
        answer = self._client.get().get_secret_value(SecretId=name, VersionStage="AWSCURRENT")
        # A secret that somebody replaced by bytes has no text; it is not in our form then.
        return str(answer.get("SecretString", ""))

    def _make_client(self) -> Any:
        # A session of our own: boto3's default one belongs to the host, and is not made for threads.
        return self._boto3.session.Session().client(
            "secretsmanager",
            region_name=self._region,
            endpoint_url=self._endpoint,
            config=self._config.Config(**self._timeouts, retries={"total_max_attempts": 1, "mode": "standard"}),
        )

    def _ask(self, question: Callable[[], T]) -> T:
        return ask(self.name, question, self._explain, self._longest)

    def _explain(self, error: Exception) -> SecretUnavailableError:
        if isinstance(error, self._exceptions.ClientError):
            return self._explain_answer(error.response)
        if isinstance(error, (self._exceptions.ConnectTimeoutError, self._exceptions.ReadTimeoutError)):
            return down(self.name, "it did not answer in time")
        reason = f"boto3 says {type(error).__name__}"
        is_cut_off = isinstance(error, (self._exceptions.ConnectionError, self._exceptions.HTTPClientError))
        return down(self.name, reason) if is_cut_off else unavailable(self.name, reason)

    def _explain_answer(self, answer: Any) -> SecretUnavailableError:
        code, message = str(answer["Error"].get("Code")), str(answer["Error"].get("Message"))
        is_deleted = (code == "InvalidRequestException" and "deletion" in message) or "marked deleted" in message
        if code == "ResourceNotFoundException" or is_deleted:
            return absent(self.name)
        if code in _THROTTLED:
            return down(self.name, "it asks for fewer requests")
        return unavailable(
            self.name, _REASONS.get(code, f"AWS says {code}" if code.isalnum() else "AWS gives no reason")
        )
