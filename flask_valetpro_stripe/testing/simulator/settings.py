"""The settings that join a host app and the simulator, and the platform's endpoints that go with them."""

from collections.abc import Mapping
from typing import Any

from .accounts import ApiKey
from .endpoints import make_endpoint
from .ids import new_webhook_secret
from .ledger import Ledger, Record

PREFIX = "VALETPRO_STRIPE_"
# setting, livemode, connect
_SCOPES = (
    ("TEST_WEBHOOK_SECRETS", False, False),
    ("TEST_CONNECT_WEBHOOK_SECRETS", False, True),
    ("LIVE_WEBHOOK_SECRETS", True, False),
    ("LIVE_CONNECT_WEBHOOK_SECRETS", True, True),
)


def make_config(ledger: Ledger, base_url: str, public_url: str, webhook_path: str) -> dict[str, Any]:
    """Return a host app's settings, with the platform's endpoints registered."""
    platform = ledger.accounts[ledger.platform_id]
    settings: dict[str, Any] = {
        "TEST_SECRET_KEY": platform.test_secret_key,
        "LIVE_SECRET_KEY": platform.live_secret_key,
        "TEST_CLIENT_ID": platform.test_client_id,
        "LIVE_CLIENT_ID": platform.live_client_id,
        "API_BASE": base_url,
        "CONNECT_BASE": base_url,
        "PUBLIC_URL": public_url,
    }
    for name, livemode, connect in _SCOPES:
        endpoint = _endpoint(ledger, public_url + webhook_path, livemode=livemode, connect=connect)
        settings[name] = [secret for secret, _ in reversed(endpoint.private["secrets"])]
    return {PREFIX + name: value for name, value in settings.items()}


def _endpoint(
    ledger: Ledger, url: str, *, livemode: bool, connect: bool, secrets: list[str] | None = None
) -> Record:
    for endpoint in ledger.of_kind("webhook_endpoint", ledger.platform_id, livemode):
        if (endpoint.data["url"], endpoint.private["connect"]) == (url, connect):
            return endpoint
    params = {"url": url, "enabled_events": ["*"], "connect": connect}
    current = secrets[0] if secrets else new_webhook_secret()
    # One secret for both kinds of events: Stripe would have the host register an event destination of its own.
    return make_endpoint(ledger.scope(ledger.platform_id, livemode), params, secret=current, thin=not connect)


def take_over(ledger: Ledger, config: Mapping[str, Any], public_url: str, webhook_path: str) -> None:
    """Give the platform the keys, client ids and secrets of a host app's settings."""

    def setting(name: str) -> Any:
        return config.get(PREFIX + name)

    platform = ledger.accounts[ledger.platform_id]
    for mode, livemode in (("test", False), ("live", True)):
        key, client_id = setting(f"{mode.upper()}_SECRET_KEY"), setting(f"{mode.upper()}_CLIENT_ID")
        if key:
            ledger.keys.pop(getattr(platform, f"{mode}_secret_key"))
            setattr(platform, f"{mode}_secret_key", key)
            ledger.keys[key] = ApiKey(platform.id, livemode)
        if client_id:
            setattr(platform, f"{mode}_client_id", client_id)
    url = public_url + (setting("WEBHOOK_URL") or webhook_path)
    for name, livemode, connect in _SCOPES:
        secrets = setting(name)
        if secrets:
            _endpoint(ledger, url, livemode=livemode, connect=connect, secrets=list(secrets))
