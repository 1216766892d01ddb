"""Texts by Twilio's own client, with its magic numbers answered as Twilio answers them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
import responses
from flask import Flask
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from sample_app.sms import ConsoleSms, SmsError, TwilioSms, get_sms, init_sms

FROM = "+15005550006"
MAGIC = {
    "+15005550001": (400, 21211, "Invalid 'To' Phone Number: +15005550001"),
    "+15005550009": (400, 21614, "'To' number: +15005550009, is not a valid mobile number"),
    "+15005550004": (400, 21610, "Attempt to send to unsubscribed recipient"),
    "+15005550002": (400, 21612, "The 'To' phone number is not currently reachable"),
}
MESSAGES = "https://api.twilio.com/2010-04-01/Accounts/AC_test/Messages.json"


def _twilio_answers(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
    [to] = parse_qs(str(request.body))["To"]
    if to not in MAGIC:
        return 201, {}, json.dumps({"sid": "SM1", "to": to, "status": "queued"})
    status, code, message = MAGIC[to]
    return status, {}, json.dumps({"code": code, "message": message, "status": status})


@pytest.fixture
def twilio() -> Any:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as server:
        server.add_callback(responses.POST, MESSAGES, callback=_twilio_answers)
        yield server


@pytest.fixture
def sender() -> TwilioSms:
    return TwilioSms(Client("AC_test", "token", http_client=TwilioHttpClient(pool_connections=False)), FROM)


def test_a_text_goes_out_through_twilio(twilio: Any, sender: TwilioSms) -> None:
    sender.send("+14108675310", "Plaza Hotel valet: ticket 12")
    [call] = twilio.calls
    assert parse_qs(call.request.body) == {
        "To": ["+14108675310"],
        "From": [FROM],
        "Body": ["Plaza Hotel valet: ticket 12"],
    }


@pytest.mark.parametrize(
    "to, says",
    [
        ("+15005550001", "+15005550001 is not a valid phone number. Correct it and send the text again."),
        (
            "+15005550009",
            "+15005550009 is not a mobile number, so it cannot receive texts. Ask the guest for a mobile number.",
        ),
        (
            "+15005550004",
            "+15005550004 has unsubscribed from texts of this sender. Show the guest the link instead.",
        ),
        ("+15005550002", "Twilio did not take the text (Twilio error 21612). Try again, or show the guest the link."),
    ],
)
def test_a_number_that_twilio_refuses_is_explained_to_the_clerk(
    twilio: Any, sender: TwilioSms, to: str, says: str
) -> None:
    with pytest.raises(SmsError) as refused:
        sender.send(to, "hello")
    assert str(refused.value) == says


@pytest.mark.parametrize("fault", [requests.ConnectionError("gone"), requests.Timeout("slow")])
def test_a_dead_line_to_twilio_is_explained_too(sender: TwilioSms, fault: Exception) -> None:
    with responses.RequestsMock() as server:
        server.add(responses.POST, MESSAGES, body=fault)
        with pytest.raises(SmsError, match="Twilio did not take the text"):
            sender.send("+14108675310", "hello")


def _app(**config: str) -> Flask:
    app = Flask(__name__)
    app.config.update(config)
    init_sms(app)
    return app


def test_the_console_is_used_until_twilio_is_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    with _app().app_context():
        sms = get_sms()
        sms.send("+33612345678", "Your car is here")
    assert isinstance(sms, ConsoleSms)
    assert list(sms.sent) == [("+33612345678", "Your car is here")]
    assert capsys.readouterr().out == "Text to +33612345678: Your car is here\n"


def test_twilio_is_used_when_it_is_set_up() -> None:
    app = _app(TWILIO_ACCOUNT_SID="AC_test", TWILIO_AUTH_TOKEN="token", TWILIO_FROM=FROM)
    with app.app_context():
        assert isinstance(get_sms(), TwilioSms)


def test_half_a_twilio_set_up_is_refused_at_start() -> None:
    with pytest.raises(RuntimeError, match="Twilio needs all of TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_FROM"):
        _app(TWILIO_FROM=FROM)
