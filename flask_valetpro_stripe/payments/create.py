"""A payment, and the object at Stripe that it is paid by: recorded first, then made, and made once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import stripe

from .. import signals
from ..context import get_tenant
from ..credentials import client_for, require_connection
from ..enums import AccountType, CollectedVia, OperationState, PaymentStatus
from ..errors import ValetProStripeError
from ..models import Connection, Customer, Operation, StripePaymentMixin, key_of
from ..money import check_amount, check_currency, smallest_step
from ..state import State, get_state
from . import operations, tax
from .apply import apply_status, snapshot
from .asked import check_asked
from .close import close
from .customers import id_of, require_its_own
from .find import OPERATION_METADATA, RESERVED_METADATA, connection_of, lock_own


@dataclass(frozen=True)
class Way:
    """One kind of object that a payment is paid by."""

    #: What is called, as its operations have it: ``payment_link.create``.
    kind: str
    #: To begin a sentence with: "Making the payment link".
    what: str
    #: The body of the call, of a committed payment.
    make_params: Callable[[StripePaymentMixin, Mapping[str, Any], dict[str, str]], dict[str, Any]]
    #: Stripe's service for such objects.
    service: Callable[[stripe.StripeClient], Any]
    #: Whether Stripe lists them by when they were made.
    is_listed_by_time: bool
    #: Whether Stripe computes their tax.
    is_taxed: bool
    #: Writes the ids of what Stripe made on its payment.
    note: Callable[[StripePaymentMixin, Mapping[str, Any]], None]


def create(way: Way, asked: dict[str, Any], idempotency_key: str | None) -> Any:
    """Return the payment that was asked for, with its object made at Stripe. Commits.

    :param asked: the arguments of the host's call, which must fit: what one key was used with, it is used with again.
    """
    state, tenant = get_state(), get_tenant()
    asked["currency"] = check_currency(asked["currency"])
    check_amount(asked["amount"], asked["currency"])
    key = idempotency_key if idempotency_key is not None else uuid.uuid4().hex
    check_asked(asked, key)
    customer = asked.get("customer")
    if customer is not None:
        asked["customer"] = id_of(state, customer)
    operation = operations.find(state, key_of(tenant), tenant.stripe_mode, way.kind, key)
    if operation is None:
        operation = _begin(way, state, tenant, key, asked, customer)
    if operation.params["asked"] != asked:
        raise ValueError("This idempotency_key was used for another payment. Use a new key for each payment.")
    return finish(way, state, tenant, operation)


def _begin(
    way: Way, state: State, tenant: Any, key: str, asked: dict[str, Any], customer: Customer | None
) -> Operation:
    """Commit the payment and its operation, and return the operation: ours, or that of whoever was first."""
    connection = require_connection(state, tenant)
    if customer is not None:
        require_its_own(connection, customer)
    # Refuses what cannot be reached, before anything is written.
    client = client_for(state, connection)
    model: Any = state.models.Payment
    payment = model(
        amount=asked["amount"],
        currency=asked["currency"],
        description=asked["description"],
        reference=asked["reference"],
        mode=connection.mode,
        status=PaymentStatus.PENDING,
        capture_method=asked["capture_method"],
        stripe_account_id=connection.account_id,
        stripe_customer_id=asked.get("customer"),
        receipt_email=asked.get("receipt_email"),
        connection_id=connection.id,
        collected_via=_collected_via(connection),
        application_fee_amount=_application_fee(tenant, connection, asked),
        automatic_tax=tax.decide(state, tenant, connection, client, asked["automatic_tax"], can_be=way.is_taxed),
        **{state.models.payment_tenant: key_of(tenant)},
    )
    operation = state.models.Operation(
        id=uuid.uuid4().hex,
        tenant_id=key_of(tenant),
        connection_id=connection.id,
        mode=connection.mode,
        kind=way.kind,
        idempotency_key=key,
        params={},
    )
    begun = operations.insert(
        state,
        operation,
        payment,
        lambda: {"asked": asked, "sent": way.make_params(payment, asked, _metadata(operation, payment, asked))},
    )
    return begun or cast(Operation, operations.find(state, key_of(tenant), connection.mode, way.kind, key))


def _collected_via(connection: Connection) -> CollectedVia:
    return CollectedVia.PLATFORM if connection.account_type is AccountType.PLATFORM else CollectedVia.TENANT


def _application_fee(tenant: Any, connection: Connection, asked: Mapping[str, Any]) -> int | None:
    """Return the platform's fee in minor units, or None: only a connected account can be charged one."""
    fee, amount = asked["application_fee"], asked["amount"]
    takes_fees = connection.account_type.startswith("CONNECT_")
    if fee is None and takes_fees:
        fee = amount * tenant.stripe_application_fee_bps // 10_000
        fee -= fee % smallest_step(asked["currency"])
    if fee is not None and (type(fee) is not int or not 0 <= fee <= amount):
        raise ValueError("The application fee must be an int in minor units, from 0 to the amount.")
    if fee and not takes_fees:
        raise ValueError(f"A {connection.account_type} connection cannot carry an application fee.")
    return fee or None


def _metadata(operation: Operation, payment: StripePaymentMixin, asked: Mapping[str, Any]) -> dict[str, str]:
    return {
        **asked["metadata"],
        OPERATION_METADATA: operation.id,
        f"{RESERVED_METADATA}payment": str(key_of(payment)),
        **({f"{RESERVED_METADATA}reference": asked["reference"]} if asked["reference"] else {}),
    }


def finish(way: Way, state: State, tenant: Any, operation: Operation) -> Any:
    """Return the operation's payment, making its object at Stripe unless that is done. Commits."""
    payment = state.session.get_one(state.models.Payment, operation.payment_id)
    if operation.state is OperationState.done or payment.status is PaymentStatus.CANCELED:
        return payment
    client = client_for(state, connection_of(state, operation, tenant))
    try:
        made = operations.run(state, operation, way.what, way.service(client).create)
    except ValetProStripeError:
        if operation.state is OperationState.failed:
            apply_status(lock_own(state, tenant, payment), PaymentStatus.FAILED)
            state.session.commit()
        raise
    payment = note_made(way, state, tenant, operation, payment, made)
    # Cancelled while Stripe was making it: nobody may pay it.
    return close(state, tenant, payment) if payment.status is PaymentStatus.CANCELED else payment


def note_made(
    way: Way, state: State, tenant: Any, operation: Operation, payment: StripePaymentMixin, made: Mapping[str, Any]
) -> StripePaymentMixin:
    """Commit what Stripe made on its payment, and tell the host once, however many calls were answered with it."""
    is_news = operations.finish(state, operation)
    payment = lock_own(state, tenant, payment)
    if is_news:
        way.note(payment, made)
        payment.stripe_object = payment.stripe_object or snapshot(made)
        apply_status(payment, PaymentStatus.PENDING)
    state.session.commit()
    if is_news:
        state.tell(signals.payment_created, tenant=tenant, payment=payment)
    return payment


def line_items(payment: StripePaymentMixin) -> list[dict[str, Any]]:
    """Return what a link or a session sells: the one thing that the payment is for."""
    price: dict[str, Any] = {
        "currency": payment.currency,
        "unit_amount": payment.amount,
        "product_data": {"name": payment.description},
    }
    if payment.automatic_tax:
        # Inclusive, so that what the guest pays is the amount, to the minor unit.
        price["tax_behavior"] = "inclusive"
    return [{"price_data": price, "quantity": 1}]


def tax_params(payment: StripePaymentMixin) -> dict[str, Any]:
    """Return how a link or a session lets Stripe compute the tax, which depends on where the guest lives."""
    if not payment.automatic_tax:
        return {}
    return {"automatic_tax": {"enabled": True}, "billing_address_collection": "required"}


def capture_params(payment: StripePaymentMixin) -> dict[str, Any]:
    """Return how a deposit is told from a payment."""
    return {"capture_method": "manual"} if payment.capture_method == "manual" else {}
