"""Where a key must never turn up: in words, logs, frames, pickles, tables and histories."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import Mode, custody
from flask_valetpro_stripe.onboarding.key_check import Checked, Pasted, check_key
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host
from tests.raw_keys.owner import ENDPOINTS, PASTED, Owner, Shelf
from tests.secrets.leaks import TESTS


def told_by(error: BaseException) -> str:
    """Return all that a collector of errors would send: the words, and the locals of every frame of ours."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames: list[str] = []
    while told is not None:
        frames += [f"{told} {error!r} {vars(error)}"]
        frames += [f"{frame.name} {frame.locals}" for frame in told.stack if not frame.filename.startswith(TESTS)]
        told = told.__cause__ or told.__context__  # type: ignore[assignment]
    return "\n".join(frames)


def raised_by(act: Callable[[], object]) -> BaseException:
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("Nothing was raised.")


def live_key_in_the_test_form(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.account.live_secret_key
    return key, raised_by(lambda: plaza.save(key))


def key_in_the_publishable_field(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.account.test_secret_key
    return key, raised_by(lambda: plaza.save(plaza.new_key(), publishable_key=key))


def key_in_the_webhook_field(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.account.test_secret_key
    return key, raised_by(lambda: plaza.save(plaza.new_key(), webhook_secret=key))


def webhook_secret_in_the_key_field(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    return PASTED, raised_by(lambda: plaza.save(PASTED))


def key_with_a_line_end(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.account.test_secret_key
    return key, raised_by(lambda: plaza.save(f"{key}\n"))


def key_that_expired(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.account.test_secret_key
    plaza.simulator.expire_key(key)
    return key, raised_by(lambda: plaza.save(key))


def key_that_lacks_a_permission(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.new_key("prices")
    return key, raised_by(lambda: plaza.save(key))


def key_that_gets_no_answer(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.account.test_secret_key
    plaza.simulator.faults.add("GET", "/v1/balance", "drop_after", times=3)
    return key, raised_by(lambda: plaza.save(key))


def key_of_another_account(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    plaza.connect()
    key = plaza.simulator.create_account("Another").test_secret_key
    return key, raised_by(lambda: plaza.save(key))


def key_of_another_tenants_account(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    seaside.connect()
    key = seaside.new_key()
    return key, raised_by(lambda: plaza.save(key))


def two_keys_of_two_accounts(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.account.test_secret_key
    return key, raised_by(lambda: plaza.save(key, publishable_key=seaside.account.test_publishable_key))


def key_that_may_do_less(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    plaza.connect()
    key = plaza.new_key("tax")
    return key, raised_by(lambda: plaza.save(key))


def key_without_its_endpoint(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.new_key("webhook_endpoints")
    return key, raised_by(lambda: plaza.save(key))


def earlier_key_that_expired(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.connect()
    plaza.save(plaza.new_key())
    plaza.simulator.expire_key(key)
    return key, raised_by(plaza.roll_back)


def dead_key_at_the_webhook_endpoint(plaza: Owner, seaside: Owner) -> tuple[str, BaseException]:
    key = plaza.connect()
    plaza.simulator.faults.add("GET", ENDPOINTS, "server_error", times=3)
    return key, raised_by(plaza.disconnect)


MISHAPS = [
    live_key_in_the_test_form,
    key_in_the_publishable_field,
    key_in_the_webhook_field,
    webhook_secret_in_the_key_field,
    key_with_a_line_end,
    key_that_expired,
    key_that_lacks_a_permission,
    key_that_gets_no_answer,
    key_of_another_account,
    key_of_another_tenants_account,
    two_keys_of_two_accounts,
    key_that_may_do_less,
    key_without_its_endpoint,
    earlier_key_that_expired,
    dead_key_at_the_webhook_endpoint,
]


@pytest.mark.parametrize("mishap", MISHAPS)
def test_no_error_and_no_log_holds_a_key(
    plaza: Owner, seaside: Owner, caplog: pytest.LogCaptureFixture, mishap: Callable[..., tuple[str, BaseException]]
) -> None:
    caplog.set_level(logging.DEBUG)
    key, error = mishap(plaza, seaside)

    held = told_by(error)
    assert len(held) > 20
    assert [line[:60] for line in held.splitlines() if key in line] == []
    assert key not in caplog.text


def test_secret_that_stripe_just_made_is_in_no_frame_when_it_cannot_be_saved(
    plaza: Owner, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with plaza.host.app.app_context():
        engine = plaza.host.db.engine

    def fail(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO stripe_secret") and len(plaza.secrets()) == 1:
            raise sa.exc.OperationalError(statement, None, Exception("the disk is full"))

    sa.event.listen(engine, "before_cursor_execute", fail)
    error = raised_by(plaza.connect)
    sa.event.remove(engine, "before_cursor_execute", fail)

    made = next(each.response["secret"] for each in simulator.requests if "secret" in each.response)
    held = told_by(error)
    assert "the disk is full" in held
    assert [line[:60] for line in held.splitlines() if made in line or plaza.account.test_secret_key in line] == []
    assert made not in caplog.text


def test_store_that_breaks_shows_no_key(shelf_host: Host, shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    plaza = Owner.of(shelf_host, "Plaza")

    def broken(step: str) -> None:
        raise RuntimeError

    shelf.meanwhile = broken
    error = raised_by(plaza.connect)

    assert plaza.account.test_secret_key not in told_by(error)
    assert plaza.account.test_secret_key not in caplog.text


@pytest.mark.both
def test_whole_life_of_a_key_leaves_it_in_no_log_and_no_table(
    plaza: Owner, seaside: Owner, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hidden = [plaza.connect(), seaside.connect(), plaza.new_key(), PASTED]
    plaza.save(hidden[2])
    plaza.save(webhook_secret=PASTED)
    hidden += [each.response["secret"] for each in simulator.requests if "secret" in each.response]
    plaza.roll_back()
    plaza.make_payment()
    plaza.disconnect()

    with plaza.host.app.app_context():
        tables = plaza.host.db.metadata.sorted_tables
        held = "".join(repr(plaza.host.db.session.execute(sa.select(table)).all()) for table in tables)
    assert plaza.account.id in held
    assert len(hidden) == 6
    assert [word[:8] for word in hidden if word in held or word in caplog.text] == []


def test_what_carries_a_key_is_not_printed_and_never_pickled(plaza: Owner) -> None:
    key = plaza.connect()
    with plaza.acting() as (state, _):
        connection = plaza.host.db.session.get_one(plaza.host.valetpro.models.Connection, plaza.connection.id)
        carriers: list[Any] = [
            Pasted(key=Secret(key), webhook_secret=Secret(PASTED)),
            check_key(state, Secret(key), Mode.test),
            state.tenant_endpoints.find(state, connection.endpoint_token),
        ]
        entrusted = custody.entrust(state, connection, custody.API_KEY, Secret(key))
        custody.abandon(state, entrusted)

    assert isinstance(carriers[1], Checked)
    for carrier in carriers:
        assert key not in f"{carrier!r} {carrier} {vars(carrier)}"
        with pytest.raises(TypeError, match="A Secret is never pickled or copied"):
            pickle.dumps(carrier)
    assert key not in f"{entrusted!r} {vars(entrusted)}"


def test_person_sees_the_last_four_characters_only(plaza: Owner) -> None:
    key = plaza.connect()

    assert [row.masked for row in plaza.secrets()] == [f"sk_test_…{key[-4:]}"]
    (webhook,) = plaza.secrets(custody.WEBHOOK_SECRET)
    assert webhook.masked == f"whsec_…{plaza.in_use(custody.WEBHOOK_SECRET)[-4:]}"


def test_fingerprint_is_another_in_another_app(plaza: Owner, host: Host, tmp_path: Any) -> None:
    other = host.add_app(f"sqlite:///{tmp_path / 'other.sqlite3'}", config={"SECRET_KEY": "another app's own key"})
    key = Secret(plaza.account.test_secret_key)

    assert custody.fingerprint(host.state, key) != custody.fingerprint(other.extensions["valetpro_stripe"], key)
