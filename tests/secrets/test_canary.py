"""No secret of a tenant or of the platform is in a page, a log, a collected error, an object or the database."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.children import run_program


def run(database_url: str, *flags: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.secrets.canary_run", database_url, *flags]
    found: dict[str, Any] = json.loads(run_program(command, limit=500).stdout.splitlines()[-1])
    return found


@pytest.mark.slow("makes more than a hundred requests, and an error collector keeps each failure")
def test_no_secret_appears_anywhere_whatever_succeeds_or_fails(database_url: str, pytestconfig: pytest.Config) -> None:
    found = run(database_url, *(["--every"] if pytestconfig.getoption("all") else []))

    sys.stdout.write(f"{found['counts']}, {found['secrets']} secrets, SEED={found['seed']}\n")
    assert found["places"] == [], f"SEED={found['seed']}"
    # It looked everywhere.
    assert set(found["counts"]) == {"page", "log", "sentry", "terminal", "object", "database"}
    assert found["counts"]["sentry"] > 50


@pytest.mark.slow("starts a process with an app and an error collector")
def test_the_search_finds_a_secret_that_a_host_leaves_in_a_variable(sqlite_url: str) -> None:
    places = run(sqlite_url, "--plant")["places"]
    assert [place for place in places if place.startswith("sentry: sk_test")]
