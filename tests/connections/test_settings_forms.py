"""The forms of the settings pages: API keys entered, exchanged, brought back and destroyed; accounts set up at Stripe;
and the history of it all."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from flask_valetpro_stripe import AccountType, Mode, audit
from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.testing import Account, Simulator
from tests.connections.admin import PAGE, Admin, as_tenant, asked, query_of, rows, text_of
from tests.hosts import Host, make_host
from tests.raw_keys.owner import Shelf

HTMX = {"HX-Request": "true"}
NEEDED = ["payment_links", "checkout", "payment_intents", "refunds", "products", "prices"]
#: All that the operator of the platform sets.
UNSET = {
    f"VALETPRO_STRIPE_{mode}_{name}": None
    for mode in ("TEST", "LIVE")
    for name in ("SECRET_KEY", "CLIENT_ID", "WEBHOOK_SECRETS", "CONNECT_WEBHOOK_SECRETS")
}


def post(admin: Admin, path: str, mode: str = "test", *, headers: Any = None, **fields: str) -> TestResponse:
    return admin.browser.post(f"{PAGE}/{path}", data={"mode": mode, **fields}, headers=headers)


def save(admin: Admin, mode: str = "test", *, headers: Any = None, **fields: str) -> TestResponse:
    return post(admin, "keys", mode, headers=headers, **fields)


def done(answer: TestResponse) -> str:
    """Return the word that the browser is sent back with."""
    assert answer.status_code == 303, text_of(answer)
    address = str(answer.location)
    assert address.startswith(f"{PAGE}/?done="), address
    return query_of(address)["done"]


def card(page: str, mode: str = "test") -> str:
    """Return one mode's card, as text without tags, so that sentences can be looked for."""
    (found,) = re.findall(rf'<section class="vp-card vp-account[^>]*id="vp-card-{mode}".*?</section>', page, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", found).split()).replace(" .", ".").replace(" ,", ",")


def fields_of(page: str) -> list[str]:
    """Return the inputs that people type into."""
    return [tag for tag in re.findall(r"<input[^>]*>", page) if 'type="hidden"' not in tag and "checkbox" not in tag]


@contextmanager
def hosting(url: str, simulator: Simulator, **config: Any) -> Iterator[Admin]:
    """A host with other settings, and one admin."""
    settings = {"WTF_CSRF_ENABLED": False, **{f"VALETPRO_STRIPE_{name}": value for name, value in config.items()}}
    with make_host(url, simulator=simulator, config=settings) as host:
        yield Admin.of(host, host.make_tenant())


def connected_by_keys(admin: Admin, mode: str = "test", name: str = "Plaza Hotel SAS") -> Account:
    account = admin.simulator.create_account(name)
    save(admin, mode, secret_key=key_of(account, mode))
    return account


def key_of(account: Account, mode: str = "test") -> str:
    return str(getattr(account, f"{mode}_secret_key"))


# -- keys


def test_a_pasted_key_connects_and_only_its_ends_are_shown(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza Hotel SAS")
    answer = save(plaza, secret_key=account.test_secret_key, publishable_key=account.test_publishable_key)

    assert done(answer) == "keys_saved"
    page = plaza.browser.get(str(answer.location)).text
    assert "Your API keys are saved, and in use." in page
    shown = card(page)
    assert f"sk_test_…{account.test_secret_key[-4:]} since" in shown
    assert "Publishable key saved" in shown
    assert "made by us we_" in shown
    assert f"/api/webhooks/stripe/{plaza.connections()[0].endpoint_token}" in shown
    assert account.test_secret_key not in page
    assert account.test_publishable_key not in page
    assert plaza.row().stripe_account_id == account.id
    assert account.id not in seaside.page()
    assert seaside.row().stripe_onboarding_status == "NOT_CONNECTED"


def test_what_a_restricted_key_lacks_is_named(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza")
    key = simulator.create_restricted_key(account.id, allow=[*NEEDED, "webhook_endpoints", "events:read"])

    assert done(save(plaza, secret_key=key)) == "keys_saved"
    assert "Not allowed Balance: Read, Payouts: Read," in card(plaza.page())


def test_a_key_is_exchanged_brought_back_and_the_archived_one_destroyed(plaza: Admin, simulator: Simulator) -> None:
    account = connected_by_keys(plaza)
    assert "Earlier API keys" not in plaza.page()
    newer = simulator.create_restricted_key(account.id)

    assert done(save(plaza, secret_key=newer)) == "keys_rotated"
    shown = card(plaza.page())
    assert f"Secret key rk_test_…{newer[-4:]}" in shown
    assert f"sk_test_…{account.test_secret_key[-4:]} was in use until" in shown

    assert done(post(plaza, "keys/rollback")) == "key_brought_back"
    assert f"Secret key sk_test_…{account.test_secret_key[-4:]}" in card(plaza.page())

    assert done(post(plaza, "keys/destroy")) == "keys_destroyed"
    assert "Earlier API keys" not in plaza.page()
    stored = [row.stored for row in rows(plaza.host, plaza.host.valetpro.models.Secret, purpose="secret_key")]
    assert [value is None for value in stored] == [False, True]


def test_one_tenants_buttons_leave_anothers_keys_alone(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    account = connected_by_keys(seaside)
    save(seaside, secret_key=simulator.create_restricted_key(account.id))
    before = card(seaside.page())

    assert post(plaza, "keys/rollback").status_code == 422
    assert done(post(plaza, "keys/destroy")) == "keys_destroyed"
    assert done(post(plaza, "disconnect")) == "disconnected"

    assert card(seaside.page()) == before
    assert "Bring the earlier key back" in before


def test_what_is_left_empty_stays_as_it_is(plaza: Admin, simulator: Simulator) -> None:
    account = connected_by_keys(plaza)

    assert done(save(plaza, publishable_key=account.test_publishable_key)) == "keys_saved"
    shown = card(plaza.page())
    assert "Publishable key saved" in shown
    assert f"Secret key sk_test_…{account.test_secret_key[-4:]}" in shown


MISTAKES = [
    ({}, "secret_key", "Enter the secret key: it begins with rk_ or sk_."),
    ({"secret_key": "pk_test_0123456789"}, "secret_key", "That is a publishable key."),
    ({"secret_key": "hello"}, "secret_key", "That is not a Stripe API key"),
    ({"secret_key": "sk_test_" + "x" * 5000}, "secret_key", "That is not a Stripe API key"),
    ({"secret_key": "sk_" + "live_0123456789"}, None, "That is a live key, and this is the test account."),
    ({"secret_key": "sk_test_0123456789"}, None, "Stripe does not accept the API key"),
    ({"publishable_key": "sk_test_0123456789"}, "publishable_key", "That is not a publishable key"),
    ({"webhook_secret": "we_0123456789"}, "webhook_secret", "whsec_"),
]


@pytest.mark.parametrize("htmx", [False, True], ids=["page", "fragment"])
@pytest.mark.parametrize(("typed", "field", "sentence"), MISTAKES)
def test_a_mistake_comes_back_beside_its_empty_field(
    plaza: Admin, typed: dict[str, str], field: str | None, sentence: str, htmx: bool
) -> None:
    answer = save(plaza, headers=HTMX if htmx else None, **typed)

    assert answer.status_code == 422
    assert ("<html" in answer.text) is not htmx
    assert sentence in card(text_of(answer))
    assert answer.text.count('role="alert"') == 1
    assert "<details" in answer.text
    fields = fields_of(answer.text)
    marked = [tag for tag in fields if "aria-invalid" in tag]
    assert [re.findall(r'name="(\w+)"', tag)[0] for tag in marked] == ([field] if field else [])
    assert all("autofocus" in tag for tag in marked)
    assert (' tabindex="-1" autofocus' in answer.text) is (field is None)
    assert [" value" in tag for tag in fields] == [False] * 6
    assert [value for value in typed.values() if value in answer.text] == []
    assert plaza.connections() == []


def test_the_other_modes_form_stays_shut_at_a_mistake(plaza: Admin) -> None:
    page = save(plaza, "live", secret_key="hello").text

    assert "That is not a Stripe API key" in card(page, "live")
    assert "That is not a Stripe API key" not in card(page, "test")


@pytest.mark.parametrize("word", [None, "", "LIVE"])
def test_keys_without_a_mode_are_not_taken(plaza: Admin, word: str | None) -> None:
    answer = plaza.browser.post(f"{PAGE}/keys", data={} if word is None else {"mode": word})

    assert answer.status_code == 422
    assert "The mode must be 'test' or 'live'." in text_of(answer)


CANARIES = {
    "words": "canary-5f2c",
    "a key": "sk_test_canary5f2c",
    "a live key": "rk_" + "live_canary5f2c",
    "a publishable key": "pk_test_canary5f2c",
    "a secret": "whsec_canary5f2c0123456789012345",
    "markup": '"><b>canary-5f2c</b>',
}
FORMS = {
    "keys": ["secret_key", "publishable_key", "webhook_secret", "switch_to", "mode", "for_tenant"],
    "keys/rollback": ["mode", "for_tenant"],
    "keys/destroy": ["mode", "for_tenant"],
    "onboard": ["account_type", "mode", "for_tenant"],
    "dashboard": ["mode", "for_tenant"],
    "mode": ["mode", "for_tenant"],
    "connect": ["mode", "for_tenant"],
    "disconnect": ["mode", "for_tenant"],
    "events/1/replay": ["mode", "show", "before", "for_tenant"],
}


@pytest.mark.slow("types it into every field of every form")
@pytest.mark.parametrize("canary", CANARIES.values(), ids=list(CANARIES))
def test_nothing_that_is_typed_anywhere_is_ever_shown_again(
    plaza: Admin, canary: str, caplog: pytest.LogCaptureFixture
) -> None:
    account = connected_by_keys(plaza)
    answers = []
    for path, names in FORMS.items():
        for name in names:
            good = {"mode": "test", "secret_key": account.test_secret_key} if path == "keys" else {"mode": "test"}
            for headers in ({}, HTMX):
                answers.append(plaza.browser.post(f"{PAGE}/{path}", data=good | {name: canary}, headers=headers))
    looked_at = ("", "history?before=", "events?before=", "events?mode=", "events?show=", "events?event=", "?done=")
    for path in (*looked_at, "onboard/return?mode=", "onboard/refresh?mode="):
        answers.append(plaza.browser.get(f"{PAGE}/{path}{canary}"))

    for answer in answers:
        assert answer.status_code < 500
        assert "canary" not in answer.text + str(answer.headers)
    assert "canary" not in plaza.page() + plaza.browser.get(f"{PAGE}/history").text
    assert "canary" not in caplog.text


def test_fields_for_secrets_are_not_remembered_by_the_browser(plaza: Admin) -> None:
    fields = fields_of(plaza.page())

    assert len(fields) == 6
    for tag in fields:
        assert 'type="password"' in tag
        assert 'autocomplete="off"' in tag
        assert 'spellcheck="false"' in tag
        assert " value" not in tag


@pytest.mark.parametrize("csrf", [None, "before"], ids=["no CSRFProtect", "CSRFProtect"])
def test_a_whole_file_in_a_field_is_refused_with_a_sentence(
    sqlite_url: str, simulator: Simulator, csrf: str | None
) -> None:
    with make_host(sqlite_url, simulator=simulator, csrf=csrf) as host:
        admin = Admin.of(host, host.make_tenant())
        token = host.csrf_token(admin.browser)
        answer = save(admin, csrf_token=token, secret_key="sk_test_" + "x" * 600_000)

        assert answer.status_code == 413
        assert "That is far more than an API key has." in text_of(answer)
        assert answer.headers["Cache-Control"] == "no-store"
        assert admin.connections() == []


def test_htmx_is_sent_to_the_whole_page_after_a_save(plaza: Admin, simulator: Simulator) -> None:
    answer = save(plaza, headers=HTMX, secret_key=simulator.create_account("Plaza").test_secret_key)

    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["HX-Redirect"] == f"{PAGE}/?done=keys_saved"


def test_a_key_of_another_account_must_be_confirmed(plaza: Admin, simulator: Simulator) -> None:
    first = connected_by_keys(plaza)
    second = simulator.create_account("Plaza Two Ltd")
    answer = save(plaza, secret_key=second.test_secret_key)

    assert answer.status_code == 422
    assert "This key is of another account: Plaza Two Ltd, not Plaza Hotel SAS." in card(text_of(answer))
    assert f'name="switch_to" value="{second.id}"' in answer.text
    assert plaza.row().stripe_account_id == first.id
    assert 'name="switch_to"' not in plaza.page()

    # The box of another account is no confirmation of this one.
    assert save(plaza, secret_key=second.test_secret_key, switch_to=first.id).status_code == 422
    assert plaza.row().stripe_account_id == first.id

    assert done(save(plaza, secret_key=second.test_secret_key, switch_to=second.id)) == "keys_saved"
    assert plaza.row().stripe_account_id == second.id


def test_the_name_of_a_foreign_account_is_text(plaza: Admin, simulator: Simulator) -> None:
    connected_by_keys(plaza)
    hostile = simulator.create_account('<img src=x>" hx-get="/x')
    answer = save(plaza, secret_key=hostile.test_secret_key)

    assert answer.status_code == 422
    assert "<img" not in answer.text
    assert ' hx-get="/x' not in answer.text


def test_another_tenants_account_cannot_be_taken_by_its_key(plaza: Admin, seaside: Admin) -> None:
    theirs = connected_by_keys(seaside, name="Seaside Ltd")
    answer = save(plaza, secret_key=theirs.test_secret_key)

    assert answer.status_code == 422
    assert "This Stripe account is already in use here" in card(text_of(answer))
    assert "Seaside" not in answer.text
    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"
    assert seaside.row().stripe_account_id == theirs.id


def test_without_an_endpoint_the_page_gives_the_address_and_takes_the_secret(
    plaza: Admin, simulator: Simulator
) -> None:
    account = simulator.create_account("Plaza")
    key = simulator.create_restricted_key(account.id, allow=NEEDED)
    answer = save(plaza, secret_key=key)

    assert answer.status_code == 422
    assert "The key is saved. But without a webhook endpoint no payment would turn paid" in card(text_of(answer))
    address = f"{plaza.host.state.config.public_url}/api/webhooks/stripe/{plaza.connections()[0].endpoint_token}"
    for page in (text_of(answer), plaza.page()):
        assert address in card(page)
        assert "Enter the webhook secret, or another key" in card(page)
        assert "Stripe wants something more" not in card(page)

    assert done(save(plaza, webhook_secret="whsec_" + "a" * 32)) == "keys_saved"
    assert "Webhook endpoint made by hand" in card(plaza.page())
    assert plaza.row().stripe_onboarding_status == "CONNECTED"


def boxes(page: str) -> list[str]:
    """Return what the test card says of each connection by keys."""
    body = page.partition('id="vp-card-test"')[2].partition("<footer")[0]
    found = re.split(r'<div class="vp-keys\b[^"]*">', body)[1:]
    return [" ".join(re.sub(r"<[^>]*>", " ", box).split()) for box in found]


def switch_without_endpoint(admin: Admin) -> tuple[Account, Account, str]:
    """Confirm a switch to an account whose key may not make endpoints; return the accounts, and the answer's page."""
    first, second = connected_by_keys(admin), admin.simulator.create_account("Plaza Two Ltd")
    key = admin.simulator.create_restricted_key(second.id, allow=NEEDED)
    answer = save(admin, secret_key=key, switch_to=second.id)
    assert answer.status_code == 422
    assert "The key is saved. But without a webhook endpoint" in card(text_of(answer))
    return first, second, text_of(answer)


def address_of(admin: Admin, account: Account) -> str:
    (token,) = [each.endpoint_token for each in admin.connections() if each.account_id == account.id]
    return f"{admin.host.state.config.public_url}/api/webhooks/stripe/{token}"


def test_a_switch_that_waits_for_its_endpoint_has_its_address_and_its_form_in_its_own_box(
    plaza: Admin, seaside: Admin
) -> None:
    theirs = connected_by_keys(seaside)
    first, second, answer = switch_without_endpoint(plaza)

    for page in (answer, plaza.page()):
        old, new = boxes(page)
        assert f"Its address {address_of(plaza, first)}" in old
        assert address_of(plaza, second) not in old
        assert f"API keys of {second.id} Not in use yet: payments go to the account above." in new
        assert f"enter its signing secret below: {address_of(plaza, second)}" in new
        assert "Enter the webhook secret, or another key" in new
        assert f"It belongs to the endpoint that you make for {address_of(plaza, second)}" in new
        assert address_of(plaza, first) not in new
        assert page.count('id="vp-webhook-secret-test"') == 1
    (other,) = boxes(seaside.page())
    assert address_of(seaside, theirs) in other
    assert address_of(plaza, second) not in seaside.page()


def test_the_secret_that_is_entered_for_a_switch_finishes_that_one(plaza: Admin) -> None:
    first, second, _ = switch_without_endpoint(plaza)

    assert done(save(plaza, webhook_secret="whsec_" + "a" * 32)) == "keys_saved"
    assert plaza.row().stripe_account_id == second.id
    (only,) = boxes(plaza.page())
    assert f"Webhook endpoint made by hand Its address {address_of(plaza, second)}" in only
    old, new = plaza.connections()
    model = plaza.host.valetpro.models.Secret
    kept = [len(rows(plaza.host, model, connection_id=each.id, purpose="webhook_secret")) for each in (old, new)]
    assert (old.account_id, new.account_id, kept) == (first.id, second.id, [1, 1])


def test_who_stays_with_the_first_account_enters_its_key_and_the_switch_is_given_up(plaza: Admin) -> None:
    first, _, _ = switch_without_endpoint(plaza)
    assert "To stay with the account above, enter a key of that account" in card(plaza.page())

    assert done(save(plaza, secret_key=first.test_secret_key)) == "keys_saved"
    (only,) = boxes(plaza.page())
    assert f"Its address {address_of(plaza, first)}" in only
    assert plaza.row().stripe_account_id == first.id
    assert "Gave up a connection that was never finished" in history(plaza)


def test_a_key_that_is_exchanged_beside_an_unfinished_switch_is_called_exchanged(plaza: Admin) -> None:
    first, _, _ = switch_without_endpoint(plaza)
    newer = plaza.simulator.create_restricted_key(first.id)

    assert done(save(plaza, secret_key=newer)) == "keys_rotated"
    (only,) = boxes(plaza.page())
    assert f"Secret key rk_test_…{newer[-4:]}" in only


def test_a_switch_to_an_account_that_may_not_charge_yet_says_what_stripe_wants_in_its_own_box(
    plaza: Admin, simulator: Simulator
) -> None:
    first = connected_by_keys(plaza)
    second = simulator.create_account("Plaza Two Ltd", charges_enabled=False)

    assert done(save(plaza, secret_key=second.test_secret_key, switch_to=second.id)) == "keys_pending"
    old, new = boxes(plaza.page())
    assert address_of(plaza, first) in old
    assert "API keys of Plaza Two Ltd Not in use yet: payments go to the account above." in new
    assert "Stripe wants something more before this account may take payments:" in new
    assert address_of(plaza, second) in new


def test_the_earlier_key_that_is_shown_is_the_one_that_comes_back(sqlite_url: str, simulator: Simulator) -> None:
    shelf = Shelf()
    with hosting(sqlite_url, simulator, SECRET_STORE=shelf) as admin:
        account = connected_by_keys(admin)
        second, third = (simulator.create_restricted_key(account.id) for _ in range(2))
        save(admin, secret_key=second)
        post(admin, "keys/rollback")
        shelf.meanwhile = refuse_to_delete
        # The second key cannot be destroyed now, and is archived longer than the first.
        assert done(save(admin, secret_key=third)) == "keys_rotated"
        assert f"sk_test_…{account.test_secret_key[-4:]} was in use until" in card(admin.page())

        assert done(post(admin, "keys/rollback")) == "key_brought_back"
        assert f"Secret key sk_test_…{account.test_secret_key[-4:]}" in card(admin.page())


def refuse_to_delete(step: str) -> None:
    if step == "delete":
        raise ConnectionError("The shelf is away.")


def test_only_restricted_keys_where_the_operator_wants_that(sqlite_url: str, simulator: Simulator) -> None:
    with hosting(sqlite_url, simulator, ALLOW_SECRET_KEYS=False) as admin:
        assert "Only restricted keys (rk_test_…) are taken here" in card(admin.page())
        assert "sk_test_" not in admin.page()

        account = simulator.create_account("Plaza")
        answer = save(admin, secret_key=account.test_secret_key)
        assert answer.status_code == 422
        assert "Only restricted keys (rk_…) are taken here" in card(text_of(answer))
        assert done(save(admin, secret_key=simulator.create_restricted_key(account.id))) == "keys_saved"


def test_keys_need_nothing_of_the_platforms_and_go_live(sqlite_url: str, simulator: Simulator) -> None:
    with make_host(sqlite_url, simulator=simulator, config={"WTF_CSRF_ENABLED": False, **UNSET}) as host:
        admin = Admin.of(host, host.make_tenant())
        connected_by_keys(admin, "live")

        assert "The operator" not in card(admin.page(), "live")
        assert admin.switch("live").status_code == 303
        assert admin.row().stripe_onboarding_status == "CONNECTED"


def test_where_only_keys_are_taken_their_form_is_open_and_the_operator_need_not_be_asked(
    sqlite_url: str, simulator: Simulator
) -> None:
    config = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_ALLOWED_ACCOUNT_TYPES": ["RAW_KEYS"], **UNSET}
    with make_host(sqlite_url, simulator=simulator, config=config) as host:
        page = Admin.of(host, host.make_tenant()).page()

    assert page.count('<details class="vp-details" open>') == 2
    assert "The operator" not in page
    assert "Connect with Stripe" not in page


def test_the_page_asks_neither_a_vault_nor_stripe(plaza: Admin, simulator: Simulator) -> None:
    connected_by_keys(plaza)
    plaza.host.state.stores = {}
    simulator.requests.clear()

    assert "Secret key sk_test_…" in card(plaza.page())
    assert simulator.requests == []


@pytest.mark.both
def test_the_page_asks_the_database_as_often_for_many_keys_as_for_none(plaza: Admin, simulator: Simulator) -> None:
    none = statements_for_page(plaza)
    account = connected_by_keys(plaza)
    for _ in range(3):
        save(plaza, secret_key=simulator.create_restricted_key(account.id))

    assert statements_for_page(plaza) <= none


def statements_for_page(admin: Admin) -> int:
    asked: list[str] = []
    with admin.host.app.app_context():
        engine = admin.host.db.engine
    sa.event.listen(engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    assert admin.browser.get(f"{PAGE}/").status_code == 200
    return len(asked)


# -- accounts that are set up at Stripe


def set_up(admin: Admin, account_type: str = "CONNECT_EXPRESS", mode: str = "test") -> str:
    """Press the button, and return the address at Stripe that the browser is sent to."""
    answer = post(admin, "onboard", mode, account_type=account_type)
    assert answer.status_code == 303, text_of(answer)
    return str(answer.location)


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("account_type", ["CONNECT_STANDARD", "CONNECT_EXPRESS", "CONNECT_CUSTOM"])
def test_to_stripe_and_back_with_a_new_account(
    sqlite_url: str, simulator: Simulator, account_type: str, api: str
) -> None:
    with hosting(sqlite_url, simulator, ACCOUNTS_API=api) as admin:
        there = set_up(admin, account_type)
        assert there.startswith("http://stripe.test/")
        back = simulator.onboard(there)

        assert back == f"{admin.host.state.config.settings_page}onboard/return?mode=test"
        assert done(admin.follow(back)) == "connected"
        assert admin.row().stripe_account_type == account_type
        assert admin.row().stripe_onboarding_status == "CONNECTED"


def test_who_leaves_early_sees_what_is_wanted_until_when_and_goes_on(plaza: Admin, simulator: Simulator) -> None:
    there = set_up(plaza)
    simulator.update_account(plaza.connections()[0].account_id, deadline=int(time.time()) + 14 * 86_400)
    back = simulator.onboard(there, complete=False)

    assert done(plaza.follow(back)) == "begun"
    page = plaza.page()
    assert "A bank account for payouts" in card(page)
    due = plaza.connections()[0].requirements_due_at
    assert f"Stripe wants it by {due.day} {due:%B %Y}." in card(page)
    assert "Go on at Stripe" in card(page)
    assert "dashboard.stripe.com" not in page

    assert done(plaza.follow(simulator.onboard(set_up(plaza)))) == "connected"
    assert len(plaza.connections()) == 1
    assert "Go on at Stripe" not in plaza.page()


def test_an_account_whose_making_got_no_answer_is_tried_again(plaza: Admin, simulator: Simulator) -> None:
    simulator.faults.add("POST", "/v2/core/accounts", "drop_after", times=3)

    answer = post(plaza, "onboard", account_type="CONNECT_EXPRESS")
    assert answer.status_code == 422
    assert "Try again" in text_of(answer)
    assert "Stripe has not said yet that this account is made." in card(plaza.page())
    simulator.faults.clear()
    assert done(plaza.follow(simulator.onboard(set_up(plaza)))) == "connected"
    assert len(plaza.connections()) == 1


def test_a_link_that_was_used_is_exchanged_for_a_new_one(plaza: Admin, simulator: Simulator) -> None:
    there = set_up(plaza)
    simulator.onboard(there, complete=False)
    again = simulator.onboard(there)

    assert again == f"{plaza.host.state.config.settings_page}onboard/refresh?mode=test"
    answer = plaza.follow(again)
    assert answer.status_code == 303
    assert str(answer.location) != there
    assert done(plaza.follow(simulator.onboard(str(answer.location)))) == "connected"


def test_coming_back_finishes_ones_own_account_only(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    back = simulator.onboard(set_up(plaza))
    simulator.requests.clear()

    assert done(seaside.follow(back)) == "not_begun"
    assert seaside.follow(back.replace("return", "refresh")).status_code == 422
    assert simulator.requests == []
    assert seaside.connections() == []


@pytest.mark.parametrize("path", ["onboard/return", "onboard/refresh"])
def test_a_link_preview_asks_stripe_for_nothing(plaza: Admin, simulator: Simulator, path: str) -> None:
    set_up(plaza)
    simulator.requests.clear()

    assert plaza.browser.head(f"{PAGE}/{path}?mode=test").status_code == 405
    assert simulator.requests == []


@pytest.mark.parametrize("query", ["", "?mode=", "?mode=LIVE"])
@pytest.mark.parametrize("path", ["onboard/return", "onboard/refresh"])
def test_a_way_back_without_a_mode_leads_to_the_page(plaza: Admin, path: str, query: str) -> None:
    answer = plaza.browser.get(f"{PAGE}/{path}{query}")

    assert answer.status_code == 422
    assert "The mode must be 'test' or 'live'." in text_of(answer)


def test_the_ways_back_are_the_operators_and_not_the_hosts_header(plaza: Admin, simulator: Simulator) -> None:
    form = {"mode": "test", "account_type": "CONNECT_EXPRESS"}
    plaza.browser.post(f"{PAGE}/onboard", data=form, headers={"X-Forwarded-Host": "evil.example"})

    (request,) = asked(simulator, "/v2/core/account_links")
    assert "evil.example" not in str(request.params)
    assert f"{plaza.host.state.config.settings_page}onboard/return?mode=test" in str(request.params)


@pytest.mark.parametrize("word", ["", "PLATFORM", "RAW_KEYS", "express"])
def test_a_type_that_is_not_made_here_is_refused(plaza: Admin, simulator: Simulator, word: str) -> None:
    answer = post(plaza, "onboard", account_type=word)

    assert answer.status_code == 422
    assert simulator.requests == []
    assert plaza.connections() == []


def test_only_the_types_that_the_operator_allows_are_offered(sqlite_url: str, simulator: Simulator) -> None:
    with hosting(sqlite_url, simulator, ALLOWED_ACCOUNT_TYPES=["CONNECT_EXPRESS"]) as admin:
        page = admin.page()
        assert "Set up an Express account" in page
        for absent in ("Set up a Standard account", "Set up a Custom account", "Connect with Stripe", "secret_key"):
            assert absent not in page
        assert post(admin, "onboard", account_type="CONNECT_CUSTOM").status_code == 422
        assert save(admin, secret_key=simulator.create_account("Plaza").test_secret_key).status_code == 422
        assert admin.connections() == []


def test_a_custom_account_is_described_to_the_tenant_and_not_to_the_operator(plaza: Admin) -> None:
    shown = card(plaza.page())

    assert "What that means for you: You do not sign in at Stripe: the operator shows you your payments" in shown
    assert "Your questions go to the operator: Stripe gives you no support." in shown
    assert "The platform" not in shown


def test_htmx_is_sent_to_stripe_as_a_whole_page(plaza: Admin) -> None:
    answer = post(plaza, "onboard", headers=HTMX, account_type="CONNECT_EXPRESS")

    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["HX-Redirect"].startswith("http://stripe.test/")


def test_forms_may_lead_to_stripe_and_nowhere_else(plaza: Admin) -> None:
    assert "form-action 'self' http://stripe.test;" in policy(plaza)
    plaza.host.state.config = replace(plaza.host.state.config, connect_base="https://connect.stripe.com")
    assert "form-action 'self' https://*.stripe.com;" in policy(plaza)
    plaza.host.state.config = replace(plaza.host.state.config, connect_base="https://stripe.com.evil.example")
    assert "form-action 'self' https://stripe.com.evil.example;" in policy(plaza)


def policy(admin: Admin) -> str:
    return admin.browser.get(f"{PAGE}/").headers["Content-Security-Policy"]


def test_an_account_that_is_set_up_beside_a_working_one_has_its_own_box(plaza: Admin, simulator: Simulator) -> None:
    first = connected_by_keys(plaza)
    there = set_up(plaza)

    assert plaza.row().stripe_account_id == first.id
    assert "A new account is being set up: Hotel Plaza" in card(plaza.page())
    assert "Go on at Stripe" in card(plaza.page())
    plaza.follow(simulator.onboard(there))
    assert plaza.row().stripe_account_type == AccountType.CONNECT_EXPRESS
    assert "A new account is being set up" not in plaza.page()
    assert "Used for refunds of what that account took." in card(plaza.page())


def test_the_express_dashboard_opens_and_no_other_does(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    plaza.follow(simulator.onboard(set_up(plaza)))
    seaside.follow(simulator.onboard(set_up(seaside, "CONNECT_STANDARD")))

    assert "Open the Express dashboard" in plaza.page()
    answer = post(plaza, "dashboard")
    assert answer.status_code == 303
    assert str(answer.location).startswith("http://stripe.test/express/")
    assert str(answer.location) not in plaza.page()
    assert "Open the Express dashboard" not in seaside.page()
    assert post(seaside, "dashboard").status_code == 422


# -- farewells


def test_the_farewell_says_what_happens_to_keys_and_to_accounts(plaza: Admin, simulator: Simulator) -> None:
    connected_by_keys(plaza)
    plaza.connect(simulator.create_account("Plaza live").id, "live")
    assert "they are archived, and can be destroyed then. The webhook endpoint that we made is removed" in card(
        plaza.page()
    )
    assert "We lose access to Plaza live" in card(plaza.page(), "live")

    assert done(plaza.disconnect()) == "disconnected"
    shown = card(plaza.page())
    assert "Earlier API keys" in shown
    assert "Destroy archived keys" in shown
    assert "Bring the earlier key back" not in shown
    plaza.follow(simulator.onboard(set_up(plaza)))
    assert "stays at Stripe with what was paid" in card(plaza.page())


def test_the_farewell_names_every_account_that_it_ends_and_the_act_ends_these(
    plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    names = ("Plaza One", "Plaza Two", "Seaside Ltd")
    first, second, theirs = (simulator.create_account(name) for name in names)
    plaza.connect(first.id)
    seaside.connect(theirs.id)
    assert done(save(plaza, secret_key=second.test_secret_key, switch_to=second.id)) == "keys_saved"
    set_up(plaza)
    made = plaza.connections()[-1]
    shown = card(plaza.page())

    assert "The keys of Plaza Two are not used any more" in shown
    assert "These end with it, and what they took can be refunded from here no more until connected again:" in shown
    assert f"{made.account_id} : the account stays at Stripe, and is not set up any further." in shown
    assert f"Plaza One {first.id} : we lose access to it." in shown
    assert "Disconnect these 3 test accounts" in shown
    assert theirs.id not in shown

    assert done(plaza.disconnect()) == "disconnected"
    ended = {each.account_id for each in plaza.connections() if each.ended_at}
    assert ended == {first.id, second.id, made.account_id}
    assert seaside.row().stripe_onboarding_status == "CONNECTED"


def test_an_account_that_two_roads_lead_to_is_counted_once(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza One")
    plaza.connect(account.id)
    assert done(save(plaza, secret_key=account.test_secret_key)) == "keys_saved"

    shown = card(plaza.page())
    assert f"Plaza One {account.id} : we lose access to it." in shown
    assert "Disconnect the test account" in shown


def test_the_farewell_to_an_only_account_names_no_other(plaza: Admin, simulator: Simulator) -> None:
    account = simulator.create_account("Plaza One")
    plaza.connect(account.id)
    # Connected once more, the account is still one.
    plaza.connect(account.id)

    assert "end with it" not in card(plaza.page())
    assert "ends with it" not in card(plaza.page())
    assert "Disconnect the test account" in card(plaza.page())


# -- what the page says


def test_what_was_done_is_said_once_and_not_again_when_the_page_is_reloaded(plaza: Admin, seaside: Admin) -> None:
    address = str(post(plaza, "keys/destroy").location)
    said = "The archived keys are destroyed."

    assert said not in seaside.browser.get(address).text
    assert said in plaza.browser.get(address).text
    assert said not in plaza.browser.get(address).text


def test_an_address_that_says_what_was_not_done_says_nothing(plaza: Admin) -> None:
    post(plaza, "keys/destroy")

    assert 'role="status"' not in plaza.browser.get(f"{PAGE}/?done=disconnected").text
    assert 'role="status"' not in plaza.page()


def test_what_htmx_is_sent_to_is_said_once_too(plaza: Admin) -> None:
    address = post(plaza, "keys/destroy", headers=HTMX).headers["HX-Redirect"]

    assert 'role="status"' in plaza.browser.get(address).text
    assert 'role="status"' not in plaza.browser.get(address).text


def receive(admin: Admin, event_type: str, **columns: Any) -> None:
    """Put an event in the tenant's inbox, as the webhook does."""
    with admin.host.app.app_context():
        row = admin.host.state.models.WebhookEvent(
            scope="platform:test:connect",
            event_id=f"evt_{event_type}_{admin.tenant.id}",
            type=event_type,
            tenant_id=admin.tenant.id,
            **{"mode": Mode.test, "status": EventStatus.processed, **columns},
        )
        admin.host.db.session.add(row)
        admin.host.db.session.commit()


def test_the_last_event_is_one_of_the_account_that_the_card_shows(
    plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    first, second, theirs = (simulator.create_account(name) for name in ("Plaza One", "Plaza Two", "Seaside Ltd"))
    plaza.connect(first.id)
    receive(plaza, "charge.updated", connection_id=plaza.connections()[0].id, account_id=first.id)
    assert "charge.updated" in card(plaza.page())

    plaza.connect(second.id)
    seaside.connect(theirs.id)
    assert "No event received yet" in card(plaza.page())
    receive(plaza, "payout.paid", connection_id=plaza.connections()[1].id, account_id=second.id)
    receive(plaza, "charge.captured", connection_id=plaza.connections()[0].id, account_id=first.id)
    assert "payout.paid" in card(plaza.page())
    assert "No event received yet" in card(seaside.page())


@pytest.mark.parametrize("status", [EventStatus.failed, EventStatus.dead])
def test_a_failed_event_is_shown_whatever_account_it_is_about(
    plaza: Admin, seaside: Admin, status: EventStatus
) -> None:
    for admin in (plaza, seaside):
        connected_by_keys(admin)
    receive(plaza, "charge.failed", status=status, error="KeyError: 'ticket'")
    attention = 'href="/settings/payments/events?mode=test&amp;show=attention"'

    assert "Last event failed" in card(plaza.page())
    assert attention in plaza.browser.get(f"{PAGE}/").text
    assert attention in plaza.browser.get(f"{PAGE}/status").text
    assert ("is not tried again by itself" in card(plaza.page())) is (status is EventStatus.dead)
    assert "Last event failed" not in card(plaza.page(), "live")
    assert "Last event failed" not in card(seaside.page())
    assert attention not in seaside.browser.get(f"{PAGE}/").text


def test_each_card_leads_to_all_events_of_its_mode_and_the_way_back_is_there(plaza: Admin) -> None:
    for mode in ("test", "live"):
        assert f'href="/settings/payments/events?mode={mode}"' in plaza.browser.get(f"{PAGE}/").text
    assert 'href="/settings/payments/"' in plaza.browser.get(f"{PAGE}/events").text


@pytest.mark.both
def test_an_event_of_the_same_account_by_an_earlier_connection_counts_from_the_new_one_on(
    plaza: Admin, simulator: Simulator
) -> None:
    account = simulator.create_account("Plaza One")
    plaza.connect(account.id)
    earlier = {"connection_id": plaza.connections()[0].id, "account_id": account.id}
    receive(plaza, "charge.updated", **earlier)
    plaza.disconnect()
    plaza.connect(account.id)
    assert "No event received yet" in card(plaza.page())

    receive(plaza, "charge.captured", **earlier)
    assert "charge.captured" in card(plaza.page())


def test_what_stripe_wants_is_said_in_a_persons_words(plaza: Admin, simulator: Simulator) -> None:
    wanted = {
        "business_profile.url": "The address of your website",
        "external_account": "A bank account for payouts",
        "individual.dob.day": "Your date of birth",
        "individual.dob.year": "",
        "person_1Abc.verification.document": "The proof of identity of somebody whom you named",
        "representative.first_name": "The name of who represents the company",
        "tos_acceptance.date": "Acceptance of Stripe's terms",
        "tos_acceptance.ip": "",
        "some_new.kind_of_field": "some new – kind of field",
    }
    account = simulator.create_account("Plaza")
    plaza.host.connect(plaza.tenant, account.id, requirements=list(wanted))

    said = "Stripe wants something more before this account may take payments: "
    assert said + " ".join(filter(None, wanted.values())) + " " in card(plaza.page())


def test_archived_keys_are_destroyed_in_two_steps(plaza: Admin, simulator: Simulator) -> None:
    account = connected_by_keys(plaza)
    save(plaza, secret_key=simulator.create_restricted_key(account.id))
    page = plaza.page()
    (part,) = re.findall(r'<details class="vp-more">\s*<summary[^>]*>Destroy for good.*?</details>', page, re.DOTALL)

    assert "Destroy archived keys" in part
    assert page.count("Destroy archived keys") == 1
    assert re.search(r"since \d+ \w+ \d{4}, \d\d:\d\d UTC", card(page))


# -- whose page a form was on


def test_a_form_of_another_tenants_page_is_refused_and_nothing_is_done(
    plaza: Admin, seaside: Admin, simulator: Simulator
) -> None:
    accounts = [connected_by_keys(admin) for admin in (plaza, seaside)]
    simulator.requests.clear()

    for path in FORMS:
        answer = post(plaza, path, for_tenant=str(seaside.tenant.id))
        assert answer.status_code == 409
        assert "belongs to another tenant than the one that you manage now, so nothing was done." in text_of(answer)
        assert accounts[0].id in text_of(answer)
        assert accounts[1].id not in text_of(answer)
    assert simulator.requests == []
    assert [each.row().stripe_onboarding_status for each in (plaza, seaside)] == ["CONNECTED", "CONNECTED"]


def test_every_form_names_its_tenant_and_works_for_that_one(plaza: Admin, seaside: Admin) -> None:
    connected_by_keys(plaza)
    page = plaza.page()

    assert page.count("<form") == page.count(f'name="for_tenant" value="{plaza.tenant.id}"') > 5
    assert f'name="for_tenant" value="{seaside.tenant.id}"' not in page
    assert done(post(plaza, "disconnect", for_tenant=str(plaza.tenant.id))) == "disconnected"


# -- which mode is meant


def test_a_disconnect_that_names_no_mode_ends_nothing_where_it_could_mean_two(plaza: Admin, seaside: Admin) -> None:
    for mode in ("test", "live"):
        connected_by_keys(plaza, mode)
    connected_by_keys(seaside, "live")

    for admin in (plaza, seaside):
        answer = admin.browser.post(f"{PAGE}/disconnect")
        assert answer.status_code == 422
        assert "The mode must be 'test' or 'live'." in text_of(answer)
    assert [each.ended_at for each in plaza.connections() + seaside.connections()] == [None] * 3


def test_a_disconnect_that_names_no_mode_ends_the_only_connection_there_is(plaza: Admin, seaside: Admin) -> None:
    for admin in (plaza, seaside):
        connected_by_keys(admin)

    assert done(plaza.browser.post(f"{PAGE}/disconnect")) == "disconnected"
    assert plaza.row().stripe_onboarding_status == "NOT_CONNECTED"
    assert seaside.row().stripe_onboarding_status == "CONNECTED"


# -- history


def history(admin: Admin, before: object = None, **headers: str) -> str:
    query = "" if before is None else f"?before={before}"
    answer = admin.browser.get(f"{PAGE}/history{query}", headers=headers)
    assert answer.status_code == 200
    return text_of(answer)


def lines_of(page: str) -> list[str]:
    cells = [re.sub(r"<[^>]*>", " ", row) for row in re.findall(r"<tr role=\"row\">.*?</tr>", page, re.DOTALL)[1:]]
    return [" ".join(line.split()) for line in cells]


def test_the_history_says_who_did_what_when_to_which_account_and_key(plaza: Admin, seaside: Admin) -> None:
    account = connected_by_keys(plaza)
    theirs = connected_by_keys(seaside)
    lines = lines_of(history(plaza))

    keys = rows(plaza.host, plaza.host.valetpro.models.Secret, purpose="secret_key", tenant_id=plaza.tenant.id)
    entries = rows(plaza.host, plaza.host.valetpro.models.AuditEntry, tenant_id=plaza.tenant.id)
    assert len(lines) == len(entries)
    (saved,) = [line for line in lines if "Saved the API key" in line]
    assert saved.endswith(f"UTC You Saved the API key test {account.id} {keys[0].masked} {keys[0].fingerprint}")
    assert "Connected the account" in lines[0]
    assert theirs.id not in history(plaza)
    assert 'href="/settings/payments/history"' in plaza.page()


@pytest.mark.parametrize(
    ("actor", "action", "words"),
    [
        ("operator", "moved", "The operator Moved the connection to the app's present address"),
        ("operator", "given_up", "The operator Gave up a connection that was never finished"),
        ("reconcile", "endpoint_mended", "The regular comparison with Stripe Mended the webhook endpoint"),
    ],
)
def test_the_history_says_what_was_done_to_a_connection_however_it_was_made(
    plaza: Admin, seaside: Admin, actor: str, action: str, words: str
) -> None:
    with as_tenant(plaza.host, plaza.tenant):
        audit.record(plaza.host.state, tenant_id=plaza.tenant.id, actor=actor, action=action)
        plaza.host.db.session.commit()

    assert words in lines_of(history(plaza))[0]
    assert words not in history(seaside)


def test_what_stripe_did_names_mode_and_account(plaza: Admin, seaside: Admin, simulator: Simulator) -> None:
    plaza.follow(simulator.onboard(set_up(plaza)))
    (connection,) = plaza.connections()
    said = f"Let the account take payments test {connection.account_id}"
    assert f"Stripe {said}" in lines_of(history(plaza))[0]

    with as_tenant(plaza.host, plaza.tenant):
        # An entry that says no more than which connection it is about.
        told: dict[str, Any] = {"connection": connection, "actor": "stripe", "action": "became_ready"}
        audit.record(plaza.host.state, tenant_id=plaza.tenant.id, **told)
        plaza.host.db.session.commit()
    assert lines_of(history(plaza))[0].endswith(said)
    assert connection.account_id not in history(seaside)


def test_others_are_named_and_what_has_no_words_is_text(plaza: Admin) -> None:
    colleague = Admin.of(plaza.host, plaza.tenant)
    connected_by_keys(colleague)
    with as_tenant(plaza.host, plaza.tenant):
        for actor, action in (("operator", "new_kind_of_act"), ("stripe", "revoked"), ("<b>x</b>", "<i>y</i>")):
            audit.record(plaza.host.state, tenant_id=plaza.tenant.id, actor=actor, action=action, mode=["odd"])
        plaza.host.db.session.commit()
    page = plaza.browser.get(f"{PAGE}/history").text

    assert "<b>x</b>" not in page
    assert "<i>y</i>" not in page
    shown = lines_of(page)
    assert "Stripe Withdrew our access to the account" in shown[1]
    assert "The operator new kind of act" in shown[2]
    assert f"User {colleague.user.id} Connected the account" in shown[3]


@pytest.mark.both
def test_the_history_is_read_page_by_page_and_only_ones_own(plaza: Admin, seaside: Admin) -> None:
    for admin, acts in ((plaza, 103), (seaside, 3)):
        with as_tenant(admin.host, admin.tenant):
            for number in range(acts):
                audit.record(admin.host.state, tenant_id=admin.tenant.id, actor="operator", action=f"act_{number}_")
            admin.host.db.session.commit()

    seen, page = lines_of(history(plaza)), history(plaza)
    while older := re.search(r"\?before=(\d+)", page):
        page = history(plaza, older[1])
        seen += lines_of(page)
    assert [int(line.split("act ")[1]) for line in seen] == list(range(102, -1, -1))
    assert ">Newest</a>" in page
    assert len(lines_of(history(seaside))) == 3
    assert "There is nothing older." in history(plaza, 1)
    for odd in ("0", "-5", "9" * 30, "-" + "9" * 30):
        history(plaza, odd)
    assert lines_of(history(plaza, "x"))[0] == lines_of(history(plaza))[0]


def test_the_history_is_a_fragment_for_htmx_and_empty_at_first(plaza: Admin) -> None:
    assert "Nothing was changed yet." in history(plaza)
    assert "<html" in history(plaza)
    assert "<html" not in history(plaza, **HTMX)


def test_a_members_browser_sees_no_history(host: Host) -> None:
    member = Admin.of(host, host.make_tenant(), role="member")

    assert member.browser.get(f"{PAGE}/history").status_code == 403
    assert post(member, "keys", Mode.test, secret_key="sk_test_0123456789").status_code == 403
