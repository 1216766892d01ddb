"""The demo's data: what earlier guests paid is there to be looked at, once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import func, select

from sample_app.extensions import db
from sample_app.models import Payment, Ticket

from .browser import Browser, text_of


def _counts(app: Flask) -> list[int | None]:
    with app.app_context():
        return [db.session.scalar(select(func.count()).select_from(table)) for table in (Ticket, Payment)]


@pytest.mark.both
def test_the_command_shows_deposits_extras_tips_a_refund_and_a_dispute(
    app: Flask, people: Callable[[str], Browser]
) -> None:
    for _ in range(2):
        assert app.test_cli_runner().invoke(args=["seed"]).exit_code == 0
        assert _counts(app) == [12, 5]

    staff = people("admin@plaza")
    told = " ".join(text_of(staff.get(f"/tickets/{ticket}")) for ticket in (3, 8, 9, 10, 11))
    for part in (
        "Parking €35.00 Car wash €15.00 Due so far €50.00",
        "Parking €45.00 Car wash €15.00 Tip €6.00 In all €66.00",
        "of a deposit of €60.00; the rest was let go",
        ": Waited half an hour for the car",
        "The guest's bank wants €35.00 back; answer until",
    ):
        assert part in told


def test_money_of_an_account_that_is_gone_cannot_be_given_back(app: Flask, people: Callable[[str], Browser]) -> None:
    app.test_cli_runner().invoke(args=["seed"])
    answer = people("admin@plaza").send("/tickets/8/payments/1/refund", amount="66.00", reason="Not happy")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_each_hotel_has_its_own_history(app: Flask, people: Callable[[str], Browser]) -> None:
    app.test_cli_runner().invoke(args=["seed"])
    assert "Giulia Ferrari" in text_of(people("admin@seaside").get("/tickets/"))
    assert "Sofia Lindqvist" not in text_of(people("admin@seaside").get("/tickets/"))
