"""What Stripe refuses before it does anything."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from flask_valetpro_stripe.testing import Simulator
from flask_valetpro_stripe.testing.simulator.forms import decode
from tests.simulator.helpers import link_params

UNIT_AMOUNT = "line_items[0][price_data][unit_amount]"


def _price(**price: Any) -> dict[str, Any]:
    return {"line_items": [{"price_data": {"product_data": {"name": "Valet"}, **price}, "quantity": 1}]}


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        (link_params(colour="red"), "parameter_unknown", "colour"),
        (link_params(restrictions={"sessions": 1}), "parameter_unknown", "restrictions[sessions]"),
        ({}, "parameter_missing", "line_items"),
        (
            link_params(restrictions={"completed_sessions": {"other": 1}}),
            "parameter_unknown",
            "restrictions[completed_sessions][other]",
        ),
        (_price(unit_amount=100), "parameter_missing", "line_items[0][price_data][currency]"),
        (_price(currency="eur"), "parameter_missing", UNIT_AMOUNT),
        (_price(currency="eur", unit_amount=10.0), "parameter_invalid_integer", UNIT_AMOUNT),
        (_price(currency="eur", unit_amount=-100), "parameter_invalid_integer", UNIT_AMOUNT),
        (_price(currency="eur", unit_amount=49), "amount_too_small", "line_items"),
        (_price(currency="gbp", unit_amount=29), "amount_too_small", "line_items"),
        (_price(currency="eur", unit_amount=100_000_000), "amount_too_large", "line_items"),
        (_price(currency="zzz", unit_amount=100), None, "line_items[0][price_data][currency]"),
        (link_params(submit_type="steal"), None, "submit_type"),
        (link_params(inactive_message=""), "parameter_invalid_empty", "inactive_message"),
        (link_params(metadata={"key": "x" * 501}), None, "metadata[key]"),
        (link_params(metadata={"k" * 41: "x"}), None, f"metadata[{'k' * 41}]"),
    ],
)
def test_bad_parameter_is_named(
    simulator: Simulator, seaside_client: stripe.StripeClient, params: Any, code: str | None, param: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        seaside_client.v1.payment_links.create(params)

    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)
    assert not [event for event in simulator.events if event["type"].startswith("payment_link")]


def test_method_types_are_refused_by_the_current_version(seaside_client: stripe.StripeClient) -> None:
    params: Any = {"amount": 500, "currency": "eur", "payment_method_types": ["card"]}

    with pytest.raises(stripe.InvalidRequestError) as caught:
        seaside_client.v1.payment_intents.create(params)
    assert caught.value.code == "payment_method_types_no_longer_supported"

    older = seaside_client.v1.payment_intents.create(params, {"stripe_version": "2026-08-26.dahlia"})
    assert older.payment_method_types == ["card"]


def test_application_fee_needs_a_platform(
    seaside_client: stripe.StripeClient, plaza_client: stripe.StripeClient
) -> None:
    params: Any = link_params(application_fee_amount=100)

    assert plaza_client.v1.payment_links.create(params).application_fee_amount == 100
    with pytest.raises(stripe.InvalidRequestError, match="Can only apply an application_fee_amount"):
        seaside_client.v1.payment_links.create(params)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a=1&b[c]=2", {"a": "1", "b": {"c": "2"}}),
        ("a[0][b]=1&a[1][b]=2", {"a": [{"b": "1"}, {"b": "2"}]}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("a[][b]=1&a[][c]=2&a[][b]=3", {"a": [{"b": "1", "c": "2"}, {"b": "3"}]}),
        ("a[10]=k&a[9]=j", {"a": ["j", "k"]}),
        ("a=", {"a": ""}),
        ("a[b]=caf%C3%A9+au+lait", {"a": {"b": "café au lait"}}),
    ],
)
def test_forms_decode_as_stripe_reads_them(text: str, tree: Any) -> None:
    assert decode(text) == tree
