"""``POST /api/webhooks/stripe``: the one URL that Stripe calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from flask import Blueprint, Response, current_app, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from ..errors import ValetProStripeError
from ..handlers import FETCHERS
from ..state import State, get_state
from .inbox import HandlerFailedError, InFlightError, receive
from .verify import Endpoint, RefusedError, check_header, parse_event, refuse_foreign, verify

log = logging.getLogger(__name__)
#: Seconds in which a process says once that signatures do not fit: anybody can send such requests.
_PAUSE: Final = 60.0


def make_blueprint(state: State) -> Blueprint:
    """Return the webhook's blueprint for one app."""
    blueprint = Blueprint("valetpro_stripe_webhook", __name__, url_prefix=state.config.webhook_url)
    blueprint.add_url_rule("", view_func=platform, methods=["POST"])
    blueprint.add_url_rule("/<endpoint_token>", view_func=tenant, methods=["POST"])

    # Before Flask-WTF looks at the request, and whichever of the two extensions was initialised first.
    @blueprint.url_value_preprocessor
    def exempt_from_csrf(endpoint: str | None, values: object) -> None:
        csrf = current_app.extensions.get("csrf")
        if csrf is not None:
            csrf.exempt(blueprint)

    return blueprint


def platform() -> Response:
    """Take a delivery for the platform's own account, or for any account connected to it."""
    state = get_state()
    return _take(state, lambda body, header: verify(body, header, state.platform_endpoints))


def tenant(endpoint_token: str) -> Response:
    """Take a delivery for one tenant's own endpoint, in the tenant's own account."""
    state = get_state()
    return _take(state, lambda body, header: _verify_tenants(state, endpoint_token, body, header))


def _verify_tenants(state: State, token: str, body: bytes, header: str | None) -> Endpoint:
    check_header(header)
    known = state.tenant_endpoints.find(state, token)
    try:
        return verify(body, header, [known] if known else [])
    except RefusedError:
        # Another process may have exchanged the secret since.
        newer = state.tenant_endpoints.find(state, token, again=True) if known else None
        if newer is None:
            raise
        return verify(body, header, [newer])


def _take(state: State, verify_: Callable[[bytes, str | None], Endpoint]) -> Response:
    try:
        body = _read(state.config.max_webhook_bytes)
        endpoint = verify_(body, request.headers.get("Stripe-Signature"))
        event = parse_event(body)
        refuse_foreign(endpoint, event)
        state.count("deliveries", receive(state, endpoint, event, body.decode(), FETCHERS))
    except RequestEntityTooLarge:
        state.count("rejected", "too_large")
        return _answer(413, "The body is too large.")
    except (RefusedError, ClientDisconnected) as refused:
        state.count("rejected", refused.reason if isinstance(refused, RefusedError) else "cut_off")
        log.info("webhook refused: %s", refused)
        if isinstance(refused, RefusedError) and refused.reason == "signature":
            _tell_now_and_then(state)
        return _answer(400, "This is not a signed Stripe event.")
    except HandlerFailedError:
        state.count("deliveries", "failed")
        return _answer(500, "A handler failed. Deliver the event again.")
    except InFlightError:
        state.session.rollback()
        state.count("deliveries", "unavailable")
        return _answer(503, "The event is being handled now. Deliver it again.")
    except (DBAPIError, PoolTimeoutError, ValetProStripeError) as error:
        state.session.rollback()
        state.count("deliveries", "unavailable")
        log.warning("a webhook cannot be taken now: %s", type(error).__name__)
        return _answer(503, "The event cannot be taken now. Deliver it again.")
    return _answer(200, "Taken.")


def _tell_now_and_then(state: State) -> None:
    """Warn that signatures do not fit: a wrong secret in the settings looks like this, and so does a forgery."""
    now = state.clock()
    if now - state.refusals_told_at < _PAUSE:
        return
    state.refusals_told_at = now
    log.warning(
        "a delivery was refused, since no signing secret of this app fits its signature. If Stripe's own deliveries "
        "are answered with 400, compare the secrets of its endpoints with VALETPRO_STRIPE_…_WEBHOOK_SECRETS"
    )


def _read(limit: int) -> bytes:
    """Return the body as it was sent.

    :raises RequestEntityTooLarge: if it is longer than ``limit``; not much more than that was read then.
    """
    # Werkzeug ends a body without an announced length silently at its limit, so one byte more tells.
    request.max_content_length = limit + 1
    body = request.get_data(cache=False)
    if len(body) > limit:
        raise RequestEntityTooLarge
    return body


def _answer(status: int, text: str) -> Response:
    return Response(text, status=status, mimetype="text/plain")
