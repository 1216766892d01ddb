"""Each verdict, what is said to a person with it, and what makes it go away."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import Mode, errors
from flask_valetpro_stripe.connections import disconnect
from flask_valetpro_stripe.webhooks import reasons
from flask_valetpro_stripe.webhooks.claims import KILLED
from flask_valetpro_stripe.webhooks.reasons import meaning_of
from tests.health.troubles import OWN_CODE, give_up, put_for_a_worker, work_off
from tests.hosts import make_host
from tests.webhooks.stage import Stage, ping

from .ward import Handler, everybody, health, let_pass, run, within, words

# -- healthy and idle


@pytest.mark.both
def test_a_hotel_whose_events_come_is_healthy_and_its_neighbour_idle(stage: Stage) -> None:
    stage.deliver(ping())

    plaza, seaside = health(stage.host, stage.plaza), health(stage.host, stage.seaside)

    assert words(plaza) == ("healthy", False)
    assert (plaza.says, plaza.remedy) == ("Events come, and are handled.", "")
    assert plaza.last_received_at == stage.row().received_at
    assert plaza.last_processed_at == stage.row().processed_at
    assert (plaza.waiting, plaza.failed, plaza.dead, plaza.missed, plaza.lag.total_seconds()) == (0, 0, 0, 0, 0)
    assert words(seaside) == ("idle", False)
    assert seaside.says == "No event has come yet, and no payment was paid without one."
    assert (seaside.last_received_at, seaside.remedy) == (None, "")


def test_a_quiet_week_makes_a_hotel_idle(light_stage: Stage) -> None:
    light_stage.deliver(ping())
    let_pass(light_stage.host, days=6)
    assert words(health(light_stage.host, light_stage.plaza)) == ("healthy", False)

    let_pass(light_stage.host, days=6)

    found = health(light_stage.host, light_stage.plaza)
    assert words(found) == ("idle", False)
    assert found.says == "No event has come for 2 weeks, and no payment was paid without one."


def test_a_hotel_that_is_not_connected_is_idle(light_stage: Stage) -> None:
    found = health(light_stage.host, light_stage.plaza, Mode.live)
    assert words(found) == ("idle", False)
    assert found.says == "No Stripe account is connected in live mode, so nothing comes."

    light_stage.deliver(ping())
    with within(light_stage.host) as state:
        disconnect(state, light_stage.host.tenant(light_stage.plaza.id), Mode.test, actor="tests")
    assert health(light_stage.host, light_stage.plaza).says.startswith("No Stripe account is connected in test mode")


@pytest.mark.both
@pytest.mark.parametrize("key", ["int", "uuid", "str"])
def test_a_hotel_is_found_by_whatever_key_the_host_has(database_url: str, key: str) -> None:
    with make_host(database_url, key=key) as host:
        plaza, seaside = host.make_tenant("Plaza"), host.make_tenant("Seaside")
        host.connect(plaza, "acct_plaza")

        assert health(host, plaza).tenant_id == plaza.id
        assert words(health(host, seaside)) == ("idle", False)
        assert list(everybody(host)) == [(plaza.id, "test")]


@pytest.mark.both
def test_the_platforms_own_account_is_somebody_too_once_it_has_events(stage: Stage) -> None:
    assert None not in {tenant for tenant, _ in everybody(stage.host)}
    handler = Handler.of(stage.host)
    stage.deliver(ping(account=None))
    assert words(everybody(stage.host)[None, "test"]) == ("healthy", False)
    assert words(health(stage.host, None, Mode.live)) == ("idle", False)

    handler.raises = ValueError("poison")
    stage.deliver(ping(account=None))

    found = health(stage.host, None)
    assert words(found) == words(everybody(stage.host)[None, "test"]) == ("failing", False)


def test_parked_events_are_no_failure(stage: Stage) -> None:
    stage.deliver(ping(account="acct_nobodys"))
    stage.deliver(ping(livemode=False), mode=Mode.live)
    assert [row.status for row in stage.rows()] == ["parked", "parked"]

    assert {words(each) for each in everybody(stage.host).values()} == {("idle", False)}
    assert len(everybody(stage.host)) == 2


# -- failing


@pytest.mark.both
def test_an_event_that_fails_inline_waits_for_stripe_and_one_that_was_handled_since_is_no_failure(stage: Stage) -> None:
    handler, event = Handler.of(stage.host, ValueError("The guest Ms Okafor has no ticket")), ping()
    stage.deliver(event)

    found = health(stage.host, stage.plaza)

    assert words(found) == ("failing", False)
    assert found.says == (
        f"One event has failed, and will be tried again. The last one is {event['id']}: {OWN_CODE} It is tried again "
        "when Stripe delivers it again, which Stripe does for three days, or by 'flask stripe reconcile' once its "
        "pause is over."
    )
    assert found.remedy == "A developer looks for the event's id in the app's log."
    assert (found.waiting, found.failed, found.dead) == (1, 1, 0)
    failure = found.last_failure
    assert failure
    assert (failure.event_id, failure.type, failure.attempts, failure.is_dead) == (event["id"], event["type"], 1, False)
    assert "Okafor" not in str(found)
    assert words(health(stage.host, stage.seaside)) == ("idle", False)

    handler.raises = None
    stage.deliver(event)
    mended = health(stage.host, stage.plaza)
    assert words(mended) == ("healthy", False)
    assert mended.last_failure is None


def test_who_fails_for_an_hour_needs_a_person_by_when_the_event_was_received(light_stage: Stage) -> None:
    Handler.of(light_stage.host, ValueError("poison"))
    # What Stripe says about when it was made is not looked at.
    light_stage.deliver(ping(created=1_000_000_000))
    assert words(health(light_stage.host, light_stage.plaza)) == ("failing", False)

    let_pass(light_stage.host, minutes=61)

    found = health(light_stage.host, light_stage.plaza)
    assert words(found) == ("failing", True)
    assert 61 <= found.lag.total_seconds() / 60 < 65


def test_with_celery_a_worker_tries_again(celery_stage: Stage) -> None:
    Handler.of(celery_stage.host, ValueError("poison"))
    celery_stage.deliver(ping(id="evt_1"))
    work_off(celery_stage.host)

    assert health(celery_stage.host, celery_stage.plaza).says == (
        f"One event has failed, and will be tried again. The last one is evt_1: {OWN_CODE} A worker tries again by "
        "itself, later each time."
    )


@pytest.mark.both
def test_dead_events_wait_for_a_person_and_a_replay_brings_them_back(stage: Stage) -> None:
    handler, first = Handler.of(stage.host, ValueError("poison")), ping()
    stage.deliver(first)
    stage.deliver(ping(id="evt_2"))
    give_up(stage)
    # A newer one that only failed: what waits for a person comes first.
    stage.deliver(ping())

    found = health(stage.host, stage.plaza)

    assert words(found) == ("failing", True)
    assert found.says == f"2 events were given up after 16 tries. The last one is evt_2: {OWN_CODE}"
    assert found.remedy == (
        "A developer looks for the event's id in the app's log. Once that is mended, have it handled again: on the "
        "tenant's page of events, or by 'flask stripe replay evt_2'."
    )
    assert (found.waiting, found.failed, found.dead) == (1, 1, 2)
    assert found.last_failure
    assert found.last_failure.is_dead

    handler.raises = None
    for row in stage.rows():
        assert run(stage.host, "replay", row.id).exit_code == 0
    assert words(health(stage.host, stage.plaza)) == ("healthy", False)


@pytest.mark.parametrize(
    "kept, says",
    [
        ("ValueError: x", OWN_CODE),
        ("KeyError: 'ticket'", "This app's own code failed over it, with KeyError."),
        ("OperationalError: server closed", "The database did not take what was to be written."),
        ("SecretUnavailableError: x", "The store of the tenant's API key could not give it."),
        ("OutcomeUnknownError: x", "Stripe did not answer."),
        ("InvalidKeyError: x", "Stripe does not let us act on the tenant's account."),
        (KILLED, "The process that handled it was ended before it was done, each time."),
        ("<b>what?</b>: x", "This app's own code failed over it, with an error."),
        (None, "This app's own code failed over it, with an error."),
    ],
)
def test_reasons_are_told_in_plain_words(kept: str | None, says: str) -> None:
    assert meaning_of(kept).says == says
    assert meaning_of(kept).remedy


def test_every_error_of_ours_that_has_words_exists() -> None:
    named = set().union(*(names for names, _ in reasons._MEANINGS))
    ours = {name for name in dir(errors) if name.endswith("Error")} | {"StoreDownError"}
    assert {name for name in named if name not in ours} == {*("OperationalError", "InterfaceError", "InternalError")}
    assert all(hasattr(sa.exc, name) for name in named - ours)


# -- late


def test_with_celery_events_that_nobody_works_off_are_late_after_five_minutes(celery_stage: Stage) -> None:
    host = celery_stage.host
    for _ in range(3):
        celery_stage.deliver(ping())
    let_pass(host, minutes=4)
    early = health(host, celery_stage.plaza)
    assert words(early) == ("healthy", False)
    assert (early.waiting, 4 <= early.lag.total_seconds() / 60 < 5) == (3, True)

    let_pass(host, minutes=2)

    found = health(host, celery_stage.plaza)
    assert words(found) == ("late", True)
    assert found.says == "3 events wait to be handled, and nobody has come for 6 minutes."
    assert found.remedy == (
        "The operator sees that a Celery worker runs, and beat with the sweep in its schedule; or starts 'flask stripe "
        "worker'. If they run, one more of them is needed."
    )
    assert words(health(host, celery_stage.seaside)) == ("idle", False)
    work_off(host)
    assert words(health(host, celery_stage.plaza)) == ("healthy", False)


@pytest.mark.both
def test_inline_what_waits_is_late_when_reconcile_should_have_come_twice(stage: Stage) -> None:
    put_for_a_worker(stage)
    let_pass(stage.host, minutes=110)
    assert words(health(stage.host, stage.seaside))[0] != "late"

    let_pass(stage.host, minutes=20)

    found = health(stage.host, stage.seaside)
    assert words(found) == ("late", True)
    assert found.says == "One event waits to be handled, and nobody has come for 2 hours."
    assert found.remedy == (
        "The operator has 'flask stripe reconcile' run every hour, or keeps 'flask stripe worker' running."
    )
    assert words(health(stage.host, stage.plaza)) == ("idle", False)


def test_inline_what_failed_is_not_late_however_long_stripe_takes(light_stage: Stage) -> None:
    Handler.of(light_stage.host, ValueError("poison"))
    light_stage.deliver(ping())
    let_pass(light_stage.host, hours=30)

    assert words(health(light_stage.host, light_stage.plaza)) == ("failing", True)


def test_an_event_that_somebody_is_at_is_not_late(celery_stage: Stage) -> None:
    celery_stage.deliver(ping())
    let_pass(celery_stage.host, minutes=30)
    seen: list[Any] = []

    @celery_stage.host.valetpro.on("customer.created")
    def look(event: Any) -> None:
        seen.append(words(health(celery_stage.host, celery_stage.plaza)))

    work_off(celery_stage.host)

    assert seen == [("healthy", False)]
