"""Once more by hand: the same way, the own tenant only, noted, and not without end."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.errors import ValetProStripeError
from flask_valetpro_stripe.handlers import FETCHERS
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.webhooks import replay
from tests.webhooks.stage import ping

from .box import Box, fail

pytestmark = pytest.mark.both


@pytest.fixture
def mistakes(box: Box) -> list[bool]:
    """While it holds something, the host's handler fails."""
    found = [True]
    box.on(lambda event: fail(event) if found else None)
    return found


def replay_own(box: Box, tenant: Any, row_id: int) -> EventStatus:
    with box.state() as state:
        return replay.replay_own(state, box.stage.host.tenant(tenant.id), row_id, FETCHERS, actor="7")


def refusal(box: Box, tenant: Any, row_id: int) -> tuple[str, str]:
    with pytest.raises(ValetProStripeError) as caught:
        replay_own(box, tenant, row_id)
    return caught.value.code, str(caught.value)


def run(box: Box, *words: Any) -> tuple[int, str]:
    result = box.stage.host.app.test_cli_runner().invoke(args=["stripe", "replay", *map(str, words)])
    return result.exit_code, result.output


def entries(box: Box) -> list[Any]:
    return [entry for entry in box.stage.rows("AuditEntry") if entry.action == "event_replayed"]


@pytest.mark.parametrize("status", [EventStatus.failed, EventStatus.dead])
def test_what_failed_is_run_again_and_it_is_noted_who_wanted_that(
    box: Box, mistakes: list[bool], status: EventStatus
) -> None:
    row_id = box.put()
    box.work(box.must_claim(row_id))
    box.set(row_id, status=status, attempts=16)
    mistakes.clear()

    assert replay_own(box, box.stage.plaza, row_id) is EventStatus.processed
    row = box.row(row_id)
    assert (row.status, row.attempts, row.error, row.due_at) == ("processed", 1, None, None)
    assert box.name_of(box.stage.plaza) == "Plaza!"
    (entry,) = entries(box)
    assert (entry.actor, entry.tenant_id) == ("7", box.stage.plaza.id)
    assert entry.detail == {"event_id": row.event_id, "type": row.type, "was": status.value}


def test_what_fails_again_gets_as_many_tries_as_a_new_event(box: Box, mistakes: list[bool]) -> None:
    row_id = box.put()
    box.set(row_id, status=EventStatus.dead, due_at=None, attempts=17)

    assert replay_own(box, box.stage.plaza, row_id) is EventStatus.failed
    row = box.row(row_id)
    assert (row.status, row.attempts, row.error) == ("failed", 1, "ValueError: poison")
    assert row.due_at > utcnow()


def test_another_hotels_event_is_refused_just_as_one_that_is_not_there(box: Box, mistakes: list[bool]) -> None:
    row_id = box.put()
    refusals = {refusal(box, box.stage.seaside, key) for key in (row_id, 4711)}

    assert refusals == {("unknown_event", "There is no such event.")}
    assert box.calls == []
    assert entries(box) == []


def test_an_event_of_nobodys_is_no_admins_to_replay(box: Box) -> None:
    assert refusal(box, box.stage.plaza, box.put(account="acct_unknown"))[0] == "unknown_event"


def test_what_was_handled_already_is_not_run_again(box: Box) -> None:
    box.on()
    row_id = box.put()
    box.drain()

    code, said = refusal(box, box.stage.plaza, row_id)
    assert (code, said) == (
        "already_processed",
        f"The event {box.row(row_id).event_id} was handled already, so there is nothing to do.",
    )
    assert box.name_of(box.stage.plaza) == "Plaza!"


def test_an_operator_may_force_what_was_handled_already(box: Box) -> None:
    box.on()
    row_id = box.put()
    box.drain()
    event_id = box.row(row_id).event_id

    assert run(box, event_id)[0] == 1
    assert run(box, event_id, "--force") == (0, f"{event_id}: processed.\n")
    assert box.name_of(box.stage.plaza) == "Plaza!!"
    assert [entry.actor for entry in entries(box)] == ["operator"]


def test_an_event_that_a_worker_has_is_not_taken_from_it(box: Box) -> None:
    row_id = box.put()
    box.must_claim(row_id)

    assert refusal(box, box.stage.plaza, row_id)[0] == "in_flight"
    assert box.row(row_id).generation == 1


def test_an_event_without_its_body_cannot_be_run_and_is_told_why(box: Box, mistakes: list[bool]) -> None:
    row_id = box.put()
    box.set(row_id, status=EventStatus.dead, body=None)
    event_id = box.row(row_id).event_id

    assert box.row(row_id).payload == {}
    assert refusal(box, box.stage.plaza, row_id) == (
        "event_pruned",
        f"What the event {event_id} said was deleted, as for every event after 30 days, so it cannot be handled again.",
    )
    assert run(box, event_id) == (
        1,
        f"{event_id}: not replayed. What the event {event_id} said was deleted, as for every event after 30 days, "
        "so it cannot be handled again. Compare the payment with Stripe instead: payments.sync asks for its present "
        "state.\n",
    )


def test_a_parked_event_finds_the_tenant_that_has_its_account_now(box: Box) -> None:
    box.on()
    row_id = box.put(account="acct_new")
    harbour = box.stage.host.make_tenant("Harbour")
    box.stage.host.connect(harbour, "acct_new")

    assert run(box, row_id) == (0, f"{row_id}: processed.\n")
    assert (box.name_of(harbour), box.name_of(box.stage.plaza)) == ("Harbour!", "Plaza")
    assert box.row(row_id).tenant_id == harbour.id


def test_a_parked_event_that_is_still_nobodys_stays_parked(box: Box) -> None:
    row_id = box.put(account="acct_unknown")

    assert run(box, row_id) == (1, f"{row_id}: parked. No tenant has this account.\n")


def test_a_parked_event_never_goes_over_to_another_tenant(box: Box) -> None:
    """Its account was Plaza's when it came, and is Seaside's by now."""
    box.on()
    with box.state() as state:
        model = state.models.Connection
        ended = {"ended_at": utcnow(), "is_current": False, "claimed_account_id": None}
        state.session.execute(sa.update(model).where(model.account_id == "acct_plaza").values(**ended))
        state.session.commit()
    row_id = box.put()
    assert (box.row(row_id).status, box.row(row_id).tenant_id) == ("parked", box.stage.plaza.id)
    with box.state() as state:
        model = state.models.Connection
        state.session.execute(
            sa.update(model).where(model.account_id == "acct_seaside").values(account_id="acct_plaza")
        )
        state.session.commit()

    assert replay_own(box, box.stage.plaza, row_id) is EventStatus.parked
    assert box.calls == []


def test_the_21st_replay_in_ten_minutes_is_refused_and_the_other_hotel_goes_on(light_box: Box) -> None:
    box, mistakes = light_box, [True]
    box.on(lambda event: fail(event) if mistakes else None)
    row_id, other = box.put(), box.put(account="acct_seaside")
    for _ in range(replay.MOST):
        assert replay_own(box, box.stage.plaza, row_id) is EventStatus.failed
    mistakes.clear()

    assert refusal(box, box.stage.plaza, row_id) == (
        "too_many_replays",
        "20 events were replayed in the last minutes.",
    )
    assert box.row(row_id).status == "failed"
    assert replay_own(box, box.stage.seaside, other) is EventStatus.processed


def test_an_id_that_two_endpoints_have_is_asked_for_by_number(light_box: Box) -> None:
    """A raw-key tenant can sign any id, another tenant's too."""
    box, event = light_box, ping(id="evt_same")
    first, second = box.put(event), box.put(ping(account=None, id="evt_same"))

    code, said = run(box, "evt_same")
    assert code == 1
    assert f"{first} (by platform:test:connect, tenant {box.stage.plaza.id})" in said
    assert run(box, first, second) == (0, f"{first}: processed.\n{second}: processed.\n")


def test_an_unknown_id_is_named_and_the_others_are_replayed(light_box: Box) -> None:
    row_id = light_box.put()

    assert run(light_box, "evt_none", row_id) == (
        1,
        f"evt_none: not replayed. There is no such event. It may have been pruned.\n{row_id}: processed.\n",
    )
