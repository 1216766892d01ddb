"""What connecting and disconnecting leave behind, in the logs and in the database: nothing that opens anything."""

from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe.testing import Simulator
from tests.connections.admin import Admin, asked, query_of, rows


def test_no_log_holds_a_key_a_token_a_code_or_a_state(
    plaza: Admin, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where the host logs everything: the SDK would write whole answers then, tokens and all."""
    caplog.set_level(logging.DEBUG)
    account = simulator.create_account("Plaza")
    back = plaza.agree(account.id)
    plaza.follow(back)
    plaza.follow(back)
    simulator.faults.add("POST", "/oauth/deauthorize", "server_error", times=3)
    plaza.disconnect()
    plaza.disconnect()

    (answer,) = [request.response for request in asked(simulator, "/oauth/token")]
    hidden = [
        simulator.platform.test_secret_key,
        answer["access_token"],
        answer["refresh_token"],
        query_of(back)["code"],
        query_of(back)["state"],
    ]
    assert caplog.text
    assert [word[:8] for word in hidden if word in caplog.text] == []


@pytest.mark.both
def test_no_table_holds_a_token_or_a_code(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    back = plaza.agree(account.id)
    plaza.follow(back)

    (answer,) = [request.response for request in asked(simulator, "/oauth/token")]
    hidden = [answer["access_token"], answer["refresh_token"], query_of(back)["code"], query_of(back)["state"]]
    with plaza.host.app.app_context():
        tables = plaza.host.db.metadata.sorted_tables
        held = "".join(repr(plaza.host.db.session.execute(sa.select(table)).all()) for table in tables)
    assert account.id in held
    assert [word[:8] for word in hidden if word in held] == []


def test_the_audit_says_which_account_and_mode(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    plaza.connect(account.id, "live")
    (entry,) = rows(plaza.host, plaza.host.valetpro.models.AuditEntry)

    assert entry.detail == {"account_id": account.id, "mode": "live"}
    assert entry.connection_id == plaza.connections()[0].id
    assert entry.at.utcoffset().total_seconds() == 0
