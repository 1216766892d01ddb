"""Every setting of the extension: its name, default and check, read once when the app starts."""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlsplit

import stripe

from .enums import AccountType, Mode
from .errors import ConfigurationError
from .secrets import Secret
from .secrets.make import MAKE_A_KEY

PREFIX: Final = "VALETPRO_STRIPE_"
#: The SDK accepts "None", "null" and "whsec_" as secrets; each would make a forgeable endpoint.
_WEBHOOK_SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/=_-]{24,}", re.ASCII)
_API_KEY: Final = re.compile(r"(?:sk|rk)_(test|live)_[A-Za-z0-9_]+", re.ASCII)
_CLIENT_ID: Final = re.compile(r"ca_[A-Za-z0-9_]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings, checked. Each field is the key ``VALETPRO_STRIPE_<FIELD>`` in upper case."""

    #: The platform's own keys, ``sk_…`` or ``rk_…``, one for each mode.
    test_secret_key: Secret | None = None
    live_secret_key: Secret | None = None
    #: Connect OAuth client ids, ``ca_…`` (Stripe Dashboard, Connect settings).
    test_client_id: str | None = None
    live_client_id: str | None = None
    #: Signing secrets of the platform's endpoint for its own account, newest first.
    test_webhook_secrets: tuple[Secret, ...] = ()
    live_webhook_secrets: tuple[Secret, ...] = ()
    #: Signing secrets of the platform's endpoint for connected accounts; only these may carry ``account``.
    test_connect_webhook_secrets: tuple[Secret, ...] = ()
    live_connect_webhook_secrets: tuple[Secret, ...] = ()
    #: Base64 32-byte keys for the database store, newest first: the first encrypts, the others only decrypt.
    encryption_keys: tuple[Secret, ...] = ()
    #: Where tenants' own secrets rest (a word, or a host's own object), and what that store needs: a token, perhaps.
    secret_store: Any = "database"
    secret_store_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Origin that every redirect, return and webhook URL is built from; never the request's Host.
    public_url: str = "http://localhost:5000"
    #: Paths of the webhook and of the settings pages.
    webhook_url: str = "/api/webhooks/stripe"
    settings_url: str = "/settings/payments"
    #: ``"test"`` lets a tenant that never connected use the platform account in test mode. There is no live value.
    platform_fallback: str = "never"
    #: What happens to a payment whose tax Stripe should compute on an account that is not set up for it: ``"refuse"``,
    #: or ``"warn"``, which logs it and takes the payment without.
    tax_not_ready: str = "refuse"
    #: False: only restricted keys (``rk_``) may be pasted.
    allow_secret_keys: bool = True
    #: True: one Stripe account may serve several tenants.
    allow_shared_accounts: bool = False
    #: What a tenant admin is offered.
    allowed_account_types: frozenset[AccountType] = frozenset(AccountType)
    #: Which API makes accounts for Account Links.
    accounts_api: str = "v2"
    #: ``"bundled"`` loads our htmx; None leaves it to the host's base template.
    htmx: str | None = "bundled"
    #: ``"inline"`` runs handlers before the answer, ``"celery"`` stores first and works later.
    processing: str = "inline"
    #: Point these at a fake for tests and demos.
    api_base: str = stripe.DEFAULT_API_BASE
    connect_base: str = stripe.DEFAULT_CONNECT_API_BASE
    #: API version sent with each call and pinned on endpoints; the default is the SDK's.
    stripe_version: str = stripe.api_version
    #: Larger webhook bodies are refused before they are read. In bytes.
    max_webhook_bytes: int = 262_144
    #: The layout that the settings pages extend.
    base_template: str = "valetpro_stripe/base.html"
    #: Processed payloads are pruned after this many days; dedupe keys stay at least 35.
    retention_days: int = 30

    def secret_key(self, mode: Mode) -> Secret | None:
        """Return the platform's API key for ``mode``."""
        return self.live_secret_key if mode.livemode else self.test_secret_key

    def client_id(self, mode: Mode) -> str | None:
        """Return the platform's Connect client id for ``mode``."""
        return self.live_client_id if mode.livemode else self.test_client_id

    def webhook_secrets(self, mode: Mode, *, connect: bool) -> tuple[Secret, ...]:
        """Return the signing secrets of the platform's endpoint of one scope and mode, newest first."""
        if connect:
            return self.live_connect_webhook_secrets if mode.livemode else self.test_connect_webhook_secrets
        return self.live_webhook_secrets if mode.livemode else self.test_webhook_secrets

    @property
    def settings_page(self) -> str:
        """Return the public address of the settings page."""
        return f"{self.public_url}{self.settings_url}/"


def read_config(settings: Mapping[str, Any], *, relaxed: bool) -> Config:
    """Return the checked configuration from a Flask app's settings.

    :param relaxed: the app runs in debug or testing, where ``PUBLIC_URL`` may be left out.
    What the secret stores need, :func:`.secrets.make.make_stores` checks.

    :raises ConfigurationError: for an unknown key or a value that cannot work. Values are never repeated in messages.
    """
    given = {key.removeprefix(PREFIX): value for key, value in settings.items() if key.startswith(PREFIX)}
    _refuse_unknown(given)
    values = {name.lower(): _CHECKS[name](name, value) for name, value in given.items() if value is not None}
    if given.get("HTMX", "") is None:
        values["htmx"] = None
    config = Config(**values)
    _check_together(config, has_public_url="public_url" in values, relaxed=relaxed)
    return config


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    known = {f.name.upper() for f in fields(Config)}
    for name in sorted(set(given) - known):
        close = difflib.get_close_matches(name, known, n=1)
        meant = f" Did you mean {PREFIX}{close[0]}?" if close else ""
        raise ConfigurationError(f"{PREFIX}{name} is not a setting of flask-valetpro-stripe.{meant}")


def _check_together(config: Config, *, has_public_url: bool, relaxed: bool) -> None:
    if not has_public_url and not relaxed:
        raise ConfigurationError(
            f"{PREFIX}PUBLIC_URL is not set. Set it to this app's address as guests reach it, for example "
            "'https://valet.example.com': redirects and webhook URLs are built from it."
        )
    if not relaxed and any(_is_an_example(key) for key in config.encryption_keys):
        raise _bad("ENCRYPTION_KEYS", f"holds an example key, not a random one. Make one with: {MAKE_A_KEY}")
    _refuse_shared_webhook_secrets(config)
    if f"{config.webhook_url}/".startswith(f"{config.settings_url}/"):
        raise ConfigurationError(f"{PREFIX}WEBHOOK_URL must not lie at or below {PREFIX}SETTINGS_URL: it has a login.")


def _refuse_shared_webhook_secrets(config: Config) -> None:
    """A secret tells us scope and mode, so it may stand in one list only."""
    seen: list[str] = []
    for mode in Mode:
        for connect in (False, True):
            seen += {secret.reveal() for secret in config.webhook_secrets(mode, connect=connect)}
    if len(seen) != len(set(seen)):
        raise ConfigurationError(
            f"One signing secret stands in two of the {PREFIX}…WEBHOOK_SECRETS lists. Each endpoint at Stripe has its "
            "own: give each list the secret of its own endpoint."
        )


def _bad(name: str, rule: str) -> ConfigurationError:
    return ConfigurationError(f"{PREFIX}{name} {rule}")


def _api_key(name: str, value: Any) -> Secret:
    mode = name.split("_")[0].lower()
    match = _API_KEY.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise _bad(name, f"must be a secret or restricted API key, sk_{mode}_… or rk_{mode}_….")
    if match[1] != mode:
        raise _bad(name, f"holds a {match[1]} key. Put a {mode} key (sk_{mode}_… or rk_{mode}_…) there.")
    return Secret(value)


def _client_id(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _CLIENT_ID.fullmatch(value):
        raise _bad(name, "must be a Connect client id, ca_…, from the Connect settings in the Stripe Dashboard.")
    return value


def _webhook_secrets(name: str, value: Any) -> tuple[Secret, ...]:
    if not isinstance(value, (list, tuple)):
        raise _bad(name, "must be a list of signing secrets, newest first.")
    for secret in value:
        if not isinstance(secret, str) or not _WEBHOOK_SECRET.fullmatch(secret):
            raise _bad(name, "holds something that is not a signing secret: whsec_ and at least 24 characters more.")
    return tuple(Secret(secret) for secret in value)


def _encryption_keys(name: str, value: Any) -> tuple[Secret, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise _bad(name, "must be a list of base64 keys of 32 bytes, newest first.")
    keys = [_key_bytes(key) for key in value]
    if not all(keys):
        raise _bad(name, "holds a key that is not 32 bytes in base64.")
    # Base64 may spell one key in several ways.
    if len(set(keys)) != len(keys):
        raise _bad(name, "holds one key twice.")
    return tuple(Secret(key) for key in value)


def _key_bytes(value: Any) -> bytes:
    try:
        key = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        return b""
    return key if len(key) == 32 else b""


def _is_an_example(key: Secret) -> bool:
    """Say whether a key was typed or counted out. Of random ones, none in 10**10 looks like it."""
    raw = base64.b64decode(key.reveal())
    is_counted = len({(after - before) % 256 for before, after in pairwise(raw)}) == 1
    # A text may end with a line, or with a few zeros to fill it up.
    unprintable = sum(not 0x20 <= byte < 0x7F for byte in raw)
    return len(set(raw)) < 12 or is_counted or unprintable <= 2


def _url(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _is_plain_address(value):
        raise _bad(name, "must be an address such as https://valet.example.com, without user, query or fragment.")
    return value.rstrip("/")


def _is_plain_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        has_good_port = parts.port != 0
    except ValueError:
        return False
    # Only what is plain in a header and on a page, where these addresses end up.
    odd = re.search(r"[^A-Za-z0-9:/._~\[\]-]", value) or parts.username is not None
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and has_good_port and not odd


def _checked_later(name: str, value: Any) -> Any:
    # Stores are made from it when the app starts, and check it with their options.
    return value


def _path(name: str, value: Any) -> str:
    # No segment begins with a dot: /../ would lead elsewhere.
    if not isinstance(value, str) or not re.fullmatch(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", value, re.ASCII):
        raise _bad(name, "must be a path that starts with a slash and does not end with one.")
    return value


def _one_of(*allowed: Any) -> Any:
    def check(name: str, value: Any) -> Any:
        if value not in allowed:
            raise _bad(name, f"must be one of {', '.join(repr(word) for word in allowed)}.")
        return value

    return check


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _bad(name, "must be True or False.")
    return value


def _positive(name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise _bad(name, "must be a positive int.")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _bad(name, "must be a text that is not empty.")
    return value


def _version(name: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(\.[a-z_]+)?", value, re.ASCII):
        raise _bad(name, "must be a Stripe API version such as 2026-10-28.endive.")
    return value


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _bad(name, "must be a dict.")
    return dict(value)


def _account_types(name: str, value: Any) -> frozenset[AccountType]:
    try:
        return frozenset(AccountType(word) for word in value)
    except (TypeError, ValueError):
        raise _bad(name, f"must be a list of {', '.join(AccountType)}.") from None


_CHECKS: Final[Mapping[str, Any]] = {
    "TEST_SECRET_KEY": _api_key,
    "LIVE_SECRET_KEY": _api_key,
    "TEST_CLIENT_ID": _client_id,
    "LIVE_CLIENT_ID": _client_id,
    "TEST_WEBHOOK_SECRETS": _webhook_secrets,
    "LIVE_WEBHOOK_SECRETS": _webhook_secrets,
    "TEST_CONNECT_WEBHOOK_SECRETS": _webhook_secrets,
    "LIVE_CONNECT_WEBHOOK_SECRETS": _webhook_secrets,
    "ENCRYPTION_KEYS": _encryption_keys,
    "SECRET_STORE": _checked_later,
    "SECRET_STORE_OPTIONS": _mapping,
    "PUBLIC_URL": _url,
    "WEBHOOK_URL": _path,
    "SETTINGS_URL": _path,
    "PLATFORM_FALLBACK": _one_of("never", "test"),
    "TAX_NOT_READY": _one_of("refuse", "warn"),
    "ALLOW_SECRET_KEYS": _boolean,
    "ALLOW_SHARED_ACCOUNTS": _boolean,
    "ALLOWED_ACCOUNT_TYPES": _account_types,
    "ACCOUNTS_API": _one_of("v1", "v2"),
    "HTMX": _one_of("bundled"),
    "PROCESSING": _one_of("inline", "celery"),
    "API_BASE": _url,
    "CONNECT_BASE": _url,
    "STRIPE_VERSION": _version,
    "MAX_WEBHOOK_BYTES": _positive,
    "BASE_TEMPLATE": _text,
    "RETENTION_DAYS": _positive,
}
