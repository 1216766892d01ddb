"""Signing in and out."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from flask_valetpro_stripe.testing import Simulator
from sample_app import create_app
from sample_app.extensions import db

from .browser import Browser, text_of

WRONG = "That e-mail address and password do not match. Check both and try again."


def test_the_front_door_leads_to_the_sign_in_page_and_then_to_the_tickets(visitor: Browser) -> None:
    assert visitor.get("/").headers["Location"] == "/login"
    visitor.sign_in("staff@plaza.example")
    assert visitor.get("/").headers["Location"] == "/tickets/"
    assert "Plaza Hotel" in text_of(visitor.get("/tickets/"))
    assert visitor.get("/login").headers["Location"] == "/tickets/"


@pytest.mark.parametrize(
    "email, password",
    [
        ("staff@plaza.example", "wrong"),
        ("nobody@plaza.example", "demo"),
        ("", ""),
        ("staff@plaza.example\x00", "demo"),
        ("'; DROP TABLE ticket; --", "demo"),
    ],
)
def test_a_failed_sign_in_does_not_say_what_was_wrong(visitor: Browser, email: str, password: str) -> None:
    answer = visitor.send("/login", email=email, password=password)
    assert answer.status_code == 422
    assert WRONG in text_of(answer)
    assert visitor.get("/tickets/").status_code == 303


def test_signing_in_starts_a_new_session(visitor: Browser) -> None:
    with visitor.client.session_transaction() as session:
        session["planted"] = "by somebody else"
    visitor.sign_in("staff@plaza.example")
    with visitor.client.session_transaction() as session:
        assert "planted" not in session


def test_the_session_cookie_is_out_of_reach_of_scripts_and_of_other_sites(visitor: Browser) -> None:
    answer = visitor.send("/login", email="staff@plaza.example", password="demo")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_signing_out_takes_a_form_and_ends_the_session(people: Callable[[str], Browser]) -> None:
    staff = people("staff@plaza")
    assert staff.get("/logout").status_code == 405
    assert staff.send("/logout").headers["Location"] == "/login"
    assert staff.get("/tickets/").headers["Location"] == "/login"


def test_a_form_without_its_token_is_refused_with_a_sentence(visitor: Browser) -> None:
    answer = visitor.client.post("/login", data={"email": "staff@plaza.example", "password": "demo"})
    assert answer.status_code == 400
    assert "Go back, reload the page and try again." in text_of(answer)


def test_a_page_that_refreshes_itself_leads_to_the_sign_in_page_when_the_session_is_over(visitor: Browser) -> None:
    answer = visitor.get("/tickets/live", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/login"
    assert answer.text == ""


def test_the_sign_in_page_offers_the_demo_people_in_a_demo_only(visitor: Browser, sqlite_url: str) -> None:
    assert "admin@seaside.example" in text_of(visitor.get("/login"))
    real = create_app(
        {
            "TESTING": True,
            "SECRET_KEY": "for tests",
            "SQLALCHEMY_DATABASE_URI": sqlite_url,
            "VALETPRO_STRIPE_ENCRYPTION_KEYS": [base64.b64encode(bytes(32)).decode()],
            **Simulator().config(),
        }
    )
    assert "seaside.example" not in real.test_client().get("/login").text
    with real.app_context():
        db.engine.dispose()
