"""Endpoints in tenants' own accounts that somebody changed at Stripe are brought back to what they should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_valetpro_stripe.testing import Simulator
from tests.hosts import Host, make_host
from tests.raw_keys.owner import Owner, Shelf, ping
from tests.reconcile.changed_endpoints import is_deleted, is_disabled, is_moved, tells_too_little
from tests.reconcile.stage import look, run


@pytest.fixture
def owner(host: Host) -> Owner:
    owner = Owner.of(host, "Hotel Plaza")
    owner.connect()
    return owner


@pytest.fixture
def neighbour(host: Host) -> Owner:
    owner = Owner.of(host, "Seaside Resort")
    owner.connect()
    return owner


def what_it_is(owner: Owner) -> tuple[str, str, int]:
    """The one endpoint of an account: where it delivers to, whether it does, and how many types."""
    (endpoint,) = owner.endpoints()
    assert endpoint["id"] == owner.connection.endpoint_id
    return endpoint["url"], endpoint["status"], len(endpoint["enabled_events"])


@pytest.mark.parametrize(
    "happens, word",
    [(is_deleted, "missing"), (is_disabled, "disabled"), (is_moved, "elsewhere"), (tells_too_little, None)],
)
def test_an_endpoint_that_was_changed_at_stripe_works_again(
    host: Host, owner: Owner, neighbour: Owner, happens: Callable[[Owner], None], word: str | None
) -> None:
    before, theirs = what_it_is(owner), neighbour.endpoints()
    happens(owner)

    result = run(host, "--mode", "test")

    assert result.exit_code == 0
    assert what_it_is(owner) == before
    assert neighbour.endpoints() == theirs
    told = f"- Tenant {owner.tenant.id}, test: its webhook endpoint was {word}, and works again."
    assert (told in result.output) == (word is not None)
    assert ("endpoint_mended" in owner.audit) == (word is not None)
    assert (owner.connection.endpoint_state, neighbour.connection.endpoint_state) == ("enabled", "enabled")
    assert owner.connection.endpoint_checked_at is not None
    assert owner.deliver(ping()).status_code == 200


def test_a_merchants_own_endpoints_are_not_touched(host: Host, owner: Owner) -> None:
    theirs = owner.add_endpoint()
    owner.simulator.disable_endpoint(theirs)
    is_deleted(owner)

    look(host)

    (found,) = [each for each in owner.endpoints() if each["id"] == theirs]
    assert found["status"] == "disabled"


def test_nothing_is_written_into_the_audit_where_nothing_was_wrong(host: Host, owner: Owner) -> None:
    before = owner.audit
    look(host)
    assert owner.audit == before


@pytest.mark.both
def test_a_key_that_is_refused_is_noted_and_the_others_go_on(host: Host, owner: Owner, neighbour: Owner) -> None:
    owner.simulator.expire_key(owner.in_use())
    is_disabled(neighbour)

    result = run(host, "--mode", "test")

    assert result.exit_code == 0
    assert (
        f"- Tenant {owner.tenant.id}, test: Looking at the webhook endpoint failed: Stripe does not accept the API"
        in (result.output)
    )
    assert str(owner.connection.endpoint_state).startswith("unknown: ")
    assert what_it_is(neighbour)[1] == "enabled"


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def shelf_host(database_url: str, simulator: Simulator, shelf: Shelf) -> Iterator[Host]:
    with make_host(database_url, simulator=simulator, config={"VALETPRO_STRIPE_SECRET_STORE": shelf}) as host:
        yield host


def test_a_vault_that_keeps_back_one_tenants_key_does_not_stop_the_others(
    database_url: str, shelf_host: Host, shelf: Shelf
) -> None:
    owner, neighbour = Owner.of(shelf_host, "Hotel Plaza"), Owner.of(shelf_host, "Seaside Resort")
    for each in (owner, neighbour):
        each.connect()
        is_disabled(each)
    inner = shelf.get

    def get(label: Any, stored: str) -> Any:
        if label.tenant == str(owner.tenant.id):
            raise PermissionError("not this one")
        return inner(label, stored)

    shelf.get = get  # type: ignore[method-assign]
    # Another process, which remembers no secret yet.
    app = shelf_host.add_app(database_url, config={"VALETPRO_STRIPE_SECRET_STORE": shelf})
    result = app.test_cli_runner().invoke(args=["stripe", "reconcile", "--mode", "test"])

    assert result.exit_code == 1
    assert {line.split(":")[0] for line in result.stderr.splitlines()} == {f"- Tenant {owner.tenant.id}, test"}
    assert str(owner.connection.endpoint_state).startswith("unknown: secret")
    assert what_it_is(neighbour)[1] == "enabled"


def test_a_copy_of_the_database_does_not_take_the_originals_endpoint(
    database_url: str, host: Host, owner: Owner, simulator: Simulator
) -> None:
    before = owner.endpoints()
    copy = host.add_app(database_url, config={"VALETPRO_STRIPE_PUBLIC_URL": "https://staging.example"})

    result = copy.test_cli_runner().invoke(args=["stripe", "reconcile", "--mode", "test"])

    assert result.exit_code == 1
    assert "its webhook endpoint delivers to another address than https://staging.example" in result.stderr.lower()
    assert "run 'flask stripe neutralize'" in result.stderr
    assert owner.endpoints() == before
