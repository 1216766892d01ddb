"""``flask stripe doctor`` finds what keeps events from being handled, and what the platform's endpoints lack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import stripe
from celery import Celery

from flask_valetpro_stripe.celery import SWEEP, beat_schedule
from flask_valetpro_stripe.handlers import HANDLERS
from flask_valetpro_stripe.testing import Simulator
from tests.health.troubles import give_up, put_for_a_worker, work_off
from tests.hosts import Host, make_host
from tests.raw_keys.owner import Owner
from tests.reconcile.stage import look
from tests.simulator.helpers import client_with
from tests.webhooks.stage import Stage, ping

from .ward import Handler, let_pass, run

DESK = "https://desk.example"
HOOK = f"{DESK}/api/webhooks/stripe"
NO_SWEEP = (
    "- An event that failed, or whose message was lost, waits for ever, since nothing sweeps the inbox: add "
    "flask_valetpro_stripe.celery.beat_schedule() to the Celery app's beat_schedule, and run Celery's beat."
)


def said(host: Host, word: str, *options: str) -> list[str]:
    """What the doctor says in which a word stands."""
    return [line for line in run(host, "doctor", *options).output.splitlines() if word in line]


# -- handlers


def test_a_handler_whose_type_is_spelled_wrongly_is_told_what_was_meant(light_stage: Stage) -> None:
    # What Stripe brings after this SDK is no slip.
    for type_ in ("payment_intent.suceeded", "charge.succeeded", "valet.parked", "v2.core.account.updated"):
        light_stage.host.valetpro.on(type_)(print)

    assert said(light_stage.host, "its handler never runs") == [
        "- No event of Stripe's is known as 'payment_intent.suceeded', so its handler never runs: did you mean "
        "'payment_intent.succeeded'?"
    ]


# -- the engine


def test_a_celery_app_without_the_sweep_is_told_to_have_one(celery_stage: Stage) -> None:
    celery_app: Celery = celery_stage.host.app.extensions["celery"]
    celery_app.conf.beat_schedule = {"another": {"task": "shop.clean", "schedule": 60.0}}
    assert said(celery_stage.host, "sweeps the inbox") == [NO_SWEEP]
    assert run(celery_stage.host, "doctor").exit_code == 1

    celery_app.conf.beat_schedule |= beat_schedule()
    assert said(celery_stage.host, "sweeps the inbox") == []
    # Under whatever name the host has given it.
    celery_app.conf.beat_schedule = {"stripe": {"task": SWEEP, "schedule": 10.0}}
    assert said(celery_stage.host, "sweeps the inbox") == []


def test_inline_nobody_has_to_sweep(light_stage: Stage) -> None:
    assert said(light_stage.host, "sweeps the inbox") == []


def test_with_celery_events_that_nobody_handles_are_told_with_their_fix(celery_stage: Stage) -> None:
    celery_stage.deliver(ping())
    let_pass(celery_stage.host, minutes=3)
    assert said(celery_stage.host, "nobody handles") == []

    let_pass(celery_stage.host, minutes=27)
    assert said(celery_stage.host, "nobody handles") == [
        "- Events have waited for 30 minutes, and nobody handles them: see that a Celery worker and beat run, or keep "
        "'flask stripe worker' running beside them."
    ]

    work_off(celery_stage.host)
    assert said(celery_stage.host, "nobody handles") == []


def test_inline_the_fix_is_another(stage: Stage) -> None:
    put_for_a_worker(stage)
    let_pass(stage.host, hours=5)

    assert said(stage.host, "nobody handles") == [
        "- Events have waited for 5 hours, and nobody handles them: run 'flask stripe reconcile' every hour, from cron "
        "for example, or keep 'flask stripe worker' running."
    ]


@pytest.mark.both
def test_dead_events_are_told_and_those_that_are_tried_again_are_not(stage: Stage) -> None:
    Handler.of(stage.host, ValueError("poison"))
    stage.deliver(ping())
    assert said(stage.host, "given up") == []
    give_up(stage)

    assert said(stage.host, "given up") == [
        "- One event was given up: 'flask stripe health' says why. Once that is mended, 'flask stripe replay EVENT_ID' "
        "handles them again."
    ]


# -- endpoints at Stripe


def test_endpoints_in_tenants_accounts_that_nobody_looks_after_are_told_online(
    sqlite_url: str, simulator: Simulator
) -> None:
    with make_host(sqlite_url, simulator=simulator) as host:
        for name in ("Hotel Plaza", "Seaside Resort"):
            Owner.of(host, name).connect()
        let_pass(host, hours=20)
        assert said(host, "looked at Stripe", "--online") == []

        let_pass(host, hours=10)
        assert said(host, "looked at Stripe") == []
        assert said(host, "looked at Stripe", "--online") == [
            "- 2 webhook endpoints were made in tenants' own accounts, and nobody has looked at Stripe whether they "
            "are still there and on: run 'flask stripe reconcile' every hour, from cron for example."
        ]

        look(host)
        assert said(host, "looked at Stripe", "--online") == []


@pytest.fixture
def platform(sqlite_url: str) -> Iterator[Host]:
    """A host at an address that Stripe reaches, whose two endpoints in each mode are there."""
    with make_host(sqlite_url, simulator=Simulator(public_url=DESK)) as host:
        yield host


def dashboard(host: Host, mode: str = "TEST") -> stripe.StripeClient:
    """The platform's own dashboard."""
    assert host.simulator is not None
    return client_with(host.simulator, host.app.config[f"VALETPRO_STRIPE_{mode}_SECRET_KEY"])


def endpoints(host: Host, *, connect: bool, mode: str = "TEST") -> list[str]:
    listed = dashboard(host, mode).v1.webhook_endpoints.list({"limit": 100}).data
    return [each.id for each in listed if bool(each.application) is connect and each.url == HOOK]


def told(host: Host) -> list[str]:
    return [line for line in said(host, "endpoint", "--online") if "webhook endpoint" in line]


def test_endpoints_that_are_there_and_on_need_nothing(platform: Host) -> None:
    assert told(platform) == []
    assert [len(endpoints(platform, connect=each)) for each in (True, False)] == [1, 1]


@pytest.mark.parametrize(
    "connect, whose, setting",
    [
        (True, "connected accounts", "VALETPRO_STRIPE_TEST_CONNECT_WEBHOOK_SECRETS"),
        (False, "your account", "VALETPRO_STRIPE_TEST_WEBHOOK_SECRETS"),
    ],
)
def test_an_endpoint_that_is_not_there_is_told_with_where_its_secret_goes(
    platform: Host, connect: bool, whose: str, setting: str
) -> None:
    (endpoint,) = endpoints(platform, connect=connect)
    changed: Any = {"url": f"{HOOK}/"}
    dashboard(platform).v1.webhook_endpoints.update(endpoint, changed)

    assert told(platform) == [
        f"- Stripe has no test webhook endpoint for {whose} at {HOOK}: make it in the Stripe Dashboard, under "
        f"Developers, Webhooks, and put its signing secret into {setting}."
    ]
    assert said(platform, "no test webhook") == []


def test_an_endpoint_that_is_switched_off_is_told(platform: Host) -> None:
    (endpoint,) = endpoints(platform, connect=True, mode="LIVE")
    assert platform.simulator
    platform.simulator.disable_endpoint(endpoint)

    assert told(platform) == [
        f"- The live webhook endpoint for connected accounts at {HOOK} is switched off at Stripe: switch it on in the "
        "Stripe Dashboard, under Developers, Webhooks."
    ]


def test_an_endpoint_of_a_version_that_tells_of_deposits_as_refunds_is_told(platform: Host) -> None:
    assert platform.simulator
    for connect, version in ((True, "2024-10-28.acacia"), (False, "2025-03-31.basil")):
        (endpoint,) = endpoints(platform, connect=connect)
        platform.simulator._ledger.records[endpoint].data["api_version"] = version

    assert told(platform) == [
        f"- The test webhook endpoint for connected accounts at {HOOK} has API version 2024-10-28.acacia, which tells "
        "of a deposit that was let go as of a refund. Make a new one in the Stripe Dashboard, under Developers, "
        "Webhooks, and put its signing secret into VALETPRO_STRIPE_TEST_CONNECT_WEBHOOK_SECRETS."
    ]


def test_an_endpoint_that_lacks_types_which_are_handled_is_told_which(platform: Host) -> None:
    platform.valetpro.on("customer.created")(print)
    platform.valetpro.on("*")(print)
    change: Any = {
        "enabled_events": [each for each in HANDLERS if each not in ("charge.refund.updated", "refund.failed")]
    }
    change["enabled_events"] = [each for each in change["enabled_events"] if not each.startswith(("v2.", "account."))]
    for connect in (True, False):
        (endpoint,) = endpoints(platform, connect=connect)
        dashboard(platform).v1.webhook_endpoints.update(endpoint, change)

    where = "add these to it in the Stripe Dashboard, under Developers, Webhooks"
    assert told(platform) == [
        "- The test webhook endpoint for connected accounts does not get every event that is handled here: "
        f"{where}: account.application.deauthorized, account.updated, customer.created, refund.failed.",
        "- The test webhook endpoint for your account does not get every event that is handled here: "
        f"{where}: customer.created, refund.failed.",
    ]


def test_two_endpoints_of_one_kind_are_enough_if_they_tell_everything_together(platform: Host) -> None:
    half = sorted(each for each in HANDLERS if not each.startswith("v2."))
    client = dashboard(platform)
    (endpoint,) = endpoints(platform, connect=True)
    first: Any = {"enabled_events": half[:5]}
    client.v1.webhook_endpoints.update(endpoint, first)
    assert len(told(platform)) == 1
    second: Any = {"url": HOOK, "enabled_events": half[5:], "connect": True}
    client.v1.webhook_endpoints.create(second)

    assert told(platform) == []


def test_where_stripe_does_not_say_which_is_which_nothing_is_claimed(platform: Host) -> None:
    assert platform.simulator
    for record in platform.simulator._ledger.records.values():
        if record.kind == "webhook_endpoint":
            record.data["application"] = None

    assert told(platform) == []


def test_an_address_that_stripe_cannot_reach_has_no_endpoint_to_look_for(sqlite_url: str) -> None:
    with make_host(sqlite_url, simulator=Simulator(public_url="http://127.0.0.1:5000")) as host:
        for connect in (True, False):
            assert endpoints(host, connect=connect) == []
        client = dashboard(host)
        for each in client.v1.webhook_endpoints.list({"limit": 100}).data:
            client.v1.webhook_endpoints.delete(each.id)

        assert told(host) == []


def test_a_key_that_may_not_look_says_so(platform: Host) -> None:
    assert platform.simulator
    platform_id = platform.simulator._ledger.platform_id
    key = platform.simulator.create_restricted_key(platform_id, allow=["balance:read"])
    app = platform.add_app("sqlite://", config={"VALETPRO_STRIPE_TEST_SECRET_KEY": key})

    output = app.test_cli_runner().invoke(args=["stripe", "doctor", "--online"]).output

    assert "- Looking for the platform's webhook endpoints failed: the API key lacks a permission" in output
