"""A tenant withdraws our access at Stripe: its connection ends, and nobody else's."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flask_valetpro_stripe import Mode, connections, signals
from flask_valetpro_stripe.testing import make_event

from .stage import PLAZA, SEASIDE, TAKEN, Stage, answer, make_stage, ping


def deauthorized(
    stage: Stage, *, account: str | None = PLAZA, livemode: bool = False, application: Any = None, **extra: Any
) -> dict[str, Any]:
    """Return the event that Stripe sends when an account has thrown out an application; ours unless told otherwise."""
    platform = stage.simulator.platform
    ours = platform.live_client_id if livemode else platform.test_client_id
    thrown_out = {"id": application or ours, "object": "application", "name": "ValetPro"}
    return make_event("account.application.deauthorized", thrown_out, account=account, livemode=livemode, **extra)


def statuses(stage: Stage) -> dict[tuple[str, str], str]:
    """Return how each connection stands, by account and mode; the newest where there are several."""
    return {(row.account_id, row.mode): str(row.status) for row in stage.rows("Connection")}


@pytest.mark.both
def test_what_the_owner_withdraws_at_stripe_is_revoked_here(stage: Stage) -> None:
    heard: list[tuple[str, int]] = []
    with stage.events_while() as withdrawing:
        stage.simulator.disconnect(PLAZA)
    with signals.tenant_disconnected.connected_to(
        lambda *_, **facts: heard.append((facts["tenant"].name, facts["connection"].id)), sender=stage.host.app
    ):
        answers = {answer(stage.deliver(withdrawing.of("account.application.deauthorized"))) for _ in range(2)}

    assert answers == {TAKEN}
    assert statuses(stage) == {(PLAZA, "test"): "REVOKED", (SEASIDE, "test"): "CONNECTED"}
    revoked = stage.rows("Connection")[0]
    assert revoked.ended_at is not None
    assert revoked.is_current, "The tenant's page still says what happened."
    assert heard == [("Plaza", revoked.id)]
    entry = stage.rows("AuditEntry")[-1]
    assert (entry.actor, entry.action, entry.connection_id) == ("stripe", "revoked", revoked.id)
    assert not [asked for asked in stage.simulator.requests if asked.path.startswith("/oauth")]


def test_afterwards_its_events_run_no_handler(stage: Stage) -> None:
    seen: list[str] = []
    stage.host.valetpro.on("*")(lambda event: seen.append(event.type))
    stage.deliver(deauthorized(stage))

    assert answer(stage.deliver(ping())) == TAKEN
    assert seen == ["account.application.deauthorized"]
    assert [row.status for row in stage.rows()] == ["processed", "parked"]


def test_another_application_that_is_thrown_out_is_none_of_ours(stage: Stage) -> None:
    for foreign in ("ca_foreign", stage.simulator.platform.live_client_id, "", 0):
        event = deauthorized(stage)
        event["data"]["object"]["id"] = foreign
        assert answer(stage.deliver(event)) == TAKEN
    del event["data"]["object"]["id"]
    assert answer(stage.deliver(event | {"id": "evt_without_id"})) == TAKEN

    assert statuses(stage)[PLAZA, "test"] == "CONNECTED"


def test_without_a_client_id_of_ours_no_application_is_ours(database_url: str) -> None:
    with make_stage(database_url, TEST_CLIENT_ID=None) as stage:
        event = deauthorized(stage)
        event["data"]["object"]["id"] = None

        assert answer(stage.deliver(event)) == TAKEN
        assert statuses(stage)[PLAZA, "test"] == "CONNECTED"


def test_withdrawing_test_access_leaves_live_alone(stage: Stage) -> None:
    stage.host.connect(stage.plaza, PLAZA, Mode.live)

    stage.deliver(deauthorized(stage))

    assert statuses(stage) == {
        (PLAZA, "test"): "REVOKED",
        (PLAZA, "live"): "CONNECTED",
        (SEASIDE, "test"): "CONNECTED",
    }


def test_withdrawing_test_access_leaves_live_alone_when_the_live_endpoint_tells_it(stage: Stage) -> None:
    stage.host.connect(stage.plaza, PLAZA, Mode.live)

    assert answer(stage.deliver(deauthorized(stage), mode=Mode.live)) == TAKEN
    assert set(statuses(stage).values()) == {"CONNECTED"}


def test_withdrawing_live_access_leaves_test_alone(stage: Stage) -> None:
    stage.host.connect(stage.plaza, PLAZA, Mode.live)

    stage.deliver(deauthorized(stage, livemode=True))

    assert statuses(stage)[PLAZA, "test"] == "CONNECTED"
    assert statuses(stage)[PLAZA, "live"] == "REVOKED"


def test_news_that_are_older_than_a_new_connection_do_not_end_it(stage: Stage) -> None:
    """Deauthorized, connected again, and only then does the first delivery of the old news get through."""
    old_news = deauthorized(stage, created=int(time.time()) - 60)
    with stage.host.app.app_context():
        connections.disconnect(stage.host.state, stage.host.tenant(stage.plaza.id), Mode.test, actor="tests")
    connection = stage.host.connect(stage.plaza, PLAZA)

    assert answer(stage.deliver(old_news)) == TAKEN
    assert statuses(stage)[PLAZA, "test"] == "CONNECTED"
    assert stage.row().connection_id == connection.id


def test_a_created_time_that_is_none_revokes_nothing(stage: Stage) -> None:
    for number, created in enumerate([None, "now", [], 0, -1]):
        assert answer(stage.deliver(deauthorized(stage, created=created, id=f"evt_{number}"))) == TAKEN

    assert statuses(stage)[PLAZA, "test"] == "CONNECTED"


def test_the_platforms_own_endpoint_cannot_revoke_anybody(stage: Stage) -> None:
    stage.deliver(deauthorized(stage), connect=False)
    stage.deliver(deauthorized(stage, account=None))
    stage.deliver(deauthorized(stage, account=None), connect=True)

    assert set(statuses(stage).values()) == {"CONNECTED"}


@pytest.mark.both
def test_a_shared_account_ends_for_every_tenant_that_has_it(database_url: str) -> None:
    with make_stage(database_url, ALLOW_SHARED_ACCOUNTS=True) as stage:
        stage.host.connect(stage.seaside, PLAZA)
        heard: list[str] = []
        with signals.tenant_disconnected.connected_to(
            lambda *_, **facts: heard.append(facts["tenant"].name), sender=stage.host.app
        ):
            assert answer(stage.deliver(deauthorized(stage))) == TAKEN

        assert sorted(heard) == ["Plaza", "Seaside"]
        assert [row.status for row in stage.rows("Connection") if row.account_id == PLAZA] == ["REVOKED"] * 2
        assert statuses(stage)[SEASIDE, "test"] == "CONNECTED"
