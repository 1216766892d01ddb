"""Events that came before the account had a tenant: its own from then on, if they are of its own time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import AccountType, Mode, parked
from flask_valetpro_stripe.connections import prepare_connection
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.testing import Simulator, make_event, sign
from tests.connections.admin import Admin
from tests.connections.onboarding import ACCOUNTS, begin, use
from tests.hosts import Host
from tests.payments.desk import Desk
from tests.raw_keys.owner import Transport, put_transport
from tests.reconcile.stage import age, inbox, look

URL = "/api/webhooks/stripe"


def send(host: Host, event: dict[str, Any], *, connect: bool = True) -> None:
    """Deliver an event by one of the platform's test endpoints."""
    scope = "CONNECT_WEBHOOK_SECRETS" if connect else "WEBHOOK_SECRETS"
    body = json.dumps(event).encode()
    signature = sign(body, host.app.config[f"VALETPRO_STRIPE_TEST_{scope}"][0])
    headers = {"Stripe-Signature": signature, "Content-Type": "application/json"}
    assert host.app.test_client().post(URL, data=body, headers=headers).status_code == 200


def event_of(account: str | None, **fields: Any) -> dict[str, Any]:
    return make_event("customer.created", {"id": "cus_1", "object": "customer"}, account=account, **fields)


@pytest.fixture
def seen(host: Host) -> list[tuple[str, Any]]:
    """What the host's own handler is called for: account and tenant."""
    seen: list[tuple[str, Any]] = []
    host.valetpro.on("customer.created")(lambda event: seen.append((event.account_id, event.tenant_id)))
    return seen


@pytest.mark.both
def test_what_arrives_before_the_callback_commits_is_the_new_tenants(
    host: Host, seaside: Desk, simulator: Simulator, seen: list[tuple[str, Any]]
) -> None:
    plaza, account = host.make_tenant("Plaza"), simulator.create_account("Hotel Plaza")
    transport: Transport = put_transport(host)

    def deliver_meanwhile(method: str, url: str, body: str) -> str:
        if "/oauth/token" in url:
            send(host, event_of(account.id))
            send(host, event_of("acct_somebody_else"))
        return body

    transport.after = deliver_meanwhile
    Admin.of(host, plaza).connect(account.id)
    look(host)

    assert seen == [(account.id, plaza.id)]
    rows = {row.account_id: (row.status, row.tenant_id) for row in inbox(host, type="customer.created")}
    assert rows == {account.id: ("processed", plaza.id), "acct_somebody_else": ("parked", None)}


@pytest.mark.both
def test_what_is_older_than_the_linking_stays_nobodys(
    host: Host, plaza: Desk, simulator: Simulator, seen: list[tuple[str, Any]]
) -> None:
    account = simulator.create_account("Seaside").id
    for minutes in (11, 9):
        send(host, event_of(account))
        age(plaza, inbox(host)[-1], timedelta(minutes=minutes), "received_at")

    seaside = host.make_tenant("Seaside")
    host.connect(seaside, account)
    look(host)

    assert seen == [(account, seaside.id)]
    assert [row.status for row in inbox(host)] == ["parked", "processed"]


def test_an_account_that_we_made_gets_what_came_while_it_was_made(
    host: Host, simulator: Simulator, seen: list[tuple[str, Any]]
) -> None:
    tenant = host.make_tenant("Plaza")
    send(host, event_of("acct_made"))
    with host.app.app_context():
        row, type_ = host.tenant(tenant.id), AccountType.CONNECT_EXPRESS
        prepare_connection(host.state, row, Mode.test, type_, actor="tests", account_id="acct_made", accounts_api="v1")
    send(host, event_of("acct_made"))
    look(host)

    statuses = [row.status for row in inbox(host, type="customer.created")]
    assert (statuses, seen) == (["parked", "processed"], [("acct_made", tenant.id)])


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_what_arrives_before_a_new_account_is_answered_for_is_its_tenants(
    host: Host, simulator: Simulator, seen: list[tuple[str, Any]], api: str
) -> None:
    admin = Admin.of(host, host.make_tenant("Plaza"))
    use(admin, api)
    transport: Transport = put_transport(host)

    def deliver_meanwhile(method: str, url: str, body: str) -> str:
        if url.endswith(ACCOUNTS[api]):
            send(host, event_of(json.loads(body)["id"]))
        return body

    transport.after = deliver_meanwhile
    begin(admin)
    look(host)

    assert seen == [(admin.connections()[-1].account_id, admin.tenant.id)]


def test_another_mode_and_other_endpoints_are_not_mixed_up(
    host: Host, simulator: Simulator, seen: list[tuple[str, Any]]
) -> None:
    account, plaza = simulator.create_account("Plaza").id, host.make_tenant("Plaza")
    send(host, event_of(account, livemode=True))
    send(host, event_of(account), connect=False)
    send(host, event_of(account))
    host.connect(plaza, account)
    look(host)

    assert seen == [(account, plaza.id)]
    assert [row.status for row in inbox(host)] == ["parked", "parked", "processed"]


def test_a_withdrawal_before_the_linking_does_not_end_the_new_connection(host: Host, simulator: Simulator) -> None:
    """Somebody allowed it, withdrew, and allowed it again, all before coming back to us."""
    account, plaza = simulator.create_account("Plaza").id, host.make_tenant("Plaza")
    ours = {"id": simulator.platform.test_client_id, "object": "application", "name": "ValetPro"}
    send(host, make_event("account.application.deauthorized", ours, account=account))
    simulator.connect(account)
    connection = host.connect(plaza, account)
    look(host)

    with host.app.app_context():
        now = host.db.session.get_one(host.valetpro.models.Connection, connection.id)
        assert (now.status, now.ended_at) == ("CONNECTED", None)
    assert inbox(host, type="account.application.deauthorized")[0].status == "parked"


def test_an_account_that_went_to_another_tenant_takes_no_events_along(
    host: Host, plaza: Desk, seen: list[tuple[str, Any]]
) -> None:
    """They came when it was Hotel Plaza's no more, and name its old connection."""
    plaza.simulator.disconnect(str(plaza.account))
    plaza.simulator.deliver_all(host.app)
    send(host, event_of(plaza.account))
    seaside = host.make_tenant("Seaside")
    plaza.simulator.connect(str(plaza.account))
    host.connect(seaside, plaza.account)
    look(host)

    (row,) = inbox(host, type="customer.created")
    assert (row.status, row.tenant_id) == ("parked", plaza.tenant.id)
    assert seen == []


@pytest.mark.both
def test_what_was_parked_in_the_moment_of_linking_is_released_by_the_next_run(
    host: Host, plaza: Desk, seen: list[tuple[str, Any]]
) -> None:
    send(host, event_of("acct_late"))
    (row,) = inbox(host, account_id="acct_late")
    # It was looked up before the connection was there, and written after.
    plaza.change(row, account_id=plaza.account)
    look(host, tenant=plaza.tenant)

    assert seen == [(plaza.account, plaza.tenant.id)]


def keep_within_bounds(host: Host, **bounds: int) -> int:
    """Return how many events were deleted."""
    with host.app.app_context():
        deleted = parked.keep_within_bounds(host.state, **bounds)
        host.db.session.commit()
        return deleted


@pytest.mark.both
def test_what_is_nobodys_is_kept_within_bounds(host: Host, plaza: Desk) -> None:
    sent = [
        event_of(account) for account in ("acct_a", "acct_a", "acct_a", "acct_b", "acct_c", plaza.account, "acct_d")
    ]
    for event in sent:
        send(host, event)

    assert keep_within_bounds(host, most=4, most_of_account=2) == 2

    kept = [row.event_id for row in inbox(host)]
    assert kept == [sent[number]["id"] for number in (2, 3, 4, 5, 6)]


def test_reconciling_keeps_the_newest_200_of_an_account(host: Host) -> None:
    first = event_of("acct_flood")
    send(host, first)
    (row,) = inbox(host)
    table = sa.inspect(type(row)).local_table
    with host.app.app_context():
        like = dict(host.db.session.execute(sa.select(table)).mappings().one())
        del like["id"]
        more = [{**like, "event_id": f"evt_{number}"} for number in range(parked.MOST_OF_ACCOUNT)]
        host.db.session.execute(sa.insert(table), more)
        host.db.session.commit()

    assert look(host).done["parked events deleted"] == 1
    assert [row.event_id for row in inbox(host)] == [each["event_id"] for each in more]


@pytest.mark.both
def test_too_many_events_of_one_account_take_no_place_of_the_others(host: Host, plaza: Desk) -> None:
    sent = [event_of(account) for account in ("acct_a", "acct_b", *["acct_flood"] * 6)]
    for event in sent:
        send(host, event)

    keep_within_bounds(host, most=4, most_of_account=2)

    assert [row.event_id for row in inbox(host)] == [sent[number]["id"] for number in (0, 1, 6, 7)]


def test_linking_began_when_the_consent_did(host: Host, plaza: Desk) -> None:
    connection = host.connect(plaza.tenant, str(plaza.account))
    assert timedelta(minutes=9) < utcnow() - parked.linking_began(connection) < timedelta(minutes=11)
    connection.accounts_api = "v2"
    assert parked.linking_began(connection) == connection.created_at
