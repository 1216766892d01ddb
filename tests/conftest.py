"""Fixtures for every test: empty databases, a browser, and guards."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

import tests.disk  # noqa: F401  The sample app waits for no disk either.
from flask_valetpro_stripe.testing import Simulator
from tests import timing
from tests.compiled import keep_compiled
from tests.guards import only_loopback, refuse_sockets_beyond_loopback, untouched_stripe_module
from tests.servers import PostgreSQL, running_postgresql
from tools.system_parts import PARTS, Part, missing

#: Features of Chromium that are off: what Playwright turns off, as the last list counts, and the address bar's menus,
#: two processes in each window, which cost more than the window itself.
FEATURES_OFF = """
    AimEnabled AvoidCorsURLLoaderRestartOnRedirect AvoidUnnecessaryBeforeUnloadCheckSync DestroyProfileOnBrowserClose
    HttpsFirstBalancedModeAutoEnable HttpsUpgrades LensOverlay MediaRouter NetworkTimeServiceQuerying OptimizationHints
    PaintHolding PreconnectToSearch PreloadTopChromeWebUI ThirdPartyStoragePartitioning WebUIOmniboxAimPopup
    WebUIOmniboxFullPopup WebUIOmniboxPopup
""".split()
CHROMIUM_FLAGS = [
    f"--disable-features={','.join(FEATURES_OFF)}",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

pytest_plugins = ["tests.budget", "tests.selection"]


def pytest_configure(config: pytest.Config) -> None:
    refuse_sockets_beyond_loopback()


def pytest_collection_finish() -> None:
    """Look for garbage among what the tests make only, not among all that was imported, each time."""
    gc.collect()
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> str:
    import sqlalchemy
    import stripe

    return f"SQLAlchemy {sqlalchemy.__version__}, stripe {stripe.VERSION}, time limits × {timing.FACTOR:g}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly which part of the system was missing, so that a green run is not taken for a whole one."""
    for part in missing(["chromium", "postgresql", "redis"]):
        terminalreporter.section(f"{part.title} is missing: its tests did not run", red=True, bold=True)
        terminalreporter.line(f"Install it with: {part.command()}")


@pytest.fixture(autouse=True, scope="session")
def _keep_compiled() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        keep_compiled(patch)
        yield


@pytest.fixture(autouse=True)
def _guards() -> Iterator[None]:
    with only_loopback(), untouched_stripe_module():
        yield


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK waits half a second and more between its tries; nobody here has to."""
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0)
    monkeypatch.setattr(stripe.HTTPClient, "MAX_DELAY", 0)


@pytest.fixture
def simulator() -> Simulator:
    """Stripe, as a test has it that asks for nothing special."""
    return Simulator()


@pytest.fixture(autouse=True, scope="session")
def _private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep everything that programs write about a user out of the developer's own home."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("CONFIG", "CACHE", "DATA", "STATE"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
        yield home


def _require(part: Part) -> str:
    """Return where the part is; without it fail in CI and skip elsewhere."""
    if place := part.find():
        return place
    message = f"{part.title} is missing. Install it with: {part.command()}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """The session's PostgreSQL server (with pytest-xdist: the worker's)."""
    with running_postgresql(_require(PARTS["postgresql"])) as server:
        yield server


@pytest.fixture(scope="session")
def redis_program() -> str:
    """The path of Redis's server; a test starts one of its own, and may stop it."""
    return _require(PARTS["redis"])


@pytest.fixture
def postgres_url(postgresql: PostgreSQL) -> Iterator[str]:
    """The SQLAlchemy URL of an empty PostgreSQL database."""
    with postgresql.database() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The SQLAlchemy URL of an empty SQLite database in a file."""
    return f"sqlite:///{tmp_path / 'test.sqlite3'}"


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """The SQLAlchemy URL of an empty database, of the kinds that tests/selection.py chooses for the test."""
    name = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Have pytest-playwright start the system's Chromium, quiet and offline."""
    from playwright import async_api, sync_api

    chromium = _require(PARTS["chromium"])
    for api in (async_api, sync_api):
        api.expect.set_options(timeout=timing.seconds(10) * 1000)
    return {**browser_type_launch_args, "executable_path": chromium, "args": CHROMIUM_FLAGS}
