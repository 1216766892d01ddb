"""The guest's page: where the car is, what it costs, and a way to pay. Whoever has its address may see it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from flask_valetpro_stripe import PaymentStatus

from . import tickets
from .board import version_of
from .extensions import db
from .models import CarState, Ticket
from .tickets import is_out_of_reach, is_used_up, needs_link

bp = Blueprint("guest", __name__, url_prefix="/pay")


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
    if payment is None or needs_link(ticket):
        return "unavailable"
    if is_out_of_reach(ticket):
        return "disconnected"
    if payment.status in (PaymentStatus.COMPLETED, PaymentStatus.PARTIALLY_REFUNDED, PaymentStatus.DISPUTED):
        return "paid"
    if payment.status == PaymentStatus.REFUNDED:
        return "refunded"
    if payment.status == PaymentStatus.PROCESSING:
        return "processing"
    if back:
        # Even after a declined card: the guest has just come from a payment that went through.
        return "confirming"
    return "failed" if payment.status == PaymentStatus.FAILED else "open"
