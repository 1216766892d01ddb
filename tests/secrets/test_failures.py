"""Vaults that are slow, cut off, sealed, throttling or forbidden: what is said, how soon, and that it passes."""

from __future__ import annotations

import base64
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from flask_valetpro_stripe.errors import SecretUnavailableError
from flask_valetpro_stripe.secrets import asking
from flask_valetpro_stripe.secrets.aws import AwsStore
from flask_valetpro_stripe.secrets.custom import CustomStore
from flask_valetpro_stripe.secrets.gcp import GcpStore
from flask_valetpro_stripe.secrets.options import LONGEST
from flask_valetpro_stripe.secrets.remembered import PAUSE, RememberingStore
from flask_valetpro_stripe.secrets.store import SecretStore, StoreDownError, unpack
from flask_valetpro_stripe.secrets.vault import VaultStore
from tests.children import run_forked
from tests.secrets.answers import answering
from tests.secrets.conftest import OUR_POLICY
from tests.secrets.leaks import places_of
from tests.secrets.relay import Relay
from tests.secrets.stage import KEY, PLAZA, HostsOwn, Vault, refusal
from tests.servers import OpenBao, SecretManager, running_openbao
from tests.timing import seconds, wait_until

#: No request of a guest waits longer than this for a vault.
PATIENCE = LONGEST + seconds(0.4)
#: What every server of these tests echoes, and no message of ours may.
ECHO = KEY.reveal()


def timed(call: Callable[[], object]) -> tuple[SecretUnavailableError, float]:
    started = time.monotonic()
    refused = refusal(call)
    return refused, time.monotonic() - started


def check_unavailable(refused: SecretUnavailableError, store: str, reason: str) -> None:
    assert str(refused) == f"The secret store ({store}) cannot answer now: {reason}."
    assert refused.code == "secret_unavailable"
    assert "Try again in a moment" in refused.hint
    assert places_of(ECHO, refused) == []
    assert refused.__cause__ is refused.__context__ is None


def test_the_search_for_leaks_finds_one() -> None:
    broken = json.dumps({"secret": ECHO})
    places = places_of(ECHO, refusal(lambda: unpack("naive", PLAZA, broken)))
    assert [place for place in places if place.startswith("packed in unpack")]


class TestTheWayToAVault:
    def test_a_vault_that_refuses_connections_is_unavailable_at_once(self, vault: Vault, relay: Relay) -> None:
        store = vault.store_at(relay.port)
        stored = store.put(PLAZA, KEY)
        relay.refuse()

        for call in (lambda: store.get(PLAZA, stored), lambda: store.put(PLAZA, KEY)):
            refused, took = timed(call)
            assert str(refused).startswith(f"The secret store ({store.name}) cannot answer now: ")
            assert isinstance(refused, StoreDownError)
            check_unavailable(refused, store.name, str(refused).partition(": ")[2].rstrip("."))
            assert took < seconds(2)

    @pytest.mark.usefixtures("real_limits")
    def test_a_vault_that_accepts_and_says_nothing_costs_less_than_three_seconds(
        self, vault: Vault, relay: Relay
    ) -> None:
        stored = vault.store().put(PLAZA, KEY)
        relay.silence()
        store = vault.store_at(relay.port)

        refused, took = timed(lambda: store.get(PLAZA, stored))

        check_unavailable(refused, store.name, "it did not answer in time")
        assert took < PATIENCE

    def test_a_vault_that_was_silent_from_the_start_costs_no_more(self, vault: Vault, relay: Relay) -> None:
        relay.silence()
        store = vault.store_at(relay.port, connect_timeout=0.3, read_timeout=0.3)

        refused, took = timed(lambda: store.put(PLAZA, KEY))

        check_unavailable(refused, store.name, "it did not answer in time")
        assert took < seconds(2)

    def test_a_vault_that_drips_its_answer_is_not_waited_for(self, vault: Vault, relay: Relay) -> None:
        store = vault.store_at(relay.port, connect_timeout=0.3, read_timeout=0.5)
        stored = vault.store().put(PLAZA, KEY)
        relay.drip()

        refused, took = timed(lambda: store.get(PLAZA, stored))

        check_unavailable(refused, store.name, "it did not answer in time")
        assert took < seconds(2)

    def test_eight_threads_wait_side_by_side(self, vault: Vault, relay: Relay) -> None:
        store = vault.store_at(relay.port, connect_timeout=0.3, read_timeout=0.5)
        stored = vault.store().put(PLAZA, KEY)
        relay.silence()

        started = time.monotonic()
        with ThreadPoolExecutor(8) as threads:
            refusals = list(threads.map(lambda _: refusal(lambda: store.get(PLAZA, stored)), range(8)))

        assert {refused.code for refused in refusals} == {"secret_unavailable"}
        assert time.monotonic() - started < seconds(2)

    def test_a_vault_that_comes_back_is_used_again_without_a_restart(self, vault: Vault, relay: Relay) -> None:
        now = [1000.0]
        store = RememberingStore(vault.store_at(relay.port), clock=lambda: now[0])
        stored, later = store.put(PLAZA, KEY), vault.store().put(PLAZA, KEY)
        relay.refuse()
        assert refusal(lambda: store.get(PLAZA, stored)).code == "secret_unavailable"
        relay.open()

        paused = refusal(lambda: store.get(PLAZA, later))
        now[0] += PAUSE

        check_unavailable(paused, store.name, "it did not answer a moment ago")
        assert wait_for(lambda: store.get(PLAZA, stored), now) == KEY
        assert store.get(PLAZA, later) == KEY

    def test_no_secret_is_logged_even_at_debug(self, vault: Vault, everything_logged: list[str]) -> None:
        store = vault.store()
        store.get(PLAZA, store.put(PLAZA, KEY))
        logging.getLogger("grpc").debug("the last line")
        assert everything_logged[-1].startswith("the last line")
        assert not [line for line in everything_logged if any(spelling in line for spelling in spellings_of(ECHO))]


def spellings_of(secret: str) -> list[str]:
    """Return the secret as text, and the parts of it that show in base64 wherever in the text it stands."""
    inner = [base64.b64encode(b"x" * before + secret.encode())[4 : -(-len(secret) % 3) - 4] for before in range(3)]
    return [secret, *(part.decode() for part in inner)]


def wait_for(call: Callable[[], object], now: list[float]) -> object:
    """Return what the call gives in the end: gRPC looks for a lost server again once a second."""
    refused: list[SecretUnavailableError] = []

    def answer() -> object:
        try:
            return call()
        except SecretUnavailableError as error:
            refused.append(error)
            now[0] += PAUSE
            return None

    return wait_until(answer, lambda: f"the vault answers: {refused[-1]}", limit=10)


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    """What a host's log would hold if it logged everything, extra fields included."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.getMessage()} {vars(record)!r}")

    collector = Collect(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in ("", "botocore", "boto3", "google", "grpc", "hvac", "urllib3")]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(collector)
        logger.setLevel(logging.DEBUG)
    yield lines
    for logger, level in before:
        logger.removeHandler(collector)
        logger.setLevel(level)


@pytest.mark.parametrize("name", ["aws", "gcp_rest", "vault_token", "vault_role"])
def test_a_process_that_was_forked_off_has_connections_of_its_own(name: str, request: pytest.FixtureRequest) -> None:
    store = request.getfixturevalue(name).store()
    stored = store.put(PLAZA, KEY)

    assert run_forked(lambda: store.get(PLAZA, stored).reveal()) == KEY.reveal()
    assert store.get(PLAZA, stored) == KEY


def test_too_many_questions_at_once_are_refused_and_not_piled_up(
    aws: Vault, relay_to_aws: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = aws.store_at(relay_to_aws.port, connect_timeout=0.3, read_timeout=0.3)
    stored = aws.store().put(PLAZA, KEY)
    relay_to_aws.silence()

    with ThreadPoolExecutor(asking.MOST_WAITING + 8) as threads:
        refusals = list(
            threads.map(lambda _: refusal(lambda: store.get(PLAZA, stored)), range(asking.MOST_WAITING + 8))
        )

    reasons = {str(refused).partition(": ")[2] for refused in refusals}
    assert "too many questions wait for its answer." in reasons
    relay_to_aws.open()
    assert wait_for(lambda: store.get(PLAZA, stored), [0.0]) == KEY


@pytest.fixture
def relay_to_aws(aws: Vault) -> Iterator[Relay]:
    relay = Relay(aws.port)
    yield relay
    relay.close()


def store_of(name: str, port: int) -> tuple[SecretStore, str]:
    """Return a store that finds its vault at this port, and a reference that it could have made."""
    if name == "aws":
        return AwsStore("eu-west-1", endpoint_url=f"http://127.0.0.1:{port}"), f"valetpro-stripe/{'0' * 32}"
    if name == "gcp":
        store = GcpStore("valet", endpoint=f"127.0.0.1:{port}", transport="rest")
        return store, f"valetpro-stripe-{'0' * 32}/versions/1"
    return VaultStore(f"http://127.0.0.1:{port}", token=f"token-{ECHO}"), f"valetpro-stripe/{'0' * 32}"


def aws_says(kind: str, message: str = ECHO) -> str:
    return json.dumps({"__type": kind, "Message": message, "message": message})


def vault_says(*errors: str) -> str:
    return json.dumps({"errors": list(errors)})


def google_says(code: int, status: str, message: str = ECHO) -> str:
    return json.dumps({"error": {"code": code, "status": status, "message": message}})


#: Of these alone it is sure that they are about the vault, and not about one secret in it.
DOWN = {
    "it asks for fewer requests",
    "it did not answer in time",
    "it is sealed, or not ready",
    "Google's client says ServiceUnavailable",
}
HTML = f"<html>{ECHO}</html>"
#: store → what is answered → why the store is unavailable then.
UNAVAILABLE: dict[str, list[tuple[int, str, str]]] = {
    "aws": [
        (400, aws_says("AccessDeniedException"), "permission denied"),
        (400, aws_says("ExpiredTokenException"), "permission denied"),
        (403, aws_says("UnrecognizedClientException"), "permission denied"),
        (400, aws_says("ThrottlingException"), "it asks for fewer requests"),
        (429, aws_says("TooManyRequestsException"), "it asks for fewer requests"),
        (400, aws_says("DecryptionFailure"), "AWS says DecryptionFailure"),
        (400, aws_says("InvalidRequestException"), "AWS says InvalidRequestException"),
        (500, aws_says("InternalServiceError"), "AWS says InternalServiceError"),
        (400, aws_says(ECHO), "AWS gives no reason"),
        (404, HTML, "AWS says 404"),
        (503, HTML, "AWS says 503"),
    ],
    "gcp": [
        (401, google_says(401, "UNAUTHENTICATED"), "Google's libraries find no credentials that work"),
        (403, google_says(403, "PERMISSION_DENIED"), "permission denied"),
        (429, google_says(429, "RESOURCE_EXHAUSTED"), "it asks for fewer requests"),
        (400, google_says(400, "FAILED_PRECONDITION", "is in DISABLED state"), "Google's client says BadRequest"),
        (500, google_says(500, "INTERNAL"), "Google's client says InternalServerError"),
        (503, google_says(503, "UNAVAILABLE"), "Google's client says ServiceUnavailable"),
        (504, google_says(504, "DEADLINE_EXCEEDED"), "it did not answer in time"),
        (404, HTML, "Google's client says NotFound"),
    ],
    "vault": [
        (403, vault_says("permission denied", ECHO), "permission denied"),
        (429, vault_says(ECHO), "it asks for fewer requests"),
        (503, vault_says("Vault is sealed", ECHO), "it is sealed, or not ready"),
        (500, vault_says(ECHO), "hvac says InternalServerError"),
        (502, HTML, "hvac says BadGateway"),
        (404, HTML, "hvac says InvalidPath"),
        (404, vault_says("no handler for route", ECHO), "hvac says InvalidPath"),
        (200, HTML, "what it says is not a vault's answer"),
        (200, json.dumps({"data": ECHO}), "what it says is not a vault's answer"),
        (204, "", "what it says is not a vault's answer"),
    ],
}
CASES = [
    pytest.param(name, *case, id=f"{name}-{case[0]}-{number}")
    for name, cases in UNAVAILABLE.items()
    for number, case in enumerate(cases)
]


@pytest.mark.parametrize("name, status, body, reason", CASES)
def test_what_is_no_definite_answer_means_unavailable_and_never_absent(
    name: str, status: int, body: str, reason: str
) -> None:
    kind = "text/html" if body == HTML else "application/json"
    with answering(status, body, kind) as port:
        store, stored = store_of(name, port)
        refused = refusal(lambda: store.get(PLAZA, stored))
        check_unavailable(refused, name, reason)
        assert isinstance(refused, StoreDownError) is (reason in DOWN)


@pytest.mark.parametrize(
    "name, status, body",
    [
        ("aws", 400, aws_says("ResourceNotFoundException")),
        ("aws", 400, aws_says("InvalidRequestException", "it was marked for deletion")),
        ("gcp", 404, google_says(404, "NOT_FOUND")),
        ("gcp", 400, google_says(400, "FAILED_PRECONDITION", "Secret Version [x] is in DESTROYED state.")),
        ("vault", 404, vault_says()),
        ("vault", 404, json.dumps({"data": {"data": None, "metadata": {"deletion_time": "2026-11-01T00:00:00Z"}}})),
    ],
    ids="aws-unknown aws-deleted gcp-unknown gcp-destroyed vault-unknown vault-deleted".split(),
)
def test_a_definite_answer_means_absent(name: str, status: int, body: str) -> None:
    with answering(status, body) as port:
        store, stored = store_of(name, port)
        refused = refusal(lambda: store.get(PLAZA, stored))

    assert refused.code == "secret_absent"
    assert str(refused) == f"The secret store ({name}) has no such secret."
    assert places_of(ECHO, refused) == []


@pytest.mark.parametrize(
    "name, body",
    [
        ("aws", json.dumps({"Name": "x", "SecretString": ECHO})),
        ("aws", json.dumps({"Name": "x", "SecretBinary": "AAAA"})),
        ("vault", json.dumps({"data": {"data": {"packed": ECHO}, "metadata": {"version": 1}}})),
        ("vault", json.dumps({"data": {"data": {"other": ECHO}, "metadata": {"version": 1}}})),
        ("gcp", json.dumps({"name": "x", "payload": {"data": "//79"}})),
    ],
    ids="aws-text aws-bytes vault-text vault-field gcp-bytes".split(),
)
def test_what_somebody_else_put_there_is_unreadable_and_not_repeated(name: str, body: str) -> None:
    with answering(200, body) as port:
        store, stored = store_of(name, port)
        refused = refusal(lambda: store.get(PLAZA, stored))

    assert str(refused) == f"A secret in the secret store ({name}) cannot be read: it is not in our form."
    assert refused.code == "secret_unreadable"
    assert places_of(ECHO, refused) == []


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_a_failed_put_and_a_failed_delete_say_so(name: str) -> None:
    with answering(503, HTML, "text/html") as port:
        store, stored = store_of(name, port)
        for call in (lambda: store.put(PLAZA, KEY), lambda: store.delete(PLAZA, stored)):
            refused = refusal(call)
            assert refused.code == "secret_unavailable"
            assert places_of(ECHO, refused) == []


def test_what_a_vault_may_have_kept_without_saying_so_can_be_found_by_the_log(
    vault: Vault, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    store = vault.store_at(relay.port, connect_timeout=0.3, read_timeout=0.3)
    relay.silence()
    check_unavailable(refusal(lambda: store.put(PLAZA, KEY)), store.name, "it did not answer in time")

    (line,) = [record.getMessage() for record in caplog.records if "may be left" in record.getMessage()]
    (named,) = re.findall(r"valetpro-stripe[-/][0-9a-f]{32}\S*", line)
    assert line == f"a secret that nothing refers to may be left in {store.name} as {named}"
    assert refusal(lambda: vault.store().get(PLAZA, named)).code == "secret_absent"


def test_a_vault_that_redirects_does_not_get_our_token_sent_elsewhere() -> None:
    with answering(200, "{}") as elsewhere:
        there = {"Location": f"http://127.0.0.1:{elsewhere}/v1/secret"}
        with answering(307, "", **there) as port:
            store, stored = store_of("vault", port)
            for call in (
                lambda: store.get(PLAZA, stored),
                lambda: store.put(PLAZA, KEY),
                lambda: store.delete(PLAZA, stored),
            ):
                check_unavailable(refusal(call), "vault", "it sends us to another address")


@pytest.mark.parametrize(
    "status, reason",
    [
        ("PERMISSION_DENIED", "permission denied"),
        ("UNAUTHENTICATED", "permission denied"),
        ("RESOURCE_EXHAUSTED", "it asks for fewer requests"),
        ("DEADLINE_EXCEEDED", "it did not answer in time"),
        ("INTERNAL", "Google's client says InternalServerError"),
        ("UNAVAILABLE", "Google's client says ServiceUnavailable"),
        ("FAILED_PRECONDITION", "Google's client says FailedPrecondition"),
    ],
)
def test_google_over_grpc_says_why(gcp_grpc: Vault, secret_manager: SecretManager, status: str, reason: str) -> None:
    store = gcp_grpc.store()
    stored = store.put(PLAZA, KEY)

    secret_manager.fault = status
    try:
        refused = refusal(lambda: store.get(PLAZA, stored))
    finally:
        secret_manager.fault = ""

    check_unavailable(refused, "gcp", reason)
    assert store.get(PLAZA, stored) == KEY


def test_a_version_that_was_destroyed_at_google_is_absent(gcp_rest: Vault, drongo: int) -> None:
    store = gcp_rest.store()
    stored = store.put(PLAZA, KEY)
    destroy = f"http://127.0.0.1:{drongo}/v1/projects/valet/secrets/{stored}:destroy"
    assert requests.post(destroy, json={}, timeout=seconds(5)).ok

    assert refusal(lambda: store.get(PLAZA, stored)).code == "secret_absent"


class TestARealVault:
    def test_sealed_it_is_unavailable_and_unsealed_it_works_without_a_restart(self) -> None:
        now = [1000.0]
        with running_openbao() as vault:
            store = RememberingStore(VaultStore(vault.address, token=vault.token), clock=lambda: now[0])
            stored = store.put(PLAZA, KEY)

            vault.seal()
            refused = refusal(lambda: store.get(PLAZA, stored))
            vault.unseal()
            now[0] += PAUSE

            check_unavailable(refused, "vault", "it is sealed, or not ready")
            assert wait_for(lambda: store.get(PLAZA, stored), now) == KEY

    def test_a_login_that_expired_is_renewed_in_passing(self, openbao: OpenBao, vault_role: Vault) -> None:
        store = vault_role.store()
        stored = store.put(PLAZA, KEY)

        openbao.expire_logins()

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(lambda _: store.get(PLAZA, stored), range(8))) == [KEY] * 8

    def test_a_role_that_was_withdrawn_is_unavailable(self, openbao: OpenBao) -> None:
        store = VaultStore(openbao.address, **openbao.make_role("withdrawn", OUR_POLICY))
        stored = store.put(PLAZA, KEY)

        openbao.ask("DELETE", "auth/approle/role/withdrawn")
        openbao.expire_logins()

        check_unavailable(refusal(lambda: store.get(PLAZA, stored)), "vault", "it refuses the role_id or the secret_id")

    def test_a_role_without_the_right_to_read_is_unavailable(self, openbao: OpenBao) -> None:
        policy = 'path "secret/data/valetpro-stripe/*" { capabilities = ["create"] }'
        store = VaultStore(openbao.address, **openbao.make_role("writer", policy))
        stored = store.put(PLAZA, KEY)

        check_unavailable(refusal(lambda: store.get(PLAZA, stored)), "vault", "permission denied")

    def test_a_wrong_token_is_unavailable_and_not_repeated(self, openbao: OpenBao) -> None:
        store = VaultStore(openbao.address, token="wrong-canary-token")

        refused = refusal(lambda: store.put(PLAZA, KEY))

        check_unavailable(refused, "vault", "permission denied")
        assert "wrong-canary-token" not in f"{refused!r} {refused.hint}"

    def test_a_mount_that_is_not_there_does_not_mean_that_the_secret_is_absent(self, openbao: OpenBao) -> None:
        store = VaultStore(openbao.address, token=openbao.token, mount="gone")
        refused = refusal(lambda: store.get(PLAZA, f"valetpro-stripe/{'0' * 32}"))
        assert refused.code == "secret_unavailable"

    def test_a_deleted_version_is_absent(self, openbao: OpenBao, vault_token: Vault) -> None:
        store = vault_token.store()
        stored = store.put(PLAZA, KEY)

        openbao.ask("DELETE", f"secret/data/{stored}")

        assert refusal(lambda: store.get(PLAZA, stored)).code == "secret_absent"

    def test_what_somebody_writes_over_a_secret_is_not_taken_for_it(self, openbao: OpenBao, vault_token: Vault) -> None:
        store = vault_token.store()
        stored, planted = store.put(PLAZA, KEY), {"packed": "planted"}

        openbao.ask("POST", f"secret/data/{stored}", data=planted)

        assert store.get(PLAZA, stored) == KEY

    def test_the_environment_of_the_process_is_not_used(
        self, vault_token: Vault, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else")
        (tmp_path / "netrc").chmod(0o600)
        for name, value in {
            "NETRC": str(tmp_path / "netrc"),
            "HTTP_PROXY": "http://127.0.0.1:9",
            "http_proxy": "http://127.0.0.1:9",
            "VAULT_ADDR": "http://127.0.0.1:9",
            "VAULT_TOKEN": "another",
            "VAULT_NAMESPACE": "another",
        }.items():
            monkeypatch.setenv(name, value)
        store = vault_token.store()
        assert store.get(PLAZA, store.put(PLAZA, KEY)) == KEY


class BrokenStore(HostsOwn):
    """A host's store whose vault is down, with an error that holds all that it should not."""

    answer: object = None

    def get(self, label: Any, stored: str) -> Any:
        if self.answer is None:
            raise KeyError(ECHO)
        return self.answer


class TestAHostsOwnStore:
    def test_whatever_it_raises_means_unavailable(self) -> None:
        store = CustomStore("in_memory", BrokenStore())
        check_unavailable(refusal(lambda: store.get(PLAZA, "x")), "in_memory", "it raised KeyError")

    def test_what_is_no_secret_is_not_used_for_one(self) -> None:
        broken = BrokenStore()
        broken.answer = "sk_test_plain"
        refused = refusal(lambda: CustomStore("in_memory", broken).get(PLAZA, "x"))
        check_unavailable(refused, "in_memory", "it answered with no Secret")

    def test_it_says_itself_that_a_secret_is_absent(self) -> None:
        refused = refusal(lambda: CustomStore("in_memory", HostsOwn()).get(PLAZA, "entry-9"))
        assert refused.code == "secret_absent"
        assert re.search("has no such secret", str(refused))
