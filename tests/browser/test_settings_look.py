"""The settings page as an admin meets it: in both colour schemes, with either htmx, and with no script at all."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from flask_valetpro_stripe import AccountType, Mode
from flask_valetpro_stripe.connections import revoke
from flask_valetpro_stripe.enums import EventStatus
from tests.browser.looking import assert_accessible, assert_fits, card
from tests.browser.looks import (
    HOSTS,
    HOSTS_PHONE_NO_SCRIPT,
    NO_SCRIPT,
    OURS,
    OURS_DARK_PHONE,
    by_turns,
    each_seen_in,
    seen_in,
)
from tests.browser.stage import Stage, staged

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror=alert(1)>" hx-get="/x" hx-trigger="load'
#: All that the operator of the platform sets.
UNSET = {
    f"VALETPRO_STRIPE_{mode}_{name}": None
    for mode in ("TEST", "LIVE")
    for name in ("SECRET_KEY", "CLIENT_ID", "WEBHOOK_SECRETS", "CONNECT_WEBHOOK_SECRETS")
}


def let_ten_seconds_pass(page: Page) -> None:
    """Move the page's clock to the next refresh, and wait for its answer."""
    with page.expect_response(lambda response: "/status" in response.url) as answer:
        page.clock.fast_forward(10_500)
    answer.value.finished()


def revoke_all(stage: Stage, mode: Mode = Mode.test) -> None:
    with stage.host.context():
        model = stage.host.state.models.Connection
        revoke(stage.host.state, stage.host.db.session.query(model).filter_by(mode=mode).all())
        stage.host.db.session.commit()


def with_an_event(stage: Stage) -> None:
    stage.connect()
    stage.receive("checkout.session.completed")


def with_a_failed_event(stage: Stage) -> None:
    stage.connect()
    stage.receive("payment_intent.succeeded", EventStatus.failed, error="KeyError: 'ticket'")


def revoked(stage: Stage) -> None:
    stage.connect()
    revoke_all(stage)


#: Each state of the page, and what leads to it.
STATES: dict[str, Callable[[Stage], object]] = {
    "not connected": lambda stage: None,
    "pending": lambda stage: stage.connect(requirements=["business_profile.url", "external_account"]),
    "connected, an event": with_an_event,
    "connected, a failed event": with_a_failed_event,
    "revoked": revoked,
    "collected by the platform": lambda stage: stage.host.connect(
        stage.tenant, None, account_type=AccountType.PLATFORM
    ),
}


@pytest.mark.slow("has axe look at the page")
@each_seen_in("state", by_turns(STATES, OURS, OURS_DARK_PHONE, HOSTS))
def test_nobody_is_shut_out_by_the_page_in_light_or_dark_on_a_phone_or_a_desk(
    stage: Stage, chromium: Browser, state: str
) -> None:
    STATES[state](stage)
    # Without motion: colours in the middle of their change would be measured.
    page = stage.open(chromium, reduced_motion="reduce")
    for summary in page.locator("summary").all():
        summary.click()

    assert_accessible(page)
    assert_fits(page)
    assert stage.complaints == []


@seen_in(HOSTS)
def test_a_refusal_is_accessible_too_and_names_what_is_missing(stage: Stage, chromium: Browser) -> None:
    page = stage.open(chromium, reduced_motion="reduce")

    page.get_by_role("button", name="Switch to live mode").click()

    expect(page).to_have_title("Error: Payment settings")
    expect(page.get_by_role("alert")).to_contain_text("Live payments cannot be switched on yet.")
    expect(page.get_by_role("alert")).to_contain_text("Connect a Stripe account in live mode.")
    assert_accessible(page)


def test_an_unconfigured_platform_says_what_the_operator_must_set(sqlite_url: str, chromium: Browser) -> None:
    with staged(sqlite_url, UNSET) as stage:
        page = stage.open(chromium)

        for mode in ("test", "live"):
            for name in ("SECRET_KEY", "CLIENT_ID"):
                expect(card(page, mode)).to_contain_text(f"VALETPRO_STRIPE_{mode.upper()}_{name}")
            expect(card(page, mode).get_by_role("button")).to_be_disabled()
        assert_accessible(page)
        assert stage.complaints == []


@seen_in(OURS, HOSTS)
def test_events_and_badges_arrive_by_themselves_and_leave_the_rest_alone(stage: Stage, chromium: Browser) -> None:
    stage.connect()
    page = stage.open(chromium)
    card(page).locator("summary", has_text="Disconnect").click()
    expect(card(page)).to_contain_text("No event received yet")

    stage.receive("checkout.session.completed")
    let_ten_seconds_pass(page)
    expect(card(page)).to_contain_text("Last event received 1 minute ago")
    expect(card(page)).to_contain_text("checkout.session.completed")

    stage.receive("charge.failed", EventStatus.failed, error="The ticket was deleted.")
    let_ten_seconds_pass(page)
    expect(card(page)).to_contain_text("Last event failed")
    expect(card(page)).to_contain_text("The ticket was deleted.")

    revoke_all(stage)
    let_ten_seconds_pass(page)
    expect(card(page).locator("[data-status=REVOKED]")).to_have_text("Revoked")

    # Somebody was about to disconnect: the form that they had open is still open.
    expect(page.get_by_role("button", name="Disconnect the test account")).to_be_visible()
    page.get_by_role("link", name="Show it as it is now").click()
    expect(card(page)).to_contain_text("Stripe no longer lets us act for this account.")
    assert stage.complaints == []


@seen_in(OURS_DARK_PHONE)
def test_only_what_is_new_is_said_aloud(stage: Stage, chromium: Browser) -> None:
    stage.connect()
    stage.receive("charge.succeeded")
    page = stage.open(chromium)
    news = page.locator("#vp-news[aria-live=polite]")

    let_ten_seconds_pass(page)
    let_ten_seconds_pass(page)
    expect(news).to_have_text("")

    stage.receive("checkout.session.completed")
    let_ten_seconds_pass(page)
    expect(news).to_have_text("Event received in test mode: checkout.session.completed")
    news.evaluate("news => { news.mark = news.firstElementChild }")
    let_ten_seconds_pass(page)
    assert news.evaluate("news => news.mark === news.firstElementChild"), "The same news was said twice."


@seen_in(HOSTS)
def test_a_refresh_that_fails_leaves_the_page_as_it_is(stage: Stage, chromium: Browser) -> None:
    stage.connect()
    page = stage.open(chromium)
    page.route("**/status*", lambda route: route.fulfill(status=500, body="<h1>Broken</h1>"), times=1)

    let_ten_seconds_pass(page)
    stage.receive("checkout.session.completed")
    let_ten_seconds_pass(page)

    expect(card(page)).to_contain_text("checkout.session.completed")
    expect(page.get_by_text("Broken")).to_have_count(0)


@seen_in(OURS_DARK_PHONE)
def test_a_page_whose_session_ended_asks_to_sign_in(stage: Stage, chromium: Browser) -> None:
    page = stage.open(chromium)
    page.context.clear_cookies()

    page.clock.fast_forward(10_500)

    expect(page).to_have_url(re.compile(r"/sign-in\?next=%2Fsettings%2Fpayments%2F$"))


@pytest.mark.slow("loads a page for each step")
@seen_in(HOSTS, NO_SCRIPT, HOSTS_PHONE_NO_SCRIPT, needs_script=False)
def test_connecting_going_live_and_disconnecting_need_no_script(stage: Stage, chromium: Browser) -> None:
    account = stage.simulator.create_account("Plaza Hotel SAS")
    page = stage.open(chromium)

    for mode in ("test", "live"):
        card(page, mode).get_by_role("button", name="Connect with Stripe").click()
        page.locator(f"input[value='{account.id}']").check()
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("status")).to_have_text("Your Stripe account is connected.")
        expect(card(page, mode).locator("[data-status=CONNECTED]")).to_have_text("Connected")
        expect(card(page, mode)).to_contain_text(account.id)

    expect(page.locator(".vp-mode")).to_have_text("Active mode: TEST")
    page.get_by_role("button", name="Switch to live mode").click()
    expect(page.locator(".vp-mode")).to_have_text("Active mode: LIVE")

    card(page).locator("summary", has_text="Disconnect").click()
    page.get_by_role("button", name="Disconnect the test account").click()
    expect(page.get_by_role("status")).to_have_text("Your Stripe account is disconnected.")
    expect(card(page).locator("[data-status=NOT_CONNECTED]")).to_have_text("Not connected")
    expect(card(page, "live").locator("[data-status=CONNECTED]")).to_have_text("Connected")
    assert stage.complaints == []


@seen_in(OURS)
def test_what_an_account_calls_itself_is_text_and_nothing_else(stage: Stage, chromium: Browser) -> None:
    stage.connect(name=HOSTILE, requirements=[HOSTILE])
    asked: list[str] = []
    page = stage.open(chromium)
    page.on("request", lambda request: asked.append(request.url))

    let_ten_seconds_pass(page)

    expect(card(page).get_by_text(HOSTILE).first).to_be_visible()
    assert page.locator(".vp img").count() == 0
    assert [url for url in asked if url.endswith("/x")] == []
    assert stage.complaints == []
