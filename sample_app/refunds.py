"""Refunds: a manager gives back what a guest paid, whole or in part, and says why."""

from __future__ import annotations

from typing import Final

from flask import abort, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from flask_valetpro_stripe import money, payments
from flask_valetpro_stripe.errors import OutcomeUnknownError, ValetProStripeError

from . import bill
from .counter import bp, explained, own, tell, to
from .extensions import db
from .forms import new_operation, read_operation, single_line
from .models import Payment, Ticket

_LONGEST_REASON: Final = 64
_USED: Final = "This form has made another refund already. Look at the ticket, then check what this form says."


def left(payment: Payment) -> int:
    """Return what can still be given back of a payment."""
    return payment.amount_taken - payment.amount_refunded if bill.is_taken(payment) else 0


@bp.get("/<int:ticket_id>/payments/<int:payment_id>/refund")
def refund_form(ticket_id: int, payment_id: int) -> ResponseReturnValue:
    """Show how much can be given back of a payment."""
    ticket = own(ticket_id)
    return _page(ticket, _of(ticket, payment_id), operation=new_operation())


@bp.post("/<int:ticket_id>/payments/<int:payment_id>/refund")
def make_refund(ticket_id: int, payment_id: int) -> ResponseReturnValue:
    """Give money back. The same form sent twice is one refund."""
    ticket = own(ticket_id)
    payment = _of(ticket, payment_id)
    mistakes: dict[str, str] = {}
    amount = reason = None
    try:
        amount = money.parse_amount(request.form.get("amount", ""), payment.currency)
    except ValueError as error:
        mistakes["amount"] = str(error)
    try:
        reason = _read_reason(request.form.get("reason", ""))
    except ValueError as error:
        mistakes["reason"] = str(error)
    try:
        operation = read_operation(request.form, ticket.tenant)
    except ValueError as error:
        return _page(ticket, payment, {"operation": str(error)}, operation=new_operation()), 422
    if amount is None or reason is None:
        return _page(ticket, payment, mistakes, operation=operation), 422
    return _refund(ticket, payment, amount, reason, operation)


def _refund(ticket: Ticket, payment: Payment, amount: int, reason: str, operation: str) -> ResponseReturnValue:
    try:
        payments.refund(payment, amount=amount, reason=reason, idempotency_key=f"refund-{operation}")
    except OutcomeUnknownError as error:
        # The same form finishes it; another one would be another refund.
        return _failed(ticket, payment, error, operation)
    except ValetProStripeError as error:
        return _failed(ticket, payment, error, new_operation())
    except ValueError:
        db.session.rollback()
        return _page(ticket, payment, {"operation": _USED}, operation=new_operation()), 422
    tell(f"{money.format_amount(amount, payment.currency)} is on its way back to the guest.")
    return to(ticket)


def _failed(ticket: Ticket, payment: Payment, error: ValetProStripeError, operation: str) -> ResponseReturnValue:
    db.session.rollback()
    said, hint, settings_url = explained(error)
    page = _page(ticket, payment, {"refund": said}, hint=hint, settings_url=settings_url, operation=operation)
    return page, 422


def _of(ticket: Ticket, payment_id: int) -> Payment:
    """Return the ticket's payment, to a manager of its hotel only."""
    if not current_user.is_admin:
        abort(403)
    return next((made for made in ticket.payments if made.id == payment_id), None) or abort(404)


def _read_reason(text: str) -> str:
    reason = single_line(text)
    if not reason:
        raise ValueError("Write why the money is given back: the hotel's books keep it.")
    if len(reason) > _LONGEST_REASON:
        raise ValueError(f"Write the reason in at most {_LONGEST_REASON} letters.")
    return reason


def _page(
    ticket: Ticket,
    payment: Payment,
    mistakes: dict[str, str] | None = None,
    *,
    operation: str,
    hint: str = "",
    settings_url: str = "",
) -> str:
    return render_template(
        "desk/refund.html",
        ticket=ticket,
        payment=payment,
        left=left(payment),
        operation=operation,
        mistakes=mistakes or {},
        hint=hint,
        settings_url=settings_url,
        longest_reason=_LONGEST_REASON,
        typed=request.form if mistakes else {},
    )
