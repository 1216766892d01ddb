"""Which cases run: those that prove each behaviour once, or with ``--all`` every combination.

A test that takes ``database_url`` runs on SQLite. Its markers say more:

- ``both``: also on PostgreSQL, because locks, indexes, isolation, races or the dialect decide the outcome.
- ``on("postgresql")``: on that database instead.
- ``thorough("why")``: only with ``--all``, because other tests prove the same; on a test or on one of its parameters.
"""

from __future__ import annotations

import pytest

DATABASES = ["sqlite", "postgresql"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run every combination: make test-all")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", _databases(metafunc), indirect=True)


def _databases(metafunc: pytest.Metafunc) -> list[str]:
    chosen = metafunc.definition.get_closest_marker("on")
    if metafunc.config.getoption("all") or metafunc.definition.get_closest_marker("both"):
        return DATABASES
    return list(chosen.args) if chosen else DATABASES[:1]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
    if not config.getoption("all"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("thorough")])
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
