"""From the settings to the stores: which are made, what is refused at start, and that no value is repeated."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from flask_valetpro_stripe.config import PREFIX, Config, read_config
from flask_valetpro_stripe.errors import ConfigurationError
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.make import chosen_store, make_stores
from flask_valetpro_stripe.secrets.remembered import RememberingStore
from tests.children import run_program
from tests.secrets.relay import Relay
from tests.secrets.stage import KEY, PLAZA, HostsOwn

CANARY = "canary7Q2x"
ENCRYPTION_KEY = base64.b64encode(os.urandom(32)).decode()
AWS = {"region": "eu-west-1"}
GCP = {"project": "valet"}
VAULT = {"address": "https://vault.example.com:8200", "token": CANARY}


def read(*, relaxed: bool = False, **settings: Any) -> Config:
    given = {"ENCRYPTION_KEYS": [ENCRYPTION_KEY], "PUBLIC_URL": "https://valet.example.com", **settings}
    config = read_config({PREFIX + name: value for name, value in given.items()}, relaxed=relaxed)
    make_stores(config.secret_store, config.secret_store_options, config.encryption_keys)
    return config


def refused(*, relaxed: bool = False, **settings: Any) -> str:
    with pytest.raises(ConfigurationError) as error:
        read(relaxed=relaxed, **settings)
    assert CANARY not in f"{error.value} {error.value.hint}"
    return str(error.value)


def names_of(chosen: object, options: Mapping[str, Any], *keys: str) -> list[str]:
    return list(make_stores(chosen, options, tuple(Secret(key) for key in keys)))


def test_the_database_is_the_store_of_a_host_that_says_nothing() -> None:
    config = read()
    stores = make_stores(config.secret_store, config.secret_store_options, config.encryption_keys)

    assert list(stores) == ["database"]
    assert chosen_store(stores).get(PLAZA, chosen_store(stores).put(PLAZA, KEY)) == KEY


@pytest.mark.parametrize("name, options", [("aws", AWS), ("gcp", GCP), ("vault", VAULT)])
def test_a_vault_is_chosen_by_its_word_and_remembered(name: str, options: dict[str, Any]) -> None:
    config = read(SECRET_STORE=name, SECRET_STORE_OPTIONS=options, ENCRYPTION_KEYS=None)
    stores = make_stores(config.secret_store, config.secret_store_options, config.encryption_keys)

    assert list(stores) == [name]
    assert isinstance(chosen_store(stores), RememberingStore)


def test_with_encryption_keys_the_database_can_still_be_read() -> None:
    assert names_of("aws", AWS, ENCRYPTION_KEY) == ["aws", "database"]


def test_secrets_can_be_moved_out_of_other_stores() -> None:
    options = {**AWS, "others": {"vault": VAULT, "gcp": GCP}}

    assert names_of("aws", options, ENCRYPTION_KEY) == ["aws", "vault", "gcp", "database"]
    assert names_of("database", {"others": {"gcp": GCP}}, ENCRYPTION_KEY) == ["database", "gcp"]


def test_a_hosts_own_object_is_a_store_under_its_name() -> None:
    stores = make_stores(HostsOwn(), {}, ())

    assert list(stores) == ["in_memory"]
    assert chosen_store(stores).get(PLAZA, chosen_store(stores).put(PLAZA, KEY)) == KEY


def test_a_hosts_own_object_without_a_name_is_called_custom() -> None:
    class Nameless:
        put, get, delete = HostsOwn.put, HostsOwn.get, HostsOwn.delete

    assert names_of(Nameless(), {}) == ["custom"]
    assert read(SECRET_STORE=Nameless()).secret_store is not None


def test_two_apps_have_stores_of_their_own() -> None:
    one, other = (chosen_store(make_stores(HostsOwn(), {}, ())) for _ in range(2))
    stored = one.put(PLAZA, KEY)

    with pytest.raises(Exception, match="has no such secret"):
        other.get(PLAZA, stored)


def test_no_vault_is_asked_at_start() -> None:
    relay = Relay(1)
    relay.silence()
    address = f"127.0.0.1:{relay.port}"
    make_stores("aws", {**AWS, "endpoint_url": f"http://{address}"}, ())
    make_stores("gcp", {**GCP, "endpoint": address}, ())
    make_stores("vault", {**VAULT, "address": f"http://{address}"}, ())
    asked = relay.connections
    relay.close()
    assert asked == 0


def test_the_settings_do_not_show_the_token_when_they_are_printed() -> None:
    assert CANARY not in repr(read(SECRET_STORE="vault", SECRET_STORE_OPTIONS=VAULT))


OPTIONS = f"{PREFIX}SECRET_STORE_OPTIONS: "
#: store → options → what is said.
CANNOT_WORK: list[tuple[str, dict[str, Any], str]] = [
    ("aws", {}, "the aws store needs region."),
    ("gcp", {"prefix": CANARY}, "the gcp store needs project."),
    ("vault", {"token": CANARY}, "the vault store needs address."),
    ("aws", {**AWS, "regoin": CANARY}, "the aws store has no option like this: regoin. Did you mean region?"),
    ("vault", {**VAULT, f"hvs.{CANARY}": 1}, "the vault store has no option like this: one of its options."),
    ("database", AWS, "the database store has no option like this: region."),
    ("aws", {"region": f"eu {CANARY}"}, "region of the aws store must be a region such as eu-west-1."),
    ("aws", {**AWS, "endpoint_url": f"http://{CANARY}"}, "endpoint_url of the aws store must begin with https://"),
    ("aws", {**AWS, "endpoint_url": f"ftp://{CANARY}"}, "endpoint_url of the aws store must be an address"),
    ("aws", {**AWS, "endpoint_url": f"https://{CANARY}:x"}, "endpoint_url of the aws store must be an address"),
    ("gcp", {"project": f"../{CANARY}"}, "project of the gcp store must be a project's id or number."),
    ("gcp", {**GCP, "transport": CANARY}, "transport of the gcp store must be 'grpc' or 'rest'."),
    ("gcp", {**GCP, "endpoint": f"https://{CANARY}"}, "endpoint of the gcp store must be a host, or host:port"),
    ("vault", {**VAULT, "mount": f"../{CANARY}"}, "mount of the vault store must be words of letters"),
    ("vault", {**VAULT, "prefix": f"{CANARY}/../x"}, "prefix of the vault store must be words of letters"),
    ("vault", {**VAULT, "token": f"{CANARY}\n"}, "token of the vault store must be a text without spaces."),
    ("vault", {**VAULT, "ca_file": f"/{CANARY}.pem"}, "ca_file of the vault store must be the path of a file"),
    ("vault", {**VAULT, "role_id": CANARY}, "the vault store needs either token, or both role_id and secret_id"),
    ("vault", {"address": VAULT["address"]}, "the vault store needs either token, or both role_id and secret_id"),
    ("vault", {"address": VAULT["address"], "role_id": CANARY}, "the vault store needs either token, or both"),
    ("aws", {**AWS, "connect_timeout": 1.1}, "connect_timeout of the aws store must be a number of seconds above 0"),
    ("gcp", {**GCP, "read_timeout": 2.1}, "read_timeout of the gcp store must be a number of seconds above 0"),
    ("vault", {**VAULT, "read_timeout": 0}, "read_timeout of the vault store must be a number of seconds above 0"),
    ("vault", {**VAULT, "read_timeout": True}, "read_timeout of the vault store must be a number"),
    ("vault", {**VAULT, "read_timeout": float("nan")}, "read_timeout of the vault store must be a number"),
    ("aws", {**AWS, "others": CANARY}, "others must be a dict"),
    ("aws", {**AWS, "others": {"aws": AWS}}, "others holds the store that VALETPRO_STRIPE_SECRET_STORE chose."),
    ("aws", {**AWS, "others": {"database": {}}}, "others must be a dict from 'aws', 'gcp', 'vault' to"),
    ("aws", {**AWS, "others": {CANARY: {}}}, "others must be a dict from"),
    ("aws", {**AWS, "others": {"vault": {"token": CANARY}}}, "the vault store needs address."),
]


@pytest.mark.usefixtures("real_limits")
@pytest.mark.parametrize("name, options, said", CANNOT_WORK, ids=range(len(CANNOT_WORK)))
def test_options_that_cannot_work_are_refused_at_start(name: str, options: dict[str, Any], said: str) -> None:
    assert refused(SECRET_STORE=name, SECRET_STORE_OPTIONS=options).startswith(OPTIONS + said)


def test_options_that_are_none_are_not_set() -> None:
    assert names_of("aws", {**AWS, "kms_key_id": None, "others": None}) == ["aws"]


class Lacking:
    """An object that forgot a method."""

    put = get = HostsOwn.put


class Taken(HostsOwn):
    name = "vault"


class Odd(HostsOwn):
    name = f"{CANARY} x"


@pytest.mark.parametrize("chosen", [CANARY, "", "Database", 7, Lacking(), HostsOwn, ["aws"]])
def test_what_is_no_store_is_refused(chosen: object) -> None:
    assert refused(SECRET_STORE=chosen) == (
        "VALETPRO_STRIPE_SECRET_STORE must be one of 'database', 'aws', 'gcp', 'vault', or an object with the methods "
        "put, get and delete."
    )


@pytest.mark.parametrize("chosen", [Taken(), Odd()])
def test_a_name_that_is_taken_or_no_word_is_refused(chosen: object) -> None:
    assert "Give it a word of its own" in refused(SECRET_STORE=chosen)


@pytest.mark.parametrize(
    "name, options, module",
    [("aws", AWS, "boto3"), ("gcp", GCP, "google.cloud.secretmanager_v1"), ("vault", VAULT, "hvac")],
)
def test_a_missing_library_is_named_at_start_with_the_command_that_installs_it(
    name: str, options: dict[str, Any], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    assert refused(SECRET_STORE=name, SECRET_STORE_OPTIONS=options) == (
        f"The {name} secret store needs a library that is not installed. Install it with: "
        f'pip install "flask-valetpro-stripe[{name}]"'
    )


def test_a_host_without_a_vault_loads_no_vaults_library() -> None:
    libraries = "{'boto3', 'botocore', 'google.auth', 'grpc', 'hvac'}"
    program = f"import sys, flask_valetpro_stripe; print({libraries} & set(sys.modules))"
    done = run_program([sys.executable, "-c", program])
    assert done.stdout == "set()\n"


def spelled(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


EXAMPLES = {
    "zeros": bytes(32),
    "one byte": b"\xa7" * 32,
    "counted": bytes(range(32)),
    "counted from elsewhere": bytes((number + 240) % 256 for number in range(32)),
    "few bytes": bytes(range(200, 211)) * 2 + bytes(range(200, 210)),
    "typed": b"correct-horse-battery-staple-123",
    "typed and filled up": b"correct-horse-battery-staple-1\0\0",
    "counted by two": bytes(range(0, 64, 2)),
    "counted down": bytes(range(32, 0, -1)),
}


@pytest.mark.parametrize("raw", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_key_is_refused_where_guests_are_real(raw: bytes) -> None:
    message = refused(ENCRYPTION_KEYS=[ENCRYPTION_KEY, spelled(raw)])

    assert message.startswith(
        "VALETPRO_STRIPE_ENCRYPTION_KEYS holds an example key, not a random one. Make one with: python -c "
    )
    assert "os.urandom(32)" in message
    assert spelled(raw) not in message


@pytest.mark.parametrize("raw", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_key_will_do_in_debug_and_testing(raw: bytes) -> None:
    assert len(read(relaxed=True, ENCRYPTION_KEYS=[spelled(raw)]).encryption_keys) == 1


def test_no_random_key_is_taken_for_an_example() -> None:
    keys = [spelled(os.urandom(32)) for _ in range(500)]
    assert len(read(ENCRYPTION_KEYS=keys).encryption_keys) == 500


def test_one_key_in_two_spellings_is_one_key_twice() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = ENCRYPTION_KEY[:-2] + alphabet[alphabet.index(ENCRYPTION_KEY[-2]) + 1] + "="
    assert base64.b64decode(other) == base64.b64decode(ENCRYPTION_KEY)

    assert refused(ENCRYPTION_KEYS=[ENCRYPTION_KEY, other]) == "VALETPRO_STRIPE_ENCRYPTION_KEYS holds one key twice."
