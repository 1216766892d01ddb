"""Stripe's v2 events about accounts that we made: thin, by the platform's own endpoint, and not taken at their word."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from flask_valetpro_stripe import AccountType, Mode, signals
from flask_valetpro_stripe.onboarding import account_links
from flask_valetpro_stripe.testing import make_event, sign
from tests.webhooks.stage import TAKEN, seen_by_handlers

from .stage import PLAZA, REFUSED, Stage, answer

REQUIREMENTS = "v2.core.account[requirements].updated"
CAPABILITY = "v2.core.account[configuration.merchant].capability_status_updated"
IDENTITY = "v2.core.account[identity].updated"
CLOSED = "v2.core.account.closed"


def make(stage: Stage, tenant: Any, account_type: AccountType = AccountType.CONNECT_EXPRESS) -> Any:
    """Begin to connect an account that we make for ``tenant``, and return its connection."""
    with stage.host.app.app_context():
        account_links.begin(
            stage.host.state,
            stage.host.tenant(tenant.id),
            Mode.test,
            account_type,
            user_id="1",
            return_url="http://app.test/return",
            refresh_url="http://app.test/refresh",
        )
    return stage.rows("Connection")[-1]


@pytest.fixture
def lodge(stage: Stage) -> Any:
    """A third hotel, whose account we make."""
    return stage.host.make_tenant("Lodge")


@pytest.fixture
def inn(stage: Stage) -> Any:
    """A fourth."""
    return stage.host.make_tenant("Inn")


def thin(account_id: str | None, event_type: str = REQUIREMENTS, **extra: Any) -> dict[str, Any]:
    """Return a thin event, of the shape that Stripe's API reference gives it."""
    related = {"id": account_id, "type": "v2.core.account", "url": f"/v2/core/accounts/{account_id}"}
    return {
        "id": "evt_test_65RM8sUH1",
        "object": "v2.core.event",
        "type": event_type,
        "livemode": False,
        "created": "2026-11-23T09:30:00.000Z",
        "context": None,
        "reason": None,
        "related_object": related if account_id else None,
    } | extra


def connection_of(stage: Stage, tenant: Any) -> Any:
    (found,) = [row for row in stage.rows("Connection") if row.tenant_id == tenant.id]
    return found


def finish_at_stripe(stage: Stage, account_id: str) -> None:
    """Let the account become able to charge, and lose every event about it."""
    stage.simulator.update_account(account_id, charges_enabled=True, due=[])


def test_finishing_at_stripe_is_heard_by_v2_events_alone(stage: Stage, lodge: Any, inn: Any) -> None:
    account_id, other = make(stage, lodge).account_id, make(stage, inn).account_id
    finish_at_stripe(stage, account_id)
    told: list[Any] = []
    with signals.tenant_connected.connected_to(lambda app, **facts: told.append(facts["tenant"].id), stage.host.app):
        assert answer(stage.deliver(thin(account_id), connect=False)) == TAKEN

    connection = connection_of(stage, lodge)
    assert (connection.status, connection.requirements, connection.is_current) == ("CONNECTED", None, True)
    assert told == [lodge.id]
    row = stage.row()
    assert (row.account_id, row.tenant_id, row.connection_id) == (account_id, lodge.id, connection.id)
    assert (row.status, row.scope, row.type) == ("processed", "platform:test:account", REQUIREMENTS)
    assert connection_of(stage, inn).status == "PENDING"
    assert connection_of(stage, inn).account_id == other


@pytest.mark.parametrize("event_type", [REQUIREMENTS, CAPABILITY, IDENTITY])
def test_each_of_them_has_stripe_asked_again(event_type: str, stage: Stage, lodge: Any) -> None:
    account_id = make(stage, lodge).account_id
    deadline = int(datetime(2027, 1, 15, 12, tzinfo=UTC).timestamp())
    stage.simulator.update_account(account_id, due=["company.tax_id"], deadline=deadline)
    stage.deliver(thin(account_id, event_type), connect=False)

    connection = connection_of(stage, lodge)
    assert (connection.status, connection.requirements) == ("PENDING", ["company.tax_id"])
    assert connection.requirements_due_at == datetime(2027, 1, 15, 12, tzinfo=UTC)
    assert stage.simulator.requests[-1].path == "/v1/account"
    assert stage.simulator.requests[-1].stripe_account == account_id


@pytest.mark.both
def test_all_that_stripe_sends_about_an_account_ends_in_one_truth(stage: Stage, lodge: Any) -> None:
    account_id = make(stage, lodge).account_id
    stage.simulator.faults.duplicate_deliveries(2)
    stage.simulator.faults.reorder_deliveries(seed=3)
    finish_at_stripe(stage, account_id)
    deliveries = stage.simulator.deliver_all(stage.host.app)

    assert {delivery.status for delivery in deliveries} == {200}
    assert {row.type for row in stage.rows()} >= {"account.updated", CAPABILITY}
    assert connection_of(stage, lodge).status == "CONNECTED"
    became_ready = [entry for entry in stage.rows("AuditEntry") if entry.action == "became_ready"]
    assert [entry.tenant_id for entry in became_ready] == [lodge.id]


def test_the_body_is_not_believed(stage: Stage, lodge: Any) -> None:
    account_id = make(stage, lodge).account_id
    said = {"charges_enabled": True, "requirements": {"currently_due": []}}
    stage.deliver(
        thin(account_id, data={"object": said}, changes={"after": said}, account_status="fine"), connect=False
    )

    assert connection_of(stage, lodge).status == "PENDING"


def test_if_stripe_cannot_be_asked_the_event_comes_again(stage: Stage, lodge: Any) -> None:
    account_id = make(stage, lodge).account_id
    finish_at_stripe(stage, account_id)
    stage.simulator.faults.add("GET", "/v1/account", "drop_before", times=3)

    assert stage.deliver(thin(account_id), connect=False).status_code == 503
    assert stage.rows() == []
    assert answer(stage.deliver(thin(account_id), connect=False)) == TAKEN
    assert connection_of(stage, lodge).status == "CONNECTED"


def test_a_closed_account_is_revoked(stage: Stage, lodge: Any, inn: Any) -> None:
    account_id = make(stage, lodge).account_id
    make(stage, inn)
    told: list[Any] = []
    with signals.tenant_disconnected.connected_to(lambda app, **facts: told.append(facts["tenant"].id), stage.host.app):
        stage.deliver(thin(account_id, CLOSED), connect=False)

    connection = connection_of(stage, lodge)
    assert (connection.status, connection.ended_at is None, connection.claimed_account_id) == ("REVOKED", False, None)
    assert told == [lodge.id]
    assert connection_of(stage, inn).status == "PENDING"


def test_an_owner_who_cuts_us_off_before_being_ready_is_heard(stage: Stage, lodge: Any) -> None:
    """The full dashboard has a button for it."""
    account_id = make(stage, lodge, AccountType.CONNECT_STANDARD).account_id
    stage.simulator.disconnect(account_id)
    stage.simulator.deliver_all(stage.host.app)

    assert connection_of(stage, lodge).status == "REVOKED"


def test_a_key_to_the_same_account_is_its_tenants_own_affair(stage: Stage, lodge: Any) -> None:
    """Its connection is being prepared; that the account may charge says nothing about the key."""
    made = make(stage, lodge)
    with stage.host.app.app_context():
        by_key = stage.host.valetpro.models.Connection(
            tenant_id=lodge.id,
            mode=Mode.test,
            account_type=AccountType.RAW_KEYS,
            status="PENDING",
            account_id=made.account_id,
            is_current=False,
        )
        stage.host.db.session.add(by_key)
        stage.host.db.session.commit()
    finish_at_stripe(stage, made.account_id)
    stage.simulator.deliver_all(stage.host.app)

    first, second = (row for row in stage.rows("Connection") if row.tenant_id == lodge.id)
    assert (first.status, first.is_current) == ("CONNECTED", True)
    assert (second.account_type, second.status, second.is_current) == ("RAW_KEYS", "PENDING", False)


# -- whose it is not


@pytest.mark.parametrize("event_type", [REQUIREMENTS, CLOSED])
def test_an_account_that_we_did_not_make_is_not_spoken_about(event_type: str, stage: Stage) -> None:
    """OAuth's accounts are not known to v2 (Stripe docs, "Accounts v2")."""
    seen = seen_by_handlers(stage)
    for number, account_id in enumerate([PLAZA, "acct_nobody"]):
        event = thin(account_id, event_type, id=f"evt_{number}")
        assert answer(stage.deliver(event, connect=False)) == TAKEN

    assert [(row.status, row.error, row.tenant_id) for row in stage.rows()] == [
        ("parked", "No tenant has this account.", None)
    ] * 2
    assert seen == []
    assert connection_of(stage, stage.plaza).status == "CONNECTED"


def test_after_the_tenant_has_left_it_is_parked(stage: Stage, lodge: Any) -> None:
    account_id = make(stage, lodge).account_id
    stage.deliver(thin(account_id, CLOSED, id="evt_1"), connect=False)
    stage.deliver(thin(account_id, id="evt_2"), connect=False)

    row = stage.rows()[-1]
    assert (row.status, row.error) == ("parked", "The tenant has disconnected this account.")
    assert row.tenant_id == lodge.id


@pytest.mark.parametrize("event_type", [REQUIREMENTS, CLOSED])
def test_the_endpoint_for_connected_accounts_does_not_tell_of_it(event_type: str, stage: Stage, lodge: Any) -> None:
    account_id = make(stage, lodge).account_id
    finish_at_stripe(stage, account_id)
    assert answer(stage.deliver(thin(account_id, event_type), connect=True)) == TAKEN

    row = stage.row()
    assert (row.status, row.account_id, row.tenant_id) == ("parked", None, None)
    assert row.error == "It is of the platform's own account, but came by the endpoint for connected accounts."
    assert connection_of(stage, lodge).status == "PENDING"


def test_the_other_mode_does_not_tell_of_it(stage: Stage, lodge: Any) -> None:
    account_id = make(stage, lodge).account_id
    stage.deliver(thin(account_id, CLOSED, livemode=True, id="evt_1"), connect=False, mode=Mode.test)
    stage.deliver(thin(account_id, CLOSED, livemode=True, id="evt_2"), connect=False, mode=Mode.live)

    assert [(row.status, row.error) for row in stage.rows()] == [
        ("parked", "It is of the other mode than its endpoint."),
        ("parked", "No tenant has this account."),
    ]
    assert connection_of(stage, lodge).status == "PENDING"


def test_a_thin_event_about_something_else_is_the_platforms_own(stage: Stage) -> None:
    seen = seen_by_handlers(stage)
    related = {"id": "mtr_123", "type": "billing.meter", "url": "/v1/billing/meters/mtr_123"}
    events = [
        thin(None, "v1.billing.meter.error_report_triggered", id="evt_1", related_object=related),
        thin(None, "v2.core.event_destination.ping", id="evt_2"),
    ]
    for event in events:
        assert answer(stage.deliver(event, connect=False)) == TAKEN

    assert seen == [("evt_1", None), ("evt_2", None)]
    assert [(row.status, row.account_id, row.object) for row in stage.rows()] == [("processed", None, {})] * 2
    assert stage.rows()[0].payload == events[0]


# -- what is no such event


@pytest.mark.parametrize(
    "changed",
    [
        {"object": "v2.core.Event"},
        {"object": ["v2.core.event"]},
        {"type": "account.updated"},
        {"type": "v2.core.account[requirements.updated"},
        {"type": "v2.core.account[requirements].updated[more]"},
        {"type": "v2.core.account[]"},
        {"type": "v2." + "x" * 254},
        {"type": REQUIREMENTS + "\n"},
        {"type": None},
        {"id": ""},
        {"id": None},
        {"livemode": "false"},
        {"created": 1763890200},
        {"account": PLAZA},
        {"account": None},
        {"related_object": []},
        {"related_object": "acct_1"},
        {"related_object": {}},
        {"related_object": {"id": "cus_1", "type": "v2.core.account"}},
        {"related_object": {"id": "acct_1/../acct_2", "type": "v2.core.account"}},
        {"related_object": {"id": None, "type": "v2.core.account"}},
        {"related_object": {"id": "acct_1", "type": 1}},
    ],
    ids=str,
)
def test_a_body_of_another_shape_is_refused(changed: dict[str, Any], light_stage: Stage) -> None:
    with light_stage.statements() as statements:
        response = light_stage.deliver(thin("acct_1") | changed, connect=False)
    assert answer(response) == REFUSED
    assert statements == []


@pytest.mark.parametrize("event_type", [CLOSED, REQUIREMENTS, "v1.account.updated"])
def test_an_event_of_v1_cannot_pass_for_one_of_v2(event_type: str, light_stage: Stage) -> None:
    for account in (PLAZA, None):
        event = make_event(event_type, {"id": PLAZA, "object": "account"}, account=account)
        assert answer(light_stage.deliver(event)) == REFUSED


def test_an_unsigned_one_is_refused(light_stage: Stage) -> None:
    body = json.dumps(thin(PLAZA)).encode()
    with light_stage.statements() as statements:
        assert answer(light_stage.post(body, None)) == REFUSED
        assert answer(light_stage.post(body, sign(body, "whsec_" + "x" * 32))) == REFUSED
    assert statements == []


@pytest.mark.both
def test_a_duplicate_changes_nothing(stage: Stage, lodge: Any) -> None:
    account_id = make(stage, lodge).account_id
    seen = seen_by_handlers(stage)
    for _ in range(2):
        assert answer(stage.deliver(thin(account_id), connect=False)) == TAKEN

    assert [name for _, name in seen] == ["Lodge"]
    assert stage.row().attempts == 1
