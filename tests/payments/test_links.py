"""A payment link: what Stripe is told, what the row says, and whose account takes the money."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from flask_valetpro_stripe import Mode, errors
from flask_valetpro_stripe.testing import LinkInactive, Simulator
from tests.hosts import Host, make_host
from tests.payments.desk import Desk, links_at, made, rows


@pytest.mark.oldest
@pytest.mark.both
def test_a_payment_says_all_that_the_contract_promises(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make(amount=2500, currency="EUR", description="Valet parking", reference="T-7")

    assert (payment.amount, payment.currency, payment.status, payment.mode) == (2500, "eur", "PENDING", "test")
    assert (payment.description, payment.reference) == ("Valet parking", "T-7")
    assert (payment.stripe_account_id, payment.collected_via) == (plaza.account, "TENANT")
    assert payment.tenant_id == plaza.tenant.id
    assert payment.stripe_payment_link_id.startswith("plink_")
    assert payment.stripe_payment_link_url.startswith("http://stripe.test/")
    assert payment.created_at.utcoffset() == timedelta(0)
    assert (payment.paid_at, payment.amount_refunded, payment.application_fee_amount) == (None, 0, None)
    assert isinstance(payment.stripe_object, dict)
    assert payment.stripe_object["id"] == payment.stripe_payment_link_id


def test_what_stripe_is_asked_for(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make(
        reference="T-7", metadata={"plate": "AB-123"}, success_url="https://plaza.example/paid?s={CHECKOUT_SESSION_ID}"
    )
    (request,) = made(simulator)
    (operation,) = plaza.operations()
    metadata = {
        "plate": "AB-123",
        "valetpro_operation": operation.id,
        "valetpro_payment": str(payment.id),
        "valetpro_reference": "T-7",
    }

    assert (request.api_key, request.stripe_account) == (simulator.platform.test_secret_key, plaza.account)
    assert request.idempotency_key == operation.stripe_idempotency_key
    assert request.params["metadata"] == metadata
    assert request.params["payment_intent_data"]["metadata"] == metadata
    assert request.params["restrictions"] == {"completed_sessions": {"limit": "1"}}
    assert request.params["after_completion"]["redirect"]["url"].startswith("https://plaza.example/paid?s=")
    price = request.params["line_items"][0]["price_data"]
    assert (price["unit_amount"], price["currency"]) == ("2500", "eur")
    assert "payment_method_types" not in request.params
    assert "automatic_tax" not in request.params


def test_metadata_reach_the_intent_and_the_charge(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make(metadata={"plate": "AB-123"})
    session = simulator.pay(payment.stripe_payment_link_url)
    intent = simulator.object(session["payment_intent"])
    charge = simulator.object(intent["latest_charge"])

    for found in (session, intent, charge):
        assert found["metadata"]["plate"] == "AB-123"
        assert found["metadata"]["valetpro_payment"] == str(payment.id)


def test_a_second_guest_cannot_pay_the_same_link(plaza: Desk, simulator: Simulator) -> None:
    payment = plaza.make()
    simulator.pay(payment.stripe_payment_link_url)

    with pytest.raises(LinkInactive):
        simulator.pay(payment.stripe_payment_link_url)


@pytest.mark.oldest
@pytest.mark.both
def test_each_tenant_is_charged_on_its_own_account(plaza: Desk, seaside: Desk, simulator: Simulator) -> None:
    at_plaza, at_seaside = plaza.make(idempotency_key="7"), seaside.make(idempotency_key="7")

    assert at_plaza.id != at_seaside.id
    assert [request.stripe_account for request in made(simulator)] == [plaza.account, seaside.account]
    assert len(links_at(simulator, plaza.account)) == len(links_at(simulator, seaside.account)) == 1
    assert links_at(simulator, None) == []


@pytest.mark.both
@pytest.mark.parametrize("key", ["uuid", "str"])
def test_any_type_of_key_works(database_url: str, simulator: Simulator, key: str) -> None:
    host = make_host(database_url, key=key, simulator=simulator)
    desk = Desk.of(host, "Plaza")
    payment = desk.make(idempotency_key="7")
    assert desk.make(idempotency_key="7").id == payment.id
    simulator.pay(payment.stripe_payment_link_url)

    assert desk.sync(payment).status == "COMPLETED"
    assert made(simulator)[0].params["metadata"]["valetpro_payment"] == str(payment.id)
    host.close()


def test_a_platform_without_its_key_refuses_before_anything_is_written(plaza: Desk, simulator: Simulator) -> None:
    plaza.host.state.config = replace(plaza.host.state.config, test_secret_key=None)
    with pytest.raises(errors.ConfigurationError, match="VALETPRO_STRIPE_TEST_SECRET_KEY"):
        plaza.make()

    assert plaza.payments() == []
    assert simulator.requests == []


def test_no_message_holds_a_key(plaza: Desk, simulator: Simulator) -> None:
    simulator.expire_key(simulator.platform.test_secret_key)
    with pytest.raises(errors.InvalidKeyError) as refused:
        plaza.make(idempotency_key="ticket-7")

    assert simulator.platform.test_secret_key[-4:] not in str(refused.value) + refused.value.hint
    assert [p.status for p in plaza.payments()] == ["FAILED"]


@pytest.mark.parametrize(
    ("amount", "bps", "fee"), [(2500, 150, 37), (999, 100, 9), (99, 100, None), (2500, 10_000, 2500), (50, 1, None)]
)
def test_the_tenants_fee_is_rounded_down(
    sqlite_url: str, simulator: Simulator, amount: int, bps: int, fee: int | None
) -> None:
    host = make_host(sqlite_url, simulator=simulator)
    desk = Desk.of(host, "Plaza", stripe_application_fee_bps=bps)
    payment = desk.make(amount=amount, currency="jpy")

    assert payment.application_fee_amount == fee
    assert made(simulator)[0].params.get("application_fee_amount") == (None if fee is None else str(fee))
    host.close()


def test_a_fee_that_is_asked_for_wins_over_the_policy(sqlite_url: str, simulator: Simulator) -> None:
    host = make_host(sqlite_url, simulator=simulator)
    desk = Desk.of(host, "Plaza", stripe_application_fee_bps=500)

    assert desk.make(application_fee=90).application_fee_amount == 90
    assert desk.make(application_fee=0).application_fee_amount is None
    assert [r.params.get("application_fee_amount") for r in made(simulator)] == ["90", None]
    host.close()


def test_tax_is_inside_the_amount(plaza: Desk, simulator: Simulator) -> None:
    simulator.enable_tax(str(plaza.account))
    plaza.change(plaza.tenant, stripe_automatic_tax=True)
    plaza.make()
    plaza.make(automatic_tax=False)
    taxed, untaxed = made(simulator)

    assert taxed.params["automatic_tax"] == {"enabled": "true"}
    assert taxed.params["line_items"][0]["price_data"]["tax_behavior"] == "inclusive"
    assert "automatic_tax" not in untaxed.params


def test_a_tenant_that_never_connected_may_use_the_platform_in_test_if_the_operator_says_so(
    database_url: str, simulator: Simulator
) -> None:
    config = {"VALETPRO_STRIPE_PLATFORM_FALLBACK": "test"}
    host = make_host(database_url, simulator=simulator, config=config)
    fresh, was = Desk.of(host, "Fresh", modes=()), Desk.of(host, "Live only", modes=(Mode.live,))
    payment = fresh.make()
    fresh.make()

    assert (payment.collected_via, payment.stripe_account_id, payment.mode) == ("PLATFORM", None, "test")
    assert {request.stripe_account for request in made(simulator)} == {None}
    assert len(links_at(simulator, None)) == 2
    # Never for one that has connected, in whatever mode, and never live.
    with pytest.raises(errors.NotConnectedError):
        was.make()
    fresh.change(fresh.tenant, stripe_mode=Mode.live)
    with pytest.raises(errors.NotConnectedError, match="in live mode"):
        fresh.make()
    assert len(made(simulator)) == 2

    simulator.pay(payment.stripe_payment_link_url)
    assert fresh.sync(payment).status == "COMPLETED"
    host.close()


def test_after_connecting_the_fallback_is_gone_for_ever(database_url: str, simulator: Simulator) -> None:
    config = {"VALETPRO_STRIPE_PLATFORM_FALLBACK": "test"}
    host = make_host(database_url, simulator=simulator, config=config)
    desk = Desk.of(host, "Fresh", modes=())
    before = desk.make()
    account = simulator.create_account("Fresh").id
    simulator.connect(account)
    connection = host.connect(desk.tenant, account)

    assert desk.make().stripe_account_id == account
    desk.change(connection, is_current=False, ended_at=connection.created_at, status="NOT_CONNECTED")
    with pytest.raises(errors.NotConnectedError):
        desk.make()
    # What was taken before stays reachable where it was taken.
    assert desk.sync(before).collected_via == "PLATFORM"
    host.close()


def test_without_the_setting_nothing_falls_back(plaza: Desk, host: Host, simulator: Simulator) -> None:
    with pytest.raises(errors.NotConnectedError):
        Desk.of(host, "Fresh", modes=()).make()
    assert made(simulator) == []
    assert rows(host, host.Payment) == []
