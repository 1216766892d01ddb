"""The desk: the list of tickets, a ticket's own page, and every button on them."""

from __future__ import annotations

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from flask_valetpro_stripe import OnboardingStatus, PaymentStatus

from . import bill, board, day, extras, tickets
from .counter import attempt, back, bp, filters, link_and_text, own, tell, text, ticket_page, to
from .extensions import db
from .forms import CURRENCIES, Price, new_operation, read_phone, read_price, read_ticket
from .models import CarState, Ticket

NO_CHANGE = ("", 204)


@bp.get("/", endpoint="tickets")
def list_tickets() -> ResponseReturnValue:
    """Show the board, or the money of one day."""
    return day.page() if "day" in request.args else _board_page()


@bp.get("/live")
def live() -> ResponseReturnValue:
    """Show what changed on the board since the version that the page has."""
    seen = _look()
    if request.args.get("version") == seen.version:
        return NO_CHANGE
    return render_template("desk/_board.html", board=seen, fresh=True, **filters())


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
        link_and_text(ticket)
    return to(ticket)


@bp.get("/<int:ticket_id>", endpoint="ticket_page")
def show_ticket(ticket_id: int) -> ResponseReturnValue:
    """Show one ticket."""
    return ticket_page(own(ticket_id))


@bp.get("/<int:ticket_id>/live")
def ticket_live(ticket_id: int) -> ResponseReturnValue:
    """Show what changed on the ticket's page since the version that it has."""
    ticket = own(ticket_id)
    version = board.version_of(ticket)
    if request.args.get("version") == version:
        return NO_CHANGE
    return render_template("desk/_ticket.html", ticket=ticket, version=version, fresh=True)


@bp.post("/<int:ticket_id>/state")
def change_state(ticket_id: int) -> ResponseReturnValue:
    """Say where the car is."""
    ticket = own(ticket_id)
    state = request.form.get("state", "")
    if state not in CarState.__members__:
        return ticket_page(ticket, {"state": "Choose parked, requested or delivered."}), 422
    if state == CarState.delivered and bill.is_held(ticket.payment):
        tell("The guest has left a deposit. Take what is due of it, or release it; then the car can go.", tone="bad")
        return to(ticket)
    if ticket.state != state and not tickets.move(ticket, state):
        tell(f"Ticket {ticket.number} is {ticket.state} now, so it was left as it is.", tone="bad")
    return back(ticket)


@bp.post("/<int:ticket_id>/link")
def make_link(ticket_id: int) -> ResponseReturnValue:
    """Make the payment link again, for another amount if one is given."""
    ticket = own(ticket_id)
    if tickets.is_stale(ticket):
        extras.ask_anew(ticket)
        return to(ticket)
    if not tickets.needs_link(ticket):
        return to(ticket)
    if "amount" in request.form and not bill.covered(ticket):
        price, mistakes = _read_price(ticket)
        if price is None:
            return ticket_page(ticket, mistakes), 422
        if not attempt(lambda: tickets.change_price(ticket, price.amount, price.currency, price.deposit)):
            return to(ticket)
    link_and_text(ticket)
    return to(ticket)


def _read_price(ticket: Ticket) -> tuple[Price | None, dict[str, str]]:
    price, mistakes = read_price(request.form, ticket.tenant)
    if price and ticket.extras and price.currency != ticket.currency:
        return None, {"currency": f"The extras are in {ticket.currency.upper()}, so the price has to be, too."}
    return price, mistakes


@bp.post("/<int:ticket_id>/cancel-payment")
def cancel_payment(ticket_id: int) -> ResponseReturnValue:
    """Close the payment link."""
    ticket = own(ticket_id)
    if tickets.is_payable(ticket) and attempt(lambda: tickets.cancel_link(ticket)):
        paid_first = ticket.payment is not None and ticket.payment.status != PaymentStatus.CANCELED
        tell("The guest has paid meanwhile, so the payment stays." if paid_first else "The payment link is cancelled.")
    return to(ticket)


@bp.post("/<int:ticket_id>/refresh-payment")
def refresh_payment(ticket_id: int) -> ResponseReturnValue:
    """Ask Stripe how the payment stands, for when no webhook came."""
    ticket = own(ticket_id)
    attempt(lambda: tickets.refresh_payment(ticket), "This is how the payment stands at Stripe.")
    return to(ticket)


@bp.post("/<int:ticket_id>/sms")
def text_guest(ticket_id: int) -> ResponseReturnValue:
    """Text the guest again, to another number if one is given."""
    ticket = own(ticket_id)
    if not tickets.is_payable(ticket):
        tell("There is nothing to pay by text now, so no text was sent.", tone="bad")
        return back(ticket)
    if "phone" in request.form:
        try:
            ticket.phone = read_phone(request.form, ticket.tenant)
        except ValueError as error:
            return ticket_page(ticket, {"phone": str(error)}), 422
        db.session.commit()
    text(ticket)
    return back(ticket)


def _look() -> board.Board:
    seen = filters()
    return board.look(current_user.tenant, state=seen["filter"], search=seen["search"])


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
        **filters(),
    )
