"""The desk: the list of tickets, a ticket's own page, and every button on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required
from sqlalchemy import select

from flask_valetpro_stripe import OnboardingStatus
from flask_valetpro_stripe.errors import ValetProStripeError

from . import board, tickets
from .extensions import db
from .forms import CURRENCIES, new_operation, read_money, read_phone, read_ticket, single_line
from .models import CarState, Ticket
from .sms import SmsError

bp = Blueprint("desk", __name__, url_prefix="/tickets")

NO_CHANGE = ("", 204)


@bp.before_request
@login_required  # type: ignore[untyped-decorator]
def only_for_people_of_a_hotel() -> None:
    """Keep everything here behind the sign-in."""


@bp.get("/", endpoint="tickets")
def list_tickets() -> ResponseReturnValue:
    """Show the board."""
    return _board_page()


@bp.get("/live")
def live() -> ResponseReturnValue:
    """Show what changed on the board since the version that the page has."""
    seen = _look()
    if request.args.get("version") == seen.version:
        return NO_CHANGE
    return render_template("desk/_board.html", board=seen, fresh=True, **_filters())


@bp.post("/")
def create_ticket() -> ResponseReturnValue:
    """Open a ticket, make its payment link and text it to the guest."""
    hotel = current_user.tenant
    new, mistakes = read_ticket(request.form, hotel)
    if new is None:
        return _board_page(mistakes), 422
    try:
        ticket, is_new = tickets.open_ticket(hotel, new)
    except tickets.FormUsedError as error:
        return _board_page({"operation": str(error)}), 422
    if is_new:
        _link_and_text(ticket)
    return _to(ticket)


@bp.get("/<int:ticket_id>")
def ticket_page(ticket_id: int) -> ResponseReturnValue:
    """Show one ticket."""
    return _ticket_page(_own(ticket_id))


@bp.get("/<int:ticket_id>/live")
def ticket_live(ticket_id: int) -> ResponseReturnValue:
    """Show what changed on the ticket's page since the version that it has."""
    ticket = _own(ticket_id)
    version = board.version_of(ticket)
    if request.args.get("version") == version:
        return NO_CHANGE
    return render_template("desk/_ticket.html", ticket=ticket, version=version, fresh=True)


@bp.post("/<int:ticket_id>/state")
def change_state(ticket_id: int) -> ResponseReturnValue:
    """Say where the car is."""
    ticket = _own(ticket_id)
    state = request.form.get("state", "")
    if state not in CarState.__members__:
        return _ticket_page(ticket, {"state": "Choose parked, requested or delivered."}), 422
    if ticket.state != state and not tickets.move(ticket, state):
        _tell(f"Ticket {ticket.number} is {ticket.state} now, so it was left as it is.", tone="bad")
    return _back(ticket)


@bp.post("/<int:ticket_id>/link")
def make_link(ticket_id: int) -> ResponseReturnValue:
    """Make the payment link again, for another amount if one is given."""
    ticket = _own(ticket_id)
    if not tickets.needs_link(ticket):
        return _to(ticket)
    if "amount" in request.form:
        try:
            tickets.change_price(ticket, *read_money(request.form, ticket.tenant))
        except ValueError as error:
            return _ticket_page(ticket, {"amount": str(error)}), 422
        except tickets.ChangedMeanwhileError as error:
            _tell(str(error), tone="bad")
            return _to(ticket)
    _link_and_text(ticket)
    return _to(ticket)


@bp.post("/<int:ticket_id>/cancel-payment")
def cancel_payment(ticket_id: int) -> ResponseReturnValue:
    """Close the payment link."""
    ticket = _own(ticket_id)
    if tickets.is_payable(ticket) and _try(lambda: tickets.cancel_link(ticket)):
        paid_first = not tickets.needs_link(ticket)
        _tell("The guest has paid meanwhile, so the payment stays." if paid_first else "The payment link is cancelled.")
    return _to(ticket)


@bp.post("/<int:ticket_id>/refresh-payment")
def refresh_payment(ticket_id: int) -> ResponseReturnValue:
    """Ask Stripe how the payment stands, for when no webhook came."""
    ticket = _own(ticket_id)
    _try(lambda: tickets.refresh_payment(ticket), "This is how the payment stands at Stripe.")
    return _to(ticket)


@bp.post("/<int:ticket_id>/sms")
def text_guest(ticket_id: int) -> ResponseReturnValue:
    """Text the guest again, to another number if one is given."""
    ticket = _own(ticket_id)
    if not tickets.is_payable(ticket):
        _tell("There is nothing to pay by text now, so no text was sent.", tone="bad")
        return _back(ticket)
    if "phone" in request.form:
        try:
            ticket.phone = read_phone(request.form, ticket.tenant)
        except ValueError as error:
            return _ticket_page(ticket, {"phone": str(error)}), 422
        db.session.commit()
    _text(ticket)
    return _back(ticket)


def _own(ticket_id: int) -> Ticket:
    """Return the ticket, if it is of the hotel of whoever asks; another hotel's looks like none at all."""
    # A number that no id can be would be an error of the database, not an answer.
    if ticket_id > 2**31 - 1:
        abort(404)
    query = select(Ticket).where(Ticket.tenant_id == current_user.tenant_id, Ticket.id == ticket_id)
    return db.session.scalar(query) or abort(404)


def _filters() -> dict[str, str]:
    # The buttons of the list send the filters back under the same names, in their forms.
    state = request.values.get("filter", "")
    search = single_line(request.values.get("q", ""))[:60]
    return {"filter": state if state in CarState.__members__ else "", "search": search}


def _look() -> board.Board:
    filters = _filters()
    return board.look(current_user.tenant, state=filters["filter"], search=filters["search"])


def _board_page(mistakes: dict[str, str] | None = None) -> str:
    hotel = current_user.tenant
    # A form that was used up, or that we did not issue, gets a new token; any other mistake keeps its own.
    keeps_token = mistakes and "operation" not in mistakes
    return render_template(
        "desk/tickets.html",
        board=_look(),
        is_connected=hotel.stripe_onboarding_status == OnboardingStatus.CONNECTED,
        currencies=list(dict.fromkeys([hotel.currency, *CURRENCIES])),
        mistakes=mistakes or {},
        typed=request.form if mistakes else {},
        operation=(keeps_token and request.form.get("operation")) or new_operation(),
        **_filters(),
    )


def _ticket_page(ticket: Ticket, mistakes: dict[str, str] | None = None) -> str:
    return render_template(
        "desk/ticket.html",
        ticket=ticket,
        version=board.version_of(ticket),
        text=tickets.text_of(ticket),
        currencies=list(dict.fromkeys([ticket.currency, *CURRENCIES])),
        mistakes=mistakes or {},
        typed=request.form if mistakes else {},
    )


def _to(ticket: Ticket) -> ResponseReturnValue:
    return redirect(url_for("desk.ticket_page", ticket_id=ticket.id), code=303)


def _back(ticket: Ticket) -> ResponseReturnValue:
    if request.form.get("back") != "list":
        return _to(ticket)
    filters = _filters()
    return redirect(url_for("desk.tickets", filter=filters["filter"] or None, q=filters["search"] or None), code=303)


def _link_and_text(ticket: Ticket) -> None:
    if _try(lambda: tickets.make_link(ticket)) and ticket.texted_at is None:
        _text(ticket)


def _text(ticket: Ticket) -> None:
    try:
        tickets.text_guest(ticket)
    except SmsError as error:
        _tell("The text was not sent.", str(error), tone="bad")
    else:
        _tell(f"The payment link was texted to {ticket.phone}.")


def _try(action: Callable[[], Any], done: str = "") -> bool:
    """Do something at Stripe; a failure becomes a notice that says what to do."""
    try:
        action()
    except (ValetProStripeError, ValueError, tickets.ChangedMeanwhileError) as error:
        db.session.rollback()
        settings_url = getattr(error, "settings_url", "")
        # The address is for logs: a notice has the hint, and for an admin a link.
        text = str(error).removesuffix(f" An admin mends this at {settings_url}")
        _tell(text, getattr(error, "hint", ""), settings_url, tone="bad")
        return False
    if done:
        _tell(done)
    return True


def _tell(text: str, hint: str = "", settings_url: str = "", *, tone: str = "good") -> None:
    # Only an admin may follow the link.
    notice = {"text": text, "hint": hint, "url": settings_url if current_user.is_admin else ""}
    flash(notice, tone)  # type: ignore[arg-type]
