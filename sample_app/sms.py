"""Texts to guests: printed on the console, or sent by Twilio."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import click
import requests
from flask import Flask, current_app

if TYPE_CHECKING:
    from twilio.rest import Client

_TWILIO_SETTINGS: Final = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM")
_SECONDS: Final = 10

#: What a clerk can do about Twilio's error codes (Twilio docs, "Error and Warning Dictionary").
_CAUSES: Final[Mapping[int, str]] = {
    21211: "{to} is not a valid phone number. Correct it and send the text again.",
    21614: "{to} is not a mobile number, so it cannot receive texts. Ask the guest for a mobile number.",
    21610: "{to} has unsubscribed from texts of this sender. Show the guest the link instead.",
    21408: "Texts to the country of {to} are switched off at Twilio. Show the guest the link instead.",
    20003: "Twilio does not accept this app's credentials. Ask your operator to check TWILIO_ACCOUNT_SID and "
    "TWILIO_AUTH_TOKEN.",
}


class SmsError(Exception):
    """The text was not sent; the message says why, and what to do."""


class Sms(Protocol):
    """Whatever can send a text."""

    def send(self, to: str, text: str) -> None:
        """Send ``text`` to the number ``to``, or raise :class:`SmsError`."""


class ConsoleSms:
    """Prints texts, and keeps the last ones."""

    def __init__(self) -> None:
        self.sent: deque[tuple[str, str]] = deque(maxlen=50)

    def send(self, to: str, text: str) -> None:
        """Print ``text``."""
        self.sent.append((to, text))
        click.echo(f"Text to {to}: {text}")


class TwilioSms:
    """Sends texts through Twilio's own client."""

    def __init__(self, client: Client, sender: str) -> None:
        self._client = client
        self._sender = sender

    def send(self, to: str, text: str) -> None:
        """Send ``text``, or raise :class:`SmsError` with a sentence that a clerk understands."""
        from twilio.base.exceptions import TwilioException

        try:
            self._client.messages.create(to=to, from_=self._sender, body=text)
        except (TwilioException, requests.RequestException) as error:
            raise SmsError(_explain(error, to)) from error


def _explain(error: Exception, to: str) -> str:
    code: int = getattr(error, "code", 0)
    if cause := _CAUSES.get(code):
        return cause.format(to=to)
    number = f" (Twilio error {code})" if code else ""
    return f"Twilio did not take the text{number}. Try again, or show the guest the link."


def init_sms(app: Flask) -> None:
    """Choose how this app sends texts: ``SMS`` in its configuration, else Twilio if it is set up, else the console."""
    app.extensions["sample_sms"] = app.config.get("SMS") or _make_sms(app.config)


def _make_sms(config: Mapping[str, Any]) -> Sms:
    given = [config.get(name) for name in _TWILIO_SETTINGS]
    if not any(given):
        return ConsoleSms()
    if not all(given):
        raise RuntimeError(f"Twilio needs all of {', '.join(_TWILIO_SETTINGS)}. Set them all, or none.")
    from twilio.http.http_client import TwilioHttpClient
    from twilio.rest import Client

    account, token, sender = map(str, given)
    return TwilioSms(Client(account, token, http_client=TwilioHttpClient(timeout=_SECONDS)), sender)


def get_sms() -> Sms:
    """Return how the current app sends texts."""
    sms: Sms = current_app.extensions["sample_sms"]
    return sms
