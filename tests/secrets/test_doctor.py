"""``flask stripe doctor --online`` asks each store for one of its secrets, and says what an operator can do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flask_valetpro_stripe import doctor
from flask_valetpro_stripe.secrets.store import absent
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.secrets.keeping import Folder, change, fill, new_key, rows_of

KEY = new_key()
CURE = "See that it runs, that this app reaches it, and that it may read there."


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "folder").mkdir()
    return Folder(tmp_path / "folder")


@pytest.fixture
def host(database_url: str, folder: Folder) -> Iterator[Host]:
    """A host whose two hotels have secrets in the database and in a store of its own."""
    config = {"VALETPRO_STRIPE_ENCRYPTION_KEYS": [KEY], "VALETPRO_STRIPE_SECRET_STORE": folder}
    with make_host(database_url, config=config, simulator=Simulator()) as host:
        fill(host, 6, KEY, tenants=2)
        assert run(host, "move-secrets", "--to", "folder").returncode == 0
        fill(host, 6, KEY, tenants=2)
    # Another process, which remembers nothing of these stores.
    with make_host(database_url, config=config, simulator=Simulator()) as host:
        yield host


def run(host: Host, *words: str) -> Any:
    result = host.app.test_cli_runner().invoke(args=["stripe", *words])
    result.returncode = result.exit_code
    return result


def about_stores(host: Host, *words: str) -> list[str]:
    """Return what the doctor says about stores and their secrets."""
    return [line for line in run(host, "doctor", *words).output.splitlines() if "secret" in line.lower()]


def fails(error: Exception) -> Any:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "key", ["dev", "secret", "change me", "change-me-in-production!", "your-secret-key-here", b"dev", "0123456789abcde"]
)
def test_session_key_that_can_be_guessed_is_named_and_not_repeated(host: Host, key: str | bytes) -> None:
    host.app.secret_key = key

    (said,) = [line for line in run(host, "doctor").output.splitlines() if "SECRET_KEY can be guessed" in line]

    assert said == (
        "- Anybody can sign in as anybody, since SECRET_KEY can be guessed: set it to what this prints: "
        'python -c "import secrets; print(secrets.token_hex(32))"'
    )


@pytest.mark.parametrize("key", ["0123456789abcdef", "dev" + "7c1f" * 8, b"\xff" * 16])
def test_session_key_that_is_long_and_no_known_word_will_do(host: Host, key: str | bytes) -> None:
    host.app.secret_key = key

    assert "can be guessed" not in run(host, "doctor").output


@pytest.mark.parametrize(("htmx", "is_said"), [("bundled", True), (None, False)])
def test_package_without_htmx_is_named_where_it_is_needed(
    host: Host, tmp_path: Path, htmx: str | None, is_said: bool
) -> None:
    assert "htmx" not in run(host, "doctor").output
    host.state.config = replace(host.state.config, htmx=htmx)
    with host.app.app_context():
        found = doctor.find_problems(host.state, online=False, htmx=tmp_path / "htmx.min.js")

    assert any("htmx.min.js is not in the installed package" in problem for problem in found) is is_said


def in_folder(host: Host) -> list[Any]:
    """Return the rows of what is in use in the host's own store, oldest first."""
    return [row for row in rows_of(host) if row.store == "folder" and row.archived_at is None]


def test_stores_that_answer_are_not_mentioned(host: Host) -> None:
    assert about_stores(host, "--online") == []


def test_store_that_cannot_answer_is_named_with_what_to_look_at(host: Host, folder: Folder) -> None:
    folder.trouble["get", "before"] = fails(TimeoutError())

    assert about_stores(host, "--online") == [
        f"- The secret store (folder) cannot answer now: it raised TimeoutError. {CURE}"
    ]
    assert run(host, "doctor", "--online").exit_code == 1


def test_no_store_is_asked_without_being_told_to(host: Host, folder: Folder) -> None:
    folder.trouble["get", "before"] = fails(AssertionError())

    assert about_stores(host) == []


def test_secret_that_the_store_has_lost_is_its_tenants_trouble(host: Host, folder: Folder) -> None:
    *_, newest = in_folder(host)
    folder.trouble["get", "before"] = fails(absent("folder"))

    assert about_stores(host, "--online") == [
        f"- The secret of tenant {newest.tenant_id} in test mode: The secret store (folder) has no such secret. "
        "A tenant admin enters the key again on the payment settings page."
    ]


@pytest.mark.both
def test_what_is_archived_is_asked_for_only_where_nothing_else_is(host: Host, folder: Folder) -> None:
    asked: list[str] = []
    folder.trouble["get", "before"] = lambda: asked.append("get")
    for row in in_folder(host):
        change(host, row, archived_at=row.created_at, stored=None)
    assert {row.archived_at is not None for row in rows_of(host) if row.store == "folder"} == {True}

    assert about_stores(host, "--online") == []
    assert asked == ["get"]
