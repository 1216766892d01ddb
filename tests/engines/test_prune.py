"""What is pruned: old and finished. What is not: all that somebody still has to look after."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import Mode, custody
from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.webhooks import prune
from tests.webhooks.stage import make_stage

from .box import Box

pytestmark = pytest.mark.both

FINISHED = (EventStatus.processed, EventStatus.parked)


def aged(box: Box, status: EventStatus, days: float, *, account: str = "acct_plaza") -> int:
    """Return the row of an event that came so many days ago."""
    row_id, then = box.put(account=account), utcnow() - timedelta(days=days)
    done = then if status is EventStatus.processed else None
    box.set(row_id, status=status, received_at=then, processed_at=done, due_at=None if status in FINISHED else then)
    return row_id


def run(box: Box) -> list[str]:
    result = box.stage.host.app.test_cli_runner().invoke(args=["stripe", "prune"])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def left(box: Box) -> dict[int, bool]:
    """Return the rows that are left, and whether each has its body."""
    return {row.id: row.body is not None for row in box.stage.rows()}


def test_what_is_finished_loses_its_body_after_30_days_and_its_row_after_35(box: Box) -> None:
    young = [aged(box, status, 29.9) for status in FINISHED]
    old = [aged(box, status, 30.1) for status in FINISHED]
    for status in FINISHED:
        aged(box, status, 35.1)

    assert run(box) == [
        "deleted: 2 bodies of events",
        "deleted: 2 events",
        "deleted: 0 started connections",
        "deleted: 0 archived secrets",
    ]
    assert left(box) == dict.fromkeys(young, True) | dict.fromkeys(old, False)
    assert [box.row(row).payload for row in old] == [{}, {}]
    assert run(box) == [
        "deleted: 0 bodies of events",
        "deleted: 0 events",
        "deleted: 0 started connections",
        "deleted: 0 archived secrets",
    ]


@pytest.mark.parametrize("status", [s for s in EventStatus if s not in FINISHED])
def test_what_is_unfinished_is_kept_however_old_it_is(box: Box, status: EventStatus) -> None:
    row_id = aged(box, status, 400)

    run(box)

    assert left(box) == {row_id: True}


def test_what_was_replayed_lately_is_kept_as_if_it_had_come_lately(box: Box) -> None:
    row_id = aged(box, EventStatus.processed, 50)
    box.set(row_id, processed_at=utcnow())

    run(box)

    assert left(box) == {row_id: True}


def test_what_was_replayed_late_loses_its_body_30_days_after_that(box: Box) -> None:
    """Not at the moment only when its row may go as well."""
    row_id = aged(box, EventStatus.processed, 40)
    box.set(row_id, processed_at=utcnow() - timedelta(days=31))

    assert run(box)[:2] == ["deleted: 1 bodies of events", "deleted: 0 events"]
    assert left(box) == {row_id: False}


def test_a_longer_retention_keeps_rows_and_bodies_as_long(sqlite_url: str) -> None:
    with make_stage(sqlite_url, RETENTION_DAYS=90) as stage:
        box = Box(stage)
        kept = aged(box, EventStatus.processed, 89)
        aged(box, EventStatus.processed, 91)

        assert run(box)[:2] == ["deleted: 0 bodies of events", "deleted: 1 events"]
        assert left(box) == {kept: True}


def test_many_rows_go_in_batches(light_box: Box) -> None:
    for _ in range(8):
        aged(light_box, EventStatus.processed, 31)
    told = list[int]()

    with light_box.state() as state:
        assert prune.count_prunable(state, utcnow()) == 8
        done, problems = prune.prune(state, utcnow(), told.append, batch=3)

    assert (done, problems, told) == ({"bodies of events": 8}, [], [3, 3, 2])


def test_a_repeat_within_35_days_of_a_pruned_event_is_still_no_second_effect(box: Box) -> None:
    box.on()
    row_id = box.put()
    event = box.row(row_id).payload
    box.drain()
    box.set(row_id, received_at=utcnow() - timedelta(days=34), processed_at=utcnow() - timedelta(days=34))

    run(box)

    assert left(box) == {row_id: False}
    assert box.stage.deliver(event).status_code == 200
    assert box.name_of(box.stage.plaza) == "Plaza!"


def test_started_connections_that_nobody_finished_in_time_are_deleted(box: Box) -> None:
    with box.state() as state:
        for number, expires in enumerate((utcnow() - timedelta(seconds=1), utcnow() + timedelta(minutes=5))):
            known = {"state_hash": f"{number}", "session_hash": "s", "user_id": "1", "mode": Mode.test}
            tenant_id = box.stage.plaza.id
            state.session.add(state.models.OAuthState(tenant_id=tenant_id, expires_at=expires, **known))
        state.session.commit()

    assert run(box)[2] == "deleted: 1 started connections"
    assert [row.state_hash for row in box.stage.rows("OAuthState")] == ["1"]


def keep_versions(box: Box, tenant: Any, *keys: str) -> list[Any]:
    """Give a tenant's connection these keys, one after the other; return their rows."""
    with box.state() as state:
        model = state.models.Connection
        connection = state.session.scalars(sa.select(model).where(model.tenant_id == tenant.id)).one()
        for key in keys:
            entrusted = custody.entrust(state, connection, custody.API_KEY, Secret(key))
            custody.switch(state, connection, entrusted)
            state.session.commit()
    return [row for row in box.stage.rows("Secret") if row.tenant_id == tenant.id]


def archive_all(box: Box, days: float, **values: Any) -> None:
    """Let every archived secret have been archived so many days ago."""
    with box.state() as state:
        model = state.models.Secret
        changed = sa.update(model).where(model.archived_at.is_not(None))
        state.session.execute(changed.values(archived_at=utcnow() - timedelta(days=days), **values))
        state.session.commit()


def test_archived_secrets_are_destroyed_after_30_days_and_present_ones_never(box: Box) -> None:
    keep_versions(box, box.stage.plaza, "sk_test_one1111", "sk_test_two2222", "sk_test_three33")
    keep_versions(box, box.stage.seaside, "sk_test_four444")
    archive_all(box, 29)
    assert run(box)[3] == "deleted: 0 archived secrets"
    archive_all(box, 31)

    assert run(box)[3] == "deleted: 2 archived secrets"

    rows = box.stage.rows("Secret")
    assert [row.stored is not None for row in rows] == [False, False, True, True]
    noted = [entry for entry in box.stage.rows("AuditEntry") if entry.action == "secret_destroyed"]
    assert [(entry.tenant_id, entry.actor) for entry in noted] == [(box.stage.plaza.id, "operator")] * 2
    assert {entry.detail["fingerprint"] for entry in noted} == {row.fingerprint for row in rows[:2]}


def test_a_store_that_cannot_answer_is_named_and_the_other_tenants_secrets_go(box: Box) -> None:
    keep_versions(box, box.stage.plaza, "sk_test_one1111", "sk_test_two2222")
    keep_versions(box, box.stage.seaside, "sk_test_four444", "sk_test_five555")
    archive_all(box, 31)
    with box.state() as state:
        model = state.models.Secret
        lost = sa.update(model).where(model.tenant_id == box.stage.plaza.id, model.archived_at.is_not(None))
        state.session.execute(lost.values(store="aws"))
        state.session.commit()

    result = box.stage.host.app.test_cli_runner().invoke(args=["stripe", "prune"])

    assert result.exit_code == 1
    assert "1 archived secrets" in result.output
    assert "A secret rests in the secret store 'aws', which this app is not set up for." in result.output
    assert [row.stored is not None for row in box.stage.rows("Secret")] == [True, True, False, True]
