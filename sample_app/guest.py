"""The guest's page: where the car is, what it costs, and a way to pay. Whoever has its address may see it."""

from __future__ import annotations

import logging
from typing import Any, Final

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from flask_valetpro_stripe import PaymentStatus, tenant_context
from flask_valetpro_stripe.errors import ValetProStripeError

from . import bill, tickets, tips
from .board import version_of
from .extensions import db
from .models import CarState, Ticket
from .tickets import is_out_of_reach, is_used_up, needs_link

log = logging.getLogger(__name__)

bp = Blueprint("guest", __name__, url_prefix="/pay")
#: Links of one ticket after which its guest, whom nobody knows, cannot have another one made by changing the tip.
_MOST_LINKS: Final = 20


@bp.after_request
def keep_the_address_private(response: Response) -> Response:
    """The address is the key to this page: tell it to no search engine, no cache and no other site."""
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.get("/<public_token>")
def page(public_token: str) -> ResponseReturnValue:
    """Show the ticket to its guest."""
    return render_template("guest/page.html", **_seen(_ticket(public_token)))


@bp.get("/<public_token>/live")
def live(public_token: str) -> ResponseReturnValue:
    """Show what changed since the version that the page has."""
    seen = _seen(_ticket(public_token))
    if request.args.get("version") == seen["version"]:
        return "", 204
    return render_template("guest/_ticket.html", **seen)


@bp.post("/<public_token>/request")
def request_car(public_token: str) -> ResponseReturnValue:
    """Ask the desk to bring the car."""
    ticket = _ticket(public_token)
    if ticket.state == CarState.parked:
        tickets.move(ticket, CarState.requested)
    return redirect(url_for(".page", public_token=public_token), code=303)


@bp.post("/<public_token>/tip")
def choose_tip(public_token: str) -> ResponseReturnValue:
    """Add a tip to what is to be paid, or take it off again."""
    ticket = _ticket(public_token)
    if tips.may_be_chosen(ticket):
        if ticket.link_attempt >= _MOST_LINKS:
            return _tip_page(ticket, "The tip was changed too often here. Please ask at the desk."), 422
        try:
            tip = tips.read(request.form, ticket)
        except ValueError as error:
            return _tip_page(ticket, str(error)), 422
        if mistake := _choose(ticket, tip):
            return _tip_page(ticket, mistake), 422
    return redirect(url_for(".page", public_token=public_token), code=303)


def _choose(ticket: Ticket, tip: int) -> str:
    """Have the link ask for the tip, too; return what went wrong, in words for a guest."""
    try:
        # Nobody is signed in here: the hotel is that of the ticket.
        with tenant_context(ticket.tenant):
            tips.choose(ticket, tip)
    except tickets.ChangedMeanwhileError:
        return ""
    except (ValetProStripeError, ValueError) as error:
        db.session.rollback()
        log.warning("ticket %s of hotel %s got no link with a tip: %s", ticket.id, ticket.tenant_id, error)
        return "The payment page could not be made just now. Please try again, or pay at the desk."
    return ""


def _tip_page(ticket: Ticket, mistake: str) -> str:
    typed = request.form.get("own", "")
    return render_template("guest/page.html", **_seen(ticket), mistakes={"own": mistake}, typed_tip=typed)


def _ticket(public_token: str) -> Ticket:
    if not (public_token.isascii() and public_token.isprintable()):
        abort(404)
    return db.session.scalar(select(Ticket).where(Ticket.public_token == public_token)) or abort(404)


def _seen(ticket: Ticket) -> dict[str, Any]:
    back = request.args.get("back") == "1"
    stage = _stage(ticket, back=back)
    return {
        "ticket": ticket,
        "hotel": ticket.tenant,
        "plate": masked(ticket.plate),
        "stage": stage,
        "back": back,
        "version": f"{version_of(ticket)}-{stage}",
        "may_tip": tips.may_be_chosen(ticket) and stage in ("open", "failed", "remake"),
        "is_over": stage in ("paid", "refunded") and ticket.state == CarState.delivered,
    }


def masked(plate: str) -> str:
    """Return the end of a plate: enough for its owner, too little for anybody else."""
    return f"••• {''.join(c for c in plate if c.isalnum())[-3:]}"


def _stage(ticket: Ticket, *, back: bool) -> str:
    """Return what the page is about. Coming back from Stripe proves nothing: only the payment itself says "paid"."""
    payment = ticket.payment
    if payment is not None and is_used_up(payment):
        return "refused"
    if tips.is_being_remade(ticket):
        return "remake"
    if payment is None or needs_link(ticket):
        return "unavailable"
    if is_out_of_reach(ticket):
        return "disconnected"
    if bill.is_taken(payment):
        return "refunded" if bill.refunded(ticket) >= bill.taken(ticket) else "paid"
    if bill.is_held(payment):
        return "held"
    if payment.status == PaymentStatus.PROCESSING:
        return "processing"
    if back:
        # Even after a declined card: the guest has just come from a payment that went through.
        return "confirming"
    return "failed" if payment.status == PaymentStatus.FAILED else "open"
