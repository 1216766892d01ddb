"""A valet desk for hotels: the sample app of Flask-ValetPro-Stripe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask

from . import auth, desk, guest, pages, seed, settings
from .extensions import csrf, db, init_sqlite, login_manager, migrate
from .sms import init_sms
from .valetpro import valetpro


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the desk, set up by defaults, then by the environment, then by ``config``."""
    app = Flask(__name__, instance_relative_config=True)
    settings.load(app, config or {})
    db.init_app(app)
    init_sqlite(app)
    migrate.init_app(app, db)
    login_manager.init_app(app)
    csrf.init_app(app)
    valetpro.init_app(app)
    init_sms(app)
    app.register_blueprint(auth.bp)
    app.register_blueprint(desk.bp)
    app.register_blueprint(guest.bp)
    app.cli.add_command(seed.seed_command)
    pages.init_app(app)
    return app
