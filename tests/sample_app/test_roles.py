"""Who may do what: visitors, staff and admins of two hotels."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.routing import Rule

from sample_app.extensions import db
from sample_app.models import Tenant, Ticket

from .browser import Browser, text_of

DESK = [
    ("GET", "/tickets/", 200),
    ("GET", "/tickets/live", 200),
    ("POST", "/tickets/", 422),
    ("GET", "/tickets/1", 200),
    ("GET", "/tickets/1/live", 200),
    ("POST", "/tickets/1/state", 422),
    ("POST", "/tickets/1/link", 303),
    ("POST", "/tickets/1/cancel-payment", 303),
    ("POST", "/tickets/1/refresh-payment", 303),
    ("POST", "/tickets/1/sms", 303),
    ("POST", "/tickets/1/extras", 303),
    ("POST", "/tickets/2/extras", 422),
    ("POST", "/tickets/2/extras/1/remove", 303),
    ("POST", "/tickets/1/take", 303),
    ("POST", "/tickets/1/release", 303),
    ("GET", "/tickets/?day=", 200),
    ("GET", "/tickets.csv", 200),
]


def _ask(browser: Browser, method: str, path: str) -> int:
    return (browser.get(path) if method == "GET" else browser.send(path)).status_code


def _ticket_of(app: Flask, slug: str) -> Ticket:
    with app.app_context():
        ticket = db.session.scalars(select(Ticket).join(Tenant).where(Tenant.slug == slug).order_by(Ticket.id)).first()
        assert ticket
        return ticket


@pytest.mark.parametrize("who", ["staff@plaza", "admin@plaza"])
def test_staff_and_admins_run_the_desk(people: Callable[[str], Browser], who: str) -> None:
    person = people(who)
    assert [(method, path, _ask(person, method, path)) for method, path, _ in DESK] == DESK


def test_a_visitor_is_sent_to_the_sign_in_page_from_everywhere(visitor: Browser) -> None:
    for method, path, _ in DESK:
        answer = visitor.get(path) if method == "GET" else visitor.send(path)
        assert (path, answer.status_code, answer.headers["Location"]) == (path, 303, "/login")


def test_only_admins_see_the_payment_settings(people: Callable[[str], Browser]) -> None:
    admin, staff = people("admin@plaza"), people("staff@plaza")
    assert "Payments" in text_of(admin.get("/tickets/"))
    assert admin.get("/settings/payments/").status_code == 200
    assert "Payments" not in text_of(staff.get("/tickets/"))
    answer = staff.get("/settings/payments/")
    assert answer.status_code == 403
    assert "Only an admin of your hotel may open this page." in text_of(answer)


def _every_path_of_a_ticket(app: Flask) -> list[tuple[str, Rule]]:
    return [
        (method, rule)
        for rule in app.url_map.iter_rules()
        if "ticket_id" in rule.arguments
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def test_another_hotel_s_ticket_looks_like_none_at_all(app: Flask, people: Callable[[str], Browser]) -> None:
    foreign = _ticket_of(app, "seaside")
    staff = people("staff@plaza")
    paths = _every_path_of_a_ticket(app)
    assert len(paths) >= 13
    for method, rule in paths:
        for ticket_id in (foreign.id, 999_999, 2**40):
            path = re.sub(r"<int:\w+>", "1", rule.rule.replace("<int:ticket_id>", str(ticket_id)))
            assert (path, _ask(staff, method, path)) == (path, 404)
    assert _ticket_of(app, "seaside").state == foreign.state


def test_each_hotel_sees_its_own_tickets_only(people: Callable[[str], Browser]) -> None:
    plaza, seaside = text_of(people("staff@plaza").get("/tickets/")), text_of(people("admin@seaside").get("/tickets/"))
    assert "Priya Nair" in plaza
    assert "Chiara Conti" not in plaza
    assert "Chiara Conti" in seaside
    assert "Priya Nair" not in seaside


@pytest.mark.both
def test_a_search_does_not_reach_into_another_hotel(people: Callable[[str], Browser]) -> None:
    assert "No ticket matches" in text_of(people("admin@seaside").get("/tickets/?q=Priya"))
