"""Where the desk's configuration comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import FlaskGroup

from flask_valetpro_stripe.errors import ConfigurationError
from sample_app import create_app, settings

Environ = Callable[[str, str], None]
ENCRYPTION_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> Environ:
    """Nothing of the developer's own environment, and a way to set things in it."""
    for name in list(os.environ):
        if name.startswith(("VALETPRO_STRIPE_", "TWILIO_")) or name in ("DATABASE_URL", "DEMO", "SECRET_KEY"):
            monkeypatch.delenv(name)
    return monkeypatch.setenv


def _load(folder: Path, given: dict[str, Any] | None = None) -> dict[str, Any]:
    app = Flask(__name__, instance_path=str(folder))
    settings.load(app, given or {})
    return dict(app.config)


def test_without_any_setting_the_desk_is_a_demo_on_sqlite_and_the_simulator(tmp_path: Path) -> None:
    config = _load(tmp_path)
    assert config["SQLALCHEMY_DATABASE_URI"] == f"sqlite:///{tmp_path}/desk.sqlite3"
    assert config["VALETPRO_STRIPE_API_BASE"] == "http://127.0.0.1:4242"
    assert config["VALETPRO_STRIPE_TEST_SECRET_KEY"].startswith("sk_test_")
    assert config["DEMO"] is True


def test_made_up_keys_stay_the_same_and_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    assert _load(tmp_path) == _load(tmp_path)
    for name in ("demo-keys.json", "local-keys.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"demo-keys.json", "local-keys.json"}


def test_a_second_process_uses_the_keys_that_the_first_one_made_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"

    def slower_than_another() -> dict[str, Any]:
        path.write_text(json.dumps({"SECRET_KEY": "the other's"}))
        return {"SECRET_KEY": "mine"}

    assert settings._kept(path, slower_than_another) == {"SECRET_KEY": "the other's"}


def test_real_keys_come_from_the_environment_and_bring_no_made_up_ones(tmp_path: Path, environ: Environ) -> None:
    environ("VALETPRO_STRIPE_TEST_SECRET_KEY", "sk_test_x")
    environ("VALETPRO_STRIPE_TEST_WEBHOOK_SECRETS", "whsec_one, whsec_two")
    environ("VALETPRO_STRIPE_TEST_CONNECT_WEBHOOK_SECRETS", '["whsec_three"]')
    environ("VALETPRO_STRIPE_ENCRYPTION_KEYS", ENCRYPTION_KEY)
    environ("VALETPRO_STRIPE_ALLOW_SECRET_KEYS", "false")
    environ("VALETPRO_STRIPE_RETENTION_DAYS", "40")
    environ("SECRET_KEY", "x")
    config = _load(tmp_path)
    assert config["VALETPRO_STRIPE_TEST_WEBHOOK_SECRETS"] == ["whsec_one", "whsec_two"]
    assert config["VALETPRO_STRIPE_TEST_CONNECT_WEBHOOK_SECRETS"] == ["whsec_three"]
    assert config["VALETPRO_STRIPE_ENCRYPTION_KEYS"] == [ENCRYPTION_KEY]
    assert config["VALETPRO_STRIPE_ALLOW_SECRET_KEYS"] is False
    assert config["VALETPRO_STRIPE_RETENTION_DAYS"] == 40
    assert "VALETPRO_STRIPE_API_BASE" not in config
    assert config["DEMO"] is False
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def wrong_key(environ: Environ) -> None:
    """An environment where all is set, but one key is in the wrong place."""
    environ("SECRET_KEY", "for tests")
    environ("DATABASE_URL", "sqlite://")
    environ("VALETPRO_STRIPE_ENCRYPTION_KEYS", ENCRYPTION_KEY)
    environ("VALETPRO_STRIPE_TEST_SECRET_KEY", "sk_live_x")


@pytest.mark.usefixtures("wrong_key")
def test_a_setting_that_cannot_work_ends_a_command_in_one_line() -> None:
    done = CliRunner().invoke(FlaskGroup(create_app=create_app), ["stripe", "doctor"])

    assert done.exit_code == 1
    assert done.output == (
        "Error: VALETPRO_STRIPE_TEST_SECRET_KEY holds a live key. Put a test key (sk_test_… or rk_test_…) there.\n"
    )


@pytest.mark.usefixtures("wrong_key")
def test_a_setting_that_cannot_work_is_an_error_of_ours_to_a_server() -> None:
    with pytest.raises(ConfigurationError, match="holds a live key"):
        create_app()


def test_what_the_factory_is_given_wins_over_the_environment(tmp_path: Path, environ: Environ) -> None:
    environ("VALETPRO_STRIPE_PUBLIC_URL", "http://other.test")
    config = _load(tmp_path, {"VALETPRO_STRIPE_PUBLIC_URL": "https://desk.test"})
    assert config["VALETPRO_STRIPE_PUBLIC_URL"] == "https://desk.test"
    assert config["SESSION_COOKIE_SECURE"] is True


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_through_psycopg(tmp_path: Path, environ: Environ, scheme: str) -> None:
    environ("DATABASE_URL", f"{scheme}://desk@127.0.0.1/desk")
    config = _load(tmp_path)
    assert config["SQLALCHEMY_DATABASE_URI"] == "postgresql+psycopg://desk@127.0.0.1/desk"


@pytest.mark.parametrize("text", ["", " "])
@pytest.mark.parametrize("key", ["LIVE_SECRET_KEY", "TEST_WEBHOOK_SECRETS", "RETENTION_DAYS"])
def test_an_empty_variable_is_a_secret_that_did_not_arrive_and_never_starts_a_demo(
    tmp_path: Path, environ: Environ, key: str, text: str
) -> None:
    environ(f"VALETPRO_STRIPE_{key}", text)
    with pytest.raises(ConfigurationError, match=f"VALETPRO_STRIPE_{key} is empty"):
        _load(tmp_path)
    assert list(tmp_path.iterdir()) == []
