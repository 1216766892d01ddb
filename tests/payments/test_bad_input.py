"""What cannot be a payment is refused before a row is written and before Stripe hears of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from flask_valetpro_stripe import AccountType, Mode, errors, payments
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.payments.desk import Desk, made

TOO_LONG = "x" * 501

BAD: list[tuple[dict[str, Any], str]] = [
    ({"amount": True}, "int in minor units"),
    ({"amount": False}, "int in minor units"),
    ({"amount": 25.0}, "int in minor units"),
    ({"amount": Decimal(25)}, "int in minor units"),
    ({"amount": "2500"}, "int in minor units"),
    ({"amount": None}, "int in minor units"),
    ({"amount": 0}, "more than zero"),
    ({"amount": -1}, "more than zero"),
    ({"amount": 100_000_000}, "above the largest"),
    ({"amount": 10**30}, "above the largest"),
    ({"amount": 1005, "currency": "kwd"}, "multiples of 10"),
    ({"amount": 150, "currency": "isk"}, "multiples of 100"),
    ({"currency": "xxx"}, "currency"),
    ({"currency": "euro"}, "currency"),
    ({"currency": ""}, "currency"),
    ({"currency": None}, "currency"),
    ({"currency": 978}, "currency"),
    ({"description": ""}, "description"),
    ({"description": "  \n"}, "description"),
    ({"description": "x" * 251}, "description"),
    ({"description": None}, "description"),
    ({"description": b"Parking"}, "description"),
    ({"description": "a\x00b"}, "description"),
    ({"description": "\ud800"}, "description"),
    ({"reference": 7}, "reference"),
    ({"reference": "x" * 256}, "reference"),
    ({"reference": "a\x00b"}, "reference"),
    ({"metadata": ["plate"]}, "Metadata"),
    ({"metadata": "plate"}, "Metadata"),
    ({"metadata": {"plate": 7}}, "Metadata"),
    ({"metadata": {7: "plate"}}, "Metadata"),
    ({"metadata": {"": "x"}}, "Metadata"),
    ({"metadata": {"x" * 41: "x"}}, "Metadata"),
    ({"metadata": {"plate": TOO_LONG}}, "Metadata"),
    ({"metadata": {"plate": "a\x00b"}}, "Metadata"),
    ({"metadata": {f"name{n}": "x" for n in range(48)}}, "at most 47"),
    ({"metadata": {"valetpro_operation": "another's"}}, "valetpro_"),
    ({"metadata": {"valetpro_x": "y"}}, "valetpro_"),
    ({"metadata": {"a[b]": "x"}}, "square brackets"),
    ({"success_url": "javascript:alert(1)"}, "success_url"),
    ({"success_url": " https://plaza.example"}, "success_url"),
    ({"success_url": "//plaza.example/paid"}, "success_url"),
    ({"success_url": "/paid"}, "success_url"),
    ({"success_url": ""}, "success_url"),
    ({"success_url": "https://"}, "success_url"),
    ({"success_url": "https://[::1"}, "success_url"),
    ({"success_url": "ftp://plaza.example"}, "success_url"),
    ({"success_url": "https://plaza.example/\r\nX: y"}, "success_url"),
    ({"success_url": "https://plaza.example/" + "x" * 2048}, "success_url"),
    ({"success_url": 7}, "success_url"),
    ({"success_url": b"https://plaza.example"}, "success_url"),
    ({"application_fee": -1}, "application fee"),
    ({"application_fee": 2501}, "application fee"),
    ({"application_fee": True}, "application fee"),
    ({"application_fee": 1.0}, "application fee"),
    ({"application_fee": "1"}, "application fee"),
    ({"automatic_tax": "yes"}, "automatic_tax"),
    ({"automatic_tax": 1}, "automatic_tax"),
    ({"idempotency_key": ""}, "idempotency_key"),
    ({"idempotency_key": "x" * 256}, "idempotency_key"),
    ({"idempotency_key": 7}, "idempotency_key"),
    ({"idempotency_key": "a\x00b"}, "idempotency_key"),
]


def test_what_cannot_be_a_payment_leaves_no_trace(plaza: Desk, simulator: Simulator) -> None:
    wrong = []
    for asked, says in BAD:
        try:
            plaza.make(**asked)
        except ValueError as error:
            if says not in str(error) or isinstance(error, UnicodeError):
                wrong.append((asked, repr(error)))
        else:
            wrong.append((asked, "was accepted"))

    assert wrong == []
    assert plaza.payments() == []
    assert plaza.operations() == []
    assert simulator.requests == []


@pytest.mark.parametrize(
    "asked",
    [
        {"amount": 99_999_999},
        {"amount": 900, "currency": "JPY"},
        {"amount": 1500, "currency": "kwd"},
        {"description": "Zoë’s 🚗 – ÅÄÖ\nsecond line"},
        {"reference": ""},
        {"metadata": {"plate": "", "note": "x" * 500, "x" * 40: "y"}},
        {"metadata": {f"name{n}": "x" for n in range(47)}},
        {"success_url": "https://plaza.example/paid?session={CHECKOUT_SESSION_ID}"},
        {"application_fee": 0},
        {"application_fee": 2499},
        {"idempotency_key": "x" * 255},
    ],
    ids=lambda asked: ", ".join(asked),
)
def test_the_edges_of_what_is_allowed_work(plaza: Desk, simulator: Simulator, asked: dict[str, Any]) -> None:
    payment = plaza.make(**asked)

    assert payment.status == "PENDING"
    assert payment.stripe_payment_link_url
    assert made(simulator)[-1].status == 200


def test_stripes_own_smallest_amount_is_stripes_to_refuse(plaza: Desk, simulator: Simulator) -> None:
    with pytest.raises(errors.ValetProStripeError) as refused:
        plaza.make(amount=1)

    assert refused.value.code == "amount_too_small"
    assert [payment.status for payment in plaza.payments()] == ["FAILED"]


def test_without_a_tenant_nothing_is_made(host: Host, simulator: Simulator) -> None:
    with host.app.app_context(), pytest.raises(errors.NoTenantError):
        payments.create_payment_link(amount=2500, currency="eur", description="Parking")
    assert simulator.requests == []


def test_a_tenant_that_is_not_connected_is_told_where_to_go(host: Host, plaza: Desk, simulator: Simulator) -> None:
    lonely = Desk.of(host, "Lonely", modes=())
    with pytest.raises(errors.NotConnectedError) as refused:
        lonely.make()

    assert str(refused.value) == (
        "No Stripe account is connected in test mode. An admin mends this at http://app.test/settings/payments/"
    )
    assert refused.value.settings_url == "http://app.test/settings/payments/"
    assert lonely.payments() == []
    assert made(simulator) == []


def test_a_connection_that_may_not_charge_yet_takes_no_payment(host: Host, simulator: Simulator) -> None:
    desk = Desk.of(host, "Pending", modes=())
    host.connect(desk.tenant, simulator.create_account("Pending").id, requirements=["external_account"])
    with pytest.raises(errors.NotConnectedError, match="Stripe wants: external_account"):
        desk.make()
    assert desk.payments() == []


def test_connected_in_test_is_not_connected_in_live(host: Host, simulator: Simulator) -> None:
    desk = Desk.of(host, "Test only", modes=(Mode.test,), stripe_mode=Mode.live)
    with pytest.raises(errors.NotConnectedError, match="in live mode"):
        desk.make()
    assert simulator.requests == []


def test_the_platforms_account_carries_no_application_fee(host: Host, simulator: Simulator) -> None:
    desk = Desk.of(host, "Managed", modes=(), stripe_application_fee_bps=500)
    host.connect(desk.tenant, None, account_type=AccountType.PLATFORM)
    with pytest.raises(ValueError, match="PLATFORM connection cannot carry an application fee"):
        desk.make(application_fee=10)
    assert desk.payments() == []
    assert simulator.requests == []

    assert desk.make(application_fee=0).application_fee_amount is None
    assert desk.make().application_fee_amount is None
    assert ["application_fee_amount" in request.params for request in made(simulator)] == [False, False]


@pytest.mark.parametrize("bps", [-1, 10_001])
def test_a_policy_that_cannot_work_is_refused(sqlite_url: str, simulator: Simulator, bps: int) -> None:
    host = make_host(sqlite_url, simulator=simulator)
    desk = Desk.of(host, "Odd", stripe_application_fee_bps=bps)
    with pytest.raises(ValueError, match="application fee"):
        desk.make(amount=1_000_000)
    assert desk.payments() == []
    host.close()
