"""One simulator on a port of this machine, and the CLI that talks to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from flask_valetpro_stripe.testing import Simulator
from tests.cli.stripe_cli import StripeCli, find_stripe_cli


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def server_url(simulator: Simulator) -> Iterator[str]:
    """The address of the simulator, served by threads as the sandbox does."""
    server = make_server("127.0.0.1", 0, simulator, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def stripe_cli(simulator: Simulator, server_url: str, tmp_path_factory: pytest.TempPathFactory) -> StripeCli:
    """The CLI with the platform's test key; without the program fail in CI and skip elsewhere."""
    key = simulator.platform.test_secret_key
    return StripeCli(_program(), tmp_path_factory.mktemp("stripe-cli"), server_url, key)


def _program() -> Path:
    if program := find_stripe_cli():
        return program
    message = "The Stripe CLI is missing. Install it with: npm ci"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
