"""A person at a browser, as far as a test of the desk needs one: pages, forms with their tokens, redirects."""

from __future__ import annotations

import re
from typing import Any, Self

from flask import Flask
from werkzeug.test import TestResponse

from flask_valetpro_stripe.testing import Simulator

GUEST = {"guest_name": "Ada Lovelace", "phone": "+33612345678", "plate": "AB-123-CD", "amount": "25.00"}


class Browser:
    """One person's browser. Every form that it sends carries the token of a page that it has seen."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()
        self._token = ""

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        """Open a page."""
        return self.client.get(path, **kwargs)

    def send(self, path: str, **fields: str) -> TestResponse:
        """Send a form."""
        return self.client.post(path, data={"csrf_token": self.token(), **fields})

    def send_and_follow(self, path: str, **fields: str) -> TestResponse:
        """Send a form, and open the page that it leads to."""
        answer = self.send(path, **fields)
        assert answer.status_code == 303, answer.text
        return self.get(answer.headers["Location"])

    def token(self) -> str:
        """Return the CSRF token of this browser's session, from the first page that it sees."""
        if not self._token:
            self._token = field_of(self.get("/login", follow_redirects=True).text, "csrf_token")
        return self._token

    def sign_in(self, email: str) -> Self:
        """Sign in with the demo password."""
        answer = self.send("/login", email=email, password="demo")
        assert answer.headers["Location"] == "/tickets/"
        self._token = ""
        return self

    def connect_stripe(self, simulator: Simulator, account_id: str, mode: str = "test") -> None:
        """Connect the hotel's Stripe account the way an admin does: there, consent, and back."""
        there = self.send("/settings/payments/connect", mode=mode).headers["Location"]
        back = simulator.authorize(there, account_id)
        assert self.get(back.removeprefix("http://desk.test")).status_code == 303

    def open_ticket(self, **fields: str) -> str:
        """Open a ticket and return its page's path."""
        operation = field_of(self.get("/tickets/").text, "operation")
        answer = self.send("/tickets/", **{"operation": operation, **GUEST, **fields})
        assert answer.status_code == 303, text_of(answer)
        return str(answer.headers["Location"])


def field_of(html: str, name: str) -> str:
    """Return the value of a form's hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found, f"The page has no field {name}."
    return found[1]


def text_of(answer: TestResponse) -> str:
    """Return what a person reads on the page, in one line."""
    body = re.sub(r"(?s)<(script|style|head)\b.*?</\1>|<[^>]+>", " ", answer.text)
    for entity, letter in (("&#39;", "'"), ("&#34;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        body = body.replace(entity, letter)
    return " ".join(body.split())
