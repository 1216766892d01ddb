"""A valet desk for hotels: the sample app of Flask-ValetPro-Stripe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click
from flask import Flask

from flask_valetpro_stripe.errors import ConfigurationError

from . import auth, counter, day, deposits, desk, extras, guest, pages, refunds, seed, settings
from .extensions import csrf, db, init_sqlite, login_manager, migrate
from .sms import init_sms
from .valetpro import valetpro

#: Importing them puts their routes on the desk's blueprint.
ROUTES_OF_THE_DESK: Final = (deposits, desk, extras, refunds)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the desk, set up by defaults, then by the environment, then by ``config``.

    :raises ConfigurationError: for a setting that cannot work. In a ``flask`` command it is told in one line.
    """
    try:
        return _make_app(config or {})
    except ConfigurationError as error:
        if click.get_current_context(silent=True) is None:
            raise
        # Flask loads the app before the command, so no command could catch it.
        raise click.ClickException(str(error)) from None


def _make_app(config: Mapping[str, Any]) -> Flask:
    app = Flask(__name__, instance_relative_config=True)
    settings.load(app, config)
    db.init_app(app)
    init_sqlite(app)
    migrate.init_app(app, db)
    login_manager.init_app(app)
    csrf.init_app(app)
    valetpro.init_app(app)
    init_sms(app)
    app.register_blueprint(auth.bp)
    app.register_blueprint(counter.bp)
    app.register_blueprint(day.bp)
    app.register_blueprint(guest.bp)
    app.cli.add_command(seed.seed_command)
    pages.init_app(app)
    return app
