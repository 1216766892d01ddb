"""The checks against Stripe's description pass what is right, and can fail: for each kind of mistake, one test."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.openapi.description import (
    CURRENT_VERSION,
    DESCRIBED_VERSION,
    check_answer,
    check_event,
    check_request,
    description,
)

LINK: dict[str, Any] = {
    "line_items": [
        {"quantity": 1, "price_data": {"currency": "eur", "unit_amount": 4500, "product_data": {"name": "Valet"}}}
    ],
    "metadata": {"valetpro_payment": "7"},
    "payment_intent_data": {"metadata": {"valetpro_payment": "7"}, "description": "Valet parking"},
    "after_completion": {"type": "redirect", "redirect": {"url": "https://plaza.example/{CHECKOUT_SESSION_ID}"}},
    "restrictions": {"completed_sessions": {"limit": 1}},
    "automatic_tax": {"enabled": False},
    "application_fee_amount": 90,
}

REFUND: dict[str, Any] = {
    "id": "re_1", "object": "refund", "amount": 4500, "balance_transaction": None, "charge": "ch_1",
    "created": 1700000000, "currency": "eur", "metadata": {}, "payment_intent": "pi_1", "reason": None,
    "receipt_number": None, "source_transfer_reversal": None, "status": "succeeded", "transfer_reversal": None,
}  # fmt: skip

ERROR = {"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such refund: 're_1'"}}


def link(**changed: Any) -> dict[str, Any]:
    return {**copy.deepcopy(LINK), **changed}


def create_link(**changed: Any) -> list[str]:
    return check_request("POST", "/v1/payment_links", form=link(**changed))


def answer(**changed: Any) -> list[str]:
    return check_answer("GET", "/v1/refunds/re_1", 200, {**REFUND, **changed})


def test_the_description_is_the_one_that_the_drift_table_starts_from() -> None:
    assert description().operation("post", "/v1/payment_links") is not None
    assert DESCRIBED_VERSION < CURRENT_VERSION


def test_a_correct_request_has_no_problems() -> None:
    assert create_link() == []


def test_a_correct_query_has_no_problems() -> None:
    query = {"types": ["charge.refunded"], "created": {"gte": 1700000000}, "delivery_success": False, "limit": 100}

    assert check_request("GET", "/v1/events", query=query) == []


def test_an_unknown_parameter_is_found() -> None:
    assert create_link(amount=4500) == ["POST /v1/payment_links: amount is unknown to Stripe."]


def test_an_unknown_parameter_is_found_however_deep() -> None:
    price_data = {**LINK["line_items"][0]["price_data"], "unit_ammount": 4500}

    assert create_link(line_items=[{"quantity": 1, "price_data": price_data}]) == [
        "POST /v1/payment_links: line_items[0][price_data][unit_ammount] is unknown to Stripe."
    ]


@pytest.mark.parametrize("wrong", [10.0, "ten", "", True, "0x10"])
def test_an_amount_that_is_no_integer_is_found(wrong: Any) -> None:
    [problem] = create_link(application_fee_amount=wrong)

    assert problem.startswith("POST /v1/payment_links: application_fee_amount must be an integer, not ")


def test_a_missing_parameter_is_found() -> None:
    assert check_request("POST", "/v1/payment_links", form="metadata[a]=b") == [
        "POST /v1/payment_links: line_items is required but missing."
    ]


def test_a_missing_nested_parameter_is_found() -> None:
    assert create_link(line_items=[{"price": "price_1"}]) == [
        "POST /v1/payment_links: line_items[0][quantity] is required but missing."
    ]


def test_a_word_outside_an_enum_is_found() -> None:
    [problem] = create_link(after_completion={"type": "forward"})

    assert "after_completion[type] must be one of 'hosted_confirmation', 'redirect', not 'forward'." in problem


def test_a_yes_that_is_not_true_is_found() -> None:
    [problem] = create_link(automatic_tax={"enabled": "yes"})

    assert problem.endswith("automatic_tax[enabled] must be true or false, not 'yes'.")


@pytest.mark.parametrize(
    "wrong", [{"metadata": "a"}, {"line_items": "a"}, {"line_items": {"1": {"price": "price_1", "quantity": 1}}}]
)
def test_a_value_of_another_shape_is_found(wrong: dict[str, Any]) -> None:
    [problem] = create_link(**wrong)

    assert " must be an " in problem


def test_a_text_beyond_its_limit_is_found() -> None:
    [problem] = create_link(inactive_message="x" * 501)

    assert "inactive_message must be at most 500 characters long" in problem


def test_a_currency_that_is_none_is_found() -> None:
    [problem] = create_link(currency="euros")

    assert "currency must be a currency" in problem


def test_an_unknown_query_parameter_is_found() -> None:
    assert check_request("GET", "/v1/events", query="page=2") == ["GET /v1/events: page is unknown to Stripe."]


@pytest.mark.parametrize(
    "method, path", [("POST", "/v1/payment_link"), ("PUT", "/v1/payment_links"), ("GET", "/v1/payment_links/plink_1/x")]
)
def test_an_endpoint_that_stripe_lacks_is_found(method: str, path: str) -> None:
    assert check_request(method, path) == [f"{method} {path}: Stripe has no such endpoint."]


def test_payment_method_types_went_with_endive_from_checkout_but_not_from_links() -> None:
    checkout = {"mode": "payment", "success_url": "https://plaza.example/", "payment_method_types": ["card"]}

    assert check_request("POST", "/v1/checkout/sessions", form=checkout) == [
        "POST /v1/checkout/sessions: payment_method_types is unknown to Stripe."
    ]
    assert check_request("POST", "/v1/checkout/sessions", form=checkout, version=DESCRIBED_VERSION) == []
    assert create_link(payment_method_types=["card"]) == []


def test_an_ambiguous_body_is_a_problem_and_not_a_crash() -> None:
    [problem] = check_request("POST", "/v1/refunds", form="amount=1&amount=2")

    assert "given twice" in problem


def test_a_correct_answer_has_no_problems() -> None:
    assert answer() == []


def test_an_answer_without_a_required_key_is_found() -> None:
    incomplete = {name: value for name, value in REFUND.items() if name != "currency"}

    assert check_answer("GET", "/v1/refunds/re_1", 200, incomplete) == [
        "GET /v1/refunds/re_1 (200): currency is required but missing."
    ]


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ({"amount": 45.0}, "amount must be of type integer, not 45.0."),
        ({"amount": True}, "amount must be of type integer, not True."),
        ({"amount": "4500"}, "amount must be of type integer, not '4500'."),
        ({"amount": None}, "amount must not be null."),
        ({"metadata": {"a": 1}}, "metadata.a must be of type string, not 1."),
        ({"metadata": []}, "metadata must be an object, not []."),
        ({"object": "refunds"}, "object must be one of 'refund', not 'refunds'."),
        ({"currency": "EUR"}, "currency must be a currency, not 'EUR'."),
        ({"charge": 1}, "charge must be of type string, not 1."),
        ({"refunded": True}, "refunded is unknown to Stripe."),
    ],
)
def test_a_wrong_value_in_an_answer_is_found(changed: dict[str, Any], sentence: str) -> None:
    assert answer(**changed) == [f"GET /v1/refunds/re_1 (200): {sentence}"]


def test_an_object_where_nobody_asked_for_one_is_found() -> None:
    intent = {"id": "pi_1", "object": "payment_intent", "created": 1, "livemode": False, "status": "succeeded"}
    expanded = {**REFUND, "payment_intent": intent}

    assert check_answer("GET", "/v1/refunds/re_1", 200, expanded, expand=["payment_intent"]) == []
    assert answer(payment_intent=intent) == [
        "GET /v1/refunds/re_1 (200): payment_intent must be an id, as nobody asked to expand it."
    ]


def test_an_expanded_object_is_held_against_its_own_schema() -> None:
    expanded = {**REFUND, "payment_intent": {"id": "pi_1", "object": "payment_intent"}}
    problems = check_answer("GET", "/v1/refunds/re_1", 200, expanded, expand=["payment_intent"])

    assert "GET /v1/refunds/re_1 (200): payment_intent.status is required but missing." in problems


def test_a_deleted_object_is_told_from_a_living_one() -> None:
    deleted = {"id": "cus_1", "object": "customer", "deleted": True}

    assert check_answer("GET", "/v1/customers/cus_1", 200, deleted) == []
    assert check_answer("GET", "/v1/customers/cus_1", 200, {**deleted, "deleted": "yes"}) != []


def test_an_element_of_a_list_is_named_in_the_problem() -> None:
    refunds = {"object": "list", "url": "/v1/refunds", "has_more": False, "data": [REFUND, {**REFUND, "amount": "1"}]}

    assert check_answer("GET", "/v1/refunds", 200, refunds) == [
        "GET /v1/refunds (200): data.1.amount must be of type integer, not '1'."
    ]


def test_an_error_is_held_against_stripes_error_body() -> None:
    assert check_answer("GET", "/v1/refunds/re_1", 404, ERROR) == []
    assert check_answer("GET", "/v1/refunds/re_1", 404, {"message": "gone"}) != []


def test_a_status_that_stripe_does_not_answer_with_is_found() -> None:
    [problem] = check_answer("POST", "/v1/refunds", 201, REFUND)

    assert "201 is not a status that Stripe answers with here" in problem


EVENT: dict[str, Any] = {
    "id": "evt_1", "object": "event", "api_version": CURRENT_VERSION, "created": 1700000000, "livemode": False,
    "pending_webhooks": 1, "request": {"id": "req_1", "idempotency_key": None}, "type": "refund.updated",
    "account": "acct_1", "data": {"object": REFUND, "previous_attributes": {"status": "pending"}},
}  # fmt: skip


def test_a_correct_event_has_no_problems() -> None:
    assert check_event(EVENT) == []


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ({"data": {"object": {**REFUND, "amount": None}}}, "data.object: amount must not be null."),
        ({"data": {"object": {**REFUND, "object": "reefund"}}}, "data.object says it is 'reefund', which"),
        ({"data": {"object": REFUND, "previous_attributes": {"state": 1}}}, "data.previous_attributes.state is no"),
        ({"account": None}, "account must not be null."),
        ({"livemode": 0}, "livemode must be of type boolean, not 0."),
        ({"pending_webhooks": "1"}, "pending_webhooks must be of type integer"),
    ],
)
def test_a_wrong_event_is_found(changed: dict[str, Any], sentence: str) -> None:
    assert any(sentence in problem for problem in check_event({**EVENT, **changed}))


TOKEN = {
    "access_token": "sk_test_" + "x" * 24, "livemode": False, "refresh_token": "rt_1", "scope": "read_write",
    "stripe_publishable_key": "pk_test_1", "stripe_user_id": "acct_1", "token_type": "bearer",
}  # fmt: skip


def test_oauth_requests_and_answers_are_checked_too() -> None:
    form = {"grant_type": "authorization_code", "code": "ac_1"}
    query = {"client_id": "ca_1", "response_type": "code", "scope": "read_write", "state": "s"}

    assert check_request("GET", "/oauth/authorize", query=query) == []
    assert check_request("POST", "/oauth/token", form=form) == []
    assert check_answer("POST", "/oauth/token", 200, TOKEN) == []
    assert check_answer("POST", "/oauth/token", 400, {"error": "invalid_grant", "error_description": "Used."}) == []


def test_wrong_oauth_requests_and_answers_are_found() -> None:
    assert len(check_request("GET", "/oauth/authorize", query={"client_id": "acct_1"})) == 2
    assert len(check_request("POST", "/oauth/token", form={"grant_type": "code", "code": "ac_1"})) == 1
    assert len(check_request("POST", "/oauth/deauthorize", form={"stripe_user_id": "acct_1"})) == 1
    assert len(check_answer("POST", "/oauth/token", 200, {**TOKEN, "livemode": "false"})) == 1
    assert len(check_answer("POST", "/oauth/deauthorize", 401, {"error": {"type": "invalid_client"}})) == 2
