"""Who may see and do what on the settings pages: deny by default, on every route and every verb."""

from __future__ import annotations

import logging
import secrets
from typing import Final
from urllib.parse import urlsplit

from flask import Response, abort, current_app, make_response, request, session, url_for
from flask_login import current_user
from flask_wtf.csrf import validate_csrf
from werkzeug.wrappers import Response as BaseResponse
from wtforms.validators import ValidationError

from ..context import get_tenant
from ..errors import NoTenantError
from ..state import State, get_state

log = logging.getLogger(__name__)
#: Who stands in a history beside a tenant's users.
_OUR_ACTORS: Final = frozenset({"operator", "reconcile", "stripe"})
_LONGEST_ID: Final = 255
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: More than any form of ours sends. Werkzeug reads a form of any size, unless it is told a limit.
_MOST_BYTES: Final = 65_536


def is_fragment() -> bool:
    """Return whether htmx asked for a part of the page; a boosted link or a step back in history wants all of it."""
    whole = {"HX-Boosted", "HX-History-Restore-Request"}
    return request.headers.get("HX-Request") == "true" and not any(name in request.headers for name in whole)


def refuse_too_large(endpoint: str | None, values: object) -> None:
    """Refuse a body that no form of ours has, before anybody reads the form: Flask-WTF does so before :func:`gate`."""
    # Without a length the body is counted while it is read; with one it is not read at all.
    request.max_content_length = _MOST_BYTES
    if (request.content_length or 0) > _MOST_BYTES:
        abort(413)


def gate() -> BaseResponse | None:
    """Let through a signed-in admin of the present tenant, with a CSRF token on every write; answer everybody else.

    Runs before every view of the blueprint, so that one without permission cannot be written by mistake.
    """
    state = get_state()
    if request.endpoint == "valetpro_stripe.static":
        return None
    check = state.callbacks.admin_check
    if check is None:
        log.error("settings pages are closed: register a function with @valetpro.admin_check")
        abort(403, "These pages are closed until the app says who may manage payments.")
    if not _is_signed_in():
        return _ask_to_sign_in()
    try:
        tenant = get_tenant()
    except NoTenantError:
        abort(403, "You do not belong to a tenant whose payments could be managed.")
    if not check(tenant):
        abort(403, "Only an admin of this tenant may manage its payments.")
    if request.method not in _SAFE:
        _check_csrf()
    return None


def _is_signed_in() -> bool:
    if not hasattr(current_app, "login_manager"):
        log.error("settings pages are closed: this app has no Flask-Login LoginManager")
        return False
    return bool(current_user.is_authenticated)


def _ask_to_sign_in() -> BaseResponse:
    if not hasattr(current_app, "login_manager"):
        abort(403, "These pages need Flask-Login.")
    if is_fragment():
        # To the page itself, not to the fragment: the host's own sign-in then brings the admin back to it.
        response = make_response("", 401)
        response.headers["HX-Redirect"] = url_for("valetpro_stripe.settings")
        return response
    asked: BaseResponse = current_app.make_response(current_app.login_manager.unauthorized())
    return asked


def _check_csrf() -> None:
    if not current_app.config.get("WTF_CSRF_ENABLED", True):
        return
    token = request.form.get(current_app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token"))
    try:
        validate_csrf(token)
    except ValidationError as error:
        abort(400, f"{error} Load the page again and repeat what you did.")


def user_id() -> str:
    """Return the id of the signed-in user, as Flask-Login has it. It never reads as one of our own actors."""
    found = str(current_user.get_id())
    return (f"user {found}" if found in _OUR_ACTORS else found)[:_LONGEST_ID]


def session_token() -> str:
    """Return a random token that stays with the browser's session, to bind an OAuth state to it."""
    token = session.get("valetpro_stripe_session")
    if not isinstance(token, str):
        token = session["valetpro_stripe_session"] = secrets.token_urlsafe(32)
    return token


def harden(response: Response) -> Response:
    """Add the headers that keep a settings page private, unframed and free of foreign script."""
    if request.endpoint == "valetpro_stripe.static":
        return response
    headers = response.headers
    headers["Cache-Control"] = "no-store"
    headers["Content-Security-Policy"] = _policy(get_state())
    headers["X-Frame-Options"] = "DENY"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    headers.add("Vary", "HX-Request, Cookie")
    return response


def _policy(state: State) -> str:
    # A form's redirects count as its target, every one of a chain: Stripe's own go from connect.stripe.com to others.
    parts = urlsplit(state.config.connect_base)
    stripe_ = (
        "https://*.stripe.com" if (parts.hostname or "").endswith(".stripe.com") else f"{parts.scheme}://{parts.netloc}"
    )
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        f"connect-src 'self'; form-action 'self' {stripe_}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
