"""The desk on an empty database with its demo data, and Stripe's simulator in the same process."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_valetpro_stripe import AccountType, Mode
from flask_valetpro_stripe.connections import open_connection
from flask_valetpro_stripe.testing import Simulator
from sample_app import create_app
from sample_app.extensions import db
from sample_app.models import Tenant
from sample_app.seed import seed
from sample_app.sms import ConsoleSms
from tests.hosts import Templates, create_tables

from .browser import Browser


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(public_url="http://desk.test")


@pytest.fixture
def sms() -> ConsoleSms:
    return ConsoleSms()


@pytest.fixture
def app(database_url: str, simulator: Simulator, sms: ConsoleSms) -> Iterator[Flask]:
    app = create_app(
        {
            "TESTING": True,
            "DEMO": True,
            "PASSWORD_METHOD": "pbkdf2:sha256:1",
            "SECRET_KEY": "for tests",
            "SQLALCHEMY_DATABASE_URI": database_url,
            "SMS": sms,
            "VALETPRO_STRIPE_ENCRYPTION_KEYS": [base64.b64encode(bytes(32)).decode()],
            **simulator.config(),
        }
    )
    app.jinja_env.bytecode_cache = Templates()
    simulator.install(app)
    with app.app_context():
        create_tables(db)
        seed()
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def visitor(app: Flask) -> Browser:
    """Somebody who has not signed in."""
    return Browser(app)


@pytest.fixture
def people(app: Flask) -> Callable[[str], Browser]:
    """Whoever signs in, by the name before the first dot of the address: ``people("staff@plaza")``."""
    return lambda who: Browser(app).sign_in(f"{who}.example")


@pytest.fixture
def plaza_account(app: Flask, simulator: Simulator) -> str:
    """The id of the Stripe account that the Plaza Hotel has connected."""
    account_id = simulator.create_account("Plaza Hotel SAS").id
    simulator.connect(account_id)
    with app.app_context():
        plaza = db.session.scalars(sa.select(Tenant).filter_by(slug="plaza")).one()
        open_connection(
            app.extensions["valetpro_stripe"],
            plaza,
            Mode.test,
            AccountType.CONNECT_STANDARD,
            actor="tests",
            account_id=account_id,
            account_name="Plaza Hotel SAS",
        )
    return account_id


@pytest.fixture
def staff(plaza_account: str, people: Callable[[str], Browser]) -> Browser:
    """A clerk of the Plaza Hotel, which takes payments."""
    return people("staff@plaza")
