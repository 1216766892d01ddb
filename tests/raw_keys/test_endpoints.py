"""The webhook endpoint in a hotel's own account: one, ours to touch, and none left over."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import endpoints, errors, neutralize
from flask_valetpro_stripe.custody import WEBHOOK_SECRET
from flask_valetpro_stripe.handlers import HANDLERS
from flask_valetpro_stripe.testing import Simulator
from tests.connections.admin import change
from tests.hosts import Host, make_host
from tests.raw_keys.dying import Die, by_commit, by_commit_done, by_request_after, by_request_before, by_store
from tests.raw_keys.owner import ENDPOINTS, PASTED, Crash, Owner, Shelf, asked, at_once, is_sound, ping, put_transport

ADDRESS = re.compile(r"http://app\.test/api/webhooks/stripe/[A-Za-z0-9_-]{43}")
NO_ENDPOINT = "The key is saved. But without a webhook endpoint no payment would turn paid: "


def ensure(owner: Owner) -> None:
    with owner.acting() as (state, _):
        own = owner.host.db.session.get_one(owner.host.valetpro.models.Connection, owner.connection.id)
        endpoints.ensure(state, own, actor="the admin")


def test_endpoint_is_asked_for_in_these_words(plaza: Owner, simulator: Simulator) -> None:
    plaza.connect()
    (made,) = asked(simulator, "POST")

    assert made.api_key == plaza.account.test_secret_key
    assert made.params == {
        "url": f"http://app.test{plaza.path()}",
        "enabled_events": sorted(name for name in HANDLERS if not name.startswith(("account.application.", "v2."))),
        "api_version": plaza.host.state.config.stripe_version,
        "description": "Made by flask-valetpro-stripe. Disconnecting there removes it.",
        "metadata": {
            "valetpro_app": "http://app.test",
            "valetpro_tenant": str(plaza.tenant.id),
            "valetpro_connection": str(plaza.connection.id),
            "valetpro_address": hashlib.sha256(plaza.connection.endpoint_token.encode()).hexdigest()[:16],
        },
    }
    assert ADDRESS.fullmatch(made.params["url"])
    assert is_sound(plaza)


def test_address_is_the_configured_one_whatever_host_the_admin_used(plaza: Owner) -> None:
    headers = {"X-Forwarded-Host": "evil.example"}
    with plaza.host.app.test_request_context(base_url="http://evil.example", headers=headers):
        plaza.connect()

    assert plaza.endpoints()[0]["url"].startswith("http://app.test/")


def test_two_hotels_have_two_addresses(plaza: Owner, seaside: Owner) -> None:
    plaza.connect()
    seaside.connect()

    assert plaza.path() != seaside.path()
    assert is_sound(plaza)
    assert is_sound(seaside)


@pytest.mark.parametrize(
    ("types", "enabled"),
    [(["invoice.paid"], True), (["*"], ["*"]), (["*", "invoice.paid"], ["*"]), (["v2.core.account.closed"], False)],
)
def test_hosts_own_handlers_are_heard_too(
    database_url: str, simulator: Simulator, types: list[str], enabled: bool | list[str]
) -> None:
    with make_host(database_url, simulator=simulator) as host:
        for event_type in types:
            host.valetpro.on(event_type)(lambda event: None)
        plaza = Owner.of(host, "Plaza")
        plaza.connect()
        found = plaza.endpoints()[0]["enabled_events"]

    assert found == enabled if isinstance(enabled, list) else (types[0] in found) is enabled


def test_handler_that_came_later_is_heard_once_the_keys_are_saved_again(plaza: Owner) -> None:
    plaza.connect()
    plaza.host.valetpro.on("invoice.paid")(lambda event: None)
    plaza.connect()

    assert "invoice.paid" in plaza.endpoints()[0]["enabled_events"]
    assert is_sound(plaza)


def test_merchants_own_endpoints_are_never_touched(plaza: Owner) -> None:
    similar = f"http://app.test/api/webhooks/stripe/{'a' * 43}"
    others = [
        plaza.add_endpoint(url=similar),
        plaza.add_endpoint(url="http://app.test/api/webhooks/stripe", metadata={"valetpro_connection": "1"}),
        plaza.add_endpoint(metadata={"valetpro_app": "http://app.test", "valetpro_tenant": str(plaza.tenant.id)}),
        plaza.add_endpoint(
            metadata={
                "valetpro_app": "http://another.test",
                "valetpro_tenant": str(plaza.tenant.id),
                "valetpro_connection": "1",
            }
        ),
        plaza.add_endpoint(
            metadata={"valetpro_app": "http://app.test", "valetpro_tenant": "999", "valetpro_connection": "1"}
        ),
    ]
    plaza.connect()
    plaza.stripe().v1.webhook_endpoints.delete(plaza.connection.endpoint_id)
    plaza.save(plaza.new_key())
    assert [each["id"] for each in plaza.endpoints()][:-1] == others

    plaza.disconnect()
    assert [each["id"] for each in plaza.endpoints()] == others


def test_left_over_is_found_behind_many_of_the_merchants(database_url: str) -> None:
    simulator = Simulator(most_webhook_endpoints=500)
    with make_host(database_url, simulator=simulator) as host:
        plaza = Owner.of(host, "Plaza")
        simulator.faults.add("POST", ENDPOINTS, "drop_after", times=3)
        plaza.refused(plaza.account.test_secret_key)
        others = [plaza.add_endpoint(url=f"https://shop.example/{number}") for number in range(130)]
        plaza.connect()

        assert [each["id"] for each in plaza.endpoints()] == [*others, plaza.connection.endpoint_id]
        assert plaza.connection.status == "CONNECTED"


def test_full_account_makes_room_with_what_a_crash_left_over(plaza: Owner, simulator: Simulator) -> None:
    simulator.faults.add("POST", ENDPOINTS, "drop_after", times=3)
    plaza.refused(plaza.account.test_secret_key)
    others = [plaza.add_endpoint() for _ in range(15)]
    plaza.connect()

    assert [each["id"] for each in plaza.endpoints()] == [*others, plaza.connection.endpoint_id]


def test_account_full_of_the_merchants_own_waits_for_a_secret(plaza: Owner, seaside: Owner) -> None:
    others = [plaza.add_endpoint() for _ in range(16)]
    error = plaza.refused(plaza.account.test_secret_key)

    assert (error.code, str(error)) == (
        "no_endpoint",
        f"{NO_ENDPOINT}Making the webhook endpoint was refused by Stripe: You have reached the maximum of 16 test "
        "webhook endpoints.",
    )
    assert [each["id"] for each in plaza.endpoints()] == others
    assert plaza.connection.status == "PENDING"
    seaside.connect()


def test_full_account_gives_up_the_one_in_use_to_make_it_anew(plaza: Owner) -> None:
    plaza.connect()
    for _ in range(15):
        plaza.add_endpoint()
    before = plaza.connection.endpoint_id
    with plaza.acting() as (state, _):
        own = plaza.host.db.session.get_one(plaza.host.valetpro.models.Connection, plaza.connection.id)
        endpoints.remake(state, own)

    found = [each["id"] for each in plaza.endpoints()]
    assert before not in found
    assert found[-1] == plaza.connection.endpoint_id
    assert len(found) == 16


def move(owner: Owner) -> bool:
    """Let the hotel's connection act for the app's present address; return whether that could be done now."""
    with owner.acting() as (state, _):
        (own,) = [each for each in neutralize.find_moved(state) if each.tenant_id == owner.tenant.id]
        try:
            neutralize.move(state, own)
        except errors.ValetProStripeError:
            state.session.rollback()
            return False
        return True


def test_move_that_failed_half_way_leaves_no_endpoint_at_the_old_address(
    plaza: Owner, seaside: Owner, simulator: Simulator
) -> None:
    for owner in (plaza, seaside):
        owner.connect()
    host = plaza.host
    host.state.config = replace(host.state.config, public_url="https://new.example.com")
    simulator.faults.add("DELETE", ENDPOINTS, "drop_before", times=3)
    assert move(plaza) is False
    simulator.faults.clear()
    assert len(plaza.endpoints()) == 2

    assert move(plaza) is True
    assert [each["url"][:24] for each in plaza.endpoints()] == ["https://new.example.com/"]
    assert is_sound(plaza)
    # The Seaside's still stands at the old address, and is as good as before.
    assert is_sound(seaside)


@pytest.mark.parametrize("act", ["save", "disconnect"])
def test_endpoint_at_the_old_address_goes_with_whatever_comes_after_a_move_that_failed(
    plaza: Owner, simulator: Simulator, act: str
) -> None:
    plaza.connect()
    plaza.host.state.config = replace(plaza.host.state.config, public_url="https://new.example.com")
    simulator.faults.add("DELETE", ENDPOINTS, "drop_before", times=3)
    assert move(plaza) is False
    simulator.faults.clear()

    getattr(plaza, {"save": "connect", "disconnect": "disconnect"}[act])()

    assert len(plaza.endpoints()) == {"save": 1, "disconnect": 0}[act]


def test_click_that_stripe_limits_takes_no_endpoint_from_another_click(
    plaza: Owner, seaside: Owner, simulator: Simulator
) -> None:
    """It comes right after the first click's endpoint was made, whose secret is not saved yet."""
    seaside.connect()
    transport, second = put_transport(plaza.host), list[str]()

    def click(method: str, url: str, body: str) -> str:
        if method == "POST" and url.endswith(ENDPOINTS) and '"we_' in body and not second:
            second.append("clicked")
            simulator.faults.add("POST", ENDPOINTS, "rate_limit", times=3)
            second.append(plaza.refused(plaza.account.test_secret_key).code)
            simulator.faults.clear()
        return body

    transport.after = click
    plaza.connect()

    assert second == ["clicked", "no_endpoint"]
    assert is_sound(plaza)
    assert is_sound(seaside)


def test_refusal_for_too_many_requests_is_not_asked_again_for_each_left_over(
    plaza: Owner, simulator: Simulator
) -> None:
    for _ in range(2):
        simulator.faults.add("POST", ENDPOINTS, "drop_after", times=3)
        plaza.refused(plaza.account.test_secret_key)
        simulator.faults.clear()
    simulator.requests.clear()
    simulator.faults.add("POST", ENDPOINTS, "rate_limit", times=100)
    plaza.refused(plaza.account.test_secret_key)

    assert "DELETE" not in {each.method for each in simulator.requests}


@pytest.fixture
def private() -> Simulator:
    return Simulator(refuse_private_urls=True, public_url="http://localhost:5000")


def test_private_address_waits_for_a_secret_and_then_works(database_url: str, private: Simulator) -> None:
    with make_host(database_url, simulator=private) as host:
        plaza = Owner.of(host, "Plaza")
        error = plaza.refused(plaza.account.test_secret_key)
        waiting = plaza.connection

        assert error.code == "no_endpoint"
        assert str(error).startswith(
            f"{NO_ENDPOINT}Making the webhook endpoint was refused by Stripe: Invalid URL: URL"
        )
        assert error.hint == (
            "Mend that and save again, or make an endpoint for the address below and enter its secret."
        )
        assert (waiting.status, waiting.requirements, waiting.endpoint_id) == ("PENDING", ["webhook endpoint"], None)
        assert endpoints.url_of(host.state, waiting) == f"http://localhost:5000{plaza.path()}"
        with pytest.raises(errors.NotConnectedError, match="webhook endpoint"):
            plaza.make_payment()

        plaza.save(webhook_secret=PASTED)
        assert (plaza.connection.status, plaza.connection.requirements) == ("CONNECTED", None)
        assert plaza.connection.endpoint_token == waiting.endpoint_token
        assert plaza.deliver(ping(), secret=PASTED).status_code == 200
        assert plaza.endpoints() == []


def test_key_that_may_not_make_endpoints_waits_for_a_secret(plaza: Owner, seaside: Owner) -> None:
    error = plaza.refused(plaza.new_key("webhook_endpoints"))

    assert str(error) == f"{NO_ENDPOINT}The key lacks 'Webhook Endpoints: Write'."
    assert (plaza.connection.status, plaza.connection.requirements) == ("PENDING", ["webhook endpoint"])
    assert plaza.connection.missing_permissions == ["Webhook Endpoints: Write"]
    seaside.connect()

    plaza.save(webhook_secret=PASTED)
    assert (plaza.connection.status, plaza.endpoints()) == ("CONNECTED", [])
    plaza.disconnect()
    assert plaza.audit[-1] == "disconnected"


def test_secret_may_come_with_the_key(plaza: Owner, simulator: Simulator) -> None:
    plaza.save(plaza.new_key("webhook_endpoints"), webhook_secret=PASTED)

    assert (plaza.connection.status, plaza.in_use(WEBHOOK_SECRET)) == ("CONNECTED", PASTED)
    assert plaza.connection.endpoint_token
    assert [each.status for each in asked(simulator, "POST")] == [403]


def test_endpoint_made_by_hand_is_left_alone_when_the_key_is_exchanged(plaza: Owner, simulator: Simulator) -> None:
    plaza.save(plaza.account.test_secret_key, webhook_secret=PASTED)
    plaza.save(plaza.new_key())

    assert (plaza.in_use(WEBHOOK_SECRET), plaza.connection.endpoint_id) == (PASTED, None)
    assert plaza.endpoints() == []


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "server_error", "rate_limit"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_saving_again_after_a_lost_answer_leaves_exactly_one(
    plaza: Owner, simulator: Simulator, method: str, fault: str
) -> None:
    # The probe of the permission is a POST too, and tells nothing without an answer.
    simulator.faults.add(method, ENDPOINTS, fault, times=3)
    error = plaza.refused(plaza.account.test_secret_key)
    assert error.code == "no_endpoint"
    assert plaza.connection.status == "PENDING"
    simulator.faults.clear()
    plaza.connect()

    assert is_sound(plaza)


def test_one_lost_answer_is_asked_for_again_by_itself(plaza: Owner, simulator: Simulator) -> None:
    simulator.faults.add("POST", ENDPOINTS, "drop_after")
    plaza.connect()

    assert is_sound(plaza)


def test_endpoint_that_was_deleted_in_the_dashboard_is_made_again(plaza: Owner) -> None:
    plaza.connect()
    before = plaza.connection
    plaza.stripe().v1.webhook_endpoints.delete(before.endpoint_id)
    ensure(plaza)

    assert is_sound(plaza)
    assert plaza.connection.endpoint_id != before.endpoint_id
    assert plaza.connection.endpoint_token == before.endpoint_token


def test_endpoint_that_was_switched_off_in_the_dashboard_is_switched_on_again(
    plaza: Owner, simulator: Simulator
) -> None:
    plaza.connect()
    simulator.disable_endpoint(plaza.connection.endpoint_id)
    plaza.connect()

    assert plaza.endpoints()[0]["status"] == "enabled"
    assert is_sound(plaza)


def test_endpoint_that_is_as_it_should_be_is_not_changed(plaza: Owner, simulator: Simulator) -> None:
    plaza.connect()
    simulator.requests.clear()
    ensure(plaza)

    assert {each.method for each in simulator.requests} == {"GET"}


def test_endpoint_whose_secret_is_lost_is_made_again(plaza: Owner) -> None:
    plaza.connect()
    before = plaza.connection.endpoint_id
    change(plaza.host, plaza.secrets(WEBHOOK_SECRET)[0], archived_at=sa.func.now(), stored=None)
    plaza.connect()

    assert is_sound(plaza)
    assert plaza.connection.endpoint_id != before


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "server_error", "rate_limit"])
def test_error_other_than_missing_makes_no_second_endpoint(plaza: Owner, simulator: Simulator, fault: str) -> None:
    plaza.connect()
    simulator.faults.add("GET", f"{ENDPOINTS}/", fault, times=3)
    with pytest.raises(errors.ValetProStripeError):
        ensure(plaza)

    simulator.faults.clear()
    assert len(asked(simulator, "POST")) == 1
    assert is_sound(plaza)


def test_key_that_may_no_longer_look_makes_no_second_endpoint(plaza: Owner, simulator: Simulator) -> None:
    plaza.save(plaza.new_key())
    key = plaza.in_use()
    simulator._ledger.keys[key].allowed -= {"webhook_endpoints:read", "webhook_endpoints:write"}
    with pytest.raises(errors.MissingPermissionError):
        ensure(plaza)

    assert is_sound(plaza)
    # What works goes on working when the same key is saved again.
    plaza.save(key)
    assert is_sound(plaza)


def test_disconnecting_removes_the_endpoint_at_stripe(plaza: Owner, seaside: Owner) -> None:
    plaza.connect()
    seaside.connect()
    plaza.disconnect()

    assert plaza.endpoints() == []
    assert plaza.audit[-1] == "disconnected"
    assert is_sound(seaside)


def test_disconnecting_removes_what_a_crash_left_over(plaza: Owner, simulator: Simulator) -> None:
    simulator.faults.add("POST", ENDPOINTS, "drop_after", times=3)
    plaza.refused(plaza.account.test_secret_key)
    simulator.faults.clear()
    assert len(plaza.endpoints()) == 1
    plaza.disconnect()

    assert plaza.endpoints() == []


def test_disconnecting_with_a_dead_key_leaves_the_endpoint_and_says_so(plaza: Owner, simulator: Simulator) -> None:
    key = plaza.new_key()
    plaza.save(key)
    simulator.expire_key(key)
    plaza.disconnect()

    assert len(plaza.endpoints()) == 1
    assert (plaza.living, plaza.audit[-1]) == ([], "disconnected_endpoint_left")


def test_disconnecting_while_stripe_is_away_changes_nothing(plaza: Owner, simulator: Simulator) -> None:
    plaza.connect()
    simulator.faults.add("DELETE", ENDPOINTS, "drop_before", times=3)
    with pytest.raises(errors.OutcomeUnknownError):
        plaza.disconnect()
    assert is_sound(plaza)

    simulator.faults.clear()
    plaza.disconnect()
    assert (plaza.living, plaza.endpoints()) == ([], [])


def test_disconnecting_when_the_dashboard_was_faster_is_no_mistake(plaza: Owner) -> None:
    plaza.connect()
    plaza.stripe().v1.webhook_endpoints.delete(plaza.connection.endpoint_id)
    plaza.disconnect()

    assert (plaza.living, plaza.audit[-1]) == ([], "disconnected")


def test_key_that_is_lost_for_good_does_not_keep_a_hotel_connected(shelf_host: Host, shelf: Shelf) -> None:
    plaza = Owner.of(shelf_host, "Plaza")
    plaza.connect()
    change(shelf_host, plaza.secrets()[0], stored=None)
    plaza.disconnect()

    assert (plaza.living, plaza.audit[-1]) == ([], "disconnected_endpoint_left")


@pytest.mark.parametrize("step", ["put", "get"])
def test_store_that_fails_takes_the_new_endpoint_back(shelf_host: Host, shelf: Shelf, step: str) -> None:
    plaza, seen = Owner.of(shelf_host, "Plaza"), list[str]()

    def fail_at_the_second(what: str) -> None:
        seen.append(what)
        if what == step and seen.count(step) == 2:
            raise TimeoutError

    shelf.meanwhile = fail_at_the_second
    # Its first reading is remembered: only what is put is asked for.
    error = plaza.refused(plaza.account.test_secret_key)
    shelf.meanwhile = lambda step: None

    assert error.code == "no_endpoint"
    assert plaza.endpoints() == []
    assert plaza.connection.status == "PENDING"
    # What cannot be read back can hardly be taken back: the store is not asked again for some seconds.
    assert len(shelf.kept) == {"put": 1, "get": 2}[step]
    forget_the_pause(shelf_host)
    plaza.connect()
    assert is_sound(plaza)


def forget_the_pause(host: Host) -> None:
    host.state.stores["shelf"]._down_until = 0.0  # type: ignore[attr-defined]


@pytest.mark.both
def test_two_clicks_at_once_make_one_connection_and_one_endpoint(plaza: Owner, seaside: Owner) -> None:
    assert at_once(*[plaza.connect] * 3, seaside.connect) == [plaza.account.test_secret_key] * 3 + [
        seaside.account.test_secret_key
    ]

    assert is_sound(plaza)
    assert is_sound(seaside)
    assert len(plaza.connections) == 1
    assert plaza.audit.count("connected") == 1
    assert plaza.deliver(ping()).status_code == 200


@pytest.mark.both
@pytest.mark.parametrize("moment", ["before", "after"])
def test_another_click_between_any_two_requests_leaves_one_endpoint(plaza: Owner, moment: str) -> None:
    """The second click runs as a whole at each moment of the first one."""
    transport, hotels = put_transport(plaza.host), 0

    def run(nth: int) -> bool:
        owner, requests = Owner.of(plaza.host, f"Hotel {nth}"), 0

        def click(method: str, url: str, body: str = "") -> str:
            nonlocal requests
            requests += "webhook_endpoints" in url
            if requests == nth and "webhook_endpoints" in url:
                requests += 100
                owner.connect()
            return body

        setattr(transport, moment, click)
        owner.connect()
        transport.before, transport.after = lambda *_: None, lambda method, url, body: body
        assert is_sound(owner), nth
        assert len(owner.connections) == 1
        return requests >= 100

    while run(hotels + 1):
        hotels += 1
    assert hotels >= 2


MOMENTS = [by_request_before, by_request_after, by_store, by_commit, by_commit_done]


@pytest.mark.parametrize("moment", MOMENTS)
def test_crash_between_any_two_steps_is_mended_by_saving_again(
    shelf_host: Host, shelf: Shelf, moment: Callable[..., Callable[[], None]]
) -> None:
    """The process dies once at each request, each step of the store and each commit, and nothing cleans up."""
    nth = 0
    while True:
        nth, owner = nth + 1, Owner.of(shelf_host, f"Hotel {nth}")
        die = Die(nth)
        stop = moment(shelf_host, shelf, die)
        try:
            owner.save(owner.new_key())
        except Crash:
            pass
        finally:
            stop()
        owner.connect()
        assert is_sound(owner), nth
        assert len(owner.connections) == 1
        if not die.is_dead:
            break
    assert nth > 4


@pytest.mark.parametrize("moment", MOMENTS)
def test_crash_while_an_endpoint_is_made_anew_is_mended_by_saving_again(
    shelf_host: Host, shelf: Shelf, moment: Callable[..., Callable[[], None]]
) -> None:
    nth = 0
    while True:
        nth, owner = nth + 1, Owner.of(shelf_host, f"Hotel {nth}")
        owner.connect()
        die = Die(nth)
        stop = moment(shelf_host, shelf, die)
        try:
            with owner.acting() as (state, _):
                own = shelf_host.db.session.get_one(shelf_host.valetpro.models.Connection, owner.connection.id)
                endpoints.remake(state, own)
        except Crash:
            pass
        finally:
            stop()
        owner.connect()
        if die.is_dead:
            # A newer one that a crash left over is removed when the next one is made.
            with owner.acting() as (state, _):
                own = shelf_host.db.session.get_one(shelf_host.valetpro.models.Connection, owner.connection.id)
                endpoints.remake(state, own)
        assert is_sound(owner), nth
        if not die.is_dead:
            break
    assert nth > 2


@pytest.mark.parametrize("secret", [None, "changeme", " ", 0, "whsec_", "null", "whsec_" + "é" * 32])
def test_endpoint_whose_secret_anybody_could_guess_is_removed_again(
    plaza: Owner, seaside: Owner, secret: object
) -> None:
    """An event that is signed with it would be anybody's."""
    seaside.connect()
    transport = put_transport(plaza.host)

    def spoil(method: str, url: str, body: str) -> str:
        made = method == "POST" and url.endswith(ENDPOINTS) and '"we_' in body
        return json.dumps(json.loads(body) | {"secret": secret}) if made else body

    transport.after = spoil
    error = plaza.refused(plaza.account.test_secret_key)

    assert str(error) == (
        f"{NO_ENDPOINT}Stripe's answer about the new webhook endpoint holds no signing secret, so it was not taken."
    )
    assert (plaza.endpoints(), plaza.secrets(WEBHOOK_SECRET), plaza.connection.endpoint_id) == ([], [], None)
    assert plaza.connection.status == "PENDING"
    assert is_sound(seaside)
    transport.after = lambda method, url, body: body
    plaza.connect()
    assert is_sound(plaza)


@pytest.mark.parametrize("name", [None, 7, "", "we_", "we_1/../acct_1", "acct_1", "we_" + "a" * 253])
def test_endpoint_without_a_usable_id_is_not_taken(plaza: Owner, seaside: Owner, name: object) -> None:
    seaside.connect()
    transport = put_transport(plaza.host)

    def spoil(method: str, url: str, body: str) -> str:
        made = method == "POST" and url.endswith(ENDPOINTS) and '"we_' in body
        return json.dumps(json.loads(body) | {"id": name}) if made else body

    transport.after = spoil
    error = plaza.refused(plaza.account.test_secret_key)

    assert str(error).endswith("holds no endpoint's id, so it was not taken.")
    assert (plaza.secrets(WEBHOOK_SECRET), plaza.connection.endpoint_id) == ([], None)
    transport.after = lambda method, url, body: body
    plaza.connect()
    # What was made all the same is found by its metadata.
    assert is_sound(plaza)
    assert is_sound(seaside)


@pytest.mark.parametrize("nth", range(1, 14))
def test_commit_whose_answer_is_lost_takes_away_nothing_that_is_in_use(
    shelf_host: Host, shelf: Shelf, nth: int
) -> None:
    """The database has committed, and the connection to it breaks before it can say so."""
    plaza, seaside, commits = Owner.of(shelf_host, "Plaza"), Owner.of(shelf_host, "Seaside"), 0
    seaside.connect()
    plaza.connect()
    new = plaza.new_key()
    with shelf_host.app.app_context():
        engine = shelf_host.db.engine

    def lose(connection: Any) -> None:
        nonlocal commits
        commits += 1
        if commits == nth:
            connection.connection.commit()
            raise sa.exc.OperationalError("COMMIT", {}, OSError("the connection is lost"))

    sa.event.listen(engine, "commit", lose)
    try:
        with plaza.acting() as (state, _):
            own = shelf_host.db.session.get_one(shelf_host.valetpro.models.Connection, plaza.connection.id)
            with suppress(sa.exc.OperationalError):
                endpoints.remake(state, own)
            state.session.rollback()
        with suppress(sa.exc.OperationalError):
            plaza.save(new)
    finally:
        sa.event.remove(engine, "commit", lose)

    assert plaza.in_use() in {new, plaza.account.test_secret_key}
    found = {each["id"]: each for each in plaza.endpoints()}
    assert plaza.connection.endpoint_id in found
    private = plaza.simulator._ledger.records[plaza.connection.endpoint_id].private["secrets"][-1][0]
    assert plaza.in_use(WEBHOOK_SECRET) == private
    assert seaside.in_use() == seaside.account.test_secret_key
    assert is_sound(seaside)


@pytest.mark.both
def test_database_that_fails_at_the_switch_leaves_no_endpoint_behind(plaza: Owner) -> None:
    """A real failing transaction: another row with the same version is there already."""
    with plaza.host.app.app_context():
        engine = plaza.host.db.engine

    def fail(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO stripe_secret") and len(plaza.endpoints()) == 1:
            raise sa.exc.OperationalError(statement, None, Exception("the disk is full"))

    sa.event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(sa.exc.OperationalError):
        plaza.connect()
    sa.event.remove(engine, "before_cursor_execute", fail)

    assert plaza.endpoints() == []
    plaza.connect()
    assert is_sound(plaza)


@pytest.mark.both
def test_payment_turns_paid_by_the_hotels_own_endpoint(plaza: Owner, seaside: Owner, simulator: Simulator) -> None:
    for owner in (plaza, seaside):
        owner.connect()
    mine, theirs = plaza.make_payment(), seaside.make_payment()
    simulator.pay(mine.stripe_payment_link_url)
    assert {each.status for each in simulator.deliver_all(plaza.host.app)} == {200}

    with plaza.host.app.app_context():
        paid, open_ = (plaza.host.db.session.get(plaza.host.Payment, each.id) for each in (mine, theirs))
        assert (paid.status, open_.status) == ("COMPLETED", "PENDING")
    assert {event.tenant_id for event in plaza.events} == {plaza.tenant.id}
    assert seaside.events == []


def test_event_of_ours_is_in_the_pinned_version(plaza: Owner, simulator: Simulator) -> None:
    plaza.connect()
    payment = plaza.make_payment()
    simulator.pay(payment.stripe_payment_link_url)
    versions = {each.event["api_version"] for each in simulator.deliver_all(plaza.host.app)}

    assert versions == {plaza.host.state.config.stripe_version}
