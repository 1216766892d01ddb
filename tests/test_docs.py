"""The code in the README and in docs/ runs as it is printed there."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask

from flask_valetpro_stripe import tenant_context
from flask_valetpro_stripe.testing import Simulator

PROJECT = Path(__file__).parent.parent


def blocks_of(page: str, mark: str) -> list[str]:
    """Return the Python blocks of a page that follow the comment ``mark``."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    found = re.findall(rf"<!-- {re.escape(mark)} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found, f"{page} has no block marked {mark!r}."
    return found


@pytest.fixture
def settings(sqlite_url: str) -> dict[str, Any]:
    return {
        "TESTING": True,
        "SECRET_KEY": "for tests",
        "WTF_CSRF_ENABLED": False,
        "SQLALCHEMY_DATABASE_URI": sqlite_url,
        "VALETPRO_STRIPE_ENCRYPTION_KEYS": [base64.b64encode(bytes(32)).decode()],
    }


@pytest.fixture
def readme(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the README's module has in it. SQLAlchemy looks annotations up in the module that a class names."""
    module = ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    run(blocks_of("README.md", "run"), vars(module))
    return vars(module)


def run(blocks: list[str], names: dict[str, Any]) -> None:
    for block in blocks:
        exec(block, names)


def make_hotel(names: dict[str, Any], app: Flask) -> None:
    """Make the tables; the README's own page makes a tenant with an admin."""
    with app.app_context():
        names["db"].create_all()
    admin_client(app)


def admin_client(app: Flask) -> Any:
    client = app.test_client()
    assert "Payments" in client.get("/").text
    return client


def add_helpers(names: dict[str, Any], settings: dict[str, Any]) -> None:
    """Define what docs/4-testing.md leaves to the reader's app."""
    make = names["create_app"]

    def create_app(config: dict[str, Any]) -> Flask:
        app: Flask = make(config)
        make_hotel(names, app)
        return app

    names.update(
        CONFIG=settings,
        create_app=create_app,
        admin_client=admin_client,
        tenant_of_the_admin=lambda: names["db"].session.get(names["Tenant"], 1),
    )
    run(blocks_of("docs/4-testing.md", "run"), names)


def test_the_app_of_the_readme_makes_a_payment_link(
    readme: dict[str, Any], settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    simulator = Simulator(public_url="http://localhost")
    app = readme["create_app"]({**settings, **simulator.config()})
    simulator.install(app)
    add_helpers(readme, settings)
    make_hotel(readme, app)
    account = simulator.create_account("Plaza Hotel")

    with app.app_context():
        with tenant_context(readme["connected_tenant"](app, simulator, account.id)):
            run(blocks_of("README.md", "run in tenant"), readme)
        printed = capsys.readouterr().out
        assert printed == f"{readme['payment'].stripe_payment_link_url} PENDING\n"

        simulator.pay(readme["payment"].stripe_payment_link_url)
        simulator.deliver_all(app)
        assert capsys.readouterr().out == "Plaza Hotel was paid\n"
        readme["db"].engine.dispose()


def test_the_test_of_the_testing_page_passes(readme: dict[str, Any], settings: dict[str, Any]) -> None:
    add_helpers(readme, settings)
    simulator = readme["simulator"].__wrapped__()
    app = readme["app"].__wrapped__(simulator)

    readme["test_a_guest_pays"](app, simulator)

    with app.app_context():
        readme["db"].engine.dispose()
