"""The settings pages: each works as a full page without JavaScript, and as a fragment for htmx."""

from __future__ import annotations

from typing import Any

from babel.dates import format_timedelta
from flask import Blueprint, Response, abort, make_response, render_template, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response as BaseResponse

from .. import connections
from ..context import get_tenant
from ..credentials import find_connection
from ..enums import AccountType, Mode, OnboardingStatus
from ..models.types import utcnow
from ..onboarding import oauth
from ..state import State, get_state
from . import events, history, keys, onboard, payments
from .access import gate, harden, refuse_too_large, session_token, user_id
from .answers import asked_mode, go_back, go_to, refusals_on_the_page, refuse_another_tenant, show_page
from .page import cards_of
from .wanted import in_words


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
    blueprint.url_value_preprocessor(refuse_too_large)
    blueprint.url_value_preprocessor(keys.hide_what_was_typed)
    blueprint.before_request(gate)
    blueprint.before_request(refuse_another_tenant)
    blueprint.after_request(harden)
    # Without the slash Flask would redirect to an address made of the request's Host.
    blueprint.add_url_rule("/", view_func=settings, strict_slashes=False)
    blueprint.add_url_rule("/status", view_func=status)
    blueprint.add_url_rule("/connect", view_func=connect, methods=["POST"])
    blueprint.add_url_rule("/connect/callback", view_func=connect_callback)
    blueprint.add_url_rule("/disconnect", view_func=disconnect, methods=["POST"])
    blueprint.add_url_rule("/mode", view_func=mode, methods=["POST"])
    blueprint.add_url_rule("/keys", view_func=keys.save, methods=["POST"], endpoint="keys")
    blueprint.add_url_rule("/keys/rollback", view_func=keys.roll_back, methods=["POST"], endpoint="keys_rollback")
    blueprint.add_url_rule("/keys/destroy", view_func=keys.destroy, methods=["POST"], endpoint="keys_destroy")
    blueprint.add_url_rule("/onboard", view_func=onboard.begin, methods=["POST"], endpoint="onboard")
    blueprint.add_url_rule("/onboard/return", view_func=onboard.come_back, endpoint="onboard_return")
    blueprint.add_url_rule("/onboard/refresh", view_func=onboard.renew, endpoint="onboard_refresh")
    blueprint.add_url_rule("/dashboard", view_func=onboard.open_dashboard, methods=["POST"], endpoint="dashboard")
    blueprint.add_url_rule("/history", view_func=history.show, endpoint="history")
    blueprint.add_url_rule("/events", view_func=events.show, endpoint="events")
    # Any text: what is no key is no event either, and is answered as an unknown one.
    blueprint.add_url_rule("/events/<row_id>/replay", view_func=events.replay, methods=["POST"], endpoint="replay")
    blueprint.add_url_rule("/payments", view_func=payments.show, endpoint="payments")
    blueprint.add_url_rule("/payments/<key>/refund", view_func=payments.refund, methods=["POST"], endpoint="refund")
    blueprint.register_error_handler(413, _too_large)
    blueprint.add_app_template_filter(_ago, "valetpro_ago")
    blueprint.add_app_template_filter(in_words, "valetpro_in_words")
    return blueprint


def _ago(moment: Any) -> str:
    """Return how long ago an aware UTC time was, for a person."""
    return format_timedelta(moment - utcnow(), add_direction=True, locale="en")


def _too_large(error: RequestEntityTooLarge) -> RequestEntityTooLarge:
    """Say what happened to whoever pasted a whole file; nothing of it was read."""
    error.description = "That is far more than an API key has. Go back, and paste the key alone. Nothing was saved."
    return error


def settings() -> Response:
    """Show the page."""
    return show_page()


def status() -> Response:
    """Return the badges of both modes: the page asks for them again and again."""
    return make_response(
        render_template("valetpro_stripe/_status.html", cards=cards_of(get_state(), get_tenant()), tenant=get_tenant())
    )


@refusals_on_the_page
def connect() -> BaseResponse:
    """Send the admin to Stripe, to give us access to their account."""
    address = oauth.begin(
        get_state(),
        get_tenant(),
        asked_mode(otherwise=get_tenant().stripe_mode),
        user_id=user_id(),
        session_token=session_token(),
        redirect_uri=_callback_address(),
    )
    return go_to(address)


def _callback_address() -> str:
    # From the configuration, never from the request: its Host is the sender's to choose.
    return f"{get_state().config.settings_page}connect/callback"


@refusals_on_the_page
def connect_callback() -> BaseResponse:
    """Take the admin back from Stripe, and connect the account that they chose."""
    if request.method == "HEAD":
        # Flask takes it for a GET; a link preview must not use the way back up.
        abort(405)
    # Stripe sends each once; of several, nobody knows which is meant.
    answer = {name: values[0] for name, values in request.args.lists() if len(values) == 1}
    connection = oauth.finish(get_state(), get_tenant(), answer, user_id=user_id(), session_token=session_token())
    if connection is None:
        return go_back("declined")
    return go_back("connected" if connection.status is OnboardingStatus.CONNECTED else "pending")


@refusals_on_the_page
def disconnect() -> BaseResponse:
    """End the tenant's connection in one mode."""
    connections.disconnect(get_state(), get_tenant(), asked_mode(otherwise=_only_mode()), actor=user_id())
    return go_back("disconnected")


def _only_mode() -> Mode | None:
    """Return the active mode, unless the tenant has an account of its own in the other one and might mean that."""
    active: Mode = get_tenant().stripe_mode
    others = [find_connection(get_state(), get_tenant(), mode) for mode in Mode if mode is not active]
    return None if any(c and c.account_type is not AccountType.PLATFORM for c in others) else active


@refusals_on_the_page
def mode() -> BaseResponse:
    """Switch the mode that new payments are made in."""
    connections.switch_mode(get_state(), get_tenant(), asked_mode(), actor=user_id())
    return go_back("mode")
