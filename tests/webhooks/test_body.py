"""A genuine signature is not enough: the body must be a JSON event object of bearable size."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from flask_valetpro_stripe.testing import sign
from flask_valetpro_stripe.webhooks.verify import RefusedError, parse_event
from tests.webhooks.bad_bodies import nested, not_events

from .stage import REFUSED, URL, Stage, answer, make_stage, ping

TOO_LARGE = (413, "The body is too large.")


NOT_EVENTS = [pytest.param(body, id=name) for name, body in not_events()]


@pytest.mark.parametrize("body", NOT_EVENTS)
def test_what_is_no_event_is_not_read(body: bytes) -> None:
    with pytest.raises(RefusedError):
        parse_event(body)


def test_signed_bodies_that_are_no_events_get_the_same_answer_and_no_sql(light_stage: Stage) -> None:
    secret = light_stage.secret(connect=True)
    with light_stage.statements() as statements:
        for name, body in not_events():
            assert answer(light_stage.post(body, sign(body, secret))) == REFUSED, name

    assert statements == []
    assert light_stage.rows() == []


def test_unknown_fields_types_and_versions_are_welcome(light_stage: Stage) -> None:
    event = ping("invented.next_year", api_version="2099-01-01.zebra", context="acct_plaza", reason={"type": "request"})

    assert light_stage.deliver(event).status_code == 200
    assert light_stage.row().payload == event


def test_a_hundred_levels_are_read(light_stage: Stage) -> None:
    event = ping(deep=nested(98), wide=[{"flat": []}] * 200)

    assert light_stage.deliver(event).status_code == 200
    assert light_stage.row().payload == event


def test_an_event_is_kept_as_it_was_signed(light_stage: Stage) -> None:
    event = ping()
    event["data"]["object"]["name"] = "Zoë ☂ 𝄞"
    body = json.dumps(event, ensure_ascii=False, indent=1).encode()

    assert light_stage.post(body, sign(body, light_stage.secret(connect=True))).status_code == 200
    assert light_stage.row().body.encode() == body
    assert light_stage.row().object == {"id": "cus_1", "object": "customer", "name": "Zoë ☂ 𝄞"}


def test_the_content_type_does_not_change_the_bytes(light_stage: Stage) -> None:
    for content_type in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        body = json.dumps(ping()).encode()
        signature = sign(body, light_stage.secret(connect=True))

        assert light_stage.post(body, signature, headers={"Content-Type": content_type}).status_code == 200


def padded(size: int) -> bytes:
    body = json.dumps(ping()).encode()
    return body + b" " * (size - len(body))


@pytest.mark.parametrize("over, expected", [(0, (200, "Taken.")), (1, TOO_LARGE), (10_000_000, TOO_LARGE)])
def test_the_size_is_capped_by_its_announced_length(
    sqlite_url: str, over: int, expected: tuple[int, str]
) -> None:
    with make_stage(sqlite_url, MAX_WEBHOOK_BYTES=2000) as stage, stage.statements() as statements:
        body = padded(2000 + over)

        assert answer(stage.post(body, sign(body, stage.secret(connect=True)))) == expected
        assert bool(statements) == (over == 0)


class Endless(io.RawIOBase):
    """A body that never ends, and tells how much of it was read."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.taken += len(buffer)
        buffer[:] = b" " * len(buffer)
        return len(buffer)


def chunked(stage: Stage, stream: Any, signature: str) -> Any:
    """Post a body as a server hands over a chunked one: without a length, ended by the stream itself."""
    return stage.host.app.test_client().post(
        URL,
        headers={"Stripe-Signature": signature, "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input": stream, "wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )


def test_the_size_is_capped_without_an_announced_length(sqlite_url: str) -> None:
    with make_stage(sqlite_url, MAX_WEBHOOK_BYTES=2000) as stage:
        for size, expected in [(2000, (200, "Taken.")), (2001, TOO_LARGE)]:
            body = padded(size)
            response = chunked(stage, io.BytesIO(body), sign(body, stage.secret(connect=True)))
            assert answer(response) == expected


def test_an_endless_body_is_not_read_to_its_end(light_stage: Stage) -> None:
    stream = Endless()
    with light_stage.statements() as statements:
        response = chunked(light_stage, stream, "t=1,v1=a")

    assert answer(response) == TOO_LARGE
    assert stream.taken < 1_000_000
    assert statements == []


def test_the_cap_is_for_the_webhook_only(light_stage: Stage) -> None:
    light_stage.host.app.config["MAX_CONTENT_LENGTH"] = 10
    body = json.dumps(ping()).encode()

    assert light_stage.post(body, sign(body, light_stage.secret(connect=True))).status_code == 200


def test_a_body_that_breaks_off_is_refused_like_any_other(light_stage: Stage) -> None:
    body = json.dumps(ping()).encode()
    response = light_stage.host.app.test_client().post(
        URL,
        headers={"Stripe-Signature": sign(body, light_stage.secret(connect=True))},
        environ_overrides={"wsgi.input": io.BytesIO(body[:20]), "CONTENT_LENGTH": str(len(body))},
    )

    assert answer(response) == REFUSED


@pytest.mark.parametrize("order", ["before", "after"])
def test_csrf_protection_of_the_host_does_not_stop_stripe(sqlite_url: str, order: str) -> None:
    with make_stage(sqlite_url) as stage:
        app = stage.host.add_app(sqlite_url, csrf=order)
        body = json.dumps(ping()).encode()
        response = app.test_client().post(
            URL, data=body, headers={"Stripe-Signature": sign(body, stage.secret(connect=True))}
        )

    assert response.status_code == 200
