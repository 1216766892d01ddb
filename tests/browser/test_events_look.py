"""The inbox as an admin meets it: every state an event can be in, on every screen, with either htmx and with none."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from flask_valetpro_stripe import Mode, payments, tenant_context
from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.models.types import utcnow
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
from tests.browser.stage import Stage

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror=alert(1)>" hx-get="/x" hx-trigger="load'
#: What a driver says, and what nobody put a blank into.
LONG = f"ProgrammingError: column ticket.released_at does not exist: SELECT ticket.id {'x' * 300}"
BODY = json.dumps({"data": {"object": {"object": "charge", "id": "ch_1"}}})


def open_events(stage: Stage, browser: Browser, **look: Any) -> Page:
    """Return the inbox in test mode, as it is reached from the settings."""
    page = stage.open(browser, **look)
    page.get_by_role("link", name="All events in test mode").click()
    expect(page.get_by_role("heading", name="Events from Stripe")).to_be_visible()
    return page


def receive(stage: Stage, number: int, event_type: str, status: EventStatus, **columns: Any) -> int:
    received_at = utcnow() - timedelta(minutes=7 * number + 1)
    known = {"event_id": f"evt_1QzX{number:04}abcdEFGHijkLMN", "received_at": received_at, "body": BODY}
    return stage.receive(event_type, status, **{**known, **columns})


def all_kinds(stage: Stage) -> None:
    """Fill the inbox with one event of each kind, and with sixty that are done."""
    session = {"object": "checkout.session", "payment_link": link_of(stage, stage.connect().account_id)}
    about, soon = json.dumps({"data": {"object": session}}), utcnow() + timedelta(minutes=5)
    failed, dead, parked = EventStatus.failed, EventStatus.dead, EventStatus.parked
    ended = {"error": "The tenant has disconnected this account."}
    receive(stage, 0, "checkout.session.completed", failed, error="KeyError: 1", attempts=3, due_at=soon, body=about)
    receive(stage, 1, "payment_intent.succeeded", dead, error=LONG, attempts=16, body=about)
    receive(stage, 2, "v2.core.account[configuration.merchant].capability_status_updated", EventStatus.processing)
    receive(stage, 3, "customer.subscription.trial_will_end", EventStatus.received, attempts=0)
    receive(stage, 4, "charge.refunded", parked, **ended)
    receive(stage, 5, "refund.created", parked, **ended, body=None)
    receive(stage, 6, "charge.succeeded", EventStatus.processed, error="Stripe's amount is not the payment's.")
    for number in range(7, 67):
        receive(stage, number, "payout.paid", EventStatus.processed)


def link_of(stage: Stage, account_id: str) -> str:
    """Return the link of a new payment whose reference is as long as one may be."""
    stage.simulator.connect(account_id)
    with stage.host.context(), tenant_context(stage.host.tenant(stage.tenant.id)):
        made = {"amount": 450_000, "currency": "eur", "description": "Valet"}
        link = payments.create_payment_link(**made, reference="r" * 255).stripe_payment_link_id
    assert link
    return link


@pytest.fixture
def inbox(stage: Stage) -> Stage:
    """A stage with a connected hotel."""
    stage.connect()
    return stage


def fails(stage: Stage) -> list[bool]:
    """Let the host's handler of charges fail as long as the returned list holds something."""
    found = [True]

    @stage.host.valetpro.on("charge.failed")
    def handle(event: Any) -> None:
        if found:
            raise ValueError(HOSTILE)

    return found


STATES: dict[str, Callable[[Stage], None]] = {"no events": lambda stage: None, "events of all kinds": all_kinds}


@pytest.mark.slow("axe looks at fifty rows")
@each_seen_in("state", by_turns(STATES, OURS, OURS_DARK_PHONE))
def test_nobody_is_shut_out_by_the_inbox_in_light_or_dark_on_a_phone_or_a_desk(
    stage: Stage, chromium: Browser, state: str
) -> None:
    STATES[state](stage)
    # Without motion: colours in the middle of their change would be measured.
    page = open_events(stage, chromium, reduced_motion="reduce")
    assert_accessible(page)
    assert_fits(page)
    if state == "events of all kinds":
        expect(page.get_by_role("row")).to_have_count(51)
        expect(page.get_by_role("button", name="Handle again")).to_have_count(3)
    assert stage.complaints == []


@pytest.mark.slow("loads a page for each step")
@seen_in(HOSTS, NO_SCRIPT, needs_script=False)
def test_an_event_that_failed_is_found_and_handled_again_without_script(inbox: Stage, chromium: Browser) -> None:
    mistakes = fails(inbox)
    receive(inbox, 0, "charge.failed", EventStatus.dead, error="KeyError: 1", attempts=16)
    receive(inbox, 1, "charge.succeeded", EventStatus.processed)
    page = inbox.open(chromium)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    card(page).get_by_role("link", name="See what needs attention in test mode").click()
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("link", name="Needs attention")).to_have_attribute("aria-current", "true")

    page.get_by_role("button", name="Handle again evt_1QzX0000abcdEFGHijkLMN").click()
    expect(page.get_by_role("status")).to_contain_text("The event failed again.")
    expect(page.get_by_role("status")).to_contain_text(f"The app could not handle it: ValueError: {HOSTILE}")
    assert page.locator(".vp img").count() == 0

    mistakes.clear()
    page.get_by_role("button", name="Handle again").click()
    expect(page.get_by_role("status")).to_contain_text("The event is handled now.")
    expect(page.get_by_text("Nothing needs attention in test mode.")).to_be_visible()

    page.get_by_role("link", name="All", exact=True).click()
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.locator(".vp-badge")).to_have_text(["Done", "Done"])
    page.get_by_role("link", name="Back to the payment settings").click()
    expect(page.get_by_role("heading", name="Payments", exact=True)).to_be_visible()
    assert [url for url in asked if url.endswith("/x")] == []
    assert inbox.complaints == []


@seen_in(OURS_DARK_PHONE)
def test_a_refusal_is_said_aloud_and_accessible_too(inbox: Stage, chromium: Browser) -> None:
    key = receive(inbox, 0, "charge.failed", EventStatus.dead)
    page = open_events(inbox, chromium, reduced_motion="reduce")
    with inbox.host.context():
        row = inbox.host.db.session.get(inbox.host.state.models.WebhookEvent, key)
        row.status = EventStatus.processed
        inbox.host.db.session.commit()

    page.get_by_role("button", name="Handle again").click()

    expect(page).to_have_title("Error: Events from Stripe")
    expect(page.get_by_role("alert")).to_contain_text("was handled already, so there is nothing to do.")
    expect(page.get_by_role("alert")).to_be_in_viewport()
    expect(page.locator(".vp-badge")).to_have_text("Done")
    assert_accessible(page)
    assert_fits(page)


@pytest.mark.slow("loads a page for each step")
@seen_in(HOSTS, needs_script=False)
def test_the_inbox_is_read_to_its_end_with_the_keyboard_alone(inbox: Stage, chromium: Browser) -> None:
    for number in range(60):
        receive(inbox, number, "payout.paid", EventStatus.processed)
    receive(inbox, 60, "payout.failed", EventStatus.processed, mode=Mode.live)
    page = open_events(inbox, chromium)

    def press_link(name: str) -> None:
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent").strip() == name:
                break
        page.keyboard.press("Enter")

    press_link("Older")
    expect(page.get_by_role("row")).to_have_count(11)
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    press_link("Newest")
    expect(page.get_by_role("row")).to_have_count(51)
    press_link("Live")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_text("A payout failed")).to_be_visible()
    assert inbox.complaints == []


@seen_in(OURS)
def test_a_link_that_has_the_focus_keeps_it_when_the_card_is_brought_up_to_date(
    inbox: Stage, chromium: Browser
) -> None:
    receive(inbox, 0, "charge.failed", EventStatus.dead)
    page = inbox.open(chromium)
    link = card(page).get_by_role("link", name="See what needs attention in test mode")
    link.focus()

    with page.expect_response(lambda response: "/status" in response.url) as answer:
        page.clock.fast_forward(10_500)
    answer.value.finished()

    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Events from Stripe")).to_be_visible()


@seen_in(HOSTS_PHONE_NO_SCRIPT, needs_script=False)
def test_an_id_is_copied_as_a_whole(inbox: Stage, chromium: Browser) -> None:
    receive(inbox, 0, "charge.succeeded", EventStatus.processed)
    page = open_events(inbox, chromium)

    page.get_by_text("evt_1QzX0000abcdEFGHijkLMN").click()
    assert page.evaluate("getSelection().toString()") == "evt_1QzX0000abcdEFGHijkLMN"
