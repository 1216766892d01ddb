"""A simulator that checks itself against Stripe's description when the test is over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from flask_valetpro_stripe.testing import Simulator
from tests.openapi.clients import client_with
from tests.openapi.traffic import validated


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator all of whose requests, answers and events must be as Stripe describes them."""
    with validated(Simulator()) as checked:
        yield checked


@pytest.fixture
def client(simulator: Simulator) -> stripe.StripeClient:
    """The platform's own client, in test mode."""
    return client_with(simulator, simulator.platform.test_secret_key)
