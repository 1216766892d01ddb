"""The settings pages: each works as a full page without JavaScript, and as a fragment for htmx."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from babel.dates import format_timedelta
from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, url_for
from flask_wtf.csrf import generate_csrf
from werkzeug.wrappers import Response as BaseResponse

from .. import connections
from ..context import get_tenant
from ..enums import Mode, OnboardingStatus
from ..errors import ValetProStripeError
from ..models.types import utcnow
from ..onboarding import oauth
from ..state import State, get_state
from .access import gate, harden, is_fragment, session_token, user_id
from .page import cards_of

#: What the page says after something was done; the address carries only the word.
_DONE: Final = {
    "connected": "Your Stripe account is connected.",
    "pending": "Your Stripe account is connected, but Stripe wants something more before it may take payments.",
    "declined": "You declined at Stripe. Nothing was changed.",
    "disconnected": "Your Stripe account is disconnected.",
    "mode": "The mode is switched.",
}


def make_blueprint(state: State) -> Blueprint:
    """Return the settings pages' blueprint for one app."""
    blueprint = Blueprint(
        "valetpro_stripe",
        "flask_valetpro_stripe",
        url_prefix=state.config.settings_url,
        template_folder="templates",
        static_folder="static/valetpro_stripe",
        static_url_path="/static",
    )
    blueprint.before_request(gate)
    blueprint.after_request(harden)
    # Without the slash Flask would redirect to an address made of the request's Host.
    blueprint.add_url_rule("/", view_func=settings, strict_slashes=False)
    blueprint.add_url_rule("/status", view_func=status)
    blueprint.add_url_rule("/connect", view_func=connect, methods=["POST"])
    blueprint.add_url_rule("/connect/callback", view_func=connect_callback)
    blueprint.add_url_rule("/disconnect", view_func=disconnect, methods=["POST"])
    blueprint.add_url_rule("/mode", view_func=mode, methods=["POST"])
    blueprint.add_app_template_filter(_ago, "valetpro_ago")
    return blueprint


def _ago(moment: Any) -> str:
    """Return how long ago an aware UTC time was, for a person."""
    return format_timedelta(moment - utcnow(), add_direction=True, locale="en")


def _page(*, error: ValetProStripeError | None = None, code: int = 200) -> Response:
    """Return the settings page, or its panel alone for htmx."""
    state = get_state()
    template = "valetpro_stripe/_panel.html" if is_fragment() else "valetpro_stripe/settings.html"
    html = render_template(
        template,
        tenant=get_tenant(),
        cards=cards_of(state, get_tenant()),
        error=error,
        done=_DONE.get(request.args.get("done", "")),
        base_template=state.config.base_template,
        htmx=state.config.htmx,
        csrf_token_value=generate_csrf(),
    )
    return make_response(html, code)


def _back(done: str) -> BaseResponse:
    return _go(url_for("valetpro_stripe.settings", done=done))


def _go(address: str) -> BaseResponse:
    """Send the browser somewhere: as a whole page, since a fragment cannot follow to Stripe."""
    if not is_fragment():
        return redirect(address, 303)
    response = make_response("", 200)
    response.headers["HX-Redirect"] = address
    return response


def _refusals_on_the_page(view: Callable[[], BaseResponse]) -> Callable[[], BaseResponse]:
    """Show an error of ours on the page itself, with 422; nothing was changed."""

    @wraps(view)
    def guarded() -> BaseResponse:
        try:
            return view()
        except ValetProStripeError as error:
            get_state().session.rollback()
            return _page(error=error, code=422)

    return guarded


def settings() -> Response:
    """Show the page."""
    return _page()


def status() -> Response:
    """Return the badges of both modes: the page asks for them again and again."""
    return make_response(
        render_template("valetpro_stripe/_status.html", cards=cards_of(get_state(), get_tenant()), tenant=get_tenant())
    )


@_refusals_on_the_page
def connect() -> BaseResponse:
    """Send the admin to Stripe, to give us access to their account."""
    address = oauth.begin(
        get_state(),
        get_tenant(),
        _asked_mode(),
        user_id=user_id(),
        session_token=session_token(),
        redirect_uri=_callback_address(),
    )
    return _go(address)


def _callback_address() -> str:
    # From the configuration, never from the request: its Host is the sender's to choose.
    return f"{get_state().config.settings_page}connect/callback"


@_refusals_on_the_page
def connect_callback() -> BaseResponse:
    """Take the admin back from Stripe, and connect the account that they chose."""
    if request.method == "HEAD":
        # Flask takes it for a GET; a link preview must not use the way back up.
        abort(405)
    # Stripe sends each once; of several, nobody knows which is meant.
    answer = {name: values[0] for name, values in request.args.lists() if len(values) == 1}
    connection = oauth.finish(get_state(), get_tenant(), answer, user_id=user_id(), session_token=session_token())
    if connection is None:
        return _back("declined")
    return _back("connected" if connection.status is OnboardingStatus.CONNECTED else "pending")


@_refusals_on_the_page
def disconnect() -> BaseResponse:
    """End the tenant's connection in one mode."""
    connections.disconnect(get_state(), get_tenant(), _asked_mode(), actor=user_id())
    return _back("disconnected")


@_refusals_on_the_page
def mode() -> BaseResponse:
    """Switch the mode that new payments are made in."""
    connections.switch_mode(get_state(), get_tenant(), _asked_mode(required=True), actor=user_id())
    return _back("mode")


def _asked_mode(*, required: bool = False) -> Mode:
    """Return the form's mode, or the tenant's active one where the form has none."""
    word = request.form.get("mode")
    if word is None and not required:
        active: Mode = get_tenant().stripe_mode
        return active
    try:
        return Mode(word or "")
    except ValueError:
        raise ValetProStripeError("The mode must be 'test' or 'live'.", code="mode") from None
