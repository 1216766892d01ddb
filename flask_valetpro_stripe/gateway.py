"""The one door to Stripe: a shared, hardened HTTP client, clients bound to one account, and errors in our own words."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

import requests
import stripe
from requests.adapters import HTTPAdapter
from stripe.oauth_error import OAuthError

from .config import Config
from .enums import Mode
from .errors import (
    ConfigurationError,
    ConnectionRevokedError,
    InvalidKeyError,
    MissingPermissionError,
    OutcomeUnknownError,
    ValetProStripeError,
)
from .secrets import Secret
from .state import State, get_state

log = logging.getLogger(__name__)


def _holds_no_body(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG and "error_message" not in str(record.msg)


# At DEBUG the SDK logs whole bodies: OAuth codes and tokens, signing secrets, guests' data. At INFO it logs what
# Stripe says about an error, which may quote what was sent.
logging.getLogger("stripe").addFilter(_holds_no_body)

#: The code of every 429: Stripe limits requests, or another one holds the object. Nothing was done.
RATE_LIMITED: Final = "rate_limit"
#: What Stripe's refusal of a restricted key names.
_PERMISSION: Final = re.compile(r"\brak_[a-z_]+", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9_.]{1,100}", re.ASCII)
_ACCOUNT: Final = re.compile(r"\bacct_[A-Za-z0-9]+", re.ASCII)

P = ParamSpec("P")
T = TypeVar("T")

#: What the SDK takes for its API key.
STAND_IN: Final = "bound_by_flask_valetpro_stripe"
#: Seconds to connect, and to wait for each part of the answer.
TIMEOUT: Final = (5.0, 30.0)
#: The SDK's StripeClient retries nothing by default. Every POST of ours carries a key, so two repeats are safe.
MAX_NETWORK_RETRIES: Final = 2
_POOL_SIZE: Final = 32
_KEY_SHAPED: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|rk|pk|ek|whsec|ac|rt)_[A-Za-z0-9_*+/=-]+|_secret_[A-Za-z0-9]+", re.ASCII
)
#: Where the platform's key acts on accounts that are connected to it. ``/v1/account`` is its own.
_ABOUT_ACCOUNTS: Final = re.compile(r"/v1/accounts|/v1/account_(?:links|sessions)|/v2/core/account", re.ASCII)


@dataclass(frozen=True)
class Credentials:
    """What it takes to act at Stripe for one connection: a key, and the connected account that it acts on."""

    api_key: Secret
    account_id: str | None
    mode: Mode


class SharedHTTPClient(stripe.HTTPClient):
    """One connection pool for all tenants, that carries nothing from one call to the next.

    No cookies (Stripe's would be replayed under another tenant's key), no redirects (they would take the key along),
    and no environment: ``~/.netrc`` would replace the key. The pool is made on first use in each process: forked
    workers never share a socket.
    """

    name = "requests"

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._pid = 0
        self._client: stripe.RequestsClient | None = None

    def _ready(self) -> stripe.RequestsClient:
        if self._client is None or self._pid != os.getpid():
            with self._lock:
                if self._client is None or self._pid != os.getpid():
                    self._client = stripe.RequestsClient(timeout=TIMEOUT, session=_hardened_session())
                    self._pid = os.getpid()
        return self._client

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        """Send one request and return body, status and headers."""
        return self._ready().request(method, url, headers, post_data)

    def request_stream(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        """Send one request and return the open body, status and headers."""
        return self._ready().request_stream(method, url, headers, post_data)

    def close(self) -> None:
        """Nothing to close: connections end with the process."""


def _hardened_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=_POOL_SIZE)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _BoundHTTPClient(stripe.HTTPClient):
    """The shared client, for one set of credentials: a request with any other key or account never leaves.

    The SDK lets every call override key and account, and drops a mistyped option in silence; this is where a mistake
    in a host's code stops. It is also where the key comes in: the SDK itself only ever has :data:`STAND_IN`, so that
    its objects, pickles, logs and tracebacks hold nothing that opens anything.
    """

    name = "requests"

    def __init__(
        self,
        shared: stripe.HTTPClient,
        bound: Credentials,
        bases: tuple[str, ...],
        *,
        manages: bool,
        patience: float | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self._manages = manages
        self._clock = clock
        self._until = None if patience is None else clock() + patience
        self._shared = shared
        self._bound = bound
        self._bases = bases

    def _check(self, url: str, headers: Mapping[str, str] | None) -> dict[str, str]:
        if self._until is not None and self._clock() >= self._until:
            # As if the answer had not come. The SDK does not repeat what fails like this.
            raise stripe.APIConnectionError("No time is left for another call.", should_retry=False)  # type: ignore[no-untyped-call]
        # The SDK adds the previous request's id as telemetry; it may be another tenant's.
        sent = {name: value for name, value in (headers or {}).items() if name != "X-Stripe-Client-Telemetry"}
        # On the wire a header's name has no case: the last spelling of one takes its place.
        plain = {name.lower(): value for name, value in sent.items()}
        same = (
            plain.get("authorization") == f"Bearer {STAND_IN}"
            and plain.get("stripe-account") == self._bound.account_id
            and "stripe-context" not in plain
            and url.startswith(self._bases)
            and not self._is_somebody_elses(url)
        )
        if not same:
            raise ConfigurationError(
                "This Stripe client is bound to one account, and the call named another key, account or address. "
                "Leave api_key, stripe_account and stripe_context out of the options; for another tenant use "
                "'with tenant_context(tenant):'."
            )
        return sent

    def _is_somebody_elses(self, url: str) -> bool:
        # The platform's own key may read and change the accounts connected to it, without any header.
        return self._bound.account_id is None and not self._manages and _ABOUT_ACCOUNTS.search(url) is not None

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        """Send one request, if it is for the bound account."""
        checked = self._check(url, headers)
        return _without_frames(lambda: self._shared.request(method, url, self._with_key(checked), post_data))

    def request_stream(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        """Send one request, if it is for the bound account."""
        checked = self._check(url, headers)
        return _without_frames(lambda: self._shared.request_stream(method, url, self._with_key(checked), post_data))

    def _with_key(self, checked: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in checked.items() if name.lower() != "authorization"}
        return {**kept, "Authorization": f"Bearer {self._bound.api_key.reveal()}"}

    def close(self) -> None:
        """Nothing to close: the pool is shared."""


def _without_frames(send: Callable[[], T]) -> T:
    """Return what ``send`` returns. What it raises comes without the frames below, which hold the key."""
    try:
        return send()
    except Exception as error:
        failed = error.with_traceback(None)
        failed.__cause__ = failed.__context__ = None
    raise failed


def make_client(state: State, credentials: Credentials, *, patience: float | None = None) -> stripe.StripeClient:
    """Return a client that can reach the account of ``credentials`` and no other.

    :param patience: for how many seconds it begins calls, repeats among them; what comes later gets no answer.
    """
    return _client(state, credentials, bases=(f"{state.config.api_base}/",), manages=False, patience=patience)


def make_account_client(state: State, mode: Mode, account_id: str | None) -> stripe.StripeClient:
    """Return a client that acts with the platform's key on one connected account; None is the platform's own.

    :raises ConfigurationError: if the operator has set no key for ``mode``.
    """
    return make_client(state, Credentials(platform_key(state.config, mode), account_id, mode))


def make_platform_client(state: State, mode: Mode) -> stripe.StripeClient:
    """Return a client of the platform's own account, which may also call OAuth, and make and manage accounts.

    It is for this package's own use, never for a host's: it reaches every tenant's account.

    :raises ConfigurationError: if the operator has set no key for ``mode``.
    """
    key = platform_key(state.config, mode)
    bases = (f"{state.config.api_base}/", f"{state.config.connect_base}/")
    return _client(state, Credentials(key, None, mode), bases=bases, manages=True)


def platform_key(config: Config, mode: Mode) -> Secret:
    """Return the platform's key for ``mode``.

    :raises ConfigurationError: if there is none.
    """
    key = config.secret_key(mode)
    if key is None:
        raise ConfigurationError(
            f"The operator must set VALETPRO_STRIPE_{mode.upper()}_SECRET_KEY before anything works in {mode} mode.",
            code="platform_not_configured",
        )
    return key


def _client(
    state: State,
    credentials: Credentials,
    *,
    bases: tuple[str, ...],
    manages: bool,
    patience: float | None = None,
) -> stripe.StripeClient:
    config = state.config
    return stripe.StripeClient(
        STAND_IN,
        stripe_account=credentials.account_id,
        stripe_version=config.stripe_version,
        base_addresses={"api": config.api_base, "connect": config.connect_base},
        client_id=config.client_id(credentials.mode),
        max_network_retries=MAX_NETWORK_RETRIES,
        http_client=_BoundHTTPClient(
            state.http_client, credentials, bases, manages=manages, patience=patience, clock=state.clock
        ),
    )


def ask_stripe(what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what ``call`` returns, with the SDK's errors turned into ours.

    :param what: what is being done, to begin a sentence with, for example "Making the payment link".
    :raises ValetProStripeError: the fitting one of :mod:`.errors`; :class:`OutcomeUnknownError` if no answer arrived.
    """
    try:
        return call(*args, **kwargs)
    except stripe.StripeError as error:
        translated = _translate(error, what)
    except ValetProStripeError as error:
        # A bound client's refusal; it comes up through the SDK's frames like the rest.
        translated = error.with_traceback(None)
    except (AttributeError, UnicodeDecodeError) as error:
        # What the SDK raises for an OAuth error that it does not know, for an error that is no object, and for bytes
        # that are no text. None of them tells whether the call took effect.
        if isinstance(error, AttributeError) and error.name != "get":
            raise
        translated = OutcomeUnknownError(f"{what}: Stripe's answer could not be read.", code="stripe_answer")
    # Outside the handler, so that no SDK frame travels along: they hold the key in their locals.
    raise translated


def _translate(error: stripe.StripeError, what: str) -> ValetProStripeError:
    code = _code(error)
    log.info("%s failed: %s %s, request %s", what, type(error).__name__, code, error.request_id)
    if isinstance(error, OAuthError):
        return ValetProStripeError(f"{what} failed: Stripe answered {code}.", code=code, hint="Start again.")
    if isinstance(error, stripe.AuthenticationError):
        why = f" ({code})" if code != type(error).__name__ else ""
        return InvalidKeyError(f"{what} failed: Stripe does not accept the API key{why}.", code=code)
    if isinstance(error, stripe.PermissionError):
        return _denied(error, code, what)
    if isinstance(error, stripe.RateLimitError):
        return ValetProStripeError(
            f"{what} failed: Stripe is limiting requests.",
            code=RATE_LIMITED,
            hint="Nothing was done. Try again in a moment.",
        )
    if isinstance(error, (stripe.APIConnectionError, stripe.APIError)) or _is_under_way(error):
        unknown = OutcomeUnknownError(f"{what} did not get an answer from Stripe.", hint="Try again in a moment.")
        unknown.is_saved, unknown.is_under_way = _is_replayed(error), _is_under_way(error)
        return unknown
    reason = scrub(error.user_message or "")
    return ValetProStripeError(f"{what} was refused by Stripe: {reason or code}", code=code)


#: What Stripe refuses before it looks at the call: 401 and 403; and what was not answered.
_NO_DECISION: Final = (InvalidKeyError, MissingPermissionError, ConnectionRevokedError, OutcomeUnknownError)


def is_decision(error: ValetProStripeError) -> bool:
    """Tell whether Stripe looked at the call and refused it, other than for who asks or how often.

    Only that says something about an earlier call under the same idempotency key, whose answer was lost.
    """
    return not isinstance(error, _NO_DECISION) and error.code != RATE_LIMITED


def _is_replayed(error: stripe.StripeError) -> bool:
    """Tell whether Stripe saved the answer under the key before (Stripe docs, "Advanced error handling")."""
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return headers.get("idempotent-replayed") == "true"


def _is_under_way(error: stripe.StripeError) -> bool:
    """Tell whether the same call is being answered elsewhere; the SDK has a class for that in v2 only."""
    return isinstance(error, (stripe.APIError, stripe.IdempotencyError)) and error.http_status == 409


def to_stripe(config: Config, address: object) -> str:
    """Return an address that Stripe answered, if a browser may be sent there: to Stripe, or to the fake in its place.

    :raises ValetProStripeError: if it leads elsewhere.
    """
    text = address if isinstance(address, str) and address.isprintable() and " " not in address else ""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    is_stripes = parts.scheme == "https" and (host == "stripe.com" or host.endswith(".stripe.com"))
    if not is_stripes and not text.startswith((f"{config.api_base}/", f"{config.connect_base}/")):
        raise ValetProStripeError(
            "Stripe's answer leads somewhere else than to Stripe, so it is not followed.",
            code="stripe_answer",
            hint="Try again in a moment.",
        )
    return text


def scrub(text: str) -> str:
    """Return ``text`` without anything that is shaped like a key."""
    return _KEY_SHAPED.sub("…", text)


def _code(error: stripe.StripeError) -> str:
    # error.code is None for most classes; the body's own error object has it.
    if isinstance(error, stripe.IdempotencyError):
        # v1 has no code for it, and v2 has several.
        return type(error).__name__
    inner = getattr(error, "error", None)
    code = str(getattr(inner, "code", None) or error.code or "")
    # Foreign text until it has the form of a word: it goes into logs and onto pages.
    return code if _WORD.fullmatch(code) else type(error).__name__


def _denied(error: stripe.StripeError, code: str, what: str) -> ValetProStripeError:
    if code == "account_invalid":
        page = get_state().config.settings_page
        return ConnectionRevokedError(
            f"{what} failed: the platform no longer has access to this Stripe account. An admin mends this at {page}",
            settings_url=page,
        )
    message = error.user_message or ""
    permission, account = _PERMISSION.search(message), _ACCOUNT.search(message)
    return MissingPermissionError(
        f"{what} failed: the API key lacks a permission ({permission[0] if permission else code}).",
        account_id=account[0] if account else None,
        code=code,
    )
