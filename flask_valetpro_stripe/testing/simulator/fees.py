"""A platform's part in a payment: the fee that it takes, the account that it sends money to."""

from .changes import given
from .errors import invalid
from .ledger import Json, Scope


def application_fee(scope: Scope, params: Json, subject: str) -> int | None:
    """Return the application fee that ``params`` asks for, or raise Stripe's answer where no platform takes one."""
    fee: int | None = given(params, "application_fee_amount")
    if fee is not None and not scope.application and "transfer_data" not in params:
        message = (
            f"Can only apply an application_fee_amount when the {subject} is attempting a direct payment (using an "
            "OAuth key or Stripe-Account header) or destination payment (using `transfer_data[destination]`)."
        )
        raise invalid(message, "application_fee_amount")
    return fee


def transfer_data(wanted: Json | None) -> Json | None:
    """Return where a payment's money goes, complete, or None where it stays."""
    return {"amount": wanted.get("amount"), "destination": wanted["destination"]} if wanted else None
