"""What may be pasted: looked at, proved at Stripe, and only then stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flask_valetpro_stripe import AccountType, Mode, errors, signals
from flask_valetpro_stripe.audit import WINDOW
from flask_valetpro_stripe.onboarding.key_check import MOST_CHECKED
from flask_valetpro_stripe.testing import Simulator
from tests.clocks import Clock
from tests.connections.admin import change, rows
from tests.hosts import Host, make_host
from tests.raw_keys.owner import OPTIONAL, PASTED, REQUIRED, Owner, at_once, put_transport

GOOD = "rk_test_51aAbBcCdDeEfFgGhHiIjJ4242"
NOT_A_KEY = "That is not a Stripe API key: it begins with rk_ or sk_, and has letters, digits and _ only."
HIDDEN = "That is a key with its middle hidden. Copy the whole key."
MISTAKES = {
    "a publishable key": ("pk_test_51aAbBcCdDeEfFgG4242", "That is a publishable key."),
    "a webhook secret": (PASTED, "That is the signing secret of a webhook endpoint."),
    "an endpoint's id": ("we_1aAbBcCdDeEfFgG", "That is the id of a webhook endpoint."),
    "an account's id": ("acct_1aAbBcCdDeEf4242", "That is the id of an account."),
    "a client id": ("ca_aAbBcCdDeEfFgGhH4242", "That is a Connect client id."),
    "an ephemeral key": ("ek_test_aAbBcCdDeEfFgG4242", "That is an ephemeral key, which expires within the hour."),
    "an organization's key": ("sk_org_test_aAbBcCdDeEf4242", "That is an organization's key, which opens many"),
    "a restricted organization's key": ("rk_org_live_aAbBcCdDeEf42", "That is an organization's key, which opens"),
    "the mask of ours": ("rk_test_…4242", HIDDEN),
    "a mask that was edited": ("rk_test_51aAbBcCdDeEfF…4243", HIDDEN),
    "a mask with stars": ("rk_test_****************4242", HIDDEN),
    "a mask with dots": ("rk_test_...4242", HIDDEN),
    "a mask with bullets": ("rk_test_••••••••4242", HIDDEN),
    "a megabyte": ("rk_test_" + "a" * 1_000_000, NOT_A_KEY),
    "one character too many": ("rk_test_" + "a" * 248, NOT_A_KEY),
    "a null character": (GOOD + "\0", NOT_A_KEY),
    "a null character within": (GOOD[:20] + "\0" + GOOD[20:], NOT_A_KEY),
    "a line end": (GOOD + "\n", NOT_A_KEY),
    "another line end": (GOOD + "\r\n", NOT_A_KEY),
    "a header of its own": (GOOD + "\r\nStripe-Account: acct_1other", NOT_A_KEY),
    "a tab": ("\t" + GOOD, NOT_A_KEY),
    "a tab alone": ("\t", NOT_A_KEY),
    "a blank within": (GOOD[:20] + " " + GOOD[20:], NOT_A_KEY),
    "a no-break space": (GOOD + "\u00a0", NOT_A_KEY),
    "a Cyrillic a": (GOOD.replace("a", "а"), NOT_A_KEY),
    "fullwidth digits": (GOOD.replace("4242", "４２４２"), NOT_A_KEY),
    "Arabic digits": (GOOD.replace("4242", "٤٢٤٢"), NOT_A_KEY),
    "a zero-width space": ("\u200b" + GOOD, NOT_A_KEY),
    "half a surrogate pair": (GOOD + "\ud800", NOT_A_KEY),
    "capital letters": (GOOD.upper(), NOT_A_KEY),
    "a prefix alone": ("sk_test_", NOT_A_KEY),
    "no mode": ("sk_51aAbBcCdDeEfFgGhHiIjJ", NOT_A_KEY),
    "a sentence": ("my key is rk_test_51aAbBcCdDeEfFgG", NOT_A_KEY),
    "markup": ("<script>alert(1)</script>", NOT_A_KEY),
}


def nothing_happened(owner: Owner) -> bool:
    """Tell whether nothing was stored, and Stripe was asked nothing."""
    return (owner.connections, owner.secrets(), owner.audit, owner.simulator.requests) == ([], [], [], [])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_no_key_is_refused_by_what_it_is_and_never_repeated(light_plaza: Owner, mistake: str) -> None:
    typed, said = MISTAKES[mistake]
    error = light_plaza.refused(typed)

    assert isinstance(error, errors.InvalidKeyError)
    assert error.code == "not_a_key"
    assert str(error).startswith(said)
    assert error.hint == "Copy it from the Stripe Dashboard, under Developers, API keys."
    assert typed not in f"{error!r} {error.args} {vars(error)}"
    assert nothing_happened(light_plaza)


@pytest.mark.parametrize(
    "typed", ["pk_test_short", "sk_test_51aAbBcCdDeEfFgG", "pk_test_51aAbBc\n", "pk_test_" + "a" * 248]
)
def test_what_is_no_publishable_key_is_refused(light_plaza: Owner, typed: str) -> None:
    error = light_plaza.refused(light_plaza.account.test_secret_key, publishable_key=typed)

    assert error.code == "not_a_publishable_key"
    assert typed not in f"{error!r} {vars(error)}"
    assert nothing_happened(light_plaza)


@pytest.mark.parametrize(
    "typed",
    ["whsec_", "whsec_short", "None", "whsec_" + "a" * 250, PASTED + "\0", "whsec_" + "é" * 30, "we_1aAbBcCdDeEf"],
)
def test_what_is_no_webhook_secret_is_refused(light_plaza: Owner, typed: str) -> None:
    error = light_plaza.refused(light_plaza.account.test_secret_key, webhook_secret=typed)

    assert error.code == "not_a_webhook_secret"
    assert typed not in f"{error!r} {vars(error)}".replace("begins with whsec_.", "")
    assert nothing_happened(light_plaza)


def test_webhook_secret_whose_mask_would_show_it_is_refused(plaza: Owner) -> None:
    assert plaza.refused(webhook_secret="whsec_aaaaaaaaaaaaaaaaaaaaaaaaaaaa_bbbb").code == "not_a_webhook_secret"


def test_blanks_around_a_key_do_no_harm(plaza: Owner) -> None:
    plaza.save(f"  {plaza.account.test_secret_key}   ", publishable_key=f" {plaza.account.test_publishable_key} ")

    assert plaza.in_use() == plaza.account.test_secret_key
    assert plaza.connection.publishable_key == plaza.account.test_publishable_key


@pytest.mark.parametrize("mode", Mode)
def test_key_of_the_other_mode_is_refused_before_stripe_is_asked(plaza: Owner, mode: Mode) -> None:
    other = "test" if mode.livemode else "live"
    key = plaza.account.test_secret_key if mode.livemode else plaza.account.live_secret_key
    error = plaza.refused(key, mode=mode)

    assert isinstance(error, errors.ModeMismatchError)
    assert str(error) == f"That is a {other} key, and this is the {mode} account. Nothing was saved."
    assert error.hint == f"In the Stripe Dashboard, switch to {mode} mode and copy the key from there."
    assert nothing_happened(plaza)


def test_key_that_works_in_another_mode_than_it_says_is_refused(plaza: Owner) -> None:
    transport = put_transport(plaza.host)
    transport.after = lambda method, url, body: body.replace('"livemode": false', '"livemode": true')
    error = plaza.refused(plaza.account.test_secret_key)

    assert str(error) == "Stripe says that this is no test key. Nothing was saved."
    assert (plaza.connections, plaza.secrets()) == ([], [])


@pytest.mark.both
def test_first_key_connects_the_tenant(plaza: Owner, seaside: Owner) -> None:
    told: list[Any] = []
    with signals.tenant_connected.connected_to(lambda app, **facts: told.append(facts["tenant"].id)):
        key = plaza.connect()

    connection = plaza.connection
    assert (connection.status, connection.is_current, connection.requirements) == ("CONNECTED", True, None)
    assert (connection.account_id, connection.account_name) == (plaza.account.id, "Hotel Plaza")
    assert (connection.account_type, connection.missing_permissions) == (AccountType.RAW_KEYS, None)
    assert plaza.in_use() == key
    assert plaza.audit == ["key_checked", "prepared", "key_saved", "endpoint_made", "connected"]
    assert told == [plaza.tenant.id]
    assert (seaside.connections, seaside.secrets(), seaside.endpoints()) == ([], [], [])


def test_two_tenants_use_their_own_keys(plaza: Owner, seaside: Owner, simulator: Simulator) -> None:
    for owner in (plaza, seaside):
        owner.connect()
    for owner in (plaza, seaside, plaza):
        owner.make_payment()

    made = [each.api_key for each in simulator.requests if each.path == "/v1/payment_links"]
    keys = [owner.account.test_secret_key for owner in (plaza, seaside, plaza)]
    assert [key for key in made if key in keys][-3:] == keys
    assert all(each.stripe_account is None for each in simulator.requests)


def test_each_mode_has_its_own_key(plaza: Owner) -> None:
    plaza.connect(Mode.test)
    plaza.connect(Mode.live)

    test, live = plaza.living
    assert (test.mode, live.mode) == ("test", "live")
    assert plaza.in_use(connection=test) == plaza.account.test_secret_key
    assert plaza.in_use(connection=live) == plaza.account.live_secret_key


def test_key_that_stripe_does_not_know_is_refused(plaza: Owner) -> None:
    error = plaza.refused(GOOD)

    assert isinstance(error, errors.InvalidKeyError)
    assert "Stripe does not accept the API key" in str(error)
    assert "4242" not in f"{error} {error.hint}"
    assert (plaza.connections, plaza.secrets(), plaza.audit) == ([], [], ["key_checked"])


def test_expired_key_is_refused(plaza: Owner, simulator: Simulator) -> None:
    simulator.expire_key(plaza.account.test_secret_key)
    error = plaza.refused(plaza.account.test_secret_key)

    assert error.code == "api_key_expired"
    assert plaza.connections == []


@pytest.mark.parametrize("word", REQUIRED)
def test_restricted_key_without_a_permission_that_payments_need_is_refused_by_its_name(plaza: Owner, word: str) -> None:
    error = plaza.refused(plaza.new_key(word))

    assert isinstance(error, errors.MissingPermissionError)
    assert str(error) == (f"The key is genuine, but it may not do all that payments need. It lacks: {REQUIRED[word]}.")
    assert error.hint == (
        "In the Stripe Dashboard under Developers, API keys, allow the key these. Then enter it again."
    )
    assert (plaza.connections, plaza.secrets()) == ([], [])


def test_key_that_only_reads_lacks_them_all(plaza: Owner, simulator: Simulator) -> None:
    key = simulator.create_restricted_key(plaza.account.id, allow=["account:read", *(f"{w}:read" for w in REQUIRED)])
    error = plaza.refused(key)

    assert str(error).endswith(f"It lacks: {', '.join(REQUIRED.values())}.")


@pytest.mark.parametrize("word", [word for word in OPTIONAL if word != "webhook_endpoints"])
def test_restricted_key_works_with_less_and_the_connection_lists_it(plaza: Owner, word: str) -> None:
    plaza.save(plaza.new_key(word))

    assert (plaza.connection.status, plaza.connection.missing_permissions) == ("CONNECTED", [OPTIONAL[word]])
    assert plaza.make_payment().stripe_payment_link_url


def test_looking_at_a_key_changes_nothing_at_stripe(plaza: Owner, simulator: Simulator) -> None:
    plaza.refused(plaza.new_key("prices"))

    assert [each for each in simulator.requests if each.method == "POST" and each.status == 200] == []
    assert simulator.events == []


@pytest.mark.parametrize("fault", ["rate_limit", "lock_timeout", "server_error", "drop_before", "drop_after"])
@pytest.mark.parametrize("path", ["/v1/balance", "/v1/account", "/v1/refunds", "/v1/events"])
def test_no_answer_is_no_permission_and_no_refusal_of_one(
    plaza: Owner, simulator: Simulator, path: str, fault: str
) -> None:
    simulator.faults.add(None, path, fault, times=3)
    error = plaza.refused(plaza.new_key())

    assert not isinstance(error, (errors.InvalidKeyError, errors.MissingPermissionError))
    assert (plaza.connections, plaza.secrets()) == ([], [])
    simulator.faults.clear()
    plaza.save(plaza.new_key())
    assert plaza.connection.missing_permissions is None


def test_slow_answers_do_not_keep_the_admin_waiting_for_all_of_them(
    plaza: Owner, seaside: Owner, simulator: Simulator
) -> None:
    other, transport = seaside.connect(), put_transport(plaza.host)
    clock = plaza.host.state.clock = Clock()
    transport.before = lambda method, url: clock.move(8)
    simulator.requests.clear()
    error = plaza.refused(plaza.new_key())

    assert isinstance(error, errors.OutcomeUnknownError)
    assert str(error) == "Checking the permission 'Checkout Sessions: Write' did not get an answer from Stripe."
    assert error.hint == "Try again in a moment."
    assert len(simulator.requests) == 3
    assert (plaza.connections, plaza.secrets()) == ([], [])
    assert seaside.in_use() == other


def test_account_that_the_key_may_not_read_is_told_by_the_refusal(plaza: Owner) -> None:
    plaza.save(plaza.new_key("account:read"))

    assert (plaza.connection.account_id, plaza.connection.account_name) == (plaza.account.id, None)
    assert plaza.connection.status == "CONNECTED"


def test_key_that_does_not_tell_its_account_is_refused_and_the_text_says_what_to_allow(plaza: Owner) -> None:
    transport = put_transport(plaza.host)
    transport.after = lambda method, url, body: body.replace(f"on account '{plaza.account.id}'", "")
    error = plaza.refused(plaza.new_key("account:read"))

    assert str(error) == "The key is genuine, but does not tell which account it belongs to."
    assert error.hint == "In the Stripe Dashboard, allow the key to read the account. Then enter it again."
    assert plaza.connections == []


def test_what_stripe_wants_stays_known_when_the_next_key_may_not_see_it(host: Host, simulator: Simulator) -> None:
    plaza = Owner(host, host.make_tenant("Plaza"), simulator.create_account("Plaza", charges_enabled=False))
    plaza.connect()
    assert (plaza.connection.status, plaza.connection.requirements[:1]) == ("PENDING", ["business_profile.url"])

    plaza.save(plaza.new_key("account:read"))
    assert (plaza.connection.status, plaza.connection.requirements[:1]) == ("PENDING", ["business_profile.url"])


def test_publishable_key_of_the_same_account_is_kept(plaza: Owner) -> None:
    plaza.save(plaza.new_key(), publishable_key=plaza.account.test_publishable_key)

    assert plaza.connection.publishable_key == plaza.account.test_publishable_key


def test_publishable_key_of_another_account_is_refused_and_nothing_is_stored(plaza: Owner, seaside: Owner) -> None:
    error = plaza.refused(plaza.account.test_secret_key, publishable_key=seaside.account.test_publishable_key)

    assert error.code == "two_accounts"
    assert str(error) == "The publishable key and the secret key are of two different accounts. Nothing was saved."
    assert (plaza.connections, plaza.secrets(), plaza.endpoints()) == ([], [], [])


def test_publishable_key_of_the_other_mode_is_refused(plaza: Owner) -> None:
    error = plaza.refused(plaza.account.test_secret_key, publishable_key=plaza.account.live_publishable_key)

    assert str(error) == "That is a live publishable key, and this is the test account."
    assert nothing_happened(plaza)


def test_publishable_key_that_stripe_does_not_accept_is_refused(plaza: Owner, simulator: Simulator) -> None:
    simulator.expire_key(plaza.account.test_publishable_key)
    error = plaza.refused(plaza.account.test_secret_key, publishable_key=plaza.account.test_publishable_key)

    assert str(error) == "Stripe does not accept the publishable key. Nothing was saved."
    assert plaza.connections == []


def test_key_that_may_not_read_tokens_cannot_prove_a_publishable_one(plaza: Owner) -> None:
    key = plaza.new_key("tokens:read")
    error = plaza.refused(key, publishable_key=plaza.account.test_publishable_key)

    assert str(error) == ("Whether the two keys are of one account cannot be told: the secret key may not read tokens.")
    assert "'Tokens: Read'" in error.hint
    assert plaza.connections == []


def test_publishable_key_alone_is_proved_against_the_stored_key(plaza: Owner, seaside: Owner) -> None:
    plaza.connect()
    assert plaza.refused(publishable_key=seaside.account.test_publishable_key).code == "two_accounts"
    assert plaza.connection.publishable_key is None

    plaza.save(publishable_key=plaza.account.test_publishable_key)
    assert plaza.connection.publishable_key == plaza.account.test_publishable_key
    assert len(plaza.secrets()) == 1


@pytest.mark.parametrize(
    "fields", [{}, {"webhook_secret": PASTED}, {"publishable_key": "pk_test_51aAbBcCdDeEfFgG4242"}, {"switch_to": "x"}]
)
def test_without_any_secret_key_nothing_begins(plaza: Owner, fields: dict[str, str]) -> None:
    error = plaza.refused(**fields)

    assert (error.code, str(error)) == ("no_key", "Enter the secret key: it begins with rk_ or sk_.")
    assert (plaza.connections, plaza.simulator.requests) == ([], [])


@pytest.fixture
def strict(database_url: str, simulator: Simulator, request: pytest.FixtureRequest) -> Iterator[Host]:
    config = {f"VALETPRO_STRIPE_{name}": value for name, value in request.param.items()}
    with make_host(database_url, simulator=simulator, config=config) as host:
        yield host


@pytest.mark.parametrize("strict", [{"ALLOW_SECRET_KEYS": False}], indirect=True)
def test_operator_may_take_restricted_keys_only(strict: Host) -> None:
    plaza = Owner.of(strict, "Plaza")
    error = plaza.refused(plaza.account.test_secret_key)

    assert error.code == "restricted_keys_only"
    assert (
        str(error) == "Only restricted keys (rk_…) are taken here, and that is a secret key, which may do everything."
    )
    assert nothing_happened(plaza)
    plaza.save(plaza.new_key())
    assert plaza.connection.status == "CONNECTED"


@pytest.mark.parametrize("strict", [{"ALLOWED_ACCOUNT_TYPES": ["CONNECT_STANDARD"]}], indirect=True)
def test_operator_may_take_no_keys_at_all(strict: Host) -> None:
    plaza = Owner.of(strict, "Plaza")
    error = plaza.refused(plaza.account.test_secret_key)

    assert (error.code, str(error)) == ("account_type", "API keys are not taken here.")
    assert nothing_happened(plaza)


def test_platforms_own_keys_are_no_tenants(plaza: Owner, simulator: Simulator) -> None:
    restricted = plaza.new_key(account=simulator.platform)
    for key in (simulator.platform.test_secret_key, restricted):
        error = plaza.refused(key)
        assert isinstance(error, errors.AccountTakenError)
        assert str(error) == "This is the platform's own Stripe account, which cannot be a tenant's."
    assert plaza.connections == []


@pytest.mark.parametrize("strict", [{"TEST_SECRET_KEY": None}], indirect=True)
def test_platforms_account_is_known_by_its_key_of_the_other_mode(strict: Host, simulator: Simulator) -> None:
    plaza = Owner.of(strict, "Plaza")

    assert isinstance(plaza.refused(simulator.platform.test_secret_key), errors.AccountTakenError)
    plaza.connect()
    assert plaza.connection.status == "CONNECTED"


@pytest.mark.parametrize("strict", [{"TEST_SECRET_KEY": None, "LIVE_SECRET_KEY": None}], indirect=True)
def test_tenants_keys_work_without_any_platform_key(strict: Host) -> None:
    plaza = Owner.of(strict, "Plaza")
    plaza.connect()

    assert plaza.make_payment().stripe_payment_link_url


def test_platform_key_that_does_not_work_is_the_operators_trouble(plaza: Owner, simulator: Simulator) -> None:
    simulator.expire_key(simulator.platform.test_secret_key)
    error = plaza.refused(plaza.account.test_secret_key)

    assert isinstance(error, errors.ConfigurationError)
    assert "The operator must set a valid VALETPRO_STRIPE_TEST_SECRET_KEY." in str(error)
    assert plaza.connections == []


def test_account_that_serves_another_tenant_is_refused_without_a_name(plaza: Owner, seaside: Owner) -> None:
    seaside.connect()
    error = plaza.refused(seaside.new_key())

    assert isinstance(error, errors.AccountTakenError)
    assert str(error) == "This Stripe account is already in use here, so it was not connected."
    assert "Seaside" not in f"{error} {error.hint}"
    assert (plaza.connections, plaza.secrets(), len(seaside.endpoints())) == ([], [], 1)


def test_account_that_serves_another_tenant_cannot_be_confirmed(plaza: Owner, seaside: Owner) -> None:
    plaza.connect()
    seaside.connect()
    for confirmed in ("", seaside.account.id):
        error = plaza.refused(seaside.new_key(), switch_to=confirmed)
        assert isinstance(error, errors.AccountTakenError)
        assert "Seaside" not in f"{error} {error.hint}"
    assert plaza.connection.account_id == plaza.account.id


def test_account_of_a_connected_tenant_is_taken_too(plaza: Owner, seaside: Owner) -> None:
    seaside.host.connect(seaside.tenant, seaside.account.id)

    assert isinstance(plaza.refused(seaside.new_key()), errors.AccountTakenError)
    assert plaza.connections == []


@pytest.mark.both
@pytest.mark.parametrize("strict", [{"ALLOW_SHARED_ACCOUNTS": True}], indirect=True)
def test_hotels_of_one_group_may_share_an_account(strict: Host) -> None:
    plaza = Owner.of(strict, "Plaza")
    annex = Owner(strict, strict.make_tenant("Annex"), plaza.account)
    plaza.connect()
    annex.connect()

    assert [owner.connection.account_id for owner in (plaza, annex)] == [plaza.account.id] * 2
    assert len({endpoint["url"] for endpoint in plaza.endpoints()}) == 2
    annex.disconnect()
    (left,) = plaza.endpoints()
    assert left["metadata"]["valetpro_tenant"] == str(plaza.tenant.id)


def test_keys_are_tried_ten_times_in_ten_minutes(plaza: Owner, seaside: Owner, simulator: Simulator) -> None:
    for _ in range(MOST_CHECKED):
        assert plaza.refused(GOOD).code != "too_many"
    simulator.requests.clear()
    error = plaza.refused(plaza.account.test_secret_key)

    assert (error.code, str(error)) == ("too_many", "Keys were entered 10 times in the last ten minutes.")
    assert simulator.requests == []
    seaside.connect()
    assert seaside.connection.status == "CONNECTED"


@pytest.mark.both
def test_after_ten_minutes_keys_may_be_tried_again(plaza: Owner) -> None:
    for _ in range(MOST_CHECKED):
        plaza.refused(GOOD)
    entry = rows(plaza.host, plaza.host.valetpro.models.AuditEntry)[0]
    behind = plaza.host.valetpro.models.AuditEntry.__table__
    with plaza.host.app.app_context():
        plaza.host.db.session.execute(behind.update().where(behind.c.id == entry.id).values(at=entry.at - WINDOW))
        plaza.host.db.session.commit()

    plaza.connect()
    assert plaza.refused(GOOD).code == "too_many"


@pytest.mark.both
def test_keys_tried_at_the_same_moment_are_all_counted(plaza: Owner, simulator: Simulator) -> None:
    for _ in range(MOST_CHECKED - 2):
        plaza.refused(GOOD)
    codes = [error.code for error in at_once(*[lambda: plaza.refused(GOOD)] * 6)]

    assert codes.count("too_many") == 4
    assert plaza.audit.count("key_checked") == MOST_CHECKED


def test_history_tells_tried_keys_apart_and_names_none(plaza: Owner) -> None:
    plaza.refused(GOOD)
    plaza.refused(plaza.new_key("prices"))
    entries = rows(plaza.host, plaza.host.valetpro.models.AuditEntry)

    assert len({entry.detail["fingerprint"] for entry in entries}) == 2
    assert "rk_test" not in repr([entry.detail for entry in entries])


def test_status_is_not_moved_by_a_webhook_secret_while_stripe_wants_more(host: Host, simulator: Simulator) -> None:
    plaza = Owner(host, host.make_tenant("Plaza"), simulator.create_account("Plaza", charges_enabled=False))
    plaza.connect()
    plaza.save(webhook_secret=PASTED)

    assert plaza.connection.status == "PENDING"
    assert plaza.connection.requirements[0] == "business_profile.url"


def test_operators_shared_accounts_that_are_shared_no_more_keep_their_keys_exchangeable(
    plaza: Owner, seaside: Owner
) -> None:
    plaza.connect()
    seaside.connect()
    # As it is after sharing was allowed for a while.
    change(seaside.host, seaside.connection, account_id=plaza.account.id, claimed_account_id=None)
    plaza.save(plaza.new_key())

    assert len(plaza.secrets()) == 2


@pytest.mark.both
def test_two_hotels_that_save_keys_of_one_account_at_once_do_not_both_get_it(plaza: Owner, seaside: Owner) -> None:
    one, two = plaza.new_key(), plaza.new_key()
    lost = [result for result in at_once(lambda: plaza.save(one), lambda: seaside.save(two)) if result is not None]

    assert [type(error) for error in lost] == [errors.AccountTakenError]
    connected = [owner for owner in (plaza, seaside) if owner.connections]
    assert [owner.connection.status for owner in connected] == ["CONNECTED"]
    assert [len(owner.secrets()) for owner in (plaza, seaside) if owner not in connected] == [0]
    assert len(plaza.endpoints()) == 1
