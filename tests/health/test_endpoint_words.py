"""What Stripe says about the endpoint in a hotel's own account, in words, and whether it is held against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_valetpro_stripe.testing import SERVER_ERROR, Simulator
from flask_valetpro_stripe.webhooks.endpoint_words import EndpointWords
from tests.hosts import Host, make_host
from tests.raw_keys.owner import ENDPOINTS, PASTED, Owner, ping
from tests.reconcile.changed_endpoints import is_deleted, is_disabled, is_moved
from tests.reconcile.stage import look

from .ward import health, let_pass, words


@pytest.fixture
def host(sqlite_url: str, simulator: Simulator) -> Iterator[Host]:
    with make_host(sqlite_url, simulator=simulator) as host:
        yield host


@pytest.fixture
def plaza(host: Host) -> Owner:
    plaza = Owner.of(host, "Hotel Plaza")
    plaza.connect()
    return plaza


@pytest.fixture
def seaside(host: Host) -> Owner:
    seaside = Owner.of(host, "Seaside Resort")
    seaside.connect()
    return seaside


def endpoint(owner: Owner) -> EndpointWords:
    found = health(owner.host, owner.tenant).endpoint
    assert found is not None
    return found


def refuse_changes(simulator: Simulator) -> None:
    """Let Stripe fail whenever an endpoint is made or changed."""
    simulator.faults.add(method="POST", path=ENDPOINTS, fault=SERVER_ERROR, times=50)


@pytest.mark.parametrize(
    "happens, state, says, remedy",
    [
        (
            is_disabled,
            "disabled",
            "The webhook endpoint is switched off at Stripe, so no event comes.",
            "The operator runs 'flask stripe reconcile', which switches it on again. If that fails, it says why.",
        ),
        (
            is_deleted,
            "missing",
            "The webhook endpoint was deleted at Stripe, so no event comes.",
            "The operator runs 'flask stripe reconcile', which makes a new one. If that fails, it says why.",
        ),
        (
            is_moved,
            "elsewhere",
            "The webhook endpoint at Stripe leads to another address than this app's, so no event comes.",
            "If the app has moved, the operator runs 'flask stripe moved'. If this is a copy, 'flask stripe "
            "neutralize'.",
        ),
    ],
)
def test_an_endpoint_that_reconcile_could_not_mend_is_broken_until_it_can(
    plaza: Owner, seaside: Owner, happens: Callable[[Owner], None], state: str, says: str, remedy: str
) -> None:
    happens(plaza)
    refuse_changes(plaza.simulator)
    look(plaza.host)

    found = health(plaza.host, plaza.tenant)

    assert words(found) == ("broken", True)
    assert (found.says, found.remedy) == (says, remedy)
    assert found.endpoint
    assert (found.endpoint.state, found.endpoint.is_broken) == (state, True)
    assert found.endpoint.checked_at
    assert words(health(seaside.host, seaside.tenant)) == ("idle", False)

    plaza.simulator.faults.clear()
    look(plaza.host)
    assert words(health(plaza.host, plaza.tenant)) == ("idle", False)
    assert endpoint(plaza).says == "Stripe has the webhook endpoint, and it is on."


def test_an_event_that_was_delivered_since_knows_better(plaza: Owner) -> None:
    is_disabled(plaza)
    refuse_changes(plaza.simulator)
    look(plaza.host)
    assert endpoint(plaza).is_broken

    plaza.deliver(ping())

    assert words(health(plaza.host, plaza.tenant)) == ("healthy", False)
    assert endpoint(plaza).state == "enabled"


def test_one_that_was_delivered_before_stripe_was_asked_does_not(plaza: Owner) -> None:
    plaza.deliver(ping())
    let_pass(plaza.host, minutes=5)
    is_disabled(plaza)
    refuse_changes(plaza.simulator)
    look(plaza.host)

    assert words(health(plaza.host, plaza.tenant)) == ("broken", True)


@pytest.mark.parametrize("happens", [is_disabled, is_deleted])
def test_an_admin_who_saves_the_key_again_has_mended_it(plaza: Owner, happens: Callable[[Owner], None]) -> None:
    happens(plaza)
    refuse_changes(plaza.simulator)
    look(plaza.host)
    plaza.simulator.faults.clear()

    plaza.save(plaza.in_use())

    assert words(health(plaza.host, plaza.tenant)) == ("idle", False)
    assert endpoint(plaza).says == "Stripe has not been asked about the webhook endpoint yet."
    assert [each["status"] for each in plaza.endpoints()] == ["enabled"]


def test_a_key_that_cannot_ask_is_no_verdict_and_is_told(plaza: Owner) -> None:
    plaza.simulator.expire_key(plaza.in_use())
    look(plaza.host)

    assert words(health(plaza.host, plaza.tenant)) == ("idle", False)
    found = endpoint(plaza)
    assert (found.state, found.says) == ("unknown", "Stripe could not be asked about the webhook endpoint.")
    assert found.remedy.startswith("An admin of the tenant looks at the API key on the payment settings page")


def test_an_endpoint_that_nobody_has_looked_at_is_no_fault(plaza: Owner) -> None:
    assert words(health(plaza.host, plaza.tenant)) == ("idle", False)
    assert endpoint(plaza).state == "unchecked"


def test_an_endpoint_that_was_made_by_hand_is_not_asked_about(host: Host) -> None:
    plaza = Owner.of(host, "Hotel Plaza")
    plaza.save(plaza.new_key("webhook_endpoints"), webhook_secret=PASTED)
    look(host)

    assert endpoint(plaza).says == "The webhook endpoint was made by hand, so Stripe is not asked about it."


def test_a_connected_account_has_no_endpoint_of_its_own(host: Host) -> None:
    tenant: Any = host.make_tenant("Plaza")
    host.connect(tenant, "acct_plaza")

    assert health(host, tenant).endpoint is None
