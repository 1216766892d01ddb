"""What Stripe tells a desk, one event at a time, and the owner of its account, who may arrange it."""

from __future__ import annotations

import json
from typing import Any

from tests.payments.desk import Desk
from tests.simulator.helpers import client_with
from tests.webhooks.stage import Stage


def tell(desk: Desk, event: dict[str, Any]) -> Any:
    """Deliver one event, and return its row."""
    stage = Stage(desk.host, desk.simulator, desk.tenant, desk.tenant)
    assert stage.deliver({**event, "account": desk.account}).status_code == 200
    return stage.rows()[-1]


def last(desk: Desk, event_type: str) -> dict[str, Any]:
    """Return a copy of the last event of a type."""
    found = [event for event in desk.simulator.events_of(desk.account) if event["type"] == event_type][-1]
    copied: dict[str, Any] = json.loads(json.dumps(found))
    return copied


def operation_of(desk: Desk, payment: Any) -> str:
    (found,) = [operation.id for operation in desk.operations() if operation.payment_id == payment.id]
    return str(found)


def page_of(payment: Any) -> str:
    return str(payment.stripe_payment_link_url or payment.checkout_url)


def owner_of(desk: Desk) -> Any:
    """Return a client of the account's owner."""
    return client_with(desk.simulator, desk.simulator._ledger.accounts[str(desk.account)].test_secret_key)
