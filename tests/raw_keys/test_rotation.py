"""A key for another one: exchanged, brought back, destroyed; and the switch to another account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_valetpro_stripe import Mode, custody, errors, signals
from flask_valetpro_stripe.credentials import client_for
from flask_valetpro_stripe.custody import API_KEY, WEBHOOK_SECRET
from flask_valetpro_stripe.onboarding import rotation
from flask_valetpro_stripe.onboarding.key_check import MOST_CHECKED
from flask_valetpro_stripe.testing import Account, Simulator, make_event
from tests.connections.admin import change
from tests.hosts import Host
from tests.raw_keys.owner import PASTED, Owner, Shelf, asked, at_once, is_sound, put_transport

LESS = "This key may do less than the one in use. It lacks: "
CHANGED = "Somebody else changed these keys at the same moment, so yours were not saved."


@pytest.fixture
def second(simulator: Simulator) -> Account:
    """Another account of the Plaza's."""
    return simulator.create_account("Plaza's new company")


def versions(owner: Owner, connection: Any = None) -> list[tuple[int, bool, bool]]:
    """Each version of the API key: its number, whether it is in use, and whether it is there at all."""
    found = [row for row in owner.secrets() if connection is None or row.connection_id == connection.id]
    return [(row.version, row.archived_at is None, row.stored is not None) for row in found]


def key_of_last_payment(owner: Owner) -> str | None:
    owner.make_payment()
    return asked(owner.simulator, "POST", "/v1/payment_links")[-1].api_key


def test_payments_use_the_new_key_from_the_exchange_on(plaza: Owner, seaside: Owner) -> None:
    first, other, new = plaza.connect(), seaside.connect(), plaza.new_key()
    told: list[Any] = []
    assert key_of_last_payment(plaza) == first
    with signals.secret_rotated.connected_to(lambda app, **facts: told.append(facts["tenant"].id)):
        plaza.save(new)

    assert key_of_last_payment(plaza) == new
    assert key_of_last_payment(seaside) == other
    assert told == [plaza.tenant.id]
    assert plaza.audit[-2:] == ["key_checked", "key_rotated"]
    assert versions(plaza) == [(1, False, True), (2, True, True)]
    assert len(plaza.connections) == 1
    assert is_sound(plaza)


def test_exchange_makes_no_second_endpoint(plaza: Owner, simulator: Simulator) -> None:
    plaza.connect()
    plaza.save(plaza.new_key())

    assert len([each for each in asked(simulator, "POST") if each.status == 200]) == 1


def test_earlier_payment_is_reached_with_the_new_key(plaza: Owner, simulator: Simulator) -> None:
    first, new = plaza.connect(), plaza.new_key()
    payment = plaza.make_payment()
    plaza.save(new)
    simulator.expire_key(first)

    with plaza.acting() as (state, _):
        own = plaza.host.db.session.get_one(plaza.host.Payment, payment.id)
        connection = plaza.host.db.session.get_one(plaza.host.valetpro.models.Connection, own.connection_id)
        link = client_for(state, connection).v1.payment_links.retrieve(own.stripe_payment_link_id)
    assert (link.url, simulator.requests[-1].api_key) == (payment.stripe_payment_link_url, new)


def test_same_key_again_is_no_exchange(plaza: Owner) -> None:
    told: list[Any] = []
    with signals.secret_rotated.connected_to(lambda app, **facts: told.append(facts)):
        plaza.connect()
        plaza.connect()

    assert (versions(plaza), told) == ([(1, True, True)], [])
    assert plaza.audit.count("key_saved") == 1
    assert "key_rotated" not in plaza.audit


def test_same_key_with_less_than_before_is_taken_and_listed(plaza: Owner, simulator: Simulator) -> None:
    key = plaza.new_key()
    plaza.save(key)
    simulator._ledger.keys[key].allowed -= {"tax:read", "tax:write"}
    plaza.save(key)

    assert plaza.connection.missing_permissions == ["Tax Calculations and Transactions: Read"]


def test_key_that_may_do_less_is_refused_with_the_list(plaza: Owner) -> None:
    first = plaza.connect()
    error = plaza.refused(plaza.new_key("tax", "payouts"))

    assert isinstance(error, errors.MissingPermissionError)
    assert str(error) == f"{LESS}Payouts: Read, Tax Calculations and Transactions: Read. Nothing was changed."
    assert (plaza.in_use(), plaza.connection.missing_permissions) == (first, None)
    assert versions(plaza) == [(1, True, True)]


def test_key_that_may_do_no_less_is_taken_and_more_is_noted(plaza: Owner) -> None:
    plaza.save(plaza.new_key("tax", "payouts"))
    plaza.save(plaza.new_key("tax"))

    assert plaza.connection.missing_permissions == ["Tax Calculations and Transactions: Read"]


def test_expired_key_can_still_be_exchanged(plaza: Owner, simulator: Simulator) -> None:
    first, new = plaza.connect(), plaza.new_key()
    simulator.expire_key(first)
    plaza.save(new)

    assert key_of_last_payment(plaza) == new


@pytest.mark.both
def test_only_the_last_archived_key_is_kept(shelf_host: Host, shelf: Shelf) -> None:
    plaza = Owner.of(shelf_host, "Plaza")
    keys = [plaza.connect()]
    for _ in range(3):
        keys.append(plaza.new_key())
        plaza.save(keys[-1])

    assert versions(plaza) == [(1, False, False), (2, False, False), (3, False, True), (4, True, True)]
    assert {key for key in keys if key in shelf.secrets} == set(keys[2:])


def test_archived_key_is_used_by_nobody(plaza: Owner, simulator: Simulator) -> None:
    first = plaza.connect()
    plaza.save(plaza.new_key())
    simulator.requests.clear()
    plaza.make_payment()
    plaza.save(publishable_key=plaza.account.test_publishable_key)
    plaza.disconnect()

    assert first not in {each.api_key for each in simulator.requests}


@pytest.mark.both
def test_two_exchanges_at_once_end_in_one_and_the_other_is_told(shelf_host: Host, shelf: Shelf) -> None:
    plaza = Owner.of(shelf_host, "Plaza")
    plaza.connect()
    one, two = plaza.new_key(), plaza.new_key()
    results = at_once(lambda: plaza.save(one), lambda: plaza.save(two))

    lost = [result for result in results if result is not None]
    assert [(error.code, str(error)) for error in lost] == [("changed_meanwhile", CHANGED)] or lost == []
    winner = plaza.in_use()
    assert winner in {one, two}
    assert plaza.audit.count("key_rotated") == 2 - len(lost)
    # What the store holds is what rows refer to: no orphan.
    kept = [row.stored for name in (API_KEY, WEBHOOK_SECRET) for row in plaza.secrets(name) if row.stored]
    assert sorted(shelf.kept) == sorted(kept)


@pytest.mark.both
@pytest.mark.parametrize("step", ["put", "get"])
def test_exchange_that_was_overtaken_is_told_and_leaves_nothing(shelf_host: Host, shelf: Shelf, step: str) -> None:
    plaza, seaside = Owner.of(shelf_host, "Plaza"), Owner.of(shelf_host, "Seaside")
    plaza.connect()
    theirs, mine, other = seaside.connect(), plaza.new_key(), plaza.new_key()

    def overtake(what: str) -> None:
        if what == step:
            shelf.meanwhile = lambda what: None
            plaza.save(other)

    shelf.meanwhile = overtake
    error = plaza.refused(mine)

    assert (error.code, str(error)) == ("changed_meanwhile", CHANGED)
    assert error.hint == "Load the page again and look which keys are in use."
    assert plaza.in_use() == other
    assert mine not in shelf.secrets
    assert seaside.in_use() == theirs


@pytest.mark.both
def test_disconnecting_while_a_key_is_exchanged_wins(shelf_host: Host, shelf: Shelf) -> None:
    plaza = Owner.of(shelf_host, "Plaza")
    plaza.connect()
    mine = plaza.new_key()

    def overtake(what: str) -> None:
        shelf.meanwhile = lambda what: None
        plaza.disconnect()

    shelf.meanwhile = overtake
    error = plaza.refused(mine)

    assert isinstance(error, errors.NotConnectedError)
    assert str(error) == "This account was disconnected meanwhile, so nothing was saved."
    assert (plaza.living, plaza.endpoints()) == ([], [])
    assert mine not in shelf.secrets
    assert [row.archived_at is not None for row in plaza.secrets()] == [True]


@pytest.mark.parametrize("nth", [1, 2])
def test_disconnecting_while_the_endpoint_is_made_leaves_none(plaza: Owner, nth: int) -> None:
    """While endpoints are looked for, and right after one was made."""
    transport, seen = put_transport(plaza.host), 0

    def overtake(method: str, url: str, body: str) -> str:
        nonlocal seen
        seen += "webhook_endpoints" in url
        if seen == nth:
            transport.after = lambda method, url, body: body
            plaza.disconnect()
        return body

    transport.after = overtake
    error = plaza.refused(plaza.account.test_secret_key)

    assert isinstance(error, errors.NotConnectedError)
    assert (plaza.living, plaza.endpoints()) == ([], [])


def test_store_that_is_away_changes_nothing(shelf_host: Host, shelf: Shelf) -> None:
    plaza = Owner.of(shelf_host, "Plaza")
    first = plaza.connect()

    def away(step: str) -> None:
        raise TimeoutError

    shelf.meanwhile = away
    error = plaza.refused(plaza.new_key())
    shelf.meanwhile = lambda step: None

    assert isinstance(error, errors.SecretUnavailableError)
    assert versions(plaza) == [(1, True, True)]
    shelf_host.state.stores["shelf"]._down_until = 0.0  # type: ignore[attr-defined]
    assert key_of_last_payment(plaza) == first


def test_store_that_is_away_at_the_first_key_leaves_nothing_behind(shelf_host: Host, shelf: Shelf) -> None:
    plaza, seaside = Owner.of(shelf_host, "Plaza"), Owner.of(shelf_host, "Seaside")

    def away(step: str) -> None:
        raise TimeoutError

    shelf.meanwhile = away
    assert isinstance(plaza.refused(plaza.account.test_secret_key), errors.SecretUnavailableError)
    shelf.meanwhile = lambda step: None
    shelf_host.state.stores["shelf"]._down_until = 0.0  # type: ignore[attr-defined]
    assert (plaza.living, plaza.secrets(), plaza.endpoints()) == ([], [], [])
    assert plaza.refused(webhook_secret=PASTED).code == "no_key"

    # The account is free for whoever has it.
    Owner(shelf_host, seaside.tenant, plaza.account).connect()
    assert seaside.connection.status == "CONNECTED"


def test_key_is_brought_back_by_one_click(plaza: Owner, seaside: Owner) -> None:
    first, other = plaza.connect(), seaside.connect()
    second = plaza.new_key()
    plaza.save(second)
    told: list[Any] = []
    with signals.secret_rotated.connected_to(lambda app, **facts: told.append(facts["tenant"].id)):
        plaza.roll_back()

    assert key_of_last_payment(plaza) == first
    assert key_of_last_payment(seaside) == other
    assert told == [plaza.tenant.id]
    assert plaza.audit[-1] == "key_brought_back"
    assert versions(plaza) == [(1, True, True), (2, False, True)]

    plaza.roll_back()
    assert key_of_last_payment(plaza) == second


@pytest.mark.both
def test_other_processes_use_what_was_exchanged_or_brought_back_from_the_next_call_on(
    shelf_host: Host, database_url: str, shelf: Shelf
) -> None:
    """Each app has a memory of its own, as a process has."""
    config = {"WTF_CSRF_ENABLED": False, "VALETPRO_STRIPE_SECRET_STORE": shelf}
    other, plaza = shelf_host.add_app(database_url, config=config), Owner.of(shelf_host, "Plaza")
    first, second = plaza.connect(), plaza.new_key()
    assert key_of_last_payment(plaza) == first
    plaza.save(second, app=other)
    assert key_of_last_payment(plaza) == second

    with plaza.acting(other) as (state, tenant):
        rotation.roll_back(state, tenant, Mode.test, actor="the admin")
    assert key_of_last_payment(plaza) == first


def test_what_was_in_use_last_is_what_can_be_brought_back(plaza: Owner) -> None:
    """The bad second key was taken back; after a third one, the way back leads to the first again."""
    first = plaza.connect()
    plaza.save(plaza.new_key())
    plaza.roll_back()
    plaza.save(plaza.new_key())
    assert versions(plaza) == [(1, False, True), (2, False, False), (3, True, True)]

    plaza.roll_back()
    assert plaza.in_use() == first


def test_earlier_key_that_expired_is_not_brought_back(plaza: Owner, simulator: Simulator) -> None:
    first, second = plaza.connect(), plaza.new_key()
    plaza.save(second)
    simulator.expire_key(first)
    with pytest.raises(errors.InvalidKeyError, match="Stripe does not accept the API key") as caught:
        plaza.roll_back()

    assert caught.value.code == "api_key_expired"
    assert plaza.in_use() == second
    assert "key_brought_back" not in plaza.audit


def test_earlier_key_is_proved_before_it_is_brought_back(plaza: Owner, simulator: Simulator) -> None:
    first = plaza.new_key()
    plaza.save(first)
    plaza.save(plaza.new_key())
    simulator._ledger.keys[first].allowed -= {"prices:write"}
    with pytest.raises(errors.MissingPermissionError, match="It lacks: Prices: Write"):
        plaza.roll_back()

    assert plaza.in_use() != first


@pytest.mark.parametrize("prepare", ["nothing", "connect", "destroyed", "disconnected"])
def test_without_an_earlier_key_there_is_nothing_to_bring_back(plaza: Owner, seaside: Owner, prepare: str) -> None:
    seaside.connect()
    seaside.save(seaside.new_key())
    if prepare != "nothing":
        plaza.connect()
    if prepare in {"destroyed", "disconnected"}:
        plaza.save(plaza.new_key())
        if prepare == "destroyed":
            assert plaza.destroy() == 1
        else:
            plaza.disconnect()
    with pytest.raises(errors.ValetProStripeError, match=r"^There is no earlier key to bring back\.$") as caught:
        plaza.roll_back()

    assert caught.value.code == "no_previous_key"


@pytest.mark.both
@pytest.mark.parametrize("act", ["save", "roll_back"])
def test_bringing_back_that_was_overtaken_is_told(plaza: Owner, act: str) -> None:
    plaza.connect()
    plaza.save(plaza.new_key())
    newest, transport = plaza.new_key(), put_transport(plaza.host)

    def overtake(method: str, url: str) -> None:
        transport.before = lambda method, url: None
        plaza.save(newest) if act == "save" else plaza.roll_back()

    transport.before = overtake
    with pytest.raises(errors.ValetProStripeError) as caught:
        plaza.roll_back()

    assert caught.value.code == "changed_meanwhile"
    assert plaza.audit[-1] == {"save": "key_rotated", "roll_back": "key_brought_back"}[act]


def test_bringing_back_is_a_try_like_entering_a_key(plaza: Owner, seaside: Owner, simulator: Simulator) -> None:
    for owner in (plaza, seaside):
        owner.connect()
        owner.save(owner.new_key())
    for _ in range(MOST_CHECKED - 2):
        plaza.roll_back()
    present = plaza.in_use()
    simulator.requests.clear()
    with pytest.raises(errors.ValetProStripeError) as caught:
        plaza.roll_back()

    assert (caught.value.code, simulator.requests, plaza.in_use()) == ("too_many", [], present)
    seaside.roll_back()
    assert seaside.in_use() == seaside.account.test_secret_key


def test_destroyed_keys_are_gone_from_the_store(shelf_host: Host, shelf: Shelf) -> None:
    plaza, seaside = Owner.of(shelf_host, "Plaza"), Owner.of(shelf_host, "Seaside")
    for owner in (plaza, seaside):
        owner.connect()
        owner.save(owner.new_key())
    present = plaza.in_use()
    assert plaza.destroy() == 1

    assert plaza.account.test_secret_key not in shelf.secrets
    assert seaside.account.test_secret_key in shelf.secrets
    assert (plaza.in_use(), plaza.audit[-1]) == (present, "secret_destroyed")
    assert plaza.destroy() == 0


def test_what_cannot_be_destroyed_now_is_not_said_to_be(shelf_host: Host, shelf: Shelf) -> None:
    plaza = Owner.of(shelf_host, "Plaza")
    plaza.connect()
    plaza.save(plaza.new_key())

    def away(step: str) -> None:
        raise TimeoutError

    shelf.meanwhile = away
    with pytest.raises(errors.SecretUnavailableError):
        plaza.destroy()
    assert "secret_destroyed" not in plaza.audit
    assert versions(plaza)[0] == (1, False, True)

    shelf.meanwhile = lambda step: None
    shelf_host.state.stores["shelf"]._down_until = 0.0  # type: ignore[attr-defined]
    assert plaza.destroy() == 1


def test_disconnecting_archives_the_keys_and_they_can_be_destroyed(shelf_host: Host, shelf: Shelf) -> None:
    plaza = Owner.of(shelf_host, "Plaza")
    plaza.connect()
    plaza.disconnect()

    assert versions(plaza) == [(1, False, True)]
    with pytest.raises(errors.NotConnectedError):
        plaza.make_payment()
    assert plaza.destroy() == 1
    # The webhook secret goes on verifying what Stripe has under way.
    assert [row.stored is None for row in plaza.secrets(WEBHOOK_SECRET)] == [False]


def test_key_of_another_account_is_a_switch_that_is_asked_for_first(plaza: Owner, second: Account) -> None:
    first = plaza.connect()
    error = plaza.refused(second.test_secret_key)

    assert isinstance(error, errors.AccountSwitchError)
    assert (error.code, error.account_id) == ("account_switch", second.id)
    assert str(error) == "This key is of another account: Plaza's new company, not Hotel Plaza. Nothing was changed."
    assert error.hint == (
        "If you mean it, enter the key again and tick the box. Payments made so far stay with the account that took "
        "them, and can be refunded there."
    )
    assert (plaza.in_use(), len(plaza.connections), plaza.endpoints(second)) == (first, 1, [])


def test_switch_that_is_confirmed_leaves_the_old_account_reachable(
    plaza: Owner, seaside: Owner, second: Account, simulator: Simulator
) -> None:
    first, other = plaza.connect(), seaside.connect()
    earlier = plaza.make_payment()
    plaza.save(second.test_secret_key, switch_to=second.id)

    old, new = plaza.living
    assert [(c.account_id, c.is_current, c.status) for c in (old, new)] == [
        (plaza.account.id, False, "CONNECTED"),
        (second.id, True, "CONNECTED"),
    ]
    assert key_of_last_payment(plaza) == second.test_secret_key
    with plaza.acting() as (state, _):
        own = plaza.host.db.session.get_one(plaza.host.valetpro.models.Connection, earlier.connection_id)
        client_for(state, own).v1.payment_links.retrieve(earlier.stripe_payment_link_id)
    assert simulator.requests[-1].api_key == first
    assert [each["id"] for each in plaza.endpoints()] == [old.endpoint_id]
    assert [each["id"] for each in plaza.endpoints(second)] == [new.endpoint_id]
    assert seaside.in_use() == other


def test_payment_of_before_the_switch_still_turns_paid(plaza: Owner, second: Account, simulator: Simulator) -> None:
    plaza.connect()
    earlier = plaza.make_payment()
    plaza.save(second.test_secret_key, switch_to=second.id)
    simulator.pay(earlier.stripe_payment_link_url)
    simulator.deliver_all(plaza.host.app)

    with plaza.host.app.app_context():
        assert plaza.host.db.session.get(plaza.host.Payment, earlier.id).status == "COMPLETED"


@pytest.mark.parametrize("confirmed", ["", "on", "yes", "acct_another", "the first"])
def test_confirming_one_account_does_not_confirm_another(plaza: Owner, second: Account, confirmed: str) -> None:
    plaza.connect()
    confirmed = plaza.account.id if confirmed == "the first" else confirmed

    assert plaza.refused(second.test_secret_key, switch_to=confirmed).code == "account_switch"
    assert len(plaza.connections) == 1


@pytest.mark.both
def test_switching_back_uses_the_old_connection_again(plaza: Owner, second: Account) -> None:
    first = plaza.connect()
    plaza.save(second.test_secret_key, switch_to=second.id)
    plaza.save(first, switch_to=plaza.account.id)

    assert len(plaza.connections) == 2
    assert plaza.current.account_id == plaza.account.id
    assert key_of_last_payment(plaza) == first
    assert versions(plaza, plaza.current) == [(1, True, True)]
    assert len(plaza.endpoints()) == len(plaza.endpoints(second)) == 1


def test_switch_from_a_connected_account_is_asked_for_too(plaza: Owner, host: Host, simulator: Simulator) -> None:
    other = simulator.create_account("Plaza by Connect")
    host.connect(plaza.tenant, other.id)

    assert plaza.refused(plaza.account.test_secret_key).code == "account_switch"
    plaza.save(plaza.account.test_secret_key, switch_to=plaza.account.id)
    assert plaza.current.account_type == "RAW_KEYS"


def test_own_key_of_the_connected_account_is_no_switch(plaza: Owner, host: Host) -> None:
    host.connect(plaza.tenant, plaza.account.id)
    plaza.connect()

    assert [(c.account_type, c.is_current) for c in plaza.living] == [("CONNECT_STANDARD", False), ("RAW_KEYS", True)]


def test_account_that_stripe_wants_something_of_is_not_left_unasked(
    plaza: Owner, second: Account, simulator: Simulator
) -> None:
    plaza.connect()
    simulator.update_account(plaza.account.id, charges_enabled=False)
    simulator.deliver_all(plaza.host.app)
    assert plaza.connection.status == "PENDING"

    assert plaza.refused(second.test_secret_key).code == "account_switch"


def test_webhook_secret_alone_never_leads_back_to_an_account_that_was_left(plaza: Owner, host: Host) -> None:
    plaza.connect()
    simulator = plaza.simulator
    host.connect(plaza.tenant, simulator.create_account("By Connect").id)
    error = plaza.refused(webhook_secret=PASTED)

    assert error.code == "no_key"
    assert plaza.current.account_type == "CONNECT_STANDARD"


def test_switch_that_waits_for_its_endpoint_leaves_payments_where_they_are(plaza: Owner, second: Account) -> None:
    first = plaza.connect()
    key = plaza.new_key("webhook_endpoints", account=second)
    assert plaza.refused(key, switch_to=second.id).code == "no_endpoint"
    assert key_of_last_payment(plaza) == first

    # The secret is for the one that waits, whichever takes the payments.
    plaza.save(webhook_secret=PASTED)
    assert plaza.current.account_id == second.id
    assert plaza.in_use(WEBHOOK_SECRET, plaza.current) == PASTED
    assert key_of_last_payment(plaza) == key
    old = next(c for c in plaza.living if c.account_id == plaza.account.id)
    assert plaza.in_use(WEBHOOK_SECRET, old) != PASTED


def test_switch_to_an_account_that_may_not_charge_yet_takes_place_once_it_may(
    plaza: Owner, seaside: Owner, simulator: Simulator
) -> None:
    first, other = plaza.connect(), seaside.connect()
    waiting = simulator.create_account("Plaza's new company", charges_enabled=False)
    plaza.save(waiting.test_secret_key, switch_to=waiting.id)
    assert plaza.current.account_id == plaza.account.id
    assert key_of_last_payment(plaza) == first

    told: list[Any] = []
    with signals.tenant_connected.connected_to(lambda app, **facts: told.append(facts["connection"].account_id)):
        simulator.update_account(waiting.id, charges_enabled=True)
        simulator.deliver_all(plaza.host.app)

    assert (plaza.current.account_id, plaza.current.status) == (waiting.id, "CONNECTED")
    assert key_of_last_payment(plaza) == waiting.test_secret_key
    assert told == [waiting.id]
    assert seaside.in_use() == other


def test_account_that_never_might_charge_is_left_without_being_asked(plaza: Owner, simulator: Simulator) -> None:
    """It took no payment that could be left behind there."""
    waiting = simulator.create_account("Not yet", charges_enabled=False)
    plaza.save(waiting.test_secret_key)
    assert (plaza.connection.status, plaza.connection.connected_at) == ("PENDING", None)

    plaza.connect()
    assert (plaza.connection.account_id, plaza.connection.status) == (plaza.account.id, "CONNECTED")
    assert plaza.endpoints(waiting) == []


def test_earlier_key_of_the_one_in_use_is_brought_back_while_another_waits(plaza: Owner, second: Account) -> None:
    first = plaza.connect()
    plaza.save(plaza.new_key())
    assert plaza.refused(plaza.new_key("webhook_endpoints", account=second), switch_to=second.id).code == "no_endpoint"
    plaza.roll_back()

    assert key_of_last_payment(plaza) == first


def test_what_was_begun_with_other_accounts_does_not_pile_up(
    plaza: Owner, seaside: Owner, simulator: Simulator
) -> None:
    tried = [simulator.create_account(f"Try {number}") for number in range(3)]
    for account in tried:
        assert plaza.refused(plaza.new_key("webhook_endpoints", account=account)).code == "no_endpoint"
        assert [c.account_id for c in plaza.living] == [account.id]
        assert plaza.current.account_id == account.id

    # What was given up is free for others.
    annex = Owner(plaza.host, seaside.tenant, tried[0])
    annex.connect()
    assert annex.connection.status == "CONNECTED"
    plaza.connect()
    assert plaza.connection.account_id == plaza.account.id
    assert [row.archived_at is None for row in plaza.secrets()] == [False, False, False, True]


def test_connection_that_took_payments_is_never_given_up(plaza: Owner, host: Host, second: Account) -> None:
    plaza.connect()
    change(host, plaza.connection, status="PENDING")
    plaza.save(second.test_secret_key, switch_to=second.id)

    assert len(plaza.living) == 2


@pytest.mark.both
def test_hotel_that_switches_back_and_forth_at_once_ends_with_one_current(plaza: Owner, second: Account) -> None:
    first = plaza.connect()
    plaza.save(second.test_secret_key, switch_to=second.id)
    acts: list[Callable[[], None]] = [
        lambda: plaza.save(first, switch_to=plaza.account.id),
        lambda: plaza.save(second.test_secret_key, switch_to=second.id),
    ]
    assert [result for result in at_once(*acts) if result is not None] == []

    assert len([c for c in plaza.connections if c.is_current]) == 1
    assert len(plaza.connections) == 2


def test_connecting_again_after_disconnecting_is_a_new_connection(plaza: Owner) -> None:
    plaza.connect()
    payment = plaza.make_payment()
    plaza.disconnect()
    plaza.connect()

    ended, living = plaza.connections
    assert (bool(ended.ended_at), living.ended_at) == (True, None)
    assert ended.endpoint_token != living.endpoint_token
    with plaza.acting() as (state, _):
        own = plaza.host.db.session.get_one(plaza.host.valetpro.models.Connection, payment.connection_id)
        client_for(state, own).v1.payment_links.retrieve(payment.stripe_payment_link_id)


def test_lie_about_the_account_by_webhook_does_not_change_whose_key_it_is(plaza: Owner, seaside: Owner) -> None:
    plaza.connect()
    seaside.connect()
    account = {"id": seaside.account.id, "object": "account", "charges_enabled": False}
    assert plaza.deliver(make_event("account.updated", account)).status_code == 200

    assert [owner.connection.account_id for owner in (plaza, seaside)] == [plaza.account.id, seaside.account.id]
    assert [owner.connection.status for owner in (plaza, seaside)] == ["CONNECTED", "CONNECTED"]


@pytest.mark.both
def test_versions_of_two_hotels_do_not_meet(plaza: Owner, seaside: Owner) -> None:
    for owner in (plaza, seaside):
        owner.connect()
        owner.save(owner.new_key())
    with plaza.acting() as (state, _):
        present = next(row for row in seaside.secrets() if row.archived_at is None)
        row = plaza.host.db.session.get_one(plaza.host.valetpro.models.Secret, present.id)
        own = plaza.host.db.session.get_one(plaza.host.valetpro.models.Connection, plaza.connection.id)
        with pytest.raises(errors.SecretUnavailableError):
            custody.read(state, own, row)


@pytest.mark.parametrize("lost", [{"stored": None}, {"stored": "vp1.0123456789abcdef.damaged"}])
def test_entering_the_same_key_again_heals_what_was_lost(plaza: Owner, seaside: Owner, lost: dict[str, Any]) -> None:
    key, other = plaza.connect(), seaside.connect()
    for row in plaza.secrets() + plaza.secrets(WEBHOOK_SECRET):
        change(plaza.host, row, **lost)
    with pytest.raises(errors.SecretUnavailableError):
        plaza.make_payment()

    plaza.save(key)

    assert key_of_last_payment(plaza) == key
    assert key_of_last_payment(seaside) == other
    assert len(plaza.endpoints()) == 1
    assert is_sound(plaza)


@pytest.mark.parametrize("rules", [{"ALLOW_SECRET_KEYS": False}, {"ALLOWED_ACCOUNT_TYPES": ["PLATFORM"]}])
def test_what_the_operator_no_longer_takes_is_not_brought_back(
    plaza: Owner, database_url: str, rules: dict[str, Any]
) -> None:
    plaza.connect()
    new = plaza.new_key()
    plaza.save(new)
    config = {f"VALETPRO_STRIPE_{name}": value for name, value in rules.items()}
    stricter = plaza.host.add_app(database_url, config={**config, "WTF_CSRF_ENABLED": False})

    with plaza.acting(stricter) as (state, tenant), pytest.raises(errors.ValetProStripeError) as refused:
        rotation.roll_back(state, tenant, Mode.test, actor="7")

    assert refused.value.code in ("restricted_keys_only", "account_type")
    assert key_of_last_payment(plaza) == new
