"""The one table: from a Stripe event type to what we do about it. The only place where features meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from . import audit, signals
from .connections import living_connections, revoke
from .events import Handler
from .models import StripePaymentMixin, WebhookEvent
from .onboarding.status import apply_account, fetch_account
from .payments.apply import (
    ContradictionError,
    apply_charge,
    apply_failed_session,
    apply_intent,
    apply_session,
)
from .payments.find import find_for_object
from .state import get_state
from .webhooks.inbox import Fetcher


def _on_payment(event: WebhookEvent, apply: Callable[[StripePaymentMixin, Mapping[str, Any]], bool]) -> None:
    """Apply the event's object to the payment that it is about, if that is one of ours."""
    state = get_state()
    owner = None if event.account_id is None else event.tenant_id
    payment = find_for_object(state, owner, event.account_id, event.mode, event.object)
    if payment is None or (event.account_id is not None and owner is None):
        return
    try:
        changed = apply(payment, event.object)
    except ContradictionError as error:
        event.error = str(error)
        return
    if changed:
        tenant = getattr(payment, state.models.payment_tenant)
        tenant = state.session.get(state.models.Tenant, tenant)
        event.facts.append(partial(state.tell, signals.payment_updated, tenant=tenant, payment=payment))


def mark_session(event: WebhookEvent) -> None:
    """Bring the payment to what its Checkout Session says."""
    _on_payment(event, apply_session)


def mark_failed(event: WebhookEvent) -> None:
    """A delayed payment method failed after the session was completed."""
    _on_payment(event, apply_failed_session)


def mark_intent(event: WebhookEvent) -> None:
    """Bring the payment to what its PaymentIntent says."""
    _on_payment(event, apply_intent)


def mark_charge(event: WebhookEvent) -> None:
    """Note the payment's charge: its receipt, and what was given back of it."""
    _on_payment(event, apply_charge)


def refresh_account(event: WebhookEvent) -> None:
    """Bring the connections of an account to what Stripe answered about it."""
    state = get_state()
    if event.fetched is None or event.account_id is None:
        return
    for connection in living_connections(state, event.account_id, event.mode):
        if apply_account(connection, event.fetched, event.fetched_at):
            audit.record(
                state, tenant_id=connection.tenant_id, connection=connection, actor="stripe", action="became_ready"
            )
            tenant = state.session.get(state.models.Tenant, connection.tenant_id)
            event.facts.append(partial(state.tell, signals.tenant_connected, tenant=tenant, connection=connection))


def revoke_account(event: WebhookEvent) -> None:
    """End the connections of an account that withdrew our access, if it is ours that it withdrew.

    The event itself is all there is: the account cannot be asked any more. One that is older than a connection was
    overtaken by a new one.
    """
    state = get_state()
    ours, created = state.config.client_id(event.mode), event.payload.get("created")
    if event.account_id is None or ours is None or event.object.get("id") != ours or not isinstance(created, int):
        return
    older = [
        connection
        for connection in living_connections(state, event.account_id, event.mode)
        if connection.connected_at and int(connection.connected_at.timestamp()) <= created
    ]
    ended = revoke(state, older)
    for connection in ended:
        tenant = state.session.get(state.models.Tenant, connection.tenant_id)
        event.facts.append(partial(state.tell, signals.tenant_disconnected, tenant=tenant, connection=connection))


HANDLERS: Final[Mapping[str, Handler]] = {
    "checkout.session.completed": mark_session,
    "checkout.session.async_payment_succeeded": mark_session,
    "checkout.session.async_payment_failed": mark_failed,
    "payment_intent.processing": mark_intent,
    "payment_intent.payment_failed": mark_intent,
    "payment_intent.succeeded": mark_intent,
    "charge.succeeded": mark_charge,
    "charge.refunded": mark_charge,
    "account.updated": refresh_account,
    "account.application.deauthorized": revoke_account,
}

#: What to ask Stripe before the event is taken in, where its body may be older than what we know.
FETCHERS: Final[Mapping[str, Fetcher]] = {"account.updated": fetch_account}
