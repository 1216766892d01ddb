"""Customers: somebody who pays again, once for each account and mode."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
import stripe
from sqlalchemy.exc import IntegrityError

from ..context import get_tenant
from ..credentials import client_for, require_connection
from ..errors import OutcomeUnknownError, ValetProStripeError
from ..gateway import is_decision
from ..models import Connection, Customer
from ..models.types import utcnow
from ..state import State, get_state
from .asked import check_email, check_name, check_reference
from .find import RESERVED_METADATA
from .operations import KEY_LIFETIME, KEY_WAS_USED
from .patience import ask_patiently

#: After which Stripe has forgotten a key for sure.
_FORGOTTEN: Final = KEY_LIFETIME + timedelta(hours=2)


def get_customer(reference: str, *, email: str | None = None, name: str | None = None) -> Customer:
    """Return the tenant's customer at the account that takes its payments now, made there if it is new. Commits.

    An id of one account or mode means nothing at another: after an account switch, or in the other mode, the same
    reference is a customer of its own.

    :param reference: the host's own id of who pays, at most 255 characters.
    :param email: where Stripe writes to; kept as it was when the customer was made.
    :raises ValueError: for an argument that cannot work; nothing is written.
    :raises NotConnectedError: if the tenant cannot take payments.
    :raises OutcomeUnknownError: if Stripe's answer did not arrive: call again.
    """
    state, tenant = get_state(), get_tenant()
    check_reference(reference)
    if not reference:
        raise ValueError("The reference must not be empty: it is your own id of who pays.")
    check_email(email)
    check_name(name)
    connection = require_connection(state, tenant)
    client = client_for(state, connection)
    customer = _find(state, connection, reference) or _insert(state, connection, reference, email, name)
    if customer.stripe_customer_id is None and utcnow() - customer.attempted_at > _FORGOTTEN:
        customer.key, customer.attempted_at = uuid.uuid4().hex, utcnow()
    state.session.commit()
    if customer.stripe_customer_id is None:
        _make(state, client, customer)
    return customer


def _make(state: State, client: stripe.StripeClient, customer: Customer) -> None:
    reserved = {"customer": str(customer.id), "reference": customer.reference}
    params: dict[str, Any] = {
        "metadata": {f"{RESERVED_METADATA}{name}": value for name, value in reserved.items()},
        **{field: text for field, text in (("email", customer.email), ("name", customer.name)) if text},
    }
    options: Any = {"idempotency_key": f"valetpro-customer-{customer.key}"}
    customer_id, tenant_id = customer.id, customer.tenant_id
    state.session.commit()
    try:
        made = ask_patiently(state, tenant_id, "Making the customer", client.v1.customers.create, params, options)
    except ValetProStripeError as error:
        if error.code == KEY_WAS_USED:
            raise OutcomeUnknownError(
                "Making the customer was begun before with other parameters, so Stripe may have made it.",
                code=KEY_WAS_USED,
                hint=f"Call again in a day. Its metadata in the Stripe Dashboard are valetpro_customer={customer_id}.",
            ) from None
        if is_decision(error):
            # By this key Stripe would only repeat it; what is asked for next may be right.
            model = state.models.Customer
            refused = sa.delete(model).where(model.id == customer_id, model.stripe_customer_id.is_(None))
            state.session.execute(refused)
            state.session.commit()
        raise
    customer.stripe_customer_id = made.id
    state.session.commit()


def _find(state: State, connection: Connection, reference: str) -> Customer | None:
    model = state.models.Customer
    return state.session.scalar(
        sa.select(model)
        .where(
            model.tenant_id == connection.tenant_id,
            model.mode == connection.mode,
            model.account_id == (connection.account_id or ""),
            model.reference == reference,
        )
        .execution_options(populate_existing=True)
    )


def _insert(state: State, connection: Connection, reference: str, email: str | None, name: str | None) -> Customer:
    """Return the new row, or that of whoever was first."""
    customer = state.models.Customer(
        tenant_id=connection.tenant_id,
        mode=connection.mode,
        account_id=connection.account_id or "",
        reference=reference,
        email=email,
        name=name,
    )
    try:
        with state.session.begin_nested():
            state.session.add(customer)
            state.session.flush()
    except IntegrityError:
        first = _find(state, connection, reference)
        if first is None:
            raise
        return first
    return customer


def id_of(state: State, customer: Any) -> str:
    """Return the ``cus_…`` of what a host gives as a customer.

    :raises ValueError: if it is none, or none that Stripe knows yet.
    """
    if not isinstance(customer, state.models.Customer) or customer.stripe_customer_id is None:
        raise ValueError("The customer must be one that payments.get_customer(reference) returned, or None.")
    return customer.stripe_customer_id


def require_its_own(connection: Connection, customer: Customer) -> None:
    """Return if a customer is of the tenant, account and mode that take the payment.

    :raises ValueError: if it is not.
    """
    here = (connection.tenant_id, connection.mode, connection.account_id or "")
    if (customer.tenant_id, customer.mode, customer.account_id) != here:
        raise ValueError(
            "The customer is not of the account that takes this payment. payments.get_customer(reference) gives the "
            "one that is."
        )
