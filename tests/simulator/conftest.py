"""A simulator with two hotels, one of them connected, and the SDK's clients for them."""

from __future__ import annotations

import pytest
import stripe

from flask_valetpro_stripe.testing import Account, Simulator
from tests.simulator.helpers import client_with


@pytest.fixture
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture
def plaza(simulator: Simulator) -> Account:
    """An account that is connected to the platform in test mode."""
    account = simulator.create_account("Plaza Hotel")
    simulator.connect(account.id)
    return account


@pytest.fixture
def seaside(simulator: Simulator) -> Account:
    """An account that never heard of the platform."""
    return simulator.create_account("Seaside Resort")


@pytest.fixture
def platform_client(simulator: Simulator) -> stripe.StripeClient:
    return client_with(simulator, simulator.platform.test_secret_key)


@pytest.fixture
def plaza_client(simulator: Simulator, plaza: Account) -> stripe.StripeClient:
    """The platform acting for the Plaza."""
    return client_with(simulator, simulator.platform.test_secret_key, account=plaza.id)


@pytest.fixture
def seaside_client(simulator: Simulator, seaside: Account) -> stripe.StripeClient:
    """The Seaside with its own key."""
    return client_with(simulator, seaside.test_secret_key)
