"""What every page shares: the words and formats of its template, its security headers, its error pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from flask import Flask, Response, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import Forbidden, HTTPException, NotFound

from flask_valetpro_stripe import money

from . import bill, refunds, tickets, tips, words
from .extras import may_remove
from .models import CarState, Tenant

_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


def init_app(app: Flask) -> None:
    """Give the app's templates their filters, and its answers their headers."""
    app.add_template_filter(money.format_amount, "money")
    app.add_template_filter(_major_units, "major_units")
    app.add_template_filter(_clock, "clock")
    app.jinja_env.globals.update(
        bill=bill, may_remove=may_remove, refunds=refunds, tickets=tickets, tips=tips, words=words, CarState=CarState
    )
    app.after_request(_add_headers)
    app.register_error_handler(CSRFError, _form_is_too_old)
    app.register_error_handler(Forbidden, _error_page)
    app.register_error_handler(NotFound, _error_page)


def _major_units(amount: int, currency: str) -> str:
    """Return an amount as a person types it."""
    return str(money.to_decimal(amount, currency))


def _clock(moment: datetime, hotel: Tenant, *, short: bool = False) -> str:
    """Return a moment on the hotel's clock, ``short`` without the hour of another day; SQLite forgets the UTC."""
    local = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(ZoneInfo(hotel.timezone))
    is_today = local.date() == datetime.now(local.tzinfo).date()
    if is_today:
        return f"{local:%H:%M}"
    return f"{local:%d %b}" if short else f"{local:%d %b, %H:%M}"


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    # The payment settings bring a policy of their own.
    response.headers.setdefault("Content-Security-Policy", _CSP)
    if request.blueprint in ("desk", "auth"):
        # A form that comes back out of the browser's cache would carry a token that is used up.
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def _form_is_too_old(error: HTTPException) -> ResponseReturnValue:
    text = "This form is too old, or it was opened before you signed in. Go back, reload the page and try again."
    return render_template("desk/error.html", title="That did not work", text=text), 400


def _error_page(error: HTTPException) -> ResponseReturnValue:
    title, text = {
        403: ("Only for admins", "Only an admin of your hotel may open this page. Ask one of them, or go back."),
        404: ("Nothing here", "There is nothing at this address. Check it, or go back to where you came from."),
    }[error.code or 404]
    return render_template("desk/error.html", title=title, text=text), error.code or 404
