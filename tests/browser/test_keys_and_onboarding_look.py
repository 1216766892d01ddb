"""Every way to connect as an admin meets it: keys pasted and exchanged, accounts set up at Stripe, and the history."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from flask_valetpro_stripe.testing import Account
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

NEEDED = ["payment_links", "checkout", "payment_intents", "refunds", "products", "prices"]


def open_part(page: Page, name: str, mode: str = "test") -> None:
    """Open one of the card's parts, if it is not open."""
    part = card(page, mode).locator("details.vp-details", has=page.locator("summary", has_text=name))
    if part.get_attribute("open") is None:
        part.locator("summary").first.click()


def enter(page: Page, key: str, mode: str = "test", *, part: str = "Use your own API keys") -> None:
    open_part(page, part, mode)
    card(page, mode).locator("input[name=secret_key]").fill(key)
    card(page, mode).locator(".vp-keys-form button").click()


def connect_by_keys(stage: Stage, page: Page) -> Account:
    account = stage.simulator.create_account("Plaza Hotel SAS")
    enter(page, account.test_secret_key)
    expect(page.get_by_role("status")).to_have_text("Your API keys are saved, and in use.")
    return account


def the_key_form(stage: Stage, page: Page) -> None:
    open_part(page, "Use your own API keys")


def a_mistake(stage: Stage, page: Page) -> None:
    enter(page, "pk_test_0123456789")
    expect(page.get_by_role("alert")).to_contain_text("That is a publishable key.")


def exchanged_keys(stage: Stage, page: Page) -> None:
    account = connect_by_keys(stage, page)
    limited = stage.simulator.create_restricted_key(account.id)
    enter(page, limited, part="Exchange the API key")
    expect(page.get_by_role("status")).to_contain_text("The new API key is in use.")


def a_key_of_another_account(stage: Stage, page: Page) -> None:
    connect_by_keys(stage, page)
    enter(page, stage.simulator.create_account("Seaside").test_secret_key, part="Exchange the API key")
    expect(page.get_by_role("checkbox")).not_to_be_checked()


def no_endpoint(stage: Stage, page: Page) -> None:
    account = stage.simulator.create_account("Plaza Hotel SAS")
    enter(page, stage.simulator.create_restricted_key(account.id, allow=NEEDED))
    expect(page.get_by_role("alert")).to_contain_text("The key is saved.")


def a_switch_without_endpoint(stage: Stage, page: Page) -> None:
    connect_by_keys(stage, page)
    second = stage.simulator.create_account("Seaside")
    key = stage.simulator.create_restricted_key(second.id, allow=NEEDED)
    enter(page, key, part="Exchange the API key")
    page.get_by_role("checkbox").check()
    enter(page, key, part="Exchange the API key")
    expect(page.get_by_role("alert")).to_contain_text("The key is saved.")


def left_early(stage: Stage, page: Page) -> None:
    open_part(page, "Make a new Stripe account")
    page.get_by_role("button", name="Set up an Express account").click()
    stage.simulator.update_account(page.url.split("/")[5], deadline=int(time.time()) + 14 * 86_400)
    page.get_by_role("button", name="Leave for now").click()
    expect(card(page)).to_contain_text("Stripe wants it by")


def left_early_beside_keys(stage: Stage, page: Page) -> None:
    connect_by_keys(stage, page)
    left_early(stage, page)
    expect(card(page)).to_contain_text("A new account is being set up: Plaza")


def the_history(stage: Stage, page: Page) -> None:
    exchanged_keys(stage, page)
    page.get_by_role("link", name="What was changed here").click()
    expect(page.get_by_role("row")).to_have_count(8)


STATES: dict[str, Callable[[Stage, Page], None]] = {
    each.__name__.replace("_", " "): each
    for each in (
        the_key_form,
        a_mistake,
        exchanged_keys,
        a_key_of_another_account,
        no_endpoint,
        a_switch_without_endpoint,
        left_early,
        left_early_beside_keys,
        the_history,
    )
}


@pytest.mark.slow("enters keys first, and has axe look at the page")
@each_seen_in("state", by_turns(STATES, OURS, OURS_DARK_PHONE, HOSTS))
def test_nobody_is_shut_out_in_light_or_dark_on_a_phone_or_a_desk(stage: Stage, chromium: Browser, state: str) -> None:
    # Without motion: colours in the middle of their change would be measured.
    page = stage.open(chromium, reduced_motion="reduce")
    STATES[state](stage, page)
    for summary in page.locator("details:not([open]) > summary").all():
        if summary.is_visible():
            summary.click()

    assert_accessible(page)
    assert_fits(page)
    assert [each for each in stage.complaints if "422" not in each] == []


@seen_in(OURS_DARK_PHONE, HOSTS_PHONE_NO_SCRIPT, needs_script=False)
def test_a_mistake_is_in_view_with_its_field_focused_and_empty(stage: Stage, chromium: Browser) -> None:
    page = stage.open(chromium)
    a_mistake(stage, page)

    expect(page).to_have_title("Error: Payment settings")
    expect(page.get_by_role("alert")).to_be_in_viewport(ratio=1)
    field = card(page).get_by_label("Restricted or secret key")
    expect(field).to_be_focused()
    expect(field).to_be_in_viewport(ratio=1)
    expect(field).to_have_value("")
    expect(field).to_have_accessible_description(
        "That is a publishable key. The secret key begins with rk_ or sk_. Copy it from the Stripe Dashboard, under "
        "Developers, API keys. Begins with rk_test_ or sk_test_."
    )


@seen_in(OURS_DARK_PHONE)
def test_a_mistake_of_no_one_field_is_focused_itself(stage: Stage, chromium: Browser) -> None:
    page = stage.open(chromium)
    enter(page, "sk_test_0123456789")

    expect(page.get_by_role("alert")).to_contain_text("Stripe does not accept the API key")
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_role("alert")).to_be_in_viewport(ratio=1)


@pytest.mark.slow("loads a page for each step")
@seen_in(HOSTS, NO_SCRIPT, needs_script=False)
def test_keys_are_entered_exchanged_brought_back_and_destroyed_without_script(stage: Stage, chromium: Browser) -> None:
    page = stage.open(chromium)
    account = connect_by_keys(stage, page)
    newer = stage.simulator.create_restricted_key(account.id)

    enter(page, newer, part="Exchange the API key")
    expect(card(page)).to_contain_text(f"rk_test_…{newer[-4:]}")
    open_part(page, "Earlier API keys")
    page.get_by_role("button", name="Bring the earlier key back").click()
    expect(page.get_by_role("status")).to_have_text("The earlier API key is in use again.")
    open_part(page, "Earlier API keys")
    page.locator("summary", has_text="Destroy for good").click()
    page.get_by_role("button", name="Destroy archived keys").click()
    expect(page.get_by_role("status")).to_contain_text("The archived keys are destroyed.")

    second = stage.simulator.create_account("Seaside")
    enter(page, second.test_secret_key, part="Exchange the API key")
    page.get_by_role("checkbox").check()
    card(page).get_by_label("New secret key").fill(second.test_secret_key)
    page.locator(".vp-keys-form:visible button").click()
    expect(card(page)).to_contain_text(second.id)
    assert [each for each in stage.complaints if "422" not in each] == []


@pytest.mark.slow("loads a page for each step")
@seen_in(OURS, HOSTS_PHONE_NO_SCRIPT, needs_script=False)
def test_an_account_is_set_up_at_stripe_and_its_dashboard_opened_without_script(
    stage: Stage, chromium: Browser
) -> None:
    page = stage.open(chromium)

    open_part(page, "Make a new Stripe account")
    page.get_by_role("button", name="Set up an Express account").click()
    page.get_by_role("button", name="Leave for now").click()
    expect(page.get_by_role("status")).to_contain_text("You are back from Stripe.")
    page.get_by_role("button", name="Go on at Stripe").click()
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("status")).to_have_text("Your Stripe account is connected.")

    page.get_by_role("button", name="Open the Express dashboard").click()
    expect(page.get_by_text("This is where Stripe shows the account's payments and payouts.")).to_be_visible()
    assert stage.complaints == []
