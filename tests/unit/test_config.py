"""The settings: what is refused at start, what is said about it, and what is never repeated."""

from __future__ import annotations

import base64
import os
import traceback
from collections.abc import Mapping
from typing import Any

import pytest
import stripe
from flask import Flask

from flask_valetpro_stripe import AccountType, Mode
from flask_valetpro_stripe.config import PREFIX, Config, read_config
from flask_valetpro_stripe.errors import ConfigurationError
from flask_valetpro_stripe.secrets.make import make_stores
from tests.hosts import ENCRYPTION_KEY, Host, make_host

KEY = base64.b64encode(os.urandom(32)).decode()
GOOD = {"ENCRYPTION_KEYS": [KEY], "PUBLIC_URL": "https://valet.example.com"}
SIGNING = "whsec_" + "a" * 32
CANARY = "canary7Q2x"


def read(*, relaxed: bool = False, **settings: Any) -> Config:
    given = {k: v for k, v in (GOOD | settings).items() if v is not ...}
    config = read_config({PREFIX + name: value for name, value in given.items()}, relaxed=relaxed)
    # As at the start of an app.
    make_stores(config.secret_store, config.secret_store_options, config.encryption_keys)
    return config


def refusal(**settings: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        read(**settings)
    return refused.value


def test_the_defaults_are_the_contracts() -> None:
    config = read()
    assert config.test_secret_key is None
    assert config.live_secret_key is None
    assert config.test_webhook_secrets == config.live_connect_webhook_secrets == ()
    assert config.secret_store == "database"
    assert config.secret_store_options == {}
    assert config.webhook_url == "/api/webhooks/stripe"
    assert config.settings_url == "/settings/payments"
    assert config.platform_fallback == "never"
    assert config.allow_secret_keys is True
    assert config.allow_shared_accounts is False
    assert config.allowed_account_types == set(AccountType)
    assert config.accounts_api == "v2"
    assert config.htmx == "bundled"
    assert config.processing == "inline"
    assert (config.api_base, config.connect_base) == ("https://api.stripe.com", "https://connect.stripe.com")
    assert config.stripe_version == stripe.api_version
    assert config.max_webhook_bytes == 262_144
    assert config.retention_days == 30


def test_every_key_of_the_contract_is_known_and_one_more() -> None:
    of_the_contract = """
        TEST_SECRET_KEY LIVE_SECRET_KEY TEST_CLIENT_ID LIVE_CLIENT_ID TEST_WEBHOOK_SECRETS LIVE_WEBHOOK_SECRETS
        TEST_CONNECT_WEBHOOK_SECRETS LIVE_CONNECT_WEBHOOK_SECRETS ENCRYPTION_KEYS SECRET_STORE SECRET_STORE_OPTIONS
        PUBLIC_URL WEBHOOK_URL SETTINGS_URL PLATFORM_FALLBACK ALLOW_SECRET_KEYS ALLOW_SHARED_ACCOUNTS
        ALLOWED_ACCOUNT_TYPES ACCOUNTS_API HTMX PROCESSING API_BASE CONNECT_BASE STRIPE_VERSION MAX_WEBHOOK_BYTES
        BASE_TEMPLATE RETENTION_DAYS
    """
    assert {name.upper() for name in Config.__dataclass_fields__} == {*of_the_contract.split(), "TAX_NOT_READY"}


def test_an_unknown_setting_is_refused_with_the_one_that_was_meant() -> None:
    refused = refusal(TEST_SECRETKEY=CANARY)
    assert str(refused) == (
        "VALETPRO_STRIPE_TEST_SECRETKEY is not a setting of flask-valetpro-stripe. "
        "Did you mean VALETPRO_STRIPE_TEST_SECRET_KEY?"
    )
    assert refused.code == "configuration"
    assert "flask stripe doctor" in refused.hint


def test_other_extensions_settings_are_left_alone() -> None:
    ours = {PREFIX + "ENCRYPTION_KEYS": [KEY]}
    others = {"VALETPRO_COLOUR": "red", "STRIPE_KEY": "x"}

    assert read_config({**others, **ours}, relaxed=True) == read_config(ours, relaxed=True)


@pytest.mark.parametrize("slot, other", [("TEST", "live"), ("LIVE", "test")])
def test_a_key_in_the_slot_of_the_other_mode_is_refused(slot: str, other: str) -> None:
    for kind in ("sk", "rk"):
        refused = refusal(**{f"{slot}_SECRET_KEY": f"{kind}_{other}_{CANARY}"})
        assert str(refused).startswith(f"VALETPRO_STRIPE_{slot}_SECRET_KEY holds a {other} key.")
        assert CANARY not in str(refused)


def test_secret_and_restricted_keys_are_taken_in_their_own_slots() -> None:
    config = read(TEST_SECRET_KEY="sk_test_" + CANARY, LIVE_SECRET_KEY="rk_" + "live_" + CANARY)
    test_key, live_key = config.secret_key(Mode.test), config.secret_key(Mode.live)
    assert test_key is not None
    assert live_key is not None
    assert test_key.reveal() == "sk_test_" + CANARY
    assert live_key.reveal() == "rk_" + "live_" + CANARY


def test_nothing_secret_shows_when_the_settings_are_printed() -> None:
    config = read(TEST_SECRET_KEY="sk_test_" + CANARY, TEST_WEBHOOK_SECRETS=[SIGNING])
    for printed in (repr(config), str(config), f"{config}"):
        assert CANARY not in printed
        assert SIGNING not in printed
        assert KEY not in printed


#: setting → values that cannot work, each marked so that an echo would show.
CANNOT_WORK: Mapping[str, list[Any]] = {
    "TEST_SECRET_KEY": [
        "", " ", CANARY, f"pk_test_{CANARY}", f"sk_org_{CANARY}", f"whsec_{CANARY}", f"acct_{CANARY}", "sk_test_",
        f" sk_test_{CANARY}", f"sk_test_{CANARY}\n", f"sk_test_{CANARY}\r\nX: y", f"sk_test_{CANARY}é", 7, b"sk_test_x",
    ],
    "TEST_CLIENT_ID": ["", CANARY, f"ca_{CANARY}\n", f"acct_{CANARY}", 7, ["ca_x"]],
    # Measured: SDKs accept some of these as signing secrets, and each would make a forgeable endpoint.
    "TEST_WEBHOOK_SECRETS": [
        SIGNING, "", [""], [" "], ["None"], ["null"], ["changeme"], ["whsec_"], ["\xa0"], [None], [SIGNING, None],
        [SIGNING + "\n"], [f"whsec_{CANARY}"], [SIGNING, f"we_{CANARY}"], {SIGNING: 1}, 7, [SIGNING.encode()],
    ],
    "ENCRYPTION_KEYS": [
        [], KEY, [""], [KEY[:-4]], [KEY + KEY], [CANARY], [KEY, CANARY], [None], [KEY + "\n"], [KEY.encode()], 7,
        [base64.b64encode(b"x" * 31).decode()], [base64.b64encode(b"x" * 33).decode()],
    ],
    "SECRET_STORE": ["", CANARY, 7],
    "SECRET_STORE_OPTIONS": [CANARY, [CANARY], 7],
    "PUBLIC_URL": [
        "", CANARY, f"//{CANARY}", f"ftp://{CANARY}", "https://", f"https://{CANARY}?a=b", f"https://{CANARY}#f",
        f"https://[{CANARY}", f"https://{CANARY}:port", f"https://user:{CANARY}@valet.example.com", "https://a b", 7,
        f"https://{CANARY}\n",
    ],
    "API_BASE": ["", CANARY, f"file:///{CANARY}", f"https://[{CANARY}", 7],
    "CONNECT_BASE": ["", CANARY, f"javascript:{CANARY}", 7],
    "WEBHOOK_URL": ["", "/", CANARY, f"/{CANARY}/", f"//{CANARY}", f"/<{CANARY}>", f"https://{CANARY}/hook", 7],
    "SETTINGS_URL": ["", "/", CANARY, f"/{CANARY}/", f"/a b/{CANARY}", 7],
    # There is no such thing as a fallback with real money.
    "PLATFORM_FALLBACK": ["live", "always", CANARY, True, ""],
    "ALLOW_SECRET_KEYS": ["False", "0", 0, 1, CANARY],
    "ALLOW_SHARED_ACCOUNTS": ["True", 1, CANARY],
    "ALLOWED_ACCOUNT_TYPES": [CANARY, [CANARY], "PLATFORM", 7, [None]],
    "ACCOUNTS_API": ["v3", CANARY, 1, ""],
    "HTMX": ["cdn", CANARY, True, ""],
    "PROCESSING": ["threads", CANARY, ""],
    "STRIPE_VERSION": ["", 7, [CANARY]],
    "MAX_WEBHOOK_BYTES": [0, -1, True, "262144", 1.5, CANARY],
    "BASE_TEMPLATE": ["", 7, [CANARY]],
    "RETENTION_DAYS": [0, -1, True, "30", 2.5, CANARY],
}
PAIRS = [
    pytest.param(name, value, id=f"{name}-{number}")
    for name, values in CANNOT_WORK.items()
    for number, value in enumerate(values)
]


@pytest.mark.parametrize("name, value", PAIRS)
def test_what_cannot_work_is_refused_at_start_without_being_repeated(name: str, value: Any) -> None:
    refused = refusal(**{name: value})

    assert str(refused).startswith(f"VALETPRO_STRIPE_{name} ")
    assert str(refused).endswith(".")
    shown = [line for line in "".join(traceback.format_exception(refused)).splitlines() if "Error" in line]
    assert shown
    for secret in (CANARY, KEY, SIGNING):
        assert secret not in str(refused)
        # The chain of causes is printed as well.
        assert not any(secret in line for line in shown)


@pytest.mark.parametrize("name", CANNOT_WORK)
def test_none_means_the_default(name: str) -> None:
    if name in GOOD:
        assert refusal(**{name: None}).code == "configuration"
    elif name != "HTMX":
        unset: dict[str, Any] = {name: None}
        assert getattr(read(**unset), name.lower()) == getattr(read(), name.lower())


def test_without_htmx_the_hosts_own_is_used() -> None:
    assert read(HTMX=None).htmx is None


def test_the_public_address_is_required_where_guests_are_real() -> None:
    assert "VALETPRO_STRIPE_PUBLIC_URL is not set." in str(refusal(PUBLIC_URL=...))
    assert read(PUBLIC_URL=..., relaxed=True).public_url == "http://localhost:5000"


def test_the_public_address_makes_clean_links() -> None:
    assert read(PUBLIC_URL="https://valet.example.com/").settings_page == "https://valet.example.com/settings/payments/"


def test_the_database_store_needs_a_key_and_says_how_to_make_one() -> None:
    message = str(refusal(ENCRYPTION_KEYS=...))
    assert message.startswith("VALETPRO_STRIPE_ENCRYPTION_KEYS is not set")
    assert "os.urandom(32)" in message


@pytest.mark.parametrize(
    "one, two",
    [
        ("TEST_WEBHOOK_SECRETS", "TEST_CONNECT_WEBHOOK_SECRETS"),
        ("TEST_WEBHOOK_SECRETS", "LIVE_WEBHOOK_SECRETS"),
        ("TEST_CONNECT_WEBHOOK_SECRETS", "LIVE_CONNECT_WEBHOOK_SECRETS"),
    ],
)
def test_a_signing_secret_stands_for_one_endpoint_only(one: str, two: str) -> None:
    """Otherwise a test event could be taken for a live one, or the platform's for a tenant's."""
    refused = refusal(**{one: [SIGNING], two: ["whsec_" + "b" * 32, SIGNING]})
    assert "One signing secret stands in two" in str(refused)
    assert SIGNING not in str(refused)


def test_several_signing_secrets_are_kept_in_order() -> None:
    older = "whsec_" + "b" * 32
    config = read(LIVE_CONNECT_WEBHOOK_SECRETS=[SIGNING, older])
    assert [s.reveal() for s in config.webhook_secrets(Mode.live, connect=True)] == [SIGNING, older]
    assert config.webhook_secrets(Mode.live, connect=False) == ()
    assert config.webhook_secrets(Mode.test, connect=True) == ()


def test_account_types_may_be_words() -> None:
    config = read(ALLOWED_ACCOUNT_TYPES=["CONNECT_STANDARD", AccountType.PLATFORM])
    assert config.allowed_account_types == {AccountType.CONNECT_STANDARD, AccountType.PLATFORM}


def test_a_misconfigured_app_does_not_start(sqlite_url: str) -> None:
    with pytest.raises(ConfigurationError, match="holds a test key"):
        make_host(sqlite_url, config={"VALETPRO_STRIPE_LIVE_SECRET_KEY": "sk_test_x"})


def test_the_same_app_is_set_up_once(light_host: Host) -> None:
    with pytest.raises(ConfigurationError, match=r"already has flask-valetpro-stripe\. Call init_app once"):
        light_host.valetpro.init_app(light_host.app)


def test_an_app_without_the_extension_says_what_to_call() -> None:
    from flask_valetpro_stripe.state import get_state

    with Flask(__name__).app_context(), pytest.raises(ConfigurationError, match=r"Call valetpro.init_app\(app\)"):
        get_state()


def test_settings_are_read_once(light_host: Host) -> None:
    light_host.app.config["VALETPRO_STRIPE_SETTINGS_URL"] = "/elsewhere"
    assert light_host.state.config.settings_url == "/settings/payments"


def test_two_apps_of_one_extension_have_their_own_settings(light_host: Host, tmp_path: Any) -> None:
    other = light_host.add_app(
        f"sqlite:///{tmp_path}/other.sqlite3",
        config={
            "VALETPRO_STRIPE_TEST_SECRET_KEY": "sk_test_other",
            "VALETPRO_STRIPE_SETTINGS_URL": "/other/payments",
            "VALETPRO_STRIPE_WEBHOOK_URL": "/other/hook",
        },
    )
    first, second = light_host.state, other.extensions["valetpro_stripe"]

    assert first.config.test_secret_key != second.config.test_secret_key
    assert second.config.encryption_keys[0].reveal() == ENCRYPTION_KEY
    rules = [{str(rule) for rule in app.url_map.iter_rules()} for app in (light_host.app, other)]
    assert "/settings/payments/" in rules[0] - rules[1]
    assert "/other/payments/" in rules[1] - rules[0]
    assert "/api/webhooks/stripe" in rules[0] - rules[1]
    assert "/other/hook" in rules[1] - rules[0]
