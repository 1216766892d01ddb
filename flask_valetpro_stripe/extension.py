"""The extension object: what a host makes once, decorates with, and initialises on each app."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import click
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from . import audit, ui
from .cli_inbox import stripe_commands
from .config import Config, read_config
from .counts import Count, count_nothing
from .errors import ConfigurationError
from .events import Handler, Registry
from .gateway import SharedHTTPClient
from .handlers import HANDLERS
from .models import Models, declare_models
from .rekey import refuse_missing_keys
from .secrets.make import make_stores
from .state import EXTENSION, Callbacks, State
from .webhooks import views as webhook
from .webhooks.ahead import watch_commits
from .webhooks.running import watch_rollbacks
from .webhooks.tenants import TenantEndpoints
from .webhooks.verify import platform_endpoints

HandlerT = TypeVar("HandlerT", bound=Handler)
LoaderT = TypeVar("LoaderT", bound=Callable[[], Any])
CheckT = TypeVar("CheckT", bound=Callable[[Any], bool])


class ValetProStripe:
    """Stripe for a multi-tenant Flask app.

    Make one beside the models: it declares the ``stripe_*`` tables on the metadata of ``tenant``. Then call
    :meth:`init_app` for each app; two apps never see each other's configuration.

    :raises ConfigurationError: if the models lack their mixins, or cannot be pointed to.
    """

    def __init__(self, db: SQLAlchemy, *, tenant: type[Any], payment: type[Any]) -> None:
        self.models: Models = declare_models(tenant, payment)
        audit.guard(db.session)
        watch_rollbacks(db.session)
        watch_commits(db.session)
        self._db = db
        self._callbacks = Callbacks()
        self._registry = Registry()
        for event_type, handler in HANDLERS.items():
            self._registry.add(event_type, handler)

    def tenant_loader(self, load: LoaderT) -> LoaderT:
        """Register how the tenant of a request is found: a function that returns it, or None."""
        self._callbacks.tenant_loader = load
        return load

    def admin_check(self, check: CheckT) -> CheckT:
        """Register who may manage a tenant's payment settings: called with the tenant, for the present user.

        Without it, every settings page answers 403.
        """
        self._callbacks.admin_check = check
        return check

    def on(self, event_type: str) -> Callable[[HandlerT], HandlerT]:
        """Register a handler of one Stripe event type, or of all with ``"*"``.

        It runs after ours, in the transaction of the inbox, with the event's tenant as ``current_tenant``: what it
        writes through ``db.session`` commits with the event, or not at all. If it raises, Stripe
        delivers it again, or a worker tries it again.
        """

        def register(handler: HandlerT) -> HandlerT:
            self._registry.add(event_type, handler)
            return handler

        return register

    def init_app(self, app: Flask) -> None:
        """Set up the extension on ``app``.

        :raises ConfigurationError: for every setting that cannot work, and for a second call on the same app.
        """
        if EXTENSION in app.extensions:
            raise ConfigurationError("This app already has flask-valetpro-stripe. Call init_app once for each app.")
        state = self._make_state(app)
        app.extensions[EXTENSION] = state
        app.register_blueprint(webhook.make_blueprint(state))
        app.register_blueprint(ui.make_blueprint(state))
        app.cli.add_command(stripe_commands)
        if not _is_loaded_to_neutralize():
            refuse_missing_keys(state)

    def _make_state(self, app: Flask) -> State:
        config = read_config(app.config, relaxed=app.debug or app.testing)
        count = _count_for(config)
        secrets = config.secret_store, config.secret_store_options, config.encryption_keys
        return State(
            app=app,
            config=config,
            db=self._db,
            models=self.models,
            registry=self._registry,
            callbacks=self._callbacks,
            platform_endpoints=platform_endpoints(config),
            tenant_endpoints=TenantEndpoints(),
            stores=make_stores(*secrets, on_error=partial(count, "vault_errors")),
            http_client=SharedHTTPClient(),
            enqueue=_enqueue_for(app, config),
            count=count,
        )


def _is_loaded_to_neutralize() -> bool:
    """Tell whether the app is loaded by ``flask stripe neutralize``: a copy should have no key of the original's."""
    is_a_command = click.get_current_context(silent=True) is not None
    return is_a_command and ("stripe", "neutralize") in pairwise(sys.argv)


def _enqueue_for(app: Flask, config: Config) -> Callable[[int, str], None] | None:
    if config.processing != "celery":
        return None
    try:
        from .celery import enqueue_for
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"VALETPRO_STRIPE_PROCESSING is 'celery', but the package {error.name} is not installed. Install it with: "
            "pip install 'flask-valetpro-stripe[celery]'"
        ) from None
    return enqueue_for(app)


def _count_for(config: Config) -> Count:
    """Return what counts for :func:`.monitoring.metrics`; without prometheus-client, nothing does."""
    try:
        from .metrics import Counters
    except ModuleNotFoundError:
        return count_nothing
    return Counters(f"{config.public_url}{config.webhook_url}")
