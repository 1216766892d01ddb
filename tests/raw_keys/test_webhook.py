"""Deliveries to a hotel's own address: its own signature, its own account, and nobody else's rows."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import Mode, endpoints
from flask_valetpro_stripe.custody import API_KEY, WEBHOOK_SECRET
from flask_valetpro_stripe.errors import SecretUnavailableError, ValetProStripeError
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.neutralize import neutralize
from flask_valetpro_stripe.secrets.store import Label
from flask_valetpro_stripe.testing import Simulator, make_event, sign
from flask_valetpro_stripe.webhooks import tenants
from flask_valetpro_stripe.webhooks.verify import RefusedError
from tests.children import run_forked
from tests.connections.admin import change, rows
from tests.hosts import Host
from tests.raw_keys.owner import PASTED, Owner, Shelf, ping, statements

REFUSED = (400, "This is not a signed Stripe event.")
LATER = (503, "The event cannot be taken now. Deliver it again.")
ROLLED = "whsec_rolledInTheDashboard4242424242"


@pytest.fixture
def hotels(plaza: Owner, seaside: Owner) -> None:
    """Both hotels are connected by their keys."""
    plaza.connect()
    seaside.connect()


def answer(response: Any) -> tuple[int, str]:
    return response.status_code, response.text


def payment_of(owner: Owner, payment: Any) -> Any:
    with owner.host.app.app_context():
        return owner.host.db.session.get(owner.host.Payment, payment.id)


def advance(owner: Owner, seconds: float) -> None:
    """Move the clock of what the process remembers on."""
    remembered = owner.host.state.tenant_endpoints
    before = remembered._clock
    remembered._clock = lambda: before() + seconds


@pytest.mark.both
@pytest.mark.usefixtures("hotels")
def test_genuine_event_is_the_hotels_own(plaza: Owner, seaside: Owner) -> None:
    assert plaza.deliver(ping()).status_code == 200

    (event,) = plaza.events
    assert (event.tenant_id, event.connection_id, event.status) == (plaza.tenant.id, plaza.connection.id, "processed")
    assert event.account_id == plaza.account.id
    assert seaside.events == []


@pytest.mark.usefixtures("hotels")
def test_another_hotels_signature_is_refused(plaza: Owner, seaside: Owner) -> None:
    response = plaza.deliver(ping(), secret=seaside.in_use(WEBHOOK_SECRET))

    assert answer(response) == REFUSED
    assert plaza.events == seaside.events == []


@pytest.mark.usefixtures("hotels")
def test_platforms_signature_is_refused_and_ours_at_the_platforms_address(plaza: Owner) -> None:
    for setting in ("TEST_WEBHOOK_SECRETS", "TEST_CONNECT_WEBHOOK_SECRETS"):
        secret = plaza.host.app.config[f"VALETPRO_STRIPE_{setting}"][0]
        assert answer(plaza.deliver(ping(), secret=secret)) == REFUSED
    for event in (ping(), ping(account=plaza.account.id)):
        assert answer(plaza.deliver(event, path="/api/webhooks/stripe")) == REFUSED
    assert plaza.events == []


@pytest.mark.usefixtures("hotels")
def test_own_signature_does_not_speak_for_another_account(plaza: Owner, seaside: Owner) -> None:
    assert answer(plaza.deliver(ping(account=seaside.account.id))) == REFUSED
    assert answer(plaza.deliver(ping(account="acct_unknown"))) == REFUSED
    assert plaza.events == seaside.events == []

    assert plaza.deliver(ping(account=plaza.account.id)).status_code == 200


@pytest.mark.usefixtures("hotels")
def test_own_signature_does_not_move_another_hotels_payment(plaza: Owner, seaside: Owner, simulator: Simulator) -> None:
    theirs = seaside.make_payment()
    session = simulator.pay(theirs.stripe_payment_link_url)
    assert plaza.deliver(make_event("checkout.session.completed", session)).status_code == 200

    assert payment_of(seaside, theirs).status == "PENDING"
    assert seaside.events == []
    assert plaza.events[0].tenant_id == plaza.tenant.id


def test_own_signature_does_not_move_what_the_platform_is_party_to(
    plaza: Owner, host: Host, simulator: Simulator
) -> None:
    """The hotel had the same account by Connect before, and a payment of that time is open."""
    simulator.connect(plaza.account.id)
    host.connect(plaza.tenant, plaza.account.id)
    earlier = plaza.make_payment()
    plaza.connect()
    session = simulator.pay(earlier.stripe_payment_link_url)

    by_key = next(each for each in plaza.living if each.account_type == "RAW_KEYS")
    secret = plaza.in_use(WEBHOOK_SECRET, by_key)
    event = make_event("checkout.session.completed", session)
    assert plaza.deliver(event, secret=secret, path=plaza.path(by_key)).status_code == 200
    assert payment_of(plaza, earlier).status == "PENDING"

    simulator.deliver_all(host.app)
    assert payment_of(plaza, earlier).status == "COMPLETED"


@pytest.mark.both
@pytest.mark.usefixtures("hotels")
def test_event_id_that_another_hotel_signed_before_does_not_swallow_the_genuine_one(
    plaza: Owner, seaside: Owner
) -> None:
    event = ping(id="evt_theSame")
    for owner in (seaside, plaza, plaza):
        assert owner.deliver(event).status_code == 200

    assert [(row.event_id, row.status) for row in (*plaza.events, *seaside.events)] == [
        ("evt_theSame", "processed"),
        ("evt_theSame", "processed"),
    ]


@pytest.mark.usefixtures("hotels")
def test_event_of_the_other_mode_is_parked(plaza: Owner) -> None:
    assert plaza.deliver(ping(livemode=True)).status_code == 200

    (event,) = rows(plaza.host, plaza.host.valetpro.models.WebhookEvent)
    assert (event.status, event.error) == ("parked", "It is of the other mode than its endpoint.")


@pytest.mark.usefixtures("hotels")
@pytest.mark.parametrize("event_type", ["account.application.deauthorized", "account.application.authorized"])
def test_tenant_cannot_tell_of_applications(plaza: Owner, seaside: Owner, event_type: str) -> None:
    ours = plaza.host.state.config.client_id(Mode.test)
    response = plaza.deliver(make_event(event_type, {"id": ours, "object": "application", "name": "ValetPro"}))

    assert response.status_code == 200
    assert plaza.events[0].status == "parked"
    assert [owner.connection.status for owner in (plaza, seaside)] == ["CONNECTED", "CONNECTED"]


@pytest.mark.usefixtures("hotels")
def test_account_that_may_not_charge_any_more_is_seen(plaza: Owner, seaside: Owner, simulator: Simulator) -> None:
    simulator.update_account(plaza.account.id, charges_enabled=False, due=["external_account"])
    simulator.deliver_all(plaza.host.app)
    assert (plaza.connection.status, plaza.connection.requirements) == ("PENDING", ["external_account"])
    assert seaside.connection.status == "CONNECTED"

    simulator.update_account(plaza.account.id, charges_enabled=True, due=[])
    simulator.deliver_all(plaza.host.app)
    assert (plaza.connection.status, plaza.connection.requirements) == ("CONNECTED", None)


@pytest.mark.usefixtures("hotels")
@pytest.mark.parametrize("token", ["x", "a" * 42, "a" * 44, "a" * 42 + "é", "a" * 42 + ".", "%00" * 43, "a" * 5000])
def test_address_that_was_never_ours_costs_no_query(plaza: Owner, token: str) -> None:
    with statements(plaza.host) as seen:
        response = plaza.deliver(ping(), secret=PASTED, path=f"/api/webhooks/stripe/{token}")

    assert answer(response) == REFUSED
    assert seen == []


@pytest.mark.both
@pytest.mark.usefixtures("hotels")
def test_unknown_addresses_cost_a_few_queries_a_second_whoever_asks(plaza: Owner, seaside: Owner) -> None:
    plaza.host.state.tenant_endpoints._clock = lambda: 1000.0
    assert plaza.deliver(ping()).status_code == 200
    with statements(plaza.host) as seen:
        responses = [
            plaza.deliver(ping(), secret=PASTED, path=f"/api/webhooks/stripe/{number:043}") for number in range(200)
        ]
    assert len(seen) == tenants.MOST_UNKNOWN
    # Whoever sends them cannot tell which were looked up.
    assert {answer(response) for response in responses} == {REFUSED}

    # Who is known goes on; who is not is delivered again by Stripe.
    assert plaza.deliver(ping()).status_code == 200
    plaza.host.state.tenant_endpoints._clock = lambda: 1001.0
    assert seaside.deliver(ping()).status_code == 200


@pytest.mark.usefixtures("hotels")
def test_made_up_addresses_keep_no_hotel_out_that_is_not_remembered(plaza: Owner, seaside: Owner) -> None:
    plaza.host.state.tenant_endpoints._clock = lambda: 1000.0
    for number in range(20):
        plaza.deliver(ping(), secret=PASTED, path=f"/api/webhooks/stripe/{number:043}")

    assert [owner.deliver(ping()).status_code for owner in (plaza, seaside)] == [200, 200]


@pytest.mark.usefixtures("hotels")
def test_address_is_known_as_ours_under_an_earlier_session_key(plaza: Owner, seaside: Owner) -> None:
    app = plaza.host.app
    plaza.host.state.tenant_endpoints._clock = lambda: 1000.0
    app.config["SECRET_KEY_FALLBACKS"] = [app.secret_key]
    app.secret_key = "the tests' next session key"
    for number in range(20):
        plaza.deliver(ping(), secret=PASTED, path=f"/api/webhooks/stripe/{number:043}")
    assert plaza.deliver(ping()).status_code == 200

    # Without the earlier key it is one of many: looked up when there is time for it.
    app.config["SECRET_KEY_FALLBACKS"] = []
    assert answer(seaside.deliver(ping())) == REFUSED
    plaza.host.state.tenant_endpoints._clock = lambda: 1001.0
    assert seaside.deliver(ping()).status_code == 200


@pytest.mark.usefixtures("hotels")
@pytest.mark.parametrize("place", [0, 31, 32, 42])
def test_address_with_another_character_is_not_known_as_ours(plaza: Owner, seaside: Owner, place: int) -> None:
    state, token = plaza.host.state, plaza.connection.endpoint_token
    assert endpoints.is_of_ours(state, token)

    other = "A" if token[place] != "A" else "B"
    assert not endpoints.is_of_ours(state, token[:place] + other + token[place + 1 :])
    assert endpoints.is_of_ours(state, seaside.connection.endpoint_token)


@pytest.mark.parametrize("what", ["endpoints", "store"])
def test_worker_that_is_forked_while_a_lock_is_held_does_not_wait_for_it(shelf_host: Host, what: str) -> None:
    plaza = Owner.of(shelf_host, "Plaza")
    plaza.connect()
    state, row = shelf_host.state, plaza.secrets()[0]
    store: Any = state.stores["shelf"]
    endpoints_known: Any = state.tenant_endpoints
    label = Label(str(plaza.tenant.id), plaza.connection.id, API_KEY, "test", 1)

    def ask() -> None:
        with suppress(ValetProStripeError, RefusedError):
            store.get(label, row.stored) if what == "store" else endpoints_known.find(state, "0" * 43)

    # So many are unknown that the next one is refused before the database is asked, whose socket is the parent's.
    endpoints_known._unknown, endpoints_known._clock = 1000, lambda: endpoints_known._window
    with {"endpoints": endpoints_known, "store": store}[what]._lock.get():
        # It fails if the child does not end in time.
        run_forked(ask)


@pytest.mark.usefixtures("hotels")
def test_forged_delivery_to_a_known_address_costs_no_query(plaza: Owner) -> None:
    assert plaza.deliver(ping()).status_code == 200
    path = plaza.path()
    with statements(plaza.host) as seen:
        for _ in range(20):
            assert answer(plaza.deliver(ping(), secret=PASTED, path=path)) == REFUSED

    assert seen == []


@pytest.mark.usefixtures("hotels")
@pytest.mark.parametrize("signature", [None, "", "t=1,v1=00", "v1=00", "t=9999999999,v1=00", "t=x,v1=é"])
def test_delivery_that_cannot_be_genuine_costs_no_query(plaza: Owner, signature: str | None) -> None:
    path, headers = plaza.path(), {} if signature is None else {"Stripe-Signature": signature}
    with statements(plaza.host) as seen:
        response = plaza.host.app.test_client().post(path, data=b"{}", headers=headers)

    assert answer(response) == REFUSED
    assert seen == []


@pytest.mark.usefixtures("hotels")
def test_rolled_secret_and_the_one_before_it_are_both_taken_for_a_day(plaza: Owner) -> None:
    first = plaza.in_use(WEBHOOK_SECRET)
    assert plaza.deliver(ping(), secret=first).status_code == 200
    plaza.save(webhook_secret=ROLLED)
    advance(plaza, tenants.RELOAD + 1)

    assert plaza.deliver(ping(), secret=ROLLED).status_code == 200
    assert plaza.deliver(ping(), secret=first).status_code == 200
    before, after = plaza.secrets(WEBHOOK_SECRET)
    assert timedelta(hours=23) < before.valid_until - utcnow() <= timedelta(hours=24)
    assert (after.archived_at, plaza.connection.endpoint_id is not None) == (None, True)

    change(plaza.host, before, valid_until=utcnow() - timedelta(seconds=1))
    advance(plaza, tenants.REMEMBERED + 1)
    assert answer(plaza.deliver(ping(), secret=first)) == REFUSED
    assert plaza.deliver(ping(), secret=ROLLED).status_code == 200


@pytest.mark.usefixtures("hotels")
def test_roll_in_the_dashboard_loses_no_event(plaza: Owner, simulator: Simulator) -> None:
    rolled = simulator.roll_secret(plaza.connection.endpoint_id)
    assert plaza.deliver(ping()).status_code == 200
    for secrets in ([rolled], [rolled, plaza.in_use(WEBHOOK_SECRET)]):
        event = ping()
        signatures = [sign(json.dumps(event).encode(), secret) for secret in secrets]
        header = ",".join([signatures[0], *(each.partition(",")[2] for each in signatures[1:])])
        response = plaza.host.app.test_client().post(
            plaza.path(), data=json.dumps(event), headers={"Stripe-Signature": header}
        )
        assert response.status_code == (400 if len(secrets) == 1 else 200)


@pytest.mark.usefixtures("hotels")
def test_same_webhook_secret_again_is_no_exchange(plaza: Owner) -> None:
    plaza.save(webhook_secret=ROLLED)
    plaza.save(webhook_secret=ROLLED)

    assert len(plaza.secrets(WEBHOOK_SECRET)) == 2


@pytest.mark.both
@pytest.mark.usefixtures("hotels")
def test_secret_that_another_process_exchanged_is_taken_within_seconds(
    plaza: Owner, host: Host, database_url: str
) -> None:
    assert plaza.deliver(ping()).status_code == 200
    other = host.add_app(database_url, config={"WTF_CSRF_ENABLED": False})
    plaza.save(webhook_secret=ROLLED, app=other)
    # The memory of this process is warm: for a moment it knows no better.
    assert answer(plaza.deliver(ping(), secret=ROLLED)) == REFUSED

    advance(plaza, tenants.RELOAD + 0.1)
    assert plaza.deliver(ping(), secret=ROLLED).status_code == 200


@pytest.mark.usefixtures("hotels")
def test_what_comes_after_disconnecting_is_kept_and_handled_by_nobody(plaza: Owner, simulator: Simulator) -> None:
    heard: list[str] = []
    plaza.host.valetpro.on("*")(lambda event: heard.append(event.event_id))
    payment, secret, path = plaza.make_payment(), plaza.in_use(WEBHOOK_SECRET), plaza.path()
    session = simulator.pay(payment.stripe_payment_link_url)
    assert plaza.deliver(ping(), secret=secret, path=path).status_code == 200
    plaza.disconnect()
    late = make_event("checkout.session.completed", session, id="evt_late")

    assert plaza.deliver(late, secret=secret, path=path).status_code == 200
    event = plaza.events[-1]
    assert (event.event_id, event.status) == ("evt_late", "parked")
    assert event.error == "The tenant has disconnected this account."
    assert "evt_late" not in heard
    assert payment_of(plaza, payment).status == "PENDING"


@pytest.mark.usefixtures("hotels")
def test_after_stripes_last_retry_the_old_address_is_nobodys(plaza: Owner) -> None:
    secret, path = plaza.in_use(WEBHOOK_SECRET), plaza.path()
    plaza.disconnect()
    row = plaza.secrets(WEBHOOK_SECRET)[-1]
    assert timedelta(hours=71) < row.valid_until - utcnow() <= timedelta(hours=72)
    change(plaza.host, row, valid_until=utcnow())

    assert answer(plaza.deliver(ping(), secret=secret, path=path)) == REFUSED


@pytest.mark.usefixtures("hotels")
def test_neutralized_copy_takes_nothing_by_a_live_address(plaza: Owner) -> None:
    plaza.connect(Mode.live)
    live = next(each for each in plaza.living if each.mode == "live")
    secret, path = plaza.in_use(WEBHOOK_SECRET, live), plaza.path(live)
    with plaza.acting() as (state, _):
        neutralize(state)

    assert answer(plaza.deliver(ping(livemode=True), secret=secret, path=path)) == REFUSED


@pytest.mark.usefixtures("hotels")
def test_address_without_any_secret_refuses_everything(plaza: Owner) -> None:
    path = plaza.path()
    change(plaza.host, plaza.secrets(WEBHOOK_SECRET)[0], archived_at=utcnow())
    for secret in ("", " ", "None", "whsec_"):
        assert answer(plaza.deliver(ping(), secret=secret or " ", path=path)) == REFUSED


def test_store_that_is_away_is_no_refusal_and_recovers(shelf_host: Host, shelf: Shelf) -> None:
    plaza, seaside = Owner.of(shelf_host, "Plaza"), Owner.of(shelf_host, "Seaside")
    plaza.connect()
    seaside.connect()
    kept = plaza.in_use(WEBHOOK_SECRET)
    assert seaside.deliver(ping()).status_code == 200
    theirs = seaside.in_use(WEBHOOK_SECRET)
    shelf_host.state.stores["shelf"]._known.clear()  # type: ignore[attr-defined]

    def away(step: str) -> None:
        raise TimeoutError

    shelf.meanwhile = away
    assert answer(plaza.deliver(ping(), secret=kept)) == LATER
    assert plaza.events == []
    # What is remembered goes on.
    assert seaside.deliver(ping(), secret=theirs).status_code == 200

    shelf.meanwhile = lambda step: None
    shelf_host.state.stores["shelf"]._down_until = 0.0  # type: ignore[attr-defined]
    assert plaza.deliver(ping(), secret=kept).status_code == 200


def test_entry_that_one_hotels_store_raises_for_stops_no_other_hotel(shelf_host: Host, shelf: Shelf) -> None:
    plaza, seaside = Owner.of(shelf_host, "Plaza"), Owner.of(shelf_host, "Seaside")
    for owner in (plaza, seaside):
        owner.connect()
    secret = plaza.in_use(WEBHOOK_SECRET)
    for stored in [row.stored for name in (API_KEY, WEBHOOK_SECRET) for row in plaza.secrets(name)]:
        # Its "get" raises KeyError from now on.
        del shelf.kept[stored]
    shelf_host.state.stores["shelf"]._known.clear()  # type: ignore[attr-defined]

    assert plaza.deliver(ping(), secret=secret).status_code == 503
    with pytest.raises(SecretUnavailableError, match="it raised KeyError"):
        plaza.make_payment()
    assert seaside.deliver(ping()).status_code == 200
    assert seaside.make_payment().stripe_account_id == seaside.account.id


def test_earlier_secret_that_is_lost_does_not_take_the_present_one_along(shelf_host: Host, shelf: Shelf) -> None:
    plaza = Owner.of(shelf_host, "Plaza")
    plaza.connect()
    plaza.save(webhook_secret=ROLLED)
    before = plaza.secrets(WEBHOOK_SECRET)[0]

    change(shelf_host, before, stored="no such entry", store="database")
    assert plaza.deliver(ping(), secret=ROLLED).status_code == 200


def test_two_apps_of_one_host_remember_nothing_of_each_other(
    host: Host, plaza: Owner, simulator: Simulator, tmp_path: Any
) -> None:
    plaza.connect()
    other = host.add_app(f"sqlite:///{tmp_path / 'other.sqlite3'}", config={"WTF_CSRF_ENABLED": False})
    assert plaza.deliver(ping()).status_code == 200

    assert answer(plaza.deliver(ping(), app=other)) == REFUSED
    with other.app_context():
        assert host.db.session.scalars(sa.select(host.valetpro.models.WebhookEvent)).all() == []
    assert plaza.deliver(ping()).status_code == 200


@pytest.mark.both
@pytest.mark.usefixtures("hotels")
def test_database_that_is_away_is_no_refusal(plaza: Owner) -> None:
    secret, path = plaza.in_use(WEBHOOK_SECRET), plaza.path()
    with plaza.host.app.app_context():
        engine = plaza.host.db.engine

    def fail(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        raise sa.exc.OperationalError(statement, None, Exception("away"))

    sa.event.listen(engine, "before_cursor_execute", fail)
    response = plaza.deliver(ping(), secret=secret, path=path)
    sa.event.remove(engine, "before_cursor_execute", fail)

    assert answer(response) == LATER
    assert plaza.deliver(ping(), secret=secret, path=path).status_code == 200
