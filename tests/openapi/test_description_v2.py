"""The checks of v2's requests, answers and thin events can fail too: for each kind of mistake, one test."""

from __future__ import annotations

from typing import Any

import pytest

from tests.openapi.description import check_answer, check_event, check_request

LINK: Any = {
    "account": "acct_1",
    "use_case": {"type": "account_onboarding", "account_onboarding": {"refresh_url": "https://app.example/again"}},
}
ACCOUNT: Any = {
    "id": "acct_1",
    "object": "v2.core.account",
    "applied_configurations": ["merchant"],
    "configuration": None,
    "created": "2026-10-28T09:30:00.000Z",
    "livemode": False,
}
EVENT: Any = {
    "id": "evt_1",
    "object": "v2.core.event",
    "context": None,
    "created": "2026-10-28T09:30:00.000Z",
    "livemode": False,
    "related_object": {"id": "acct_1", "type": "v2.core.account", "url": "/v2/core/accounts/acct_1"},
    "type": "v2.core.account[requirements].updated",
}


def request(**changed: Any) -> list[str]:
    return check_request("POST", "/v2/core/account_links", json={**LINK, **changed})


def answer(**changed: Any) -> list[str]:
    return check_answer("GET", "/v2/core/accounts/acct_1", 200, {**ACCOUNT, **changed})


def test_correct_request_answer_and_event_have_no_problems() -> None:
    assert request() == answer() == check_event(EVENT) == []


def test_an_unknown_parameter_is_found_however_deep() -> None:
    wrong = {**LINK["use_case"], "account_onboarding": {"refresh_url": "https://app.example/", "refesh": 1}}

    assert request(use_case=wrong) == [
        "POST /v2/core/account_links: use_case.account_onboarding.refesh is unknown to Stripe."
    ]


def test_configurations_of_a_link_are_refused_since_endive() -> None:
    wrong = {"refresh_url": "https://app.example/again", "configurations": ["merchant"]}

    assert request(use_case={"type": "account_onboarding", "account_onboarding": wrong}) == [
        "POST /v2/core/account_links: use_case.account_onboarding.configurations is unknown to Stripe."
    ]


def test_a_body_takes_jsons_own_types() -> None:
    capabilities = {"card_payments": {"requested": "true"}}
    body = {"configuration": {"merchant": {"capabilities": capabilities}}, "display_name": 7}

    assert check_request("POST", "/v2/core/accounts", json=body) == [
        "POST /v2/core/accounts: configuration.merchant.capabilities.card_payments.requested must be of type boolean, "
        "not 'true'.",
        "POST /v2/core/accounts: display_name must be of type string, not 7.",
    ]


def test_a_null_in_a_request_is_found() -> None:
    assert request(account=None) == ["POST /v2/core/account_links: account must not be null."]


def test_a_missing_parameter_is_found() -> None:
    assert check_request("POST", "/v2/core/account_links", json={"account": "acct_1"}) == [
        "POST /v2/core/account_links: use_case is required but missing."
    ]


def test_what_was_not_included_may_be_null_but_what_is_always_there_may_not() -> None:
    assert answer(requirements=None, identity=None) == []
    assert answer(created=None) == ["GET /v2/core/accounts/acct_1 (200): created is required but missing."]


def test_an_invented_field_and_a_wrong_word_are_found() -> None:
    assert answer(charges_enabled=True, dashboard="half") == [
        "GET /v2/core/accounts/acct_1 (200): charges_enabled is unknown to Stripe.",
        "GET /v2/core/accounts/acct_1 (200): dashboard must be one of 'express', 'full', 'none', not 'half'.",
    ]


def test_what_to_include_must_be_one_of_stripes() -> None:
    assert check_request("GET", "/v2/core/accounts/acct_1", query={"include": ["requirements", "secrets"]})[
        0
    ].startswith("GET /v2/core/accounts/acct_1: include[1] must be one of 'configuration.customer'")


@pytest.mark.parametrize("error", [{"message": "No."}, {"message": "No.", "code": "x", "param": "account"}])
def test_an_error_has_a_code_and_no_param(error: dict[str, str]) -> None:
    assert check_answer("GET", "/v2/core/accounts/acct_1", 404, {"error": error}) != []


def test_a_thin_event_carries_no_account() -> None:
    assert check_event({**EVENT, "account": "acct_1"}) == [
        "event v2.core.account[requirements].updated: account is unknown to Stripe."
    ]
