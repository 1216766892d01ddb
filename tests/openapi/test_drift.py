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

from tests.openapi.description import CURRENT_VERSION, DESCRIBED_VERSION, description
from tests.openapi.drift import GONE_PARAMETERS, NEW_FIELDS, NEW_PARAMETERS, NEW_WORDS

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
