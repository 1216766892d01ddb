"""Every misconfiguration that can be seen from inside an app, each as a sentence that ends with its fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from babel.dates import format_timedelta
from stripe.params import WebhookEndpointCreateParams

from . import custody, rekey
from .enums import AccountType, Mode, OnboardingStatus
from .errors import SecretUnavailableError, ValetProStripeError
from .gateway import ask_stripe, make_platform_client
from .models import TABLES
from .models.types import utcnow
from .neutralize import made_elsewhere
from .secrets.database import DatabaseStore
from .state import State
from .webhooks import platform_check
from .webhooks.facts import gather
from .webhooks.health import OVERDUE

_HTMX: Final = Path(__file__).parent / "static" / "valetpro_stripe" / "htmx.min.js"
#: How session keys begin that stand in tutorials, without their punctuation. Short ones can be guessed as well.
_KNOWN_KEYS: Final = ("change", "default", "dev", "example", "insecure", "mysecret", "secretkey", "supersecret", "your")
_SHORTEST_KEY: Final = 16
#: How often somebody should have looked at tenants' own webhook endpoints: ``reconcile`` does, every hour.
_LOOKED_AFTER: Final = timedelta(days=1)


def find_problems(state: State, *, online: bool, htmx: Path = _HTMX) -> list[str]:
    """Return what is wrong; empty means that nothing is.

    :param online: also ask Stripe whether the keys work, and each secret store for one of its secrets.
    :param htmx: where the package has its copy of htmx.
    """
    problems = [*_host(state, htmx), *_address(state), *_engine(state), *_handlers(state)]
    schema = list(_schema(state))
    # Rows can be asked only where their columns are.
    problems += schema or [
        *_elsewhere(state),
        *_secrets(state, online=online),
        *_raw_keys(state),
        *_inbox(state),
        *(_endpoints(state) if online else ()),
    ]
    for mode in Mode:
        problems += _mode(state, mode, online=online)
    if not any(state.config.secret_key(mode) for mode in Mode):
        problems.append("No platform key is set: set VALETPRO_STRIPE_TEST_SECRET_KEY to begin in test mode.")
    return problems


def _host(state: State, htmx: Path) -> Iterator[str]:
    if state.callbacks.tenant_loader is None:
        yield "No request has a tenant: register a function with @valetpro.tenant_loader."
    if state.callbacks.admin_check is None:
        yield "Every settings page answers 403: register a function with @valetpro.admin_check."
    if not hasattr(state.app, "login_manager"):
        yield "Nobody can sign in to the settings pages: set up Flask-Login's LoginManager on this app."
    if not state.app.secret_key:
        yield "Forms have no CSRF protection, and no API key can be saved: set SECRET_KEY."
    elif _is_guessable(state.app.secret_key):
        yield (
            "Anybody can sign in as anybody, since SECRET_KEY can be guessed: set it to what this prints: "
            'python -c "import secrets; print(secrets.token_hex(32))"'
        )
    if state.config.htmx and not htmx.is_file():
        yield (
            f"The settings pages load without htmx, since {htmx.name} is not in the installed package: install it "
            "anew, or set VALETPRO_STRIPE_HTMX to None if your own base template loads htmx."
        )


def _is_guessable(key: str | bytes) -> bool:
    text = key.encode() if isinstance(key, str) else key
    letters = "".join(chr(byte) for byte in text.lower() if chr(byte).isalnum())
    # A long random one may begin with any of the words.
    is_known = len(text) < 2 * _SHORTEST_KEY and letters.startswith(_KNOWN_KEYS)
    return len(text) < _SHORTEST_KEY or is_known


def _address(state: State) -> Iterator[str]:
    address = urlsplit(state.config.public_url)
    local = address.hostname in {"localhost", "127.0.0.1"}
    if state.config.live_secret_key and address.scheme != "https" and not local:
        yield "Stripe sends live events and guests to https only: set VALETPRO_STRIPE_PUBLIC_URL to an https address."


def _engine(state: State) -> Iterator[str]:
    if state.config.processing != "celery":
        return
    from .celery import is_swept

    if not is_swept(state.app):
        yield (
            "An event that failed, or whose message was lost, waits for ever, since nothing sweeps the inbox: add "
            "flask_valetpro_stripe.celery.beat_schedule() to the Celery app's beat_schedule, and run Celery's beat."
        )


def _handlers(state: State) -> Iterator[str]:
    """Yield what is probably a slip: Stripe has other events than the SDK knows, but none that are spelled so alike."""
    known = _event_types()
    for type_ in sorted(state.registry.types - known):
        for meant in difflib.get_close_matches(type_, known, n=1, cutoff=0.9):
            yield f"No event of Stripe's is known as {type_!r}, so its handler never runs: did you mean {meant!r}?"


def _event_types() -> frozenset[str]:
    # As a text: of types that the SDK imports for checkers only, Python cannot make one.
    return frozenset(re.findall(r"""['"]([a-z0-9_.]+)['"]""", str(WebhookEndpointCreateParams.__annotations__)))


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


def _secrets(state: State, *, online: bool) -> Iterator[str]:
    per_store = rekey.rows_per_store(state)
    if DatabaseStore.name in state.stores:
        for key_id, count in rekey.rows_per_missing_key(state).items():
            yield (
                f"{_count(count, 'secret')} encrypted with the key {key_id}, which is not in "
                "VALETPRO_STRIPE_ENCRYPTION_KEYS: put that key back, at the end of the list."
            )
    for store, count in per_store.items():
        if store not in state.stores:
            where = f"{_count(count, 'secret')} kept in the store {store!r}, which this app is not set up for"
            yield f"{where}: {_remedy(store)}"
        elif online:
            yield from _store(state, store)


def _store(state: State, name: str) -> Iterator[str]:
    """Ask a store for one of its secrets: one that is in use, if there is any."""
    secret, connection = state.models.Secret, state.models.Connection
    wanted = sa.select(secret, connection).join(connection, connection.id == secret.connection_id)
    in_order = wanted.where(secret.store == name, secret.stored.is_not(None)).order_by(
        secret.archived_at.is_not(None), secret.id.desc()
    )
    found = state.session.execute(in_order.limit(1)).first()
    if found is None:
        return
    row, owner = found
    whose = f"tenant {owner.tenant_id} in {owner.mode} mode"
    try:
        custody.read(state, owner, row)
    except SecretUnavailableError as error:
        if error.code == SecretUnavailableError.default_code:
            yield f"{error} See that it runs, that this app reaches it, and that it may read there."
        else:
            yield f"The secret of {whose}: {error} {error.hint}"
    finally:
        state.session.commit()


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


def _inbox(state: State) -> Iterator[str]:
    """Tell of events that wait for somebody; what they are about, and why they failed, ``health`` says."""
    now = utcnow()
    found = gather(state, now)
    since = [each.waiting.due_since for each in found if each.waiting.due_since is not None]
    overdue = now - min(since, default=now)
    if overdue > OVERDUE[state.config.processing]:
        age = format_timedelta(overdue, locale="en")
        yield f"Events have waited for {age}, and nobody handles them: {_WORKS_OFF[state.config.processing]}"
    if dead := sum(each.waiting.dead for each in found):
        yield (
            f"{_count(dead, 'event')} given up: 'flask stripe health' says why. Once that is mended, 'flask stripe "
            "replay EVENT_ID' handles them again."
        )


_WORKS_OFF: Final = {
    "celery": "see that a Celery worker and beat run, or keep 'flask stripe worker' running beside them.",
    "inline": "run 'flask stripe reconcile' every hour, from cron for example, or keep 'flask stripe worker' running.",
}


def _endpoints(state: State) -> Iterator[str]:
    model = state.models.Connection
    looked_at = sa.func.coalesce(model.endpoint_checked_at, model.connected_at, model.created_at)
    wanted = sa.select(sa.func.count(model.id)).where(
        model.account_type == AccountType.RAW_KEYS,
        model.ended_at.is_(None),
        model.endpoint_id.is_not(None),
        looked_at < utcnow() - _LOOKED_AFTER,
    )
    if forgotten := state.session.scalar(wanted):
        yield (
            f"{_count(forgotten, 'webhook endpoint')} made in tenants' own accounts, and nobody has looked at Stripe "
            "whether they are still there and on: run 'flask stripe reconcile' every hour, from cron for example."
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
        yield from platform_check.find_problems(state, mode)
    except ValetProStripeError as error:
        yield f"{error} {error.hint}"
