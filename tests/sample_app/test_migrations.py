"""The desk's database is brought from each revision to the next with all that is in it, and back."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask

from flask_valetpro_stripe.testing import Simulator
from sample_app import create_app
from sample_app.extensions import db

pytestmark = pytest.mark.both

MIGRATIONS = str(Path(__file__).parents[2] / "migrations")
DESK_OF_0001 = (
    """INSERT INTO tenant (slug, name, city, timezone, currency, dialling_code, stripe_mode) VALUES
    ('plaza', 'Plaza', 'Paris', 'Europe/Paris', 'eur', '33', 'live'),
    ('seaside', 'Seaside', 'Nice', 'Europe/Paris', 'eur', '33', 'test')""",
    """INSERT INTO stripe_connection (mode, account_type, status, account_id, claimed_account_id, is_current,
    account_name, requirements, created_at, tenant_id) VALUES
    ('live', 'CONNECT_STANDARD', 'CONNECTED', 'acct_plaza', 'acct_plaza', true, 'Plaza', NULL,
     '2026-11-01 10:00:00.123456+00:00', 1),
    ('test', 'CONNECT_STANDARD', 'PENDING', 'acct_seaside', 'acct_seaside', true, 'Seaside', '["external_account"]',
     '2026-11-01 10:00:00+00:00', 2)""",
    """INSERT INTO payment (tenant_id, amount, currency, status, mode, description, collected_via, connection_id,
    created_at, updated_at) VALUES
    (1, 4500, 'eur', 'PENDING', 'live', 'Parking', 'TENANT', 1,
     '2026-11-01 10:00:00+00:00', '2026-11-01 10:00:00+00:00')""",
    # Not in the tenants' order, as they were written.
    """INSERT INTO stripe_audit_entry (connection_id, actor, action, detail, at, tenant_id) VALUES
    (2, '7', 'connected', '{"mode": "test", "account_id": "acct_seaside"}', '2026-11-01 10:00:00+00:00', 2),
    (1, '4', 'connected', '{"mode": "live", "name": "Plaza – é"}', '2026-11-01 10:00:00.123456+00:00', 1),
    (NULL, 'operator', 'mode_switched', '{"mode": "live", "of": null}', '2026-11-01 10:00:00.000001+00:00', 1)""",
)


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    """The desk on a database without tables."""
    settings = {
        "TESTING": True,
        "SECRET_KEY": "for tests",
        "SQLALCHEMY_DATABASE_URI": database_url,
        "VALETPRO_STRIPE_ENCRYPTION_KEYS": [base64.b64encode(bytes(32)).decode()],
    }
    app = create_app({**settings, **Simulator(public_url="http://desk.test").config()})
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


def migrate(revision: str, *, down: bool = False) -> None:
    """Bring the database to a revision, as an operator's ``flask db`` does."""
    (flask_migrate.downgrade if down else flask_migrate.upgrade)(MIGRATIONS, revision=revision)


def execute(*statements: str) -> None:
    for statement in statements:
        # SQLite keeps times as text without a zone, PostgreSQL wants to be told.
        stored = statement.replace("+00:00", "") if db.engine.dialect.name == "sqlite" else statement
        db.session.execute(sa.text(stored))
    db.session.commit()


def rows(query: str) -> list[tuple[Any, ...]]:
    found = [tuple(row) for row in db.session.execute(sa.text(query))]
    db.session.rollback()
    return found


def run(app: Flask, *words: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(args=["stripe", *words])
    return result.exit_code, result.output


def test_the_migrations_make_what_the_models_declare(app: Flask) -> None:
    migrate("head")
    flask_migrate.check(MIGRATIONS)


def test_a_desk_with_guests_in_it_is_brought_to_the_audit_chain(app: Flask) -> None:
    migrate("0001")
    execute(*DESK_OF_0001)
    migrate("head")

    assert run(app, "audit-verify") == (0, "3 entries of 2 tenants are unchanged.\n")
    assert rows("SELECT id, tenant_id, sequence FROM stripe_audit_entry ORDER BY id") == [
        (1, 2, 1),
        (2, 1, 1),
        (3, 1, 2),
    ]
    assert rows("SELECT id, account_id, status, endpoint_token, public_url FROM stripe_connection ORDER BY id") == [
        (1, "acct_plaza", "CONNECTED", None, None),
        (2, "acct_seaside", "PENDING", None, None),
    ]
    assert rows("SELECT connection_id, amount FROM payment") == [(1, 4500)]


def test_the_chain_goes_on_after_what_was_there(app: Flask) -> None:
    migrate("0001")
    execute(*DESK_OF_0001)
    migrate("head")
    assert run(app, "platform-managed", "2", "on")[0] == 0

    assert run(app, "audit-verify") == (0, "4 entries of 2 tenants are unchanged.\n")


def test_a_migrated_desk_can_go_back_and_forth(app: Flask) -> None:
    migrate("0001")
    before = sa.inspect(db.engine).get_columns("stripe_connection")
    execute(*DESK_OF_0001)
    migrate("head")
    migrate("0001", down=True)

    assert [c["name"] for c in sa.inspect(db.engine).get_columns("stripe_connection")] == [c["name"] for c in before]
    assert rows("SELECT id, account_id, is_current FROM stripe_connection ORDER BY id") == [
        (1, "acct_plaza", True),
        (2, "acct_seaside", True),
    ]
    assert rows("SELECT id, action FROM stripe_audit_entry ORDER BY id") == [
        (1, "connected"),
        (2, "connected"),
        (3, "mode_switched"),
    ]
    migrate("head")
    assert run(app, "audit-verify")[0] == 0
    flask_migrate.check(MIGRATIONS)


def test_foreign_keys_hold_after_the_migrations(app: Flask) -> None:
    migrate("0001")
    execute(*DESK_OF_0001)
    migrate("head")

    with pytest.raises(sa.exc.IntegrityError):
        execute("DELETE FROM stripe_connection WHERE id = 1")


def test_a_desk_that_was_not_migrated_is_told_so(app: Flask) -> None:
    migrate("0001")

    code, said = run(app, "doctor")

    assert code == 1
    assert "- Columns are missing (stripe_audit_entry.digest, stripe_audit_entry.sequence, " in said
    assert said.endswith("run 'flask db migrate' and 'flask db upgrade'.\n")


def test_the_snippet_in_the_changes_ties_a_hosts_entries_together(app: Flask) -> None:
    migrate("0001")
    execute(*DESK_OF_0001)
    changes = Path(MIGRATIONS).with_name("CHANGES.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(def upgrade.*?)```", changes, re.DOTALL)
    with db.engine.begin() as connection:
        op = Operations(MigrationContext.configure(connection))
        names: dict[str, Any] = {"op": op, "sa": sa, "json": json, "hashlib": hashlib, "UTC": UTC}
        exec(snippet, names)
        names["upgrade"]()

    assert run(app, "audit-verify") == (0, "3 entries of 2 tenants are unchanged.\n")
