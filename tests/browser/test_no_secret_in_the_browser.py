"""What was typed into the key form stays nowhere in the browser: after a success, a mistake, or a change of mind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.looking import card
from tests.browser.looks import HOSTS, HOSTS_PHONE_NO_SCRIPT, NO_SCRIPT, OURS, OURS_DARK_PHONE, each_seen_in, seen_in
from tests.browser.stage import Stage

pytestmark = pytest.mark.browser

#: What Stripe and we know nothing of.
CANARIES = {
    "secret_key": "sk_test_canary5f2cSecretKey",
    "publishable_key": "pk_test_canary5f2cPublishable",
    "webhook_secret": "whsec_canary5f2cWebhook0123456789abcdef",
}
#: All places in which a page can keep something, as one text.
KEPT = """async () => {
  const fields = [...document.querySelectorAll("input, textarea, select")].map(each => each.value)
  const databases = (await indexedDB.databases()).map(each => each.name)
  return JSON.stringify({
    local: {...localStorage}, session: {...sessionStorage}, databases, caches: await caches.keys(),
    state: history.state, address: location.href, name: window.name, cookies: document.cookie,
    html: document.documentElement.outerHTML, fields,
  })
}"""


def type_in(page: Page, typed: dict[str, str]) -> None:
    part = card(page).locator("details.vp-details", has=page.locator("input[name=secret_key]"))
    if part.get_attribute("open") is None:
        part.locator("summary").first.click()
    for name, text in typed.items():
        card(page).locator(f"input[name={name}]").fill(text)


def press(page: Page) -> None:
    card(page).locator(".vp-keys-form button").click()


def succeed(stage: Stage, page: Page) -> dict[str, str]:
    account = stage.simulator.create_account("Plaza Hotel SAS")
    typed = {
        "secret_key": account.test_secret_key,
        "publishable_key": account.test_publishable_key,
        "webhook_secret": CANARIES["webhook_secret"],
    }
    type_in(page, typed)
    press(page)
    expect(page.get_by_role("status")).to_have_text("Your API keys are saved, and in use.")
    return typed


def be_refused(stage: Stage, page: Page) -> dict[str, str]:
    type_in(page, CANARIES)
    press(page)
    expect(page.get_by_role("alert")).to_contain_text("Stripe does not accept the API key")
    return CANARIES


def mistake_a_field(stage: Stage, page: Page) -> dict[str, str]:
    typed = {**CANARIES, "secret_key": CANARIES["publishable_key"]}
    type_in(page, typed)
    press(page)
    expect(page.get_by_role("alert")).to_contain_text("That is a publishable key.")
    return typed


def think_better_of_it(stage: Stage, page: Page) -> dict[str, str]:
    type_in(page, CANARIES)
    elsewhere = page.get_by_role("link", name="Elsewhere")
    if elsewhere.count():
        # By the host's htmx, which may keep the page that is left; it does not change the address there.
        elsewhere.click()
        expect(page.get_by_text("Who are you?")).to_be_visible()
        assert found_in(stage, page, CANARIES) == []
    page.goto(f"{stage.address}/sign-in")
    return CANARIES


ENDINGS: dict[str, Callable[[Stage, Page], dict[str, str]]] = {
    each.__name__.replace("_", " "): each for each in (succeed, be_refused, mistake_a_field, think_better_of_it)
}
#: A host's htmx 2 may keep pages that are left.
SEEN_IN = {
    "succeed": [HOSTS, NO_SCRIPT],
    "be refused": [OURS_DARK_PHONE],
    "mistake a field": [OURS, HOSTS_PHONE_NO_SCRIPT],
    "think better of it": [HOSTS],
}


def found_in(stage: Stage, page: Page, typed: dict[str, str]) -> list[str]:
    """Return the names of what can be found again anywhere in the browser."""
    cookies: list[Any] = [dict(each) for each in page.context.cookies()]
    signed = stage.host.app.session_interface.get_signing_serializer(stage.host.app)  # type: ignore[attr-defined]
    sessions = [signed.loads(each["value"]) for each in cookies if each["name"] == "session"]
    kept = page.evaluate(KEPT) + json.dumps([cookies, sessions, page.context.storage_state(indexed_db=True)])
    return [name for name, text in typed.items() if text in kept]


@each_seen_in("ending", SEEN_IN, needs_script=False)
def test_what_was_typed_is_nowhere_and_does_not_come_back(stage: Stage, chromium: Browser, ending: str) -> None:
    page = stage.open(chromium)
    typed = ENDINGS[ending](stage, page)
    assert found_in(stage, page, typed) == []

    page.go_back()
    expect(page.get_by_role("heading", name="Payments", exact=True)).to_be_visible()
    assert found_in(stage, page, typed) == []
    assert {each.input_value() for each in page.locator(".vp-input").all()} == {""}


@seen_in(OURS)
def test_a_secret_that_is_kept_would_be_found(stage: Stage, chromium: Browser) -> None:
    """Each hiding place, so that the search above is known to look there."""
    page = stage.open(chromium)
    places = {
        "localStorage": "localStorage.setItem('x', 'canary-1')",
        "sessionStorage": "sessionStorage.setItem('x', 'canary-2')",
        "IndexedDB": "new Promise(done => { indexedDB.open('canary-3').onsuccess = done }).then(() => 0)",
        "history.state": "history.replaceState({x: 'canary-4'}, '')",
        "the document": "void document.body.setAttribute('data-x', 'canary-5')",
        "a cookie": "void (document.cookie = 'x=canary-6')",
        "a field": "void (document.querySelector('.vp-input').value = 'canary-7')",
    }
    for script in places.values():
        page.evaluate(script)

    typed = {name: f"canary-{number}" for number, name in enumerate(places, 1)}
    assert found_in(stage, page, typed) == list(places)
