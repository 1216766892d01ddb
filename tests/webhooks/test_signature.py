"""Only what Stripe signed, with a secret of this very endpoint, a moment ago, is an event at all."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_valetpro_stripe.config import read_config
from flask_valetpro_stripe.testing import sign
from flask_valetpro_stripe.webhooks.verify import Endpoint, RefusedError, platform_endpoints, verify
from tests.clocks import Clock

from .stage import REFUSED, Stage, answer, make_stage, ping

BODY = b'{"object": "event"}'
OLD, NEW, OTHER = ("whsec_" + letter * 32 for letter in "abc")


def v1(secret: str, timestamp: int, body: bytes = BODY) -> str:
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


@pytest.fixture
def now() -> int:
    """The present, standing still."""
    return 1_800_000_000


@pytest.fixture
def endpoints() -> tuple[Endpoint, ...]:
    """The platform's endpoints; the connect scope in test mode has a new secret and an old one."""
    settings = {
        "VALETPRO_STRIPE_ENCRYPTION_KEYS": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
        "VALETPRO_STRIPE_TEST_CONNECT_WEBHOOK_SECRETS": [NEW, OLD],
        "VALETPRO_STRIPE_LIVE_WEBHOOK_SECRETS": [OTHER],
    }
    return platform_endpoints(read_config(settings, relaxed=True))


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_each_secret_of_a_scope_is_accepted(now: int, endpoints: tuple[Endpoint, ...], secret: str) -> None:
    found = verify(BODY, f"t={now},v1={v1(secret, now)}", endpoints, now=now)

    assert found.scope == "platform:test:connect"


def test_the_secret_tells_scope_and_mode(now: int, endpoints: tuple[Endpoint, ...]) -> None:
    found = verify(BODY, f"t={now},v1={v1(OTHER, now)}", endpoints, now=now)

    assert (found.mode, found.connect) == ("live", False)


@pytest.mark.parametrize("place", range(4))
def test_while_a_secret_is_rolled_any_of_the_signatures_may_be_ours(
    now: int, endpoints: tuple[Endpoint, ...], place: int
) -> None:
    signatures = [f"v1={'0' * 64}", f"v0={v1(OTHER, now)}", f"v0={'1' * 64}"]
    signatures.insert(place, f"v1={v1(OLD, now)}")

    found = verify(BODY, f"t={now}," + ",".join(signatures), endpoints, now=now)

    assert found.scope == "platform:test:connect"


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_a_signature_counts_for_five_minutes_both_ways(
    now: int, endpoints: tuple[Endpoint, ...], seconds: int
) -> None:
    then = now + seconds

    assert verify(BODY, f"t={then},v1={v1(NEW, then)}", endpoints, now=now)


@pytest.mark.parametrize("seconds", [-301, 301, -86_400, 86_400, 10**11])
def test_a_signature_from_the_past_or_the_future_is_refused(
    now: int, endpoints: tuple[Endpoint, ...], seconds: int
) -> None:
    then = now + seconds

    with pytest.raises(RefusedError):
        verify(BODY, f"t={then},v1={v1(NEW, then)}", endpoints, now=now)


def malformed() -> Iterator[tuple[str, str | None]]:
    """Yield a name and a header that would be genuine but for one thing; ``{t}`` and ``{v1}`` are the genuine parts."""
    yield "none", None
    yield "empty", ""
    yield "a word", "whatever"
    yield "no timestamp", "v1={v1}"
    yield "no signature", "t={t}"
    yield "an empty signature", "t={t},v1="
    yield "only v0", "t={t},v0={v1}"
    yield "upper case", "t={t},v1={V1}"
    yield "a short signature", "t={t},v1={v1:.63}"
    yield "one sign too many", "t={t},v1={v1}0"
    yield "a space", "t={t}, v1={v1}"
    yield "two timestamps", "t={t},t={t},v1={v1}"
    yield "a timestamp with sign", "t=+{t},v1={v1}"
    yield "a negative timestamp", "t=-{t},v1={v1}"
    yield "a fraction", "t={t}.0,v1={v1}"
    yield "an underscore", "t={t:_},v1={v1}"
    yield "an empty timestamp", "t=,v1={v1}"
    yield "a word as timestamp", "t=now,v1={v1}"
    yield "a huge timestamp", "t=" + "9" * 3000 + ",v1={v1}"
    yield "another script's digits", "t=١٨٠٠٠٠٠٠٠٠,v1={v1}"
    yield "a signature not in ASCII", "t={t},v1=é"
    yield "ASCII and more", "t={t},v1={v1},v1=é"
    yield "a header of 5 kB", "t={t},v1={v1},x=" + "y" * 5000
    yield "eleven signatures", "t={t}" + ",v1={v1}" * 11
    yield "a hundred thousand signatures", "t={t}" + ",v1={v1}" * 100_000
    yield "only commas", "," * 4000
    yield "semicolons", "t={t};v1={v1}"


def written(header: str | None, now: int) -> str | None:
    good = v1(NEW, now)
    return None if header is None else header.format(t=now, v1=good, V1=good.upper())


@pytest.mark.parametrize("header", [pytest.param(header, id=name) for name, header in malformed()])
def test_a_malformed_header_is_refused(now: int, endpoints: tuple[Endpoint, ...], header: str | None) -> None:
    with pytest.raises(RefusedError):
        verify(BODY, written(header, now), endpoints, now=now)


def test_ten_signatures_are_still_read(now: int, endpoints: tuple[Endpoint, ...]) -> None:
    header = f"t={now}" + f",v1={'0' * 64}" * 9 + f",v1={v1(NEW, now)}"

    assert verify(BODY, header, endpoints, now=now)


def test_a_scope_without_secret_accepts_nothing(now: int) -> None:
    nothing = platform_endpoints(
        read_config({"VALETPRO_STRIPE_ENCRYPTION_KEYS": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]}, relaxed=True)
    )
    for secret in ("", "None", "whsec_", NEW):
        with pytest.raises(RefusedError):
            verify(BODY, f"t={now},v1={v1(secret, now)}", nothing, now=now)


def test_the_signature_is_over_the_raw_bytes(light_stage: Stage) -> None:
    event = ping()
    spaced = json.dumps(event, indent=4, ensure_ascii=False).encode() + b"\n"
    secret = light_stage.secret(connect=True)
    at = int(time.time())

    assert light_stage.post(spaced, f"t={at},v1={v1(secret, at, spaced)}").status_code == 200
    assert answer(light_stage.post(json.dumps(event).encode(), f"t={at},v1={v1(secret, at, spaced)}")) == REFUSED


def test_one_changed_byte_is_enough_to_be_refused(light_stage: Stage) -> None:
    body = json.dumps(ping()).encode()
    at = int(time.time())
    signature = f"t={at},v1={v1(light_stage.secret(connect=True), at, body)}"

    for changed in (body[:-1], body + b" ", body.replace(b"cus_1", b"cus_2"), b""):
        assert answer(light_stage.post(changed, signature)) == REFUSED
    assert light_stage.rows() == []


def test_every_malformed_header_gets_the_same_answer_and_no_sql(light_stage: Stage) -> None:
    body = json.dumps(ping()).encode()
    secret = light_stage.secret(connect=True)
    with light_stage.statements() as statements:
        for name, header in malformed():
            at = int(time.time())
            good = v1(secret, at, body)
            # WSGI carries headers as Latin-1: what is not of it never arrives.
            sent = (header or "").format(t=at, v1=good, V1=good.upper()).encode("latin-1", "replace").decode("latin-1")
            assert answer(light_stage.post(body, None if header is None else sent)) == REFUSED, name

    assert statements == []


def test_a_forged_delivery_costs_no_sql_and_leaves_no_trace(light_stage: Stage) -> None:
    event = ping()
    body = json.dumps(event).encode()
    at = int(time.time())
    forgeries = [
        (body, f"t={at},v1={v1('whsec_' + 'z' * 32, at, body)}"),
        (body, f"t={at - 301},v1={v1(light_stage.secret(connect=True), at - 301, body)}"),
        (body, f"t={at + 302},v1={v1(light_stage.secret(connect=True), at + 302, body)}"),
        (b"\xff\xfe", f"t={at},v1={'0' * 64}"),
        (b"", None),
    ]
    with light_stage.statements() as statements:
        answers = {answer(light_stage.post(body, signature)) for body, signature in forgeries}

    assert answers == {REFUSED}
    assert statements == []
    assert light_stage.rows() == []


def test_an_unknown_endpoint_token_is_refused_whoever_signed(light_stage: Stage) -> None:
    body = json.dumps(ping()).encode()
    at = int(time.time())
    signature = f"t={at},v1={v1(light_stage.secret(connect=True), at, body)}"
    with light_stage.statements() as statements:
        for token in ("nobody", "0", "%00", "%ff", "platform:test:connect", "x" * 2000):
            assert answer(light_stage.post(body, signature, url=f"/api/webhooks/stripe/{token}")) == REFUSED

    assert statements == []


def test_the_webhook_takes_nothing_but_post(light_stage: Stage) -> None:
    client = light_stage.host.app.test_client()
    for path in ("/api/webhooks/stripe", "/api/webhooks/stripe/token"):
        for method in ("get", "head", "put", "patch", "delete"):
            assert getattr(client, method)(path).status_code == 405


def test_a_rolled_secret_works_next_to_the_new_one_over_http(sqlite_url: str) -> None:
    with make_stage(sqlite_url, TEST_CONNECT_WEBHOOK_SECRETS=[NEW, OLD]) as stage:
        at = int(time.time())
        for number, secrets in enumerate([(NEW,), (OLD,), (OTHER, OLD), (NEW, OLD)]):
            body = json.dumps(ping(id=f"evt_{number}")).encode()
            header = f"t={at},v0={'a' * 64}," + ",".join(f"v1={v1(secret, at, body)}" for secret in secrets)

            assert answer(stage.post(body, header)) == (200, "Taken.")


def test_signatures_that_do_not_fit_are_warned_of_now_and_then_and_each_app_speaks_for_itself(
    light_stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = light_stage.host.state.clock = Clock()
    body = json.dumps(ping()).encode()

    def warned(*at: Stage) -> int:
        caplog.clear()
        for each in at:
            assert answer(each.post(body, sign(body, "whsec_of_another_endpoint"))) == REFUSED
            assert answer(each.post(body, "no signature at all")) == REFUSED
        return sum("no signing secret of this app fits" in record.message for record in caplog.records)

    with make_stage(f"sqlite:///{tmp_path / 'other.sqlite3'}") as other:
        assert warned(light_stage, light_stage, light_stage) == 1
        assert warned(other, other) == 1
    clock.move(59)
    assert warned(light_stage) == 0
    clock.move(2)
    assert warned(light_stage, light_stage) == 1
    assert "whsec" not in caplog.text
