"""The one table: from a Stripe event type to what we do about it. The only place where features meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

from . import signals
from .connections import living_connections, revoke
from .enums import AccountType
from .events import Handler
from .models import Connection, StripePaymentMixin, WebhookEvent
from .models.locked import LockedPayment, save
from .onboarding.status import fetch_account, settle
from .payments.agree import ContradictionError
from .payments.apply import (
    apply_charge,
    apply_failed_session,
    apply_intent,
    apply_session,
    happened_at,
    may_be_let_go,
)
from .payments.apply_refunds import apply_refund
from .payments.disputes import apply_dispute, fetch_dispute, intent_of
from .payments.find import find_for_object
from .payments.paid import mark_paid
from .payments.whose_refund import fetch_intent_of_refund
from .state import State, get_state
from .webhooks.inbox import Fetcher
from .webhooks.verify import TENANTS_OWN


def _on_payment(
    event: WebhookEvent,
    apply: Callable[[StripePaymentMixin, Mapping[str, Any]], bool],
    known_by: Mapping[str, Any] | None = None,
) -> None:
    """Apply the event's object to the payment that it, or ``known_by``, is about, if that is one of ours."""
    state = get_state()
    if event.account_id is not None and event.tenant_id is None:
        return
    owner = None if event.account_id is None else event.tenant_id
    payment = find_for_object(state, owner, event.account_id, event.mode, known_by or event.object)
    if payment is None:
        return
    if event.scope.startswith(TENANTS_OWN) and not _is_by_key(payment):
        # Its tenant can sign what it likes. What the platform is party to, only Stripe's events to it may change.
        return
    was_paid = payment.paid_at is not None
    try:
        # It has all the attributes that they look at.
        changed = apply(cast(StripePaymentMixin, payment), event.object)
    except ContradictionError as error:
        event.error = str(error)
        return
    if payment.paid_at is not None and (not was_paid or _tells_when_paid(event)):
        # What follows from being paid may be told first; and clocks differ.
        paid_at = max(happened_at(event.payload), payment.created_at)
        if paid_at != payment.paid_at:
            payment.paid_at = paid_at
    save(state.session, state.models.Payment, payment)
    if changed:
        _tell_updated(event, getattr(payment, state.models.payment_tenant), payment.key)


def _tells_when_paid(event: WebhookEvent) -> bool:
    """Tell whether an event, which agrees with its payment, is the one of the moment when it was paid."""
    return event.type == "payment_intent.succeeded" and event.object.get("status") == "succeeded"


def _tell_updated(event: WebhookEvent, tenant_key: Any, payment_key: Any) -> None:
    state = get_state()
    if not signals.payment_updated.has_receivers_for(state.app):
        return
    tenant = state.session.get(state.models.Tenant, tenant_key)
    payment = state.session.get(state.models.Payment, payment_key, populate_existing=True)
    event.facts.append(partial(state.tell, signals.payment_updated, tenant=tenant, payment=payment))


def _is_by_key(payment: LockedPayment) -> bool:
    state = get_state()
    connection = state.session.get_one(state.models.Connection, payment.connection_id)
    return connection.account_type is AccountType.RAW_KEYS


def mark_session(event: WebhookEvent) -> None:
    """Bring the payment to what its Checkout Session says."""
    is_tenants = event.scope.startswith(TENANTS_OWN)
    paid = (get_state(), event.tenant_id, event.account_id, event.mode, event.object, happened_at(event.payload))
    key = None if is_tenants else mark_paid(*paid)
    if key is None:
        _on_payment(event, apply_session)
    else:
        _tell_updated(event, event.tenant_id, key)


def mark_failed(event: WebhookEvent) -> None:
    """A delayed payment method failed after the session was completed."""
    _on_payment(event, apply_failed_session)


def mark_intent(event: WebhookEvent) -> None:
    """Bring the payment to what its PaymentIntent says."""
    _on_payment(event, apply_intent)


def mark_charge(event: WebhookEvent) -> None:
    """Note the payment's charge: its receipt, and what was given back of it."""
    _on_payment(event, apply_charge)


def mark_refund(event: WebhookEvent) -> None:
    """Bring a refund to what Stripe says about it, and its payment to how much was given back."""
    state, intent = get_state(), event.fetched

    def apply(payment: StripePaymentMixin, refund: Mapping[str, Any]) -> bool:
        before = payment.amount_refunded, payment.status
        if not _was_taken(payment, intent):
            return False
        if intent is not None:
            apply_intent(payment, intent)
        changed = apply_refund(payment, refund)
        if changed is not None:
            tenant = state.session.get(state.models.Tenant, changed.tenant_id)
            event.facts.append(partial(state.tell, signals.refund_updated, tenant=tenant, refund=changed))
        return before != (payment.amount_refunded, payment.status)

    _on_payment(event, apply, known_by=intent)


def _was_taken(payment: StripePaymentMixin, intent: Mapping[str, Any] | None) -> bool:
    """Tell whether money was taken that can be given back.

    Endpoints of API versions before 2025-03-31.basil are told of what was held and let go as of a refund.
    """
    return not may_be_let_go(payment) if intent is None else intent.get("status") == "succeeded"


def mark_dispute(event: WebhookEvent) -> None:
    """Bring a dispute to what Stripe says about it, and its payment to whether it is disputed."""
    intent = intent_of(event.fetched)

    def apply(payment: StripePaymentMixin, dispute: Mapping[str, Any]) -> bool:
        changed = intent is not None and apply_intent(payment, intent)
        return apply_dispute(payment, event.fetched or dispute) or changed

    _on_payment(event, apply, known_by=intent)


def refresh_account(event: WebhookEvent) -> None:
    """Bring the connections of an account to what Stripe answered about it."""
    state = get_state()
    if event.fetched is None or event.account_id is None:
        return
    for connection in _connected(event):
        if settle(state, connection, event.fetched, event.fetched_at):
            tenant = state.session.get(state.models.Tenant, connection.tenant_id)
            event.facts.append(partial(state.tell, signals.tenant_connected, tenant=tenant, connection=connection))


def _connected(event: WebhookEvent) -> list[Connection]:
    """Return the living connections to an event's account that its endpoint may speak about.

    A tenant's own endpoint speaks about the connection that it belongs to, the platform's about all but those.
    """
    found = living_connections(get_state(), str(event.account_id), event.mode)
    if event.scope.startswith(TENANTS_OWN):
        return [connection for connection in found if connection.id == event.connection_id]
    return [connection for connection in found if connection.account_type is not AccountType.RAW_KEYS]


def revoke_account(event: WebhookEvent) -> None:
    """End the connections of an account that withdrew our access, if it is ours that it withdrew.

    The event itself is all there is: the account cannot be asked any more. One that is older than a connection was
    overtaken by a new one.
    """
    state = get_state()
    ours, created = state.config.client_id(event.mode), event.payload.get("created")
    if event.account_id is None or ours is None or event.object.get("id") != ours or not isinstance(created, int):
        return
    _revoke(event, [c for c in _connected(event) if int((c.connected_at or c.created_at).timestamp()) <= created])


def close_account(event: WebhookEvent) -> None:
    """End the connections of an account that was closed: our access went with it, for good ("Close an account")."""
    if event.account_id is not None:
        _revoke(event, [c for c in _connected(event) if c.accounts_api is not None])


def _revoke(event: WebhookEvent, connections: list[Connection]) -> None:
    state = get_state()
    for connection in revoke(state, connections):
        tenant = state.session.get(state.models.Tenant, connection.tenant_id)
        event.facts.append(partial(state.tell, signals.tenant_disconnected, tenant=tenant, connection=connection))


HANDLERS: Final[Mapping[str, Handler]] = {
    "checkout.session.completed": mark_session,
    "checkout.session.async_payment_succeeded": mark_session,
    "checkout.session.async_payment_failed": mark_failed,
    "checkout.session.expired": mark_session,
    "payment_intent.processing": mark_intent,
    "payment_intent.amount_capturable_updated": mark_intent,
    "payment_intent.canceled": mark_intent,
    "payment_intent.payment_failed": mark_intent,
    "payment_intent.succeeded": mark_intent,
    "charge.succeeded": mark_charge,
    "charge.refunded": mark_charge,
    "refund.created": mark_refund,
    "refund.updated": mark_refund,
    "refund.failed": mark_refund,
    # Deprecated at Stripe, and all that an endpoint of an older API version may get.
    "charge.refund.updated": mark_refund,
    "charge.dispute.created": mark_dispute,
    "charge.dispute.updated": mark_dispute,
    "charge.dispute.closed": mark_dispute,
    "account.updated": refresh_account,
    "account.application.deauthorized": revoke_account,
    "v2.core.account[requirements].updated": refresh_account,
    "v2.core.account[configuration.merchant].capability_status_updated": refresh_account,
    "v2.core.account[identity].updated": refresh_account,
    "v2.core.account.closed": close_account,
}


def _fetch_account(state: State, connection: Connection | None, _: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return None if connection is None else fetch_account(state, connection)


_FETCHERS: Final[Mapping[Handler, Fetcher]] = {
    refresh_account: _fetch_account,
    mark_refund: fetch_intent_of_refund,
    mark_dispute: fetch_dispute,
}
#: What to ask Stripe before the event is taken in, where its body may be older than what we know, or says too little.
FETCHERS: Final[Mapping[str, Fetcher]] = {
    event_type: _FETCHERS[handler] for event_type, handler in HANDLERS.items() if handler in _FETCHERS
}
