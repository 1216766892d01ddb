"""Every misconfiguration that can be seen from inside an app, each as a sentence that ends with its fix."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import sqlalchemy as sa

from .enums import Mode
from .errors import ValetProStripeError
from .gateway import ask_stripe, make_platform_client
from .models import TABLES
from .state import State


def find_problems(state: State, *, online: bool) -> list[str]:
    """Return what is wrong; empty means that nothing is. ``online`` asks Stripe whether the keys work."""
    problems = [*_host(state), *_address(state), *_database(state)]
    for mode in Mode:
        problems += _mode(state, mode, online=online)
    if not any(state.config.secret_key(mode) for mode in Mode):
        problems.append("No platform key is set: set VALETPRO_STRIPE_TEST_SECRET_KEY to begin in test mode.")
    return problems


def _host(state: State) -> Iterator[str]:
    if state.callbacks.tenant_loader is None:
        yield "No request has a tenant: register a function with @valetpro.tenant_loader."
    if state.callbacks.admin_check is None:
        yield "Every settings page answers 403: register a function with @valetpro.admin_check."
    if not hasattr(state.app, "login_manager"):
        yield "Nobody can sign in to the settings pages: set up Flask-Login's LoginManager on this app."
    if not state.app.secret_key:
        yield "Forms have no CSRF protection without sessions: set SECRET_KEY."


def _address(state: State) -> Iterator[str]:
    address = urlsplit(state.config.public_url)
    local = address.hostname in {"localhost", "127.0.0.1"}
    if state.config.live_secret_key and address.scheme != "https" and not local:
        yield "Stripe sends live events and guests to https only: set VALETPRO_STRIPE_PUBLIC_URL to an https address."


def _database(state: State) -> Iterator[str]:
    ours = {model.__tablename__ for model in TABLES}
    existing = set(sa.inspect(state.session.connection()).get_table_names())
    if missing := sorted(ours - existing):
        yield f"Tables are missing ({', '.join(missing)}): run 'flask db migrate' and 'flask db upgrade'."


def _mode(state: State, mode: Mode, *, online: bool) -> Iterator[str]:
    config, prefix = state.config, f"VALETPRO_STRIPE_{mode.upper()}"
    if config.secret_key(mode) is None:
        if config.client_id(mode) or config.webhook_secrets(mode, connect=True):
            yield f"The {mode} mode is half set up: set {prefix}_SECRET_KEY."
        return
    if config.client_id(mode) is None:
        yield f"No tenant can connect by OAuth in {mode} mode: set {prefix}_CLIENT_ID."
    if not config.webhook_secrets(mode, connect=True):
        yield f"Connected accounts' {mode} payments never turn paid: set {prefix}_CONNECT_WEBHOOK_SECRETS."
    if not config.webhook_secrets(mode, connect=False):
        yield f"The platform's own {mode} payments never turn paid: set {prefix}_WEBHOOK_SECRETS."
    if online:
        yield from _online(state, mode)


def _online(state: State, mode: Mode) -> Iterator[str]:
    try:
        ask_stripe(f"Asking Stripe with the {mode} key", make_platform_client(state, mode).v1.balance.retrieve)
    except ValetProStripeError as error:
        yield f"{error} {error.hint}"
