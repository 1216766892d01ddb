"""What Stripe's events are about and where they stand, in a person's words instead of Stripe's and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..enums import EventStatus

#: Stripe docs, "Types of events": what we handle, and what most accounts meet besides.
TYPES: Final[Mapping[str, str]] = {
    "account.application.authorized": "Access to the account was given",
    "account.application.deauthorized": "Access to the account was withdrawn",
    "account.external_account.created": "A bank account was added",
    "account.external_account.deleted": "A bank account was removed",
    "account.external_account.updated": "A bank account was changed",
    "account.updated": "The account was changed",
    "balance.available": "The balance was changed",
    "capability.updated": "What the account may do was changed",
    "charge.captured": "A reserved amount was taken",
    "charge.dispute.closed": "A dispute was closed",
    "charge.dispute.created": "A payment was disputed",
    "charge.dispute.funds_reinstated": "The money of a dispute came back",
    "charge.dispute.funds_withdrawn": "The money of a dispute was taken",
    "charge.dispute.updated": "A dispute was changed",
    "charge.expired": "A reserved amount was let go",
    "charge.failed": "A charge failed",
    "charge.pending": "A charge is under way",
    "charge.refund.updated": "A refund was changed",
    "charge.refunded": "A charge was refunded",
    "charge.succeeded": "A charge succeeded",
    "charge.updated": "A charge was changed",
    "checkout.session.async_payment_failed": "A delayed payment failed",
    "checkout.session.async_payment_succeeded": "A delayed payment succeeded",
    "checkout.session.completed": "A checkout was completed",
    "checkout.session.expired": "A checkout ran out of time",
    "customer.created": "A customer was added",
    "customer.deleted": "A customer was removed",
    "customer.updated": "A customer was changed",
    "payment_intent.amount_capturable_updated": "A payment is reserved",
    "payment_intent.canceled": "A payment was canceled",
    "payment_intent.created": "A payment was begun",
    "payment_intent.partially_funded": "A payment was made in part",
    "payment_intent.payment_failed": "A payment failed",
    "payment_intent.processing": "A payment is under way",
    "payment_intent.requires_action": "A payment waits for the payer",
    "payment_intent.succeeded": "A payment succeeded",
    "payment_link.created": "A payment link was made",
    "payment_link.updated": "A payment link was changed",
    "payout.canceled": "A payout was canceled",
    "payout.created": "A payout was begun",
    "payout.failed": "A payout failed",
    "payout.paid": "A payout was paid",
    "payout.reconciliation_completed": "What a payout is made of is known",
    "payout.updated": "A payout was changed",
    "refund.created": "A refund was made",
    "refund.failed": "A refund failed",
    "refund.updated": "A refund was changed",
    "v2.core.account.closed": "The account was closed",
    "v2.core.account[configuration.merchant].capability_status_updated": "What the account may do was changed",
    "v2.core.account[identity].updated": "Who the account belongs to was changed",
    "v2.core.account[requirements].updated": "What Stripe wants to know was changed",
}
STATUSES: Final[Mapping[EventStatus, str]] = {
    EventStatus.received: "Waiting",
    EventStatus.processing: "Being handled",
    EventStatus.processed: "Done",
    EventStatus.failed: "Failed",
    EventStatus.dead: "Given up",
    EventStatus.parked: "Kept without action",
}
