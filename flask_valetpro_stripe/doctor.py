"""Every misconfiguration that can be seen from inside an app, each as a sentence that ends with its fix."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import sqlalchemy as sa

from . import custody
from .crypto import key_id_of
from .enums import AccountType, Mode, OnboardingStatus
from .errors import ValetProStripeError
from .gateway import ask_stripe, make_platform_client
from .models import TABLES
from .neutralize import made_elsewhere
from .secrets.database import DatabaseStore
from .state import State


def find_problems(state: State, *, online: bool) -> list[str]:
    """Return what is wrong; empty means that nothing is. ``online`` asks Stripe whether the keys work."""
    problems = [*_host(state), *_address(state)]
    schema = list(_schema(state))
    # Rows can be asked only where their columns are.
    problems += schema or [*_elsewhere(state), *_secrets(state), *_raw_keys(state)]
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
        yield "Forms have no CSRF protection, and no API key can be saved: set SECRET_KEY."


def _address(state: State) -> Iterator[str]:
    address = urlsplit(state.config.public_url)
    local = address.hostname in {"localhost", "127.0.0.1"}
    if state.config.live_secret_key and address.scheme != "https" and not local:
        yield "Stripe sends live events and guests to https only: set VALETPRO_STRIPE_PUBLIC_URL to an https address."


def _schema(state: State) -> Iterator[str]:
    inspector = sa.inspect(state.session.connection())
    existing = set(inspector.get_table_names())
    ours = {model.__tablename__ for model in TABLES}
    remedy = "run 'flask db migrate' and 'flask db upgrade'."
    if missing := sorted(ours - existing):
        yield f"Tables are missing ({', '.join(missing)}): {remedy}"
    declared = sa.inspect(state.models.Connection).local_table.metadata.tables
    lacking = [
        f"{table}.{column}"
        for table in sorted(ours & existing)
        for column in sorted(set(declared[table].columns.keys()) - {c["name"] for c in inspector.get_columns(table)})
    ]
    if lacking:
        yield f"Columns are missing ({', '.join(lacking)}): {remedy}"


def _elsewhere(state: State) -> Iterator[str]:
    for url, count in made_elsewhere(state).items():
        yield (
            f"{_count(count, 'live connection')} made at {url}, and this app is at {state.config.public_url}. If this "
            "database is a copy: run 'flask stripe neutralize', before it acts on other people's money. If the app "
            "moved: run 'flask stripe moved'."
        )


def _secrets(state: State) -> Iterator[str]:
    model = state.models.Secret
    found = state.session.execute(
        sa.select(model.store, model.key_id, sa.func.count())
        .where(model.stored.is_not(None))
        .group_by(model.store, model.key_id)
        .order_by(model.store, model.key_id)
    )
    known = {key_id_of(key) for key in state.config.encryption_keys}
    strange: dict[str, int] = {}
    for store, key_id, count in found:
        if store not in state.stores:
            strange[store] = strange.get(store, 0) + count
        elif key_id is not None and key_id not in known:
            yield (
                f"{_count(count, 'secret')} encrypted with the key {key_id}, which is not in "
                "VALETPRO_STRIPE_ENCRYPTION_KEYS: put that key back, at the end of the list."
            )
    for store, count in strange.items():
        where = f"{_count(count, 'secret')} kept in the store {store!r}, which this app is not set up for"
        yield f"{where}: {_remedy(store)}"


def _remedy(store: str) -> str:
    if store == DatabaseStore.name:
        return "put VALETPRO_STRIPE_ENCRYPTION_KEYS back."
    return "name it in VALETPRO_STRIPE_SECRET_STORE, or in the 'others' of VALETPRO_STRIPE_SECRET_STORE_OPTIONS."


def _raw_keys(state: State) -> Iterator[str]:
    connection, secret = state.models.Connection, state.models.Secret
    signed = sa.select(secret.connection_id).where(
        secret.purpose == custody.WEBHOOK_SECRET, secret.archived_at.is_(None), secret.stored.is_not(None)
    )
    found = state.session.execute(
        sa.select(connection.tenant_id, connection.mode)
        .where(
            connection.account_type == AccountType.RAW_KEYS,
            connection.status == OnboardingStatus.CONNECTED,
            connection.ended_at.is_(None),
            connection.id.not_in(signed),
        )
        .order_by(connection.id)
    )
    for tenant, mode in found:
        yield (
            f"The {mode} payments of tenant {tenant} never turn paid, since its own account has no webhook endpoint: "
            "an admin of the tenant mends that on its payment settings page."
        )


def _count(number: int, what: str) -> str:
    return f"One {what} was" if number == 1 else f"{number} {what}s were"


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
