"""Every request that this package sends, and every answer and event that it acts on, is as Stripe describes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from flask_valetpro_stripe import payments, tenant_context
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.openapi.description import check_request
from tests.openapi.traffic import sent, validated


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with validated(Simulator(), refusable=False) as checked:
        yield checked


@pytest.fixture
def host(simulator: Simulator, sqlite_url: str) -> Iterator[Host]:
    with make_host(sqlite_url, simulator=simulator) as host:
        yield host


@pytest.fixture
def admin(host: Host) -> Any:
    """The browser of Hotel Plaza's admin, with nothing connected yet."""
    return host.client_as(host.make_user(host.make_tenant("Hotel Plaza")))


@pytest.fixture
def plaza(host: Host, admin: Any, simulator: Simulator) -> Iterator[Any]:
    """Hotel Plaza, connected by OAuth, as the current tenant."""
    connect(host, admin, simulator)
    with host.context():
        hotel = host.db.session.scalars(host.db.select(host.Tenant)).one()
        with tenant_context(hotel):
            yield hotel


def connect(host: Host, admin: Any, simulator: Simulator) -> None:
    """Connect an account as the admin does: the button, Stripe's consent page, and back."""
    account = simulator.create_account("Hotel Plaza")
    simulator.enable_tax(account.id)
    consent = press(host, admin, "connect").headers["Location"]
    back = urlsplit(simulator.authorize(consent, account.id))
    admin.get(f"{back.path}?{back.query}")


def press(host: Host, admin: Any, button: str) -> Any:
    return admin.post(f"/settings/payments/{button}", data={"csrf_token": host.csrf_token(admin)})


def test_the_consent_page_is_asked_for_as_stripe_wants(host: Host, admin: Any) -> None:
    consent = urlsplit(press(host, admin, "connect").headers["Location"])

    assert check_request("GET", consent.path, query=consent.query) == []


def test_connecting_and_disconnecting_an_account(host: Host, admin: Any, simulator: Simulator) -> None:
    connect(host, admin, simulator)
    simulator.deliver_all(host.app)
    press(host, admin, "disconnect")
    simulator.deliver_all(host.app)

    assert {"POST /oauth/token", "GET /v1/account", "POST /oauth/deauthorize"} <= sent(simulator)


def test_a_link_is_made_paid_and_synced(host: Host, plaza: Any, simulator: Simulator) -> None:
    payment = payments.create_payment_link(
        amount=4500,
        currency="eur",
        description="Valet parking, ticket 7",
        reference="T-7",
        metadata={"plate": "AB-123-CD"},
        application_fee=90,
        success_url="https://plaza.example/paid",
    )
    simulator.pay(payment.stripe_payment_link_url)
    payments.sync(payment)
    simulator.deliver_all(host.app)

    assert payment.status == "COMPLETED"
    assert {"POST /v1/payment_links", "GET /v1/checkout/sessions", "GET /v1/payment_intents/:id"} <= sent(simulator)


def test_a_link_with_tax_and_the_tenants_own_fee(plaza: Any, simulator: Simulator) -> None:
    plaza.stripe_automatic_tax = True
    plaza.stripe_application_fee_bps = 150
    payments.create_payment_link(amount=900, currency="jpy", description="Valet parking")

    params = simulator.requests[-1].params
    assert params["automatic_tax"]["enabled"] == "true"
    assert params["application_fee_amount"] == "13"


def test_a_link_is_cancelled(host: Host, plaza: Any, simulator: Simulator) -> None:
    payment = payments.create_payment_link(amount=4500, currency="eur", description="Valet parking")
    payments.cancel(payment)
    simulator.deliver_all(host.app)

    assert payment.status == "CANCELED"
    assert "POST /v1/payment_links/:id" in sent(simulator)


def test_a_delayed_payment_fails_after_the_page_said_thanks(host: Host, plaza: Any, simulator: Simulator) -> None:
    payment = payments.create_payment_link(amount=4500, currency="eur", description="Valet parking")
    session = simulator.pay(payment.stripe_payment_link_url, card="bank_debit")
    simulator.settle(session["id"], succeeded=False)
    simulator.deliver_all(host.app)
    payments.sync(payment)

    assert payment.status == "FAILED"
