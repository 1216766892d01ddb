"""Restricted keys: what they may do, and what Stripe says when they may not."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, Simulator
from tests.simulator.helpers import client_with, code_of, link_params

READ_BY_PROBES = [
    ("payment_links", "/v1/payment_links", "rak_payment_link_read"),
    ("checkout", "/v1/checkout/sessions", "rak_checkout_session_read"),
    ("payment_intents", "/v1/payment_intents", "rak_payment_intent_read"),
    ("charges", "/v1/charges", "rak_charge_read"),
    ("refunds", "/v1/refunds", "rak_charge_read"),
    ("customers", "/v1/customers", "rak_customer_read"),
    ("products", "/v1/products", "rak_product_read"),
    ("prices", "/v1/prices", "rak_plan_read"),
    ("webhook_endpoints", "/v1/webhook_endpoints", "rak_webhook_read"),
    ("payouts", "/v1/payouts", "rak_payout_read"),
    ("balance_transactions", "/v1/balance_transactions", "rak_balance_transaction_source_read"),
    ("events", "/v1/events", "rak_event_read"),
    ("tax", "/v1/tax/registrations", "rak_tax_settings_read"),
    ("billing_portal", "/v1/billing_portal/configurations", "rak_customer_portal_read"),
]
WRITTEN_BY_PROBES = [
    ("payment_links", "/v1/payment_links"),
    ("checkout", "/v1/checkout/sessions"),
    ("payment_intents", "/v1/payment_intents"),
    ("refunds", "/v1/refunds"),
    ("products", "/v1/products"),
    ("prices", "/v1/prices"),
    ("webhook_endpoints", "/v1/webhook_endpoints"),
]


def restricted(simulator: Simulator, account: Account, *allow: str) -> Any:
    return client_with(simulator, simulator.create_restricted_key(account.id, allow=allow))


def test_writing_implies_reading(simulator: Simulator, seaside: Account) -> None:
    client = restricted(simulator, seaside, "payment_links")

    link = client.v1.payment_links.create(link_params())

    assert client.v1.payment_links.retrieve(link.id).active


def test_key_that_only_reads_is_refused_to_write(simulator: Simulator, seaside: Account) -> None:
    key = simulator.create_restricted_key(seaside.id, allow=["payment_links:read"])
    client = client_with(simulator, key)
    assert client.v1.payment_links.list({"limit": 1}).data == []

    with pytest.raises(stripe.PermissionError) as caught:
        client.v1.payment_links.create(link_params())

    assert caught.value.user_message == (
        f"The provided key 'rk_test_{'*' * 24}{key[-4:]}' does not have the required permissions for this endpoint on "
        f"account '{seaside.id}'. Having the 'rak_payment_link_write' permission would allow this request to continue."
    )
    assert caught.value.http_status == 403
    assert code_of(caught.value) == "more_permissions_required_for_application"
    assert simulator.requests[-1].response["error"]["type"] == "invalid_request_error"


def test_permission_is_looked_at_before_the_parameters(simulator: Simulator, seaside: Account) -> None:
    client = restricted(simulator, seaside, "payment_links:read")

    with pytest.raises(stripe.PermissionError, match="rak_payment_link_write"):
        client.v1.payment_links.create({"bogus": "x"})


@pytest.mark.parametrize(("resource", "path"), WRITTEN_BY_PROBES)
def test_empty_write_tells_if_a_key_may_write_and_makes_nothing(
    simulator: Simulator, seaside: Account, resource: str, path: str
) -> None:
    reader = restricted(simulator, seaside, f"{resource}:read")
    writer = restricted(simulator, seaside, resource)

    with pytest.raises(stripe.PermissionError):
        reader.raw_request("post", path)
    with pytest.raises(stripe.InvalidRequestError):
        writer.raw_request("post", path)

    assert [request.status for request in simulator.requests] == [403, 400]
    assert simulator.events == []
    assert reader.raw_request("get", path).data["data"] == []


@pytest.mark.parametrize(("resource", "path", "name"), READ_BY_PROBES)
def test_each_resource_is_listed_with_its_permission_and_refused_without(
    simulator: Simulator, seaside: Account, resource: str, path: str, name: str
) -> None:
    with_it = restricted(simulator, seaside, f"{resource}:read")
    without = restricted(simulator, seaside, *(other for other, *_ in READ_BY_PROBES if other != resource))

    assert with_it.raw_request("get", f"{path}?limit=1").data["data"] == []
    with pytest.raises(stripe.PermissionError, match=f"Having the '{name}' permission"):
        without.raw_request("get", f"{path}?limit=1")


def test_account_is_a_permission_of_its_own(simulator: Simulator, seaside: Account) -> None:
    client = restricted(simulator, seaside, "accounts", "payment_links", "balance:read")

    with pytest.raises(stripe.PermissionError, match="Having the 'rak_accounts_kyc_basic_read' permission"):
        client.v1.accounts.retrieve_current()

    assert client.v1.balance.retrieve().livemode is False
    assert restricted(simulator, seaside, "account:read").v1.accounts.retrieve_current().id == seaside.id


def test_payout_that_nobody_made_is_missing(seaside_client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such payout: 'po_missing'") as caught:
        seaside_client.v1.payouts.retrieve("po_missing")

    assert caught.value.code == "resource_missing"


def test_one_tenants_permissions_are_not_the_others(simulator: Simulator, plaza: Account, seaside: Account) -> None:
    writer, reader = restricted(simulator, plaza, "payment_links"), restricted(simulator, seaside, "payment_links:read")

    link = writer.v1.payment_links.create(link_params())
    with pytest.raises(stripe.PermissionError, match=seaside.id):
        reader.v1.payment_links.create(link_params())

    assert [each.id for each in writer.v1.payment_links.list().data] == [link.id]
    assert reader.v1.payment_links.list().data == []


def test_permission_that_cannot_be_read_is_refused_when_the_key_is_made(simulator: Simulator, seaside: Account) -> None:
    with pytest.raises(ValueError, match=r"^'payment_links:all' is no permission\. Write 'payment_links' or "):
        simulator.create_restricted_key(seaside.id, allow=["payment_links:all"])
