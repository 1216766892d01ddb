"""What a tenant may do to our webhook endpoint in its own account."""

from __future__ import annotations

from typing import Any

from tests.raw_keys.owner import Owner


def is_deleted(owner: Owner) -> None:
    owner.stripe().v1.webhook_endpoints.delete(owner.connection.endpoint_id)


def is_disabled(owner: Owner) -> None:
    owner.simulator.disable_endpoint(owner.connection.endpoint_id)


def is_moved(owner: Owner) -> None:
    change: Any = {"url": "https://elsewhere.example/hook"}
    owner.stripe().v1.webhook_endpoints.update(owner.connection.endpoint_id, change)


def tells_too_little(owner: Owner) -> None:
    change: Any = {"enabled_events": ["customer.created"]}
    owner.stripe().v1.webhook_endpoints.update(owner.connection.endpoint_id, change)
