"""The table of drift agrees with the SDK, which is newer than the description."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from stripe.params import (
    PaymentIntentConfirmParams,
    PaymentIntentCreateParams,
    PaymentIntentUpdateParams,
    PaymentLinkUpdateParams,
    SetupIntentCreateParams,
)
from stripe.params.checkout import SessionCreateParams
from stripe.params.v2.core import (
    AccountLinkCreateParamsUseCaseAccountOnboarding,
    AccountLinkCreateParamsUseCaseAccountUpdate,
)
from stripe.v2.core import Account, AccountLink

from tests.openapi.description import CURRENT_VERSION, DESCRIBED_VERSION, description
from tests.openapi.drift import GONE_PARAMETERS, NEW_FIELDS, NEW_PARAMETERS, NEW_WORDS, REJECTED, parameters_of

SDK_PARAMETERS: dict[str, Any] = {
    "/v1/payment_intents": PaymentIntentCreateParams,
    "/v1/payment_intents/{intent}": PaymentIntentUpdateParams,
    "/v1/payment_intents/{intent}/confirm": PaymentIntentConfirmParams,
    "/v1/payment_links/{payment_link}": PaymentLinkUpdateParams,
    "/v1/setup_intents": SetupIntentCreateParams,
    "/v1/checkout/sessions": SessionCreateParams,
}
SDK_CLASSES: dict[str, Any] = {
    "payment_intent": stripe.PaymentIntent,
    "checkout.session": stripe.checkout.Session,
    "recurring": stripe.Price.Recurring,
    "dispute_evidence_details": stripe.Dispute.EvidenceDetails,
    "dispute_payment_method_details_card": stripe.Dispute.PaymentMethodDetails.Card,
}


def described(path: str) -> set[str]:
    body = description().paths[path]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    return set(body["schema"]["properties"])


@pytest.mark.parametrize("path", GONE_PARAMETERS)
def test_what_is_gone_was_there_and_the_sdk_lacks_it(path: str) -> None:
    gone = set(GONE_PARAMETERS[path])

    assert gone <= described(path)
    assert not gone & set(SDK_PARAMETERS[path].__annotations__)


@pytest.mark.parametrize("path", NEW_PARAMETERS)
def test_what_is_new_was_not_there_and_the_sdk_has_it(path: str) -> None:
    new = set(NEW_PARAMETERS[path])

    assert not new & described(path)
    assert new <= set(SDK_PARAMETERS[path].__annotations__)


@pytest.mark.parametrize("name", NEW_FIELDS)
def test_a_new_field_is_one_of_the_sdks_class(name: str) -> None:
    assert set(NEW_FIELDS[name]) <= set(SDK_CLASSES[name].__annotations__)


def test_the_version_that_we_pin_is_new_and_the_sdks_own() -> None:
    path = "/v1/webhook_endpoints"
    body = description().paths[path]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    words = body["schema"]["properties"]["api_version"]["enum"]

    assert words[-1] == DESCRIBED_VERSION
    assert stripe.api_version == CURRENT_VERSION
    assert not set(NEW_WORDS[path]["api_version"]) & set(words)


def test_v2_links_no_longer_take_or_show_configurations() -> None:
    path = "/v2/core/account_links"
    published = description().paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    ours = parameters_of(path, published, CURRENT_VERSION)["properties"]["use_case"]["properties"]
    answer = description().schemas["v2.core.account_link"]["properties"]["use_case"]["properties"]
    for name, sdk, shown in (
        ("account_onboarding", AccountLinkCreateParamsUseCaseAccountOnboarding, AccountLink.UseCase.AccountOnboarding),
        ("account_update", AccountLinkCreateParamsUseCaseAccountUpdate, AccountLink.UseCase.AccountUpdate),
    ):
        was = published["properties"]["use_case"]["properties"][name]["properties"]

        assert "configurations" in was
        assert set(ours[name]["properties"]) == set(was) - {"configurations"} == set(sdk.__annotations__)
        assert set(answer[name]["properties"]) == set(shown.__annotations__) - {"_inner_class_types"}


def test_a_v2_capability_can_be_rejected_in_the_sdk() -> None:
    capability = Account.Configuration.Merchant.Capabilities.CardPayments

    assert "rejected" in str(capability.__annotations__["status"])
    codes = str(capability.StatusDetail.__annotations__["code"])
    assert {word in codes for word in REJECTED["status_details.[].code"]} == {True}
