"""The money of one day: a page for the desk, and a table for whoever keeps the books."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required

from flask_valetpro_stripe import money

from . import totals, words
from .models import Tenant

#: Its address ends beside the list's, which is all that keeps it out of the desk's own blueprint.
bp = Blueprint("day", __name__)

_DAY: Final = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)
_COLUMNS: Final = "time ticket guest plate payment status currency charged held tip refunded disputed net".split()
#: What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@bp.get("/tickets.csv")
@login_required  # type: ignore[untyped-decorator]
def export() -> ResponseReturnValue:
    """Give one row for each payment of the day."""
    hotel = current_user.tenant
    try:
        day = _chosen(hotel)
    except ValueError as error:
        return str(error), 422, {"Content-Type": "text/plain; charset=utf-8"}
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(_COLUMNS)
    writer.writerows(_row(hotel, line) for line in totals.lines(hotel, day))
    name = f"{hotel.slug}-{day:%Y-%m-%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(table.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


def page() -> ResponseReturnValue:
    """Show the payments of the day that was asked for, and their sums."""
    hotel = current_user.tenant
    now = totals.today(hotel)
    try:
        day, mistakes = _chosen(hotel), {}
    except ValueError as error:
        day, mistakes = now, {"day": str(error)}
    found = totals.lines(hotel, day)
    shown = render_template(
        "desk/day.html",
        day=day,
        today=now,
        before=day - timedelta(days=1),
        after=day + timedelta(days=1),
        lines=found,
        sums=totals.by_currency(found) or {hotel.currency: totals.Sums()},
        mistakes=mistakes,
        typed=request.args if mistakes else {},
    )
    return (shown, 422) if mistakes else shown


def _chosen(hotel: Tenant) -> date:
    """Return the day that was asked for, by default today's.

    :raises ValueError: with a sentence for the clerk.
    """
    text = request.args.get("day", "").strip()
    if not text:
        return totals.today(hotel)
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError("Write the day as year, month and day, for example 2026-11-28.")


def _row(hotel: Tenant, line: totals.Line) -> Sequence[str]:
    payment, ticket, sums = line.payment, line.ticket, line.sums
    told = (
        _on_its_clock(line.moment, hotel),
        str(ticket.number),
        ticket.guest_name,
        ticket.plate,
        payment.stripe_payment_intent_id or "",
        words.pill_of(payment).word,
        payment.currency.upper(),
    )
    amounts = (sums.charged, sums.held, sums.tips, sums.refunded, sums.disputed, sums.net)
    return [*map(_harmless, told), *_major(amounts, payment.currency)]


def _on_its_clock(moment: datetime, hotel: Tenant) -> str:
    return moment.astimezone(ZoneInfo(hotel.timezone)).isoformat(sep=" ", timespec="seconds")


def _major(amounts: Iterable[int], currency: str) -> list[str]:
    return [str(money.to_decimal(amount, currency)) for amount in amounts]


def _harmless(text: str) -> str:
    """Return ``text`` so that no spreadsheet takes it for a formula."""
    # Where a list's separator is the semicolon, a cell would begin after it.
    text = text.replace(";", ",")
    return f"'{text}" if text.startswith(_FORMULA) else text
