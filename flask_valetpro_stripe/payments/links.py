"""Payment links: one link is one payment, made once and paid at most once."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final, cast

import stripe

from .. import signals
from ..context import get_tenant
from ..credentials import client_for, require_connection
from ..enums import AccountType, CollectedVia, OperationState, PaymentStatus
from ..errors import OutcomeUnknownError, ValetProStripeError
from ..gateway import ask_stripe
from ..models import Connection, Operation, StripePaymentMixin, key_of
from ..money import check_amount, check_currency
from ..state import State, get_state
from . import operations
from .apply import apply_status
from .asked import check_metadata, check_texts
from .find import OPERATION_METADATA, RESERVED_METADATA, PaymentT, connection_of, find_own, lock_own
from .sync import sync

log = logging.getLogger(__name__)
CREATE_LINK: Final = "payment_link.create"


def create_payment_link(
    *,
    amount: int,
    currency: str,
    description: str,
    reference: str | None = None,
    metadata: Mapping[str, str] | None = None,
    application_fee: int | None = None,
    automatic_tax: bool | None = None,
    success_url: str | None = None,
    idempotency_key: str | None = None,
) -> Any:
    """Return a new payment of the current tenant, with the link that a guest pays it by.

    The payment is committed before Stripe hears of it: whatever is pending in the session goes with it.

    :param amount: what the guest pays, tax included, in minor units of ``currency`` (25.00 EUR is 2500).
    :param currency: an ISO code that Stripe charges in.
    :param description: what is paid, as the guest reads it; at most 250 characters.
    :param reference: the host's own id of what is paid.
    :param metadata: for the host's own use, on the link and the payment intent; names that begin with ``valetpro_``
        are ours.
    :param application_fee: what the platform keeps, in minor units; by default the tenant's
        ``stripe_application_fee_bps``, rounded down.
    :param automatic_tax: let Stripe compute the tax within the amount; by default as the tenant's policy says.
    :param success_url: where Stripe sends the guest afterwards. It proves nothing.
    :param idempotency_key: the same key returns the same payment and makes one link, from however many processes; in
        the other mode it is another payment.
    :raises ValueError: for an argument that cannot work, before anything is written; also for a key that was used with
        other arguments.
    :raises NotConnectedError: if the tenant cannot take payments.
    :raises OutcomeUnknownError: if Stripe's answer did not arrive: call again with the same key.
    :raises ValetProStripeError: if Stripe refused; the payment stays, as FAILED.
    """
    state, tenant = get_state(), get_tenant()
    currency = check_currency(currency)
    check_amount(amount, currency)
    key = idempotency_key if idempotency_key is not None else uuid.uuid4().hex
    asked = {
        "amount": amount,
        "currency": currency,
        "description": description,
        "reference": reference,
        "metadata": check_metadata(metadata),
        "application_fee": application_fee,
        "automatic_tax": automatic_tax,
        "success_url": success_url,
    }
    check_texts(asked, key)
    known = operations.find(state, key_of(tenant), tenant.stripe_mode, CREATE_LINK, key)
    return _finish(state, tenant, known or _begin(state, tenant, key, asked), asked)


def _begin(state: State, tenant: Any, key: str, asked: dict[str, Any]) -> Operation:
    """Commit the payment and its operation, and return the operation: ours, or that of whoever was first."""
    connection = require_connection(state, tenant)
    # Refuses what cannot be reached, before anything is written.
    client_for(state, connection)
    model: Any = state.models.Payment
    payment = model(
        amount=asked["amount"],
        currency=asked["currency"],
        description=asked["description"],
        reference=asked["reference"],
        mode=connection.mode,
        status=PaymentStatus.PENDING,
        stripe_account_id=connection.account_id,
        connection_id=connection.id,
        collected_via=_collected_via(connection),
        application_fee_amount=_application_fee(tenant, connection, asked),
        **{state.models.payment_tenant: key_of(tenant)},
    )
    operation = state.models.Operation(
        id=uuid.uuid4().hex,
        tenant_id=key_of(tenant),
        connection_id=connection.id,
        mode=connection.mode,
        kind=CREATE_LINK,
        idempotency_key=key,
        params={},
    )
    begun = operations.insert(
        state, operation, payment, lambda: {"asked": asked, "sent": _params(tenant, operation, payment, asked)}
    )
    return begun or cast(Operation, operations.find(state, key_of(tenant), connection.mode, CREATE_LINK, key))


def _finish(state: State, tenant: Any, operation: Operation, asked: dict[str, Any]) -> Any:
    """Return the operation's payment, making its link at Stripe unless that is done."""
    if operation.params["asked"] != asked:
        raise ValueError("This idempotency_key was used for another payment. Use a new key for each payment.")
    payment = state.session.get_one(state.models.Payment, operation.payment_id)
    if operation.state is OperationState.done or payment.status is PaymentStatus.CANCELED:
        return payment
    client = client_for(state, connection_of(state, operation, tenant))
    try:
        link = operations.run(state, operation, "Making the payment link", client.v1.payment_links.create)
    except ValetProStripeError:
        if operation.state is OperationState.failed:
            apply_status(lock_own(state, tenant, payment), PaymentStatus.FAILED)
            state.session.commit()
        raise
    payment = _apply_link(state, tenant, operation, payment, link)
    # Cancelled while Stripe was making it: nobody may pay it.
    return cancel(payment) if payment.status is PaymentStatus.CANCELED else payment


def _apply_link(
    state: State, tenant: Any, operation: Operation, payment: StripePaymentMixin, link: Mapping[str, Any]
) -> StripePaymentMixin:
    """Commit the link on its payment, and tell the host once, however many calls were answered with it."""
    is_news = operations.finish(state, operation)
    payment = lock_own(state, tenant, payment)
    if is_news:
        payment.stripe_payment_link_id = link["id"]
        payment.stripe_payment_link_url = link["url"]
        payment.stripe_object = dict(link)
        apply_status(payment, PaymentStatus.PENDING)
    state.session.commit()
    if is_news:
        state.tell(signals.payment_created, tenant=tenant, payment=payment)
    return payment


def _collected_via(connection: Connection) -> CollectedVia:
    return CollectedVia.PLATFORM if connection.account_type is AccountType.PLATFORM else CollectedVia.TENANT


def _application_fee(tenant: Any, connection: Connection, asked: Mapping[str, Any]) -> int | None:
    """Return the platform's fee in minor units, or None: only a connected account can be charged one."""
    fee, amount = asked["application_fee"], asked["amount"]
    takes_fees = connection.account_type.startswith("CONNECT_")
    if fee is None and takes_fees:
        fee = amount * tenant.stripe_application_fee_bps // 10_000
    if fee is not None and (type(fee) is not int or not 0 <= fee <= amount):
        raise ValueError("The application fee must be an int in minor units, from 0 to the amount.")
    if fee and not takes_fees:
        raise ValueError(f"A {connection.account_type} connection cannot carry an application fee.")
    return fee or None


def _params(tenant: Any, operation: Operation, payment: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of ``POST /v1/payment_links`` (Stripe API reference, "Create a payment link")."""
    # A link's metadata reach its sessions only; the intent and the charge get theirs by payment_intent_data.
    metadata = {
        **asked["metadata"],
        OPERATION_METADATA: operation.id,
        f"{RESERVED_METADATA}payment": str(key_of(payment)),
        **({f"{RESERVED_METADATA}reference": asked["reference"]} if asked["reference"] else {}),
    }
    price: dict[str, Any] = {
        "currency": asked["currency"],
        "unit_amount": asked["amount"],
        "product_data": {"name": asked["description"]},
    }
    params: dict[str, Any] = {
        "line_items": [{"price_data": price, "quantity": 1}],
        "metadata": metadata,
        "payment_intent_data": {"metadata": metadata, "description": asked["description"]},
        # One link is one payment: a second guest, or a second click, meets a closed link.
        "restrictions": {"completed_sessions": {"limit": 1}},
    }
    if payment.application_fee_amount:
        params["application_fee_amount"] = payment.application_fee_amount
    if asked["success_url"]:
        params["after_completion"] = {"type": "redirect", "redirect": {"url": asked["success_url"]}}
    if tenant.stripe_automatic_tax if asked["automatic_tax"] is None else asked["automatic_tax"]:
        # Inclusive, so that what the guest pays is the amount, to the minor unit.
        price["tax_behavior"] = "inclusive"
        params["automatic_tax"] = {"enabled": True}
        params["billing_address_collection"] = "required"
    return params


def _with_its_link(state: State, tenant: Any, payment: PaymentT) -> PaymentT:
    """Return a payment whose link we know: one whose making was never answered is asked for again, by the same key."""
    operation = operations.find_for(state, payment)
    if operation is None or operation.state not in (OperationState.new, OperationState.unknown):
        return payment
    return cast(PaymentT, _finish(state, tenant, operation, operation.params["asked"]))


def _expire_open_sessions(client: stripe.StripeClient, link: str) -> None:
    """Close the pages that guests have open: a closed link keeps nobody from paying on one."""
    found = ask_stripe(
        "Asking for open pages",
        client.v1.checkout.sessions.list,
        {"payment_link": link, "status": "open", "limit": 100},
    )
    for session in found.data:
        try:
            ask_stripe("Closing an open page", client.v1.checkout.sessions.expire, session.id)
        except OutcomeUnknownError:
            raise
        except ValetProStripeError as error:
            # Paid or expired in this moment: what it is now, sync finds out.
            log.info("session %s was not expired: %s", session.id, error.code)


def cancel(payment: PaymentT) -> PaymentT:
    """Return ``payment`` after closing its link at Stripe, so that nobody can pay it any more. Commits.

    A payment that was completed meanwhile comes back COMPLETED: money wins. Cancelling twice is harmless.

    :raises ValueError: if the payment is another tenant's.
    :raises ValetProStripeError: if Stripe could not be asked; nothing is changed.
    """
    state, tenant = get_state(), get_tenant()
    payment = _with_its_link(state, tenant, find_own(state, tenant, payment))
    link = payment.stripe_payment_link_id
    if link is not None:
        client = client_for(state, connection_of(state, payment, tenant))
        state.session.commit()
        ask_stripe("Closing the payment link", client.v1.payment_links.update, link, {"active": False})
        _expire_open_sessions(client, link)
        # Whoever had the page open may have paid: ask before saying that nobody did.
        sync(payment)
    payment = lock_own(state, tenant, payment)
    is_news = apply_status(payment, PaymentStatus.CANCELED)
    state.session.commit()
    if is_news:
        state.tell(signals.payment_updated, tenant=tenant, payment=payment)
    return payment
