"""What no test may do: reach beyond this machine, or change the Stripe SDK for the whole process."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import stripe

SDK_GLOBALS = (
    "api_base",
    "api_key",
    "api_version",
    "app_info",
    "ca_bundle_path",
    "client_id",
    "connect_api_base",
    "default_http_client",
    "enable_telemetry",
    "max_network_retries",
    "meter_events_api_base",
    "proxy",
    "upload_api_base",
    "verify_ssl_certs",
)
LOCAL_NAMES = {"", "localhost"}

_refused: list[str] = []


def refuse_sockets_beyond_loopback() -> None:
    """Make every attempt to leave this machine an error, from now until the process ends."""
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.bind"):
        address = arguments[1]
        # A path is a Unix socket, which stays here.
        host = address[0] if isinstance(address, tuple) else None
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host is not None and not _is_local(host):
        _refused.append(f"{event} to {host}")
        raise PermissionError(f"A test tried to open a socket to {host}. Use the simulator, or a server on 127.0.0.1.")


def _is_local(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


@contextmanager
def only_loopback() -> Iterator[None]:
    """Fail if something in the block tried to leave this machine, even if it swallowed the error or a thread did."""
    _refused.clear()
    yield
    refused = list(_refused)
    _refused.clear()
    assert not refused, f"The test tried to leave this machine: {refused}."


@contextmanager
def untouched_stripe_module() -> Iterator[None]:
    """Fail if the block changed one of the SDK's module globals, which every tenant would share."""
    before = {name: getattr(stripe, name) for name in SDK_GLOBALS}
    yield
    changed = [name for name, value in before.items() if getattr(stripe, name) is not value]
    for name in changed:
        setattr(stripe, name, before[name])
    assert not changed, f"The test changed stripe.{', stripe.'.join(changed)} for the whole process."
