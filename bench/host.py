"""A host with all of the extension: the app that the measurements deliver to, and the rows that it starts with."""

from __future__ import annotations

import base64
import os
from typing import Any

import events  # type: ignore[import-not-found]  # the reference's own, from --reference
import sqlalchemy as sa
from flask import Flask, Response
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from sqlalchemy.orm import DeclarativeBase, mapped_column

from flask_valetpro_stripe import StripePaymentMixin, StripeTenantMixin, ValetProStripe
from flask_valetpro_stripe.enums import AccountType, CollectedVia, Mode, OnboardingStatus, PaymentStatus
from flask_valetpro_stripe.models.types import utcnow

URL = os.environ.get("DATABASE_URL", "sqlite://")
#: ``stored``: events are stored for a worker. Nobody is told: what sending a message costs is the broker's matter.
STORED = os.environ.get("BENCH_PROCESSING") == "stored"


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
Model: Any = db.Model


class Tenant(StripeTenantMixin, Model):  # type: ignore[misc]
    id = mapped_column(sa.Integer, primary_key=True)
    name = mapped_column(sa.String(200))


class Payment(StripePaymentMixin, Model):  # type: ignore[misc]
    id = mapped_column(sa.Integer, primary_key=True)
    tenant_id = mapped_column(sa.ForeignKey("tenant.id"), index=True)


valetpro = ValetProStripe(db, tenant=Tenant, payment=Payment)


@valetpro.on("checkout.session.completed")
def notify(event: Any) -> None:
    """What a host does at least: look at what was paid."""
    assert event.object["id"]


def create_app() -> Flask:
    """Return the app, with every secret of every endpoint set: a forged request is held against each."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="bench",
        SQLALCHEMY_DATABASE_URI=URL,
        VALETPRO_STRIPE_PUBLIC_URL="https://valet.example.com",
        VALETPRO_STRIPE_ENCRYPTION_KEYS=[base64.b64encode(os.urandom(32)).decode()],
        VALETPRO_STRIPE_TEST_SECRET_KEY="sk_test_" + "bench" * 5,
        VALETPRO_STRIPE_TEST_CONNECT_WEBHOOK_SECRETS=[events.SECRET],
        VALETPRO_STRIPE_LIVE_CONNECT_WEBHOOK_SECRETS=["whsec_" + "b2C3d4E5" * 4],
        VALETPRO_STRIPE_TEST_WEBHOOK_SECRETS=["whsec_" + "c3D4e5F6" * 4],
        VALETPRO_STRIPE_LIVE_WEBHOOK_SECRETS=["whsec_" + "d4E5f6A7" * 4],
    )
    db.init_app(app)
    csrf = CSRFProtect(app)
    LoginManager(app).user_loader(lambda key: None)
    app.add_url_rule("/floor", view_func=csrf.exempt(floor), methods=["POST"])
    valetpro.init_app(app)
    if STORED:
        app.extensions["valetpro_stripe"].enqueue = lambda *_: None
    if URL.startswith("sqlite"):
        with app.app_context():
            sa.event.listen(db.engine, "connect", _as_the_reference_does)
    return app


def floor() -> Response:
    """Answer 200 and do nothing else: what Flask itself costs."""
    return Response("", 200, mimetype="text/plain")


def _as_the_reference_does(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def populate() -> None:
    """Write as many tenants and payments as the reference has; the payments wait for just the events that come."""
    with app.app_context():
        db.create_all()
        numbers = range(events.N_TENANTS)
        db.session.execute(sa.insert(Tenant), [{"id": i + 1, "name": f"Tenant {i}"} for i in numbers])
        db.session.execute(sa.insert(valetpro.models.Connection), [_connection(i) for i in numbers])
        db.session.execute(sa.insert(Payment), [_payment(i) for i in range(events.N_PAYMENTS)])
        db.session.commit()
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM"))
            connection.execute(sa.text("ANALYZE"))


def _connection(i: int) -> dict[str, Any]:
    return {
        "id": i + 1,
        "tenant_id": i + 1,
        "mode": Mode.test,
        "account_type": AccountType.CONNECT_STANDARD,
        "status": OnboardingStatus.CONNECTED,
        "account_id": events.acct(i),
        "claimed_account_id": events.acct(i),
        "account_name": f"Valet Garage {i}",
        "connected_at": utcnow(),
    }


def _payment(i: int) -> dict[str, Any]:
    of = i % events.N_TENANTS
    return {
        "id": i + 1,
        "tenant_id": of + 1,
        "amount": 1000 + i,
        "currency": "usd",
        "status": PaymentStatus.PENDING,
        "mode": Mode.test,
        "description": f"Ticket {i}",
        "reference": str(i),
        "stripe_account_id": events.acct(of),
        "collected_via": CollectedVia.TENANT,
        "stripe_checkout_session_id": events.session_id(i),
        "connection_id": of + 1,
    }


app = create_app()
