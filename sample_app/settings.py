"""Where the desk's configuration comes from: defaults, then the environment, then what the factory was given."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from flask import Flask

from flask_valetpro_stripe.errors import ConfigurationError

PREFIX: Final = "VALETPRO_STRIPE_"
SIMULATOR: Final = "http://127.0.0.1:4242"
_LISTS: Final = (
    "TEST_WEBHOOK_SECRETS",
    "LIVE_WEBHOOK_SECRETS",
    "TEST_CONNECT_WEBHOOK_SECRETS",
    "LIVE_CONNECT_WEBHOOK_SECRETS",
    "ENCRYPTION_KEYS",
    "ALLOWED_ACCOUNT_TYPES",
)
_BOOLEANS: Final = ("ALLOW_SECRET_KEYS", "ALLOW_SHARED_ACCOUNTS")
_NUMBERS: Final = ("MAX_WEBHOOK_BYTES", "RETENTION_DAYS")
_OWN: Final = ("SECRET_KEY", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM")
_LOCAL: Final = frozenset({"SECRET_KEY", f"{PREFIX}ENCRYPTION_KEYS"})
_YES: Final = ("1", "true", "yes", "on")


def load(app: Flask, given: Mapping[str, Any]) -> None:
    """Fill ``app.config``; without any Stripe key the desk talks to the simulator, with keys made up on first start.

    :raises ConfigurationError: if a variable of ours is there but empty.
    """
    chosen = {**_environment(os.environ), **given}
    stripe_is_chosen = any(f"{PREFIX}{mode}_SECRET_KEY" in chosen for mode in ("TEST", "LIVE"))
    config = {**_defaults(), **chosen}
    folder = Path(app.instance_path)
    if not stripe_is_chosen:
        config = _kept(folder / "demo-keys.json", _make_demo_keys) | config
    if not config.keys() >= _LOCAL:
        config = _kept(folder / "local-keys.json", _make_local_keys) | config
    if "SQLALCHEMY_DATABASE_URI" not in config:
        folder.mkdir(parents=True, exist_ok=True)
        config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder / 'desk.sqlite3'}"
    config.setdefault("DEMO", not stripe_is_chosen)
    config["SESSION_COOKIE_SECURE"] = str(config[f"{PREFIX}PUBLIC_URL"]).startswith("https://")
    app.config.from_mapping(config)


def _defaults() -> dict[str, Any]:
    return {
        "SESSION_COOKIE_NAME": "valet_desk",
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_HTTPONLY": True,
        # The guest's page sends no referrer, so that its address stays with the guest. Its form still carries a token.
        "WTF_CSRF_SSL_STRICT": False,
        "WTF_CSRF_TIME_LIMIT": None,
        # How passwords are hashed (werkzeug.security); tests choose something quicker.
        "PASSWORD_METHOD": "scrypt",
        "MAX_CONTENT_LENGTH": 512 * 1024,
        f"{PREFIX}PUBLIC_URL": "http://127.0.0.1:5000",
        f"{PREFIX}BASE_TEMPLATE": "desk/base.html",
        f"{PREFIX}HTMX": None,
    }


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {key: environ[key] for key in _OWN if environ.get(key)}
    if url := environ.get("DATABASE_URL"):
        found["SQLALCHEMY_DATABASE_URI"] = database_url(url)
    if demo := environ.get("DEMO"):
        found["DEMO"] = demo.lower() in _YES
    for name, text in environ.items():
        if name.startswith(PREFIX):
            if not text.strip():
                # A secret that did not arrive must not look like one that nobody wanted: that would start a demo.
                raise ConfigurationError(f"The environment variable {name} is empty. Give it a value, or remove it.")
            found[name] = _parsed(name.removeprefix(PREFIX), text)
    return found


def database_url(url: str) -> str:
    """Return ``url`` with the driver that the desk uses for PostgreSQL."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme in ("postgres", "postgresql") else url


def _parsed(key: str, text: str) -> Any:
    if key in _LISTS:
        return json.loads(text) if text.startswith("[") else [item.strip() for item in text.split(",") if item.strip()]
    if key in _BOOLEANS:
        return text.lower() in _YES
    if key in _NUMBERS:
        return int(text)
    if key == "SECRET_STORE_OPTIONS":
        return json.loads(text)
    return text


def _make_local_keys() -> dict[str, Any]:
    return {
        "SECRET_KEY": secrets.token_urlsafe(32),
        f"{PREFIX}ENCRYPTION_KEYS": [base64.b64encode(secrets.token_bytes(32)).decode()],
    }


def _make_demo_keys() -> dict[str, Any]:
    keys: dict[str, Any] = {f"{PREFIX}API_BASE": SIMULATOR, f"{PREFIX}CONNECT_BASE": SIMULATOR}
    for mode in ("test", "live"):
        slot = f"{PREFIX}{mode.upper()}"
        keys[f"{slot}_SECRET_KEY"] = f"sk_{mode}_{secrets.token_hex(24)}"
        keys[f"{slot}_CLIENT_ID"] = f"ca_{secrets.token_hex(16)}"
        keys[f"{slot}_WEBHOOK_SECRETS"] = [f"whsec_{secrets.token_hex(24)}"]
        keys[f"{slot}_CONNECT_WEBHOOK_SECRETS"] = [f"whsec_{secrets.token_hex(24)}"]
    return keys


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return keys that are made once, so that a restart, the command line and the simulator all see the same ones.

    Of two processes that start at once, one makes the file and both read that one.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(make(), indent=2))
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    content: dict[str, Any] = json.loads(path.read_text())
    return content
