"""What is remembered of a vault: its answers for a minute, its failures for seconds, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flask_valetpro_stripe.errors import SecretUnavailableError
from flask_valetpro_stripe.secrets import Secret
from flask_valetpro_stripe.secrets.aws import AwsStore
from flask_valetpro_stripe.secrets.custom import CustomStore
from flask_valetpro_stripe.secrets.remembered import PAUSE, REMEMBERED, RememberingStore
from flask_valetpro_stripe.secrets.store import Label, down, unavailable
from tests.clocks import Clock
from tests.secrets.answers import answering
from tests.secrets.stage import KEY, PLAZA, SEASIDE, HostsOwn, refusal


class CountedStore(HostsOwn):
    """A host's own vault, that counts how often it is asked, and can be down."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.is_down = False
        #: What is raised for one entry.
        self.broken: dict[str, Exception] = {}

    def get(self, label: Label, stored: str) -> Secret:
        self.asked += 1
        if self.is_down:
            raise down(self.name, "out of order")
        if stored in self.broken:
            raise self.broken[stored]
        return super().get(label, stored)

    def put(self, label: Label, secret: Secret) -> str:
        self.asked += 1
        if self.is_down:
            raise down(self.name, "out of order")
        return super().put(label, secret)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault() -> CountedStore:
    return CountedStore()


@pytest.fixture
def store(vault: CountedStore, clock: Clock) -> RememberingStore:
    return RememberingStore(CustomStore("in_memory", vault), clock=clock)


@pytest.fixture
def stored(vault: CountedStore) -> str:
    """A reference to the plaza's key, put in by somebody else."""
    reference = CustomStore("in_memory", vault).put(PLAZA, KEY)
    vault.asked = 0
    return reference


def test_it_goes_by_the_vaults_name(store: RememberingStore) -> None:
    assert store.name == "in_memory"


def test_a_secret_is_fetched_once_a_minute(
    store: RememberingStore, vault: CountedStore, clock: Clock, stored: str
) -> None:
    for _ in range(10):
        assert store.get(PLAZA, stored) == KEY
    assert vault.asked == 1

    clock.now += REMEMBERED - 0.1
    store.get(PLAZA, stored)
    assert vault.asked == 1

    clock.now += 0.1
    store.get(PLAZA, stored)
    assert vault.asked == 2


def test_a_minute_is_the_most_that_is_promised() -> None:
    assert REMEMBERED <= 60


def test_what_one_tenant_may_read_is_not_remembered_for_another(store: RememberingStore, stored: str) -> None:
    assert store.get(PLAZA, stored) == KEY
    for other in (SEASIDE, replace(PLAZA, version=2)):
        assert refusal(lambda other=other: store.get(other, stored)).code == "secret_unreadable"


def test_the_minute_of_a_tenant_is_not_prolonged_by_use(
    store: RememberingStore, vault: CountedStore, clock: Clock, stored: str
) -> None:
    for _ in range(5):
        clock.now += REMEMBERED / 4
        store.get(PLAZA, stored)
    assert vault.asked == 2


def test_memory_is_bounded(vault: CountedStore, clock: Clock, stored: str) -> None:
    own = CustomStore("in_memory", vault)
    store = RememberingStore(own, clock=clock, most=3)
    store.get(PLAZA, stored)
    others = [own.put(replace(PLAZA, connection=number), KEY) for number in range(3)]
    for number, other in enumerate(others):
        store.get(replace(PLAZA, connection=number), other)
    vault.asked = 0

    store.get(replace(PLAZA, connection=2), others[2])
    assert vault.asked == 0
    store.get(PLAZA, stored)
    assert vault.asked == 1


def test_a_vault_that_is_down_is_left_alone_for_a_moment(
    store: RememberingStore, vault: CountedStore, clock: Clock, stored: str
) -> None:
    vault.is_down = True
    first = refusal(lambda: store.get(PLAZA, stored))
    clock.now += PAUSE - 0.1
    second = refusal(lambda: store.get(PLAZA, stored))

    assert str(first) == "The secret store (in_memory) cannot answer now: out of order."
    assert str(second) == "The secret store (in_memory) cannot answer now: it did not answer a moment ago."
    assert vault.asked == 1


def test_nothing_is_put_into_a_vault_that_is_down_either(store: RememberingStore, vault: CountedStore) -> None:
    vault.is_down = True
    refusal(lambda: store.put(PLAZA, KEY))
    refusal(lambda: store.put(PLAZA, KEY))
    assert vault.asked == 1


def test_after_the_moment_it_is_asked_again_and_the_failure_is_forgotten(
    store: RememberingStore, vault: CountedStore, clock: Clock, stored: str
) -> None:
    vault.is_down = True
    assert refusal(lambda: store.get(PLAZA, stored)).code == "secret_unavailable"
    vault.is_down = False

    clock.now += PAUSE

    assert store.get(PLAZA, stored) == KEY


def test_while_a_vault_is_down_what_is_remembered_is_served_and_no_longer_than_its_minute(
    store: RememberingStore, vault: CountedStore, clock: Clock, stored: str
) -> None:
    store.get(PLAZA, stored)
    vault.is_down = True
    refusal(lambda: store.get(SEASIDE, stored))

    assert store.get(PLAZA, stored) == KEY
    clock.now += REMEMBERED
    assert refusal(lambda: store.get(PLAZA, stored)).code == "secret_unavailable"


def test_that_a_secret_is_absent_is_neither_a_failure_nor_remembered(
    store: RememberingStore, vault: CountedStore, stored: str
) -> None:
    assert refusal(lambda: store.get(PLAZA, "entry-1")).code == "secret_absent"
    assert store.get(PLAZA, stored) == KEY

    assert store.put(PLAZA, Secret("sk_test_later")) == "entry-1"
    assert store.get(PLAZA, "entry-1").reveal() == "sk_test_later"


def test_one_tenants_unreadable_secret_stops_nobody_else(store: RememberingStore, stored: str) -> None:
    assert refusal(lambda: store.get(SEASIDE, stored)).code == "secret_unreadable"
    assert store.get(PLAZA, stored) == KEY


@pytest.mark.parametrize("raised", [unavailable("in_memory", "permission denied"), KeyError("entry-0"), OSError()])
def test_what_a_vault_cannot_say_about_one_tenants_secret_stops_nobody_else(
    vault: CountedStore, clock: Clock, stored: str, raised: Exception
) -> None:
    store = RememberingStore(CustomStore("in_memory", vault), clock=clock)
    theirs = store.put(SEASIDE, KEY)
    vault.broken[stored] = raised

    for _ in range(2):
        refused = refusal(lambda: store.get(PLAZA, stored))
        assert refused.code == "secret_unavailable"
        assert "a moment ago" not in str(refused)
    assert store.get(SEASIDE, theirs) == KEY


@pytest.mark.parametrize("raised", [down("in_memory", "it is sealed"), TimeoutError(), ConnectionRefusedError()])
def test_a_hosts_own_vault_that_is_down_is_left_alone_as_well(
    vault: CountedStore, clock: Clock, stored: str, raised: Exception
) -> None:
    store = RememberingStore(CustomStore("in_memory", vault), clock=clock)
    vault.broken[stored] = raised

    refusal(lambda: store.get(PLAZA, stored))
    vault.asked = 0

    assert "it did not answer a moment ago" in str(refusal(lambda: store.get(SEASIDE, stored)))
    assert vault.asked == 0


def test_a_permission_that_is_lacking_for_one_secret_at_aws_is_no_reason_to_ask_for_no_other() -> None:
    denied = '{"__type": "AccessDeniedException", "Message": "Access to KMS is not allowed"}'
    with answering(400, denied) as port:
        store = RememberingStore(AwsStore("eu-west-1", endpoint_url=f"http://127.0.0.1:{port}"))
        for label in (PLAZA, SEASIDE):
            refused = refusal(lambda label=label: store.get(label, f"valetpro-stripe/{'0' * 32}"))
            assert str(refused) == "The secret store (aws) cannot answer now: permission denied."


def test_what_was_put_in_is_not_remembered_before_it_was_read(store: RememberingStore, vault: CountedStore) -> None:
    stored = store.put(PLAZA, KEY)
    vault.kept.clear()
    assert refusal(lambda: store.get(PLAZA, stored)).code == "secret_absent"


def test_what_was_forgotten_is_asked_for_again(store: RememberingStore, vault: CountedStore, stored: str) -> None:
    store.get(PLAZA, stored)
    store.forget(PLAZA, stored)
    store.forget(PLAZA, "never known")
    store.get(PLAZA, stored)
    assert vault.asked == 2


def test_what_was_deleted_is_forgotten_even_if_the_vault_is_down(
    store: RememberingStore, vault: CountedStore, stored: str
) -> None:
    store.get(PLAZA, stored)
    vault.is_down = True
    refusal(lambda: store.get(SEASIDE, stored))

    with pytest.raises(SecretUnavailableError, match="a moment ago"):
        store.delete(PLAZA, stored)

    assert refusal(lambda: store.get(PLAZA, stored)).code == "secret_unavailable"
