"""Clients and requests that the simulator's tests share."""

from __future__ import annotations

from typing import Any

import stripe
from flask import Flask, request
from werkzeug.test import Client, TestResponse

from flask_valetpro_stripe.testing import Simulator


def client_with(simulator: Simulator, key: str, *, account: str | None = None, retries: int = 0) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        stripe_account=account,
        http_client=simulator.http_client(),
        max_network_retries=retries,
        base_addresses={"api": simulator.base_url, "connect": simulator.base_url},
        client_id=simulator.platform.test_client_id,
    )


def link_params(amount: int = 2500, currency: str = "eur", **more: Any) -> dict[str, Any]:
    """Return the parameters of a payment link for one thing."""
    price = {"currency": currency, "unit_amount": amount, "product_data": {"name": "Valet parking"}}
    return {"line_items": [{"price_data": price, "quantity": 1}], **more}


def code_of(error: stripe.StripeError) -> str | None:
    """Return the error's code, also for the classes whose own ``code`` the SDK leaves empty."""
    return getattr(error.error, "code", None)


class Browser:
    """A guest's browser on the simulator's pages."""

    def __init__(self, simulator: Simulator) -> None:
        self._client = Client(simulator)
        self._base = simulator.base_url

    def get(self, url: str, **options: Any) -> TestResponse:
        return self._client.get(url.removeprefix(self._base), base_url=self._base, **options)

    def post(self, url: str, **fields: str) -> TestResponse:
        return self._client.post(url.removeprefix(self._base), base_url=self._base, data=fields)

    def open_link(self, url: str) -> str:
        """Open a payment link and return the URL of the page that it leads to."""
        return str(self.get(url).headers["Location"])


class Host:
    """A Flask app that keeps the webhooks it gets and answers as told."""

    def __init__(self) -> None:
        self.app = Flask("host")
        self.received: list[tuple[bytes, dict[str, str]]] = []
        self.answers: list[int] = []
        self.app.add_url_rule("/api/webhooks/stripe", "hook", self._hook, methods=["POST"])

    def _hook(self) -> tuple[str, int]:
        self.received.append((request.get_data(), dict(request.headers)))
        return "", self.answers.pop(0) if self.answers else 200
