"""Stripe's errors in our own words: each with its real body, and nothing of the SDK left in them."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
import requests
import responses
import stripe

from flask_valetpro_stripe import Mode
from flask_valetpro_stripe.errors import (
    ConfigurationError,
    ConnectionRevokedError,
    InvalidKeyError,
    MissingPermissionError,
    OutcomeUnknownError,
    ValetProStripeError,
)
from flask_valetpro_stripe.gateway import (
    Credentials,
    SharedHTTPClient,
    ask_stripe,
    make_client,
    make_platform_client,
    scrub,
)
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.state import State
from tests.hosts import Host, make_host

CANARY = "51canary4242"
PLAZA = Credentials(Secret(f"sk_test_{CANARY}"), "acct_plaza", Mode.test)
API = "https://api.stripe.com"
OAUTH = "https://connect.stripe.com"
#: Our tries in these tests: the SDK would sleep between them.
ONCE: Any = {"max_network_retries": 0}


@pytest.fixture(scope="module")
def gateway_host() -> Iterator[Host]:
    config = {
        "VALETPRO_STRIPE_TEST_SECRET_KEY": PLAZA.api_key.reveal(),
        "VALETPRO_STRIPE_TEST_CLIENT_ID": "ca_test",
        "VALETPRO_STRIPE_PUBLIC_URL": "https://valet.example.com",
    }
    with make_host("sqlite://", config=config) as host:
        yield host


@pytest.fixture
def state(gateway_host: Host) -> Iterator[State]:
    with gateway_host.app.app_context():
        yield dataclasses.replace(gateway_host.state, http_client=SharedHTTPClient())


@pytest.fixture
def stripe_api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def make_link(state: State) -> None:
    """Ask for a payment link. A function of its own, so that no test's locals hold the key."""
    client = make_client(state, PLAZA)
    ask_stripe("Making the payment link", client.v1.payment_links.create, {"line_items": []}, ONCE)


def exchange(state: State) -> None:
    client = make_platform_client(state, Mode.test)
    ask_stripe("Connecting", client.oauth.token, {"grant_type": "authorization_code", "code": "ac_1"}, ONCE)


def refusal(call: Any, state: State) -> ValetProStripeError:
    with pytest.raises(ValetProStripeError) as raised:
        call(state)
    assert_clean(raised.value)
    return raised.value


def assert_clean(error: BaseException) -> None:
    """Nothing of the SDK, and no key, can be reached from ``error`` by what logs and error trackers look at."""
    assert error.__cause__ is None
    assert error.__context__ is None
    frames = list(frames_of(error))
    modules = {str(frame.f_globals["__name__"]).split(".")[0] for frame in frames}
    assert "tests" in modules
    assert modules <= {"tests", "flask_valetpro_stripe", "_pytest"}, modules
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert CANARY not in "".join(shown.format())
    assert CANARY not in repr([vars(error), error.args])
    for frame in frames:
        assert not any(isinstance(value, BaseException) and value is not error for value in frame.f_locals.values())
    assert CANARY.encode() not in pickle.dumps((error.args, vars(error)))


#: Functions whose frames a host's error tracker would show; pytest's own are not among them.
OURS = {"make_link", "exchange", "call", "ask_stripe"}
FOREIGN = ("stripe", "requests", "urllib3", "responses")


def frames_of(error: BaseException) -> Iterator[FrameType]:
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if frame.f_code.co_name in OURS or frame.f_globals["__name__"].startswith(FOREIGN):
            yield frame
        step = step.tb_next


def body(type: str, message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"type": type, "message": message, "doc_url": "https://docs.stripe.com/error-codes"} | more}


INVALID_KEY = body("invalid_request_error", f"Invalid API Key provided: sk_test_********{CANARY}")
EXPIRED_KEY = body(
    "invalid_request_error", f"Expired API Key provided: sk_test_********{CANARY}", code="api_key_expired"
)
NO_ACCESS = body(
    "invalid_request_error",
    f"The provided key 'sk_test_********{CANARY}' does not have access to account 'acct_plaza' (or that account does "
    "not exist). Application access may have been revoked.",
    code="account_invalid",
)
NO_PERMISSION = body(
    "invalid_request_error",
    f"The provided key 'rk_test_*******{CANARY}' does not have the required permissions for this endpoint on account "
    "'acct_plaza'. Having the 'rak_payment_link_write' permission would allow this request to continue.",
    code="more_permissions_required",
)
BAD_AMOUNT = body(
    "invalid_request_error", "Invalid integer: 10.0", code="parameter_invalid_integer", param="line_items"
)
NO_SUCH = body("invalid_request_error", "No such price: 'price_1'", code="resource_missing", param="price")
DECLINED = body(
    "card_error", "Your card was declined.", code="card_declined", decline_code="generic_decline", charge="ch_1"
)
OTHER_PARAMS = body(
    "idempotency_error",
    "Keys for idempotent requests can only be used with the same parameters they were first used with.",
)
KEY_IN_USE = body(
    "idempotency_error",
    "There is currently another in-progress request using this Idempotent Key.",
    code="idempotency_key_in_use",
)
LOCKED = body("invalid_request_error", "This object cannot be accessed right now.", code="lock_timeout")
TOO_MANY = body("invalid_request_error", "Too many requests.", code="rate_limit")
BROKEN = body("api_error", "Sorry! There was an error while talking to one of our backends.")

#: STRIPE.md 1.7, row by row: status, body, our class, our code.
TABLE: dict[str, tuple[int, dict[str, Any], type[ValetProStripeError], str]] = {
    "400 invalid": (400, BAD_AMOUNT, ValetProStripeError, "parameter_invalid_integer"),
    "404 missing": (404, NO_SUCH, ValetProStripeError, "resource_missing"),
    "400 idempotency": (400, OTHER_PARAMS, ValetProStripeError, "IdempotencyError"),
    "401 key": (401, INVALID_KEY, InvalidKeyError, "AuthenticationError"),
    "401 expired": (401, EXPIRED_KEY, InvalidKeyError, "api_key_expired"),
    "402 card": (402, DECLINED, ValetProStripeError, "card_declined"),
    "403 revoked": (403, NO_ACCESS, ConnectionRevokedError, "connection_revoked"),
    "403 permission": (403, NO_PERMISSION, MissingPermissionError, "more_permissions_required"),
    "409 key in use": (409, KEY_IN_USE, OutcomeUnknownError, "outcome_unknown"),
    "409 lock": (409, LOCKED, OutcomeUnknownError, "outcome_unknown"),
    "424 dependency": (424, BROKEN, OutcomeUnknownError, "outcome_unknown"),
    "429 limit": (429, TOO_MANY, ValetProStripeError, "rate_limit"),
    "429 lock": (429, LOCKED, ValetProStripeError, "rate_limit"),
    "429 without a code": (429, body("rate_limit_error", "Slow down."), ValetProStripeError, "rate_limit"),
    "500": (500, BROKEN, OutcomeUnknownError, "outcome_unknown"),
    "503": (503, BROKEN, OutcomeUnknownError, "outcome_unknown"),
}


@pytest.mark.parametrize("row", TABLE)
def test_each_of_stripes_errors_becomes_one_of_ours(
    row: str, state: State, stripe_api: responses.RequestsMock
) -> None:
    status, answer, expected, code = TABLE[row]
    stripe_api.post(f"{API}/v1/payment_links", status=status, json=answer, headers={"Request-Id": "req_1"})

    error = refusal(make_link, state)

    assert type(error) is expected
    assert error.code == code
    assert str(error).startswith("Making the payment link ")
    assert "_test_" not in str(error) + error.hint


def test_what_stripe_says_of_a_mistake_is_passed_on(state: State, stripe_api: responses.RequestsMock) -> None:
    stripe_api.post(f"{API}/v1/payment_links", status=404, json=NO_SUCH)
    assert str(refusal(make_link, state)) == (
        "Making the payment link was refused by Stripe: No such price: 'price_1'"
    )


def test_a_key_in_what_stripe_says_is_taken_out(state: State, stripe_api: responses.RequestsMock) -> None:
    said = body("invalid_request_error", f"You sent 'sk_test_{CANARY}' and whsec_{CANARY}.", code="odd")
    stripe_api.post(f"{API}/v1/payment_links", status=400, json=said)
    assert str(refusal(make_link, state)).endswith("refused by Stripe: You sent '…' and ….")


def test_a_withdrawn_account_leads_to_the_settings_page(state: State, stripe_api: responses.RequestsMock) -> None:
    stripe_api.post(f"{API}/v1/payment_links", status=403, json=NO_ACCESS)
    error = refusal(make_link, state)
    assert isinstance(error, ConnectionRevokedError)
    assert error.settings_url == "https://valet.example.com/settings/payments/"
    assert error.settings_url in str(error)


NO_ANSWER: dict[str, Any] = {
    "the connection is refused": requests.ConnectionError("refused"),
    "the answer does not come in time": requests.ReadTimeout("timed out"),
    "the connection takes too long": requests.ConnectTimeout("timed out"),
    "TLS fails": requests.exceptions.SSLError("certificate"),
    "the answer breaks off": requests.exceptions.ChunkedEncodingError("broken"),
}


@pytest.mark.parametrize("case", NO_ANSWER)
def test_no_answer_is_unknown_and_never_failed(case: str, state: State, stripe_api: responses.RequestsMock) -> None:
    stripe_api.post(f"{API}/v1/payment_links", body=NO_ANSWER[case])
    error = refusal(make_link, state)
    assert type(error) is OutcomeUnknownError
    assert str(error) == "Making the payment link did not get an answer from Stripe."
    assert error.code == "outcome_unknown"
    assert error.hint


UNREADABLE: dict[str, tuple[int, bytes]] = {
    "a proxy's page": (502, b"<html>Bad gateway</html>"),
    "a page with 200": (200, b"<html>Sign in to the hotel's wireless</html>"),
    "nothing": (200, b""),
    "half an object": (200, b'{"id": "plink_1'),
    "no text": (200, b"\xff\xfe\x00"),
    "an error that is no object": (500, b'{"error": "weird"}'),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_answer_that_cannot_be_read_is_unknown(case: str, state: State, stripe_api: responses.RequestsMock) -> None:
    status, content = UNREADABLE[case]
    stripe_api.post(f"{API}/v1/payment_links", status=status, body=content)
    assert type(refusal(make_link, state)) is OutcomeUnknownError


OAUTH_ERRORS = [
    (400, "invalid_grant"),
    (400, "invalid_request"),
    (400, "invalid_scope"),
    (401, "invalid_client"),
    (400, "unsupported_grant_type"),
    (400, "unsupported_response_type"),
]


@pytest.mark.parametrize("status, word", OAUTH_ERRORS)
def test_oauths_errors_keep_their_word(
    status: int, word: str, state: State, stripe_api: responses.RequestsMock
) -> None:
    stripe_api.post(
        f"{OAUTH}/oauth/token",
        status=status,
        json={"error": word, "error_description": f"Authorization code does not exist: ac_{CANARY}"},
    )
    error = refusal(exchange, state)
    assert type(error) is ValetProStripeError
    assert error.code == word
    assert str(error) == f"Connecting failed: Stripe answered {word}."


def test_an_oauth_error_that_the_sdk_does_not_know(state: State, stripe_api: responses.RequestsMock) -> None:
    """The SDK answers it with AttributeError: 'str' object has no attribute 'get'."""
    stripe_api.post(f"{OAUTH}/oauth/token", status=400, json={"error": "weird", "error_description": CANARY})
    error = refusal(exchange, state)
    assert type(error) is OutcomeUnknownError
    assert str(error) == "Connecting: Stripe's answer could not be read."


def test_a_bound_clients_refusal_brings_no_frame_of_the_sdk(state: State) -> None:
    def call(state: State) -> None:
        client = make_client(state, PLAZA)
        ask_stripe("Reading", client.v1.balance.retrieve, None, {"stripe_account": "acct_seaside"})

    assert type(refusal(call, state)) is ConfigurationError


def test_mistakes_in_our_own_code_are_not_dressed_up_as_stripes(state: State) -> None:
    def mistaken() -> None:
        raise AttributeError("'NoneType' object has no attribute 'x'", name="x")

    with pytest.raises(AttributeError):
        ask_stripe("Reading", mistaken)


def test_the_log_names_the_request_and_holds_no_key(
    state: State, stripe_api: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flask_valetpro_stripe")
    stripe_api.post(f"{API}/v1/payment_links", status=401, json=INVALID_KEY, headers={"Request-Id": "req_1"})
    refusal(make_link, state)
    ours = [record.getMessage() for record in caplog.records if record.name == "flask_valetpro_stripe.gateway"]
    assert ours == ["Making the payment link failed: AuthenticationError AuthenticationError, request req_1"]


def test_a_lost_answer_is_asked_for_again_under_the_same_key(
    state: State, stripe_api: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe.HTTPClient, "_sleep_time_seconds", lambda *_: 0)
    stripe_api.post(f"{API}/v1/payment_links", body=requests.ReadTimeout("timed out"))
    stripe_api.post(f"{API}/v1/payment_links", body=json.dumps({"id": "plink_1", "object": "payment_link"}))

    link = ask_stripe("Making the payment link", make_client(state, PLAZA).v1.payment_links.create, {"line_items": []})

    assert link.id == "plink_1"
    keys = [call.request.headers["Idempotency-Key"] for call in stripe_api.calls]
    assert len(keys) == 2
    assert len(set(keys)) == 1


@pytest.mark.parametrize("kind", ["sk", "rk", "pk", "ek"])
@pytest.mark.parametrize("mode", ["test", "live"])
def test_whatever_is_shaped_like_a_key_is_scrubbed(kind: str, mode: str) -> None:
    assert scrub(f"the key ({kind}_{mode}_abc123), and {kind}_{mode}_****42") == "the key (…), and …"
    assert scrub("acct_1 and pi_2 stay, and so does a task_list") == "acct_1 and pi_2 stay, and so does a task_list"
