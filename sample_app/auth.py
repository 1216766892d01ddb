"""Signing in and out."""

from __future__ import annotations

from functools import cache

from flask import Blueprint, Response, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user
from sqlalchemy import select
from werkzeug.security import check_password_hash, generate_password_hash

from .demo import DEMO_PASSWORD, DEMO_PEOPLE
from .extensions import db, login_manager
from .models import User

bp = Blueprint("auth", __name__)


@login_manager.user_loader  # type: ignore[untyped-decorator]
def load_person(person_id: str) -> User | None:
    """Return the person whose id the session holds."""
    return db.session.get(User, int(person_id)) if person_id.isdecimal() else None


@login_manager.unauthorized_handler  # type: ignore[untyped-decorator]
def send_to_sign_in() -> ResponseReturnValue:
    """Lead to the sign-in page, also from a part of a page that refreshes itself."""
    if request.headers.get("HX-Request"):
        return Response(status=401, headers={"HX-Redirect": url_for("auth.sign_in_form")})
    return redirect(url_for("auth.sign_in_form"), code=303)


@bp.get("/")
def home() -> ResponseReturnValue:
    """Lead to the tickets, or to the sign-in page."""
    return redirect(url_for("desk.tickets" if current_user.is_authenticated else "auth.sign_in_form"))


@bp.get("/login")
def sign_in_form() -> ResponseReturnValue:
    """Show the sign-in page."""
    if current_user.is_authenticated:
        return redirect(url_for("desk.tickets"))
    return _page()


@bp.post("/login")
def sign_in() -> ResponseReturnValue:
    """Sign a person in, with a fresh session."""
    email = request.form.get("email", "").strip().lower()
    person = _person_with(email, request.form.get("password", ""))
    if person is None:
        return _page(email=email, error="That e-mail address and password do not match. Check both and try again."), 422
    session.clear()
    login_user(person)
    return redirect(url_for("desk.tickets"), code=303)


@bp.post("/logout")
def sign_out() -> ResponseReturnValue:
    """Sign out."""
    logout_user()
    session.clear()
    return redirect(url_for("auth.sign_in_form"), code=303)


def _page(*, email: str = "", error: str = "") -> str:
    people = DEMO_PEOPLE if current_app.config["DEMO"] else ()
    return render_template("desk/sign_in.html", email=email, error=error, people=people, password=DEMO_PASSWORD)


def _person_with(email: str, password: str) -> User | None:
    # PostgreSQL refuses to look for some control characters; no address has any.
    person = db.session.scalar(select(User).where(User.email == email)) if email.isprintable() else None
    # An unknown address costs the same work as a wrong password, so that the answer's time tells nothing.
    known_hash = person.password_hash if person else _hash_of_nobody(current_app.config["PASSWORD_METHOD"])
    return person if check_password_hash(known_hash, password) and person else None


@cache
def _hash_of_nobody(method: str) -> str:
    return generate_password_hash("nobody has this password", method)
