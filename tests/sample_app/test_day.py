"""A day's money: its list, its sums by currency, and the table for the books."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from flask import Flask
from sqlalchemy import select, update

from flask_valetpro_stripe.testing import Simulator
from sample_app import totals
from sample_app.day import _harmless
from sample_app.extensions import db
from sample_app.models import Payment, Tenant
from sample_app.sms import ConsoleSms

from .browser import Browser, text_of
from .money import pay, seaside, texted


def _rows(browser: Browser, query: str = "") -> list[dict[str, str]]:
    answer = browser.get(f"/tickets.csv{query}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.data.decode("utf-8"), newline="")))


@pytest.fixture
def manager(plaza_account: str, people: Callable[[str], Browser]) -> Browser:
    return people("admin@plaza")


@pytest.fixture
def a_day(
    app: Flask, manager: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms
) -> dict[str, str]:
    """Paths of tickets: one paid with a tip and partly given back, one with a deposit, one in yen, one unpaid."""
    tipped = manager.open_ticket(guest_name="Amélie Laurent")
    visitor.send(f"{texted(sms)}/tip", tip="10")
    pay(app, simulator, visitor, texted(sms))
    with app.app_context():
        paid = db.session.scalar(select(Payment.id).where(Payment.tip > 0))
    manager.send(f"{tipped}/payments/{paid}/refund", amount="5.00", reason="Waited")
    held = manager.open_ticket(collect="hold", deposit="50.00")
    pay(app, simulator, visitor, texted(sms))
    yen = manager.open_ticket(amount="2500", currency="jpy")
    pay(app, simulator, visitor, texted(sms))
    return {"tipped": tipped, "held": held, "yen": yen, "unpaid": manager.open_ticket()}


@pytest.mark.both
@pytest.mark.oldest
def test_a_day_adds_up_by_currency(manager: Browser, a_day: dict[str, str]) -> None:
    shown = text_of(manager.get("/tickets/?day="))
    assert "Today" in shown
    assert "Charged €27.50 Held €50.00 Tips €2.50 Refunded €5.00 Disputed €0.00 Net €22.50" in shown
    assert "Charged ¥2,500 Held ¥0 Tips ¥0 Refunded ¥0 Disputed ¥0 Net ¥2,500" in shown
    assert "Amélie Laurent" in shown
    for name in ("tipped", "held", "yen"):
        assert f'href="{a_day[name]}"' in manager.get("/tickets/?day=").text
    assert f'href="{a_day["unpaid"]}"' not in manager.get("/tickets/?day=").text


def test_the_table_has_a_row_for_each_payment_in_major_units(manager: Browser, a_day: dict[str, str]) -> None:
    rows = _rows(manager)
    amounts = ("currency", "charged", "held", "tip", "refunded", "disputed", "net")
    assert sorted([row[name] for name in amounts] for row in rows) == [
        ["EUR", "0.00", "50.00", "0.00", "0.00", "0.00", "0.00"],
        ["EUR", "27.50", "0.00", "2.50", "5.00", "0.00", "22.50"],
        ["JPY", "2500", "0", "0", "0", "0", "2500"],
    ]
    first = next(row for row in rows if row["tip"] == "2.50")
    assert (first["guest"], first["plate"], first["status"]) == ("Amélie Laurent", "AB-123-CD", "Partly refunded")
    assert first["payment"].startswith("pi_")
    assert first["time"].startswith(f"{totals.today(Tenant(timezone='Europe/Paris')):%Y-%m-%d} ")
    assert 'filename="plaza-' in manager.get("/tickets.csv").headers["Content-Disposition"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")'])
def test_a_guest_s_name_is_no_formula(
    app: Flask, manager: Browser, visitor: Browser, simulator: Simulator, sms: ConsoleSms, name: str
) -> None:
    manager.open_ticket(guest_name=name)
    pay(app, simulator, visitor, texted(sms))
    assert [row["guest"] for row in _rows(manager)] == [f"'{name}"]


@pytest.mark.parametrize(
    "text, harmless",
    [("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("Ada", "Ada"), ("", ""), ("a=1", "a=1"), ("é", "é")],
)
def test_what_a_spreadsheet_would_run_is_marked_as_text(text: str, harmless: str) -> None:
    assert _harmless(text) == harmless


@pytest.mark.both
def test_a_day_is_that_of_the_hotel_s_clock(app: Flask, manager: Browser, a_day: dict[str, str]) -> None:
    with app.app_context():
        # 23:30 in Paris, where the first of June is two hours ahead of UTC; and half an hour after midnight.
        late, early = datetime(2026, 6, 1, 21, 30, tzinfo=UTC), datetime(2026, 6, 1, 22, 30, tzinfo=UTC)
        db.session.execute(update(Payment).where(Payment.tip > 0).values(paid_at=late))
        db.session.execute(update(Payment).where(Payment.currency == "jpy").values(paid_at=early))
        db.session.commit()
    assert [row["currency"] for row in _rows(manager, "?day=2026-06-01")] == ["EUR"]
    assert [row["time"] for row in _rows(manager, "?day=2026-06-01")] == ["2026-06-01 23:30:00+02:00"]
    assert [row["currency"] for row in _rows(manager, "?day=2026-06-02")] == ["JPY"]
    shown = text_of(manager.get("/tickets/?day=2026-06-01"))
    assert "Monday, 01 June 2026" in shown
    assert "Net €22.50" in shown


def test_a_day_without_payments_says_so(manager: Browser) -> None:
    shown = text_of(manager.get("/tickets/?day=2026-01-01"))
    assert "No money that day" in shown
    assert "Charged €0.00" in shown
    assert _rows(manager, "?day=2026-01-01") == []


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "2026-02-30", "0001-01-01", "9999-12-31", "2026-W01-1"])
def test_a_day_that_is_none_is_explained(manager: Browser, day: str) -> None:
    for path in ("/tickets/", "/tickets.csv"):
        answer = manager.get(path, query_string={"day": day})
        assert answer.status_code == 422
        assert "Write the day as year, month and day, for example 2026-11-28." in text_of(answer)


def test_test_money_is_no_money_of_a_live_hotel(
    manager: Browser, simulator: Simulator, plaza_account: str, a_day: dict[str, str]
) -> None:
    manager.connect_stripe(simulator, plaza_account, mode="live")
    manager.send("/settings/payments/mode", mode="live")
    assert _rows(manager) == []
    assert "Charged €0.00" in text_of(manager.get("/tickets/?day="))


def test_each_hotel_exports_its_own_money_only(
    app: Flask,
    manager: Browser,
    visitor: Browser,
    simulator: Simulator,
    sms: ConsoleSms,
    people: Callable[[str], Browser],
    a_day: dict[str, str],
) -> None:
    other = seaside(people("admin@seaside"), simulator)
    assert _rows(other) == []
    assert "No money that day" in text_of(other.get("/tickets/?day="))
    other.open_ticket(guest_name="Chiara Conti")
    pay(app, simulator, visitor, texted(sms))
    assert [row["guest"] for row in _rows(other)] == ["Chiara Conti"]
    assert "Chiara Conti" not in [row["guest"] for row in _rows(manager)]


def test_a_visitor_gets_no_table(visitor: Browser) -> None:
    answer = visitor.get("/tickets.csv")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


def test_days_have_the_hours_that_their_clocks_have(app: Flask) -> None:
    with app.app_context():
        hotel = db.session.scalars(select(Tenant)).first()
        assert hotel
        start, end = totals._bounds(hotel, date(2026, 10, 25))
        assert (end - start).total_seconds() == 25 * 3600
