"""What all routes of the desk share: whose ticket it is, where they lead back to, and how a failure is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required
from sqlalchemy import select

from flask_valetpro_stripe.errors import OutcomeUnknownError, ValetProStripeError

from . import board, tickets
from .extensions import db
from .forms import CURRENCIES, new_operation, single_line
from .models import CarState, Ticket
from .sms import SmsError

bp = Blueprint("desk", __name__, url_prefix="/tickets")


@bp.before_request
@login_required  # type: ignore[untyped-decorator]
def only_for_people_of_a_hotel() -> None:
    """Keep everything here behind the sign-in."""


def own(ticket_id: int) -> Ticket:
    """Return the ticket, if it is of the hotel of whoever asks; another hotel's looks like none at all."""
    # A number that no id can be would be an error of the database, not an answer.
    if ticket_id > 2**31 - 1:
        abort(404)
    query = select(Ticket).where(Ticket.tenant_id == current_user.tenant_id, Ticket.id == ticket_id)
    return db.session.scalar(query) or abort(404)


def filters() -> dict[str, str]:
    """Return how the list is narrowed, which its buttons send along in their forms."""
    state = request.values.get("filter", "")
    search = single_line(request.values.get("q", ""))[:60]
    return {"filter": state if state in CarState.__members__ else "", "search": search}


def ticket_page(ticket: Ticket, mistakes: dict[str, str] | None = None) -> str:
    """Return one ticket's page, with what was typed if there are mistakes in it."""
    return render_template(
        "desk/ticket.html",
        ticket=ticket,
        version=board.version_of(ticket),
        text=tickets.text_of(ticket),
        currencies=list(dict.fromkeys([ticket.currency, *CURRENCIES])),
        mistakes=mistakes or {},
        typed=request.form if mistakes else {},
        operation=(mistakes and request.form.get("operation")) or new_operation(),
    )


def to(ticket: Ticket) -> ResponseReturnValue:
    """Lead to the ticket's page after a write."""
    return redirect(url_for("desk.ticket_page", ticket_id=ticket.id), code=303)


def back(ticket: Ticket) -> ResponseReturnValue:
    """Lead back to where the button was: the ticket's page, or the list as it was narrowed."""
    if request.form.get("back") != "list":
        return to(ticket)
    seen = filters()
    return redirect(url_for("desk.tickets", filter=seen["filter"] or None, q=seen["search"] or None), code=303)


def link_and_text(ticket: Ticket, *, again: bool = False) -> None:
    """Make the payment link, and text it to a guest who has not been texted, or ``again``."""
    if attempt(lambda: tickets.make_link(ticket)) and (again or ticket.texted_at is None):
        text(ticket)


def text(ticket: Ticket) -> None:
    """Text the guest where to pay."""
    try:
        tickets.text_guest(ticket)
    except SmsError as error:
        tell("The text was not sent.", str(error), tone="bad")
    else:
        tell(f"The payment link was texted to {ticket.phone}.")


def attempt(action: Callable[[], Any], done: str = "") -> bool:
    """Do something at Stripe; a failure becomes a notice that says what to do."""
    try:
        action()
    except (ValetProStripeError, ValueError, tickets.ChangedMeanwhileError) as error:
        db.session.rollback()
        tell(*explained(error), tone="bad")
        return False
    if done:
        tell(done)
    return True


def explained(error: Exception) -> tuple[str, str, str]:
    """Return what went wrong, what to do next, and the address of the payment settings if they mend it."""
    settings_url, hint = getattr(error, "settings_url", ""), getattr(error, "hint", "")
    if isinstance(error, OutcomeUnknownError):
        hint = "Press the same button again: nothing is made twice."
    elif "payments." in hint:
        # A hint for whoever writes a host; here it is a button.
        hint = "Press Check with Stripe on the ticket, and look how it stands."
    # The address is for logs: a notice has the hint, and for an admin a link.
    return str(error).removesuffix(f" An admin mends this at {settings_url}"), hint, settings_url


def tell(said: str, hint: str = "", settings_url: str = "", *, tone: str = "good") -> None:
    """Show a notice on the next page."""
    # Only an admin may follow the link.
    notice = {"text": said, "hint": hint, "url": settings_url if current_user.is_admin else ""}
    flash(notice, tone)  # type: ignore[arg-type]
