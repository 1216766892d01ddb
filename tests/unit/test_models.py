"""The host's mixins and the extension's tables: what is stored, for every kind of key, on both databases."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.orm import DeclarativeBase, aliased, mapped_column

from flask_valetpro_stripe import (
    AccountType,
    Mode,
    OnboardingStatus,
    StripePaymentMixin,
    StripeTenantMixin,
    ValetProStripe,
)
from flask_valetpro_stripe.errors import ConfigurationError
from flask_valetpro_stripe.models.types import UTCDateTime
from tests.hosts import KEYS, Host, make_host, make_models

pytestmark = pytest.mark.oldest

#: A column more, or less, is a public change: an entry under "Schema" in CHANGES, with an upgrade snippet.
COLUMNS = {
    "tenant": "id name stripe_application_fee_bps stripe_automatic_tax stripe_mode",
    "payment": """
        amount amount_capturable amount_captured amount_refunded application_fee_amount automatic_tax capture_before
        capture_method checkout_url collected_via connection_id created_at currency description id mode paid_at
        receipt_email receipt_url reference status stripe_account_id stripe_charge_id stripe_checkout_session_id
        stripe_customer_id stripe_object stripe_payment_intent_id stripe_payment_link_id stripe_payment_link_url
        tenant_id updated_at
    """,
    "stripe_connection": """
        account_id account_name account_type accounts_api asked_at claimed_account_id connected_at created_at ended_at
        endpoint_checked_at endpoint_id endpoint_state endpoint_token events_until id is_current missing_permissions
        mode public_url publishable_key requirements
        requirements_due_at status tenant_id
    """,
    "stripe_secret": """
        archived_at connection_id created_at fingerprint id key_id masked purpose store stored tenant_id valid_until
        version
    """,
    "stripe_webhook_event": """
        account_id attempts body connection_id due_at error event_id generation id mode processed_at received_at scope
        status tenant_id type was_missed
    """,
    "stripe_operation": """
        attempt attempted_at connection_id created_at error id idempotency_key kind mode params payment_id state
        tenant_id
    """,
    "stripe_refund": """
        amount connection_id created_at currency id operation_id payment_id reason status stripe_refund_id tenant_id
        updated_at
    """,
    "stripe_dispute": """
        amount created_at currency due_by id payment_id reason status stripe_dispute_id tenant_id updated_at
    """,
    "stripe_customer": """
        account_id attempted_at email id key mode name reference stripe_customer_id tenant_id
    """,
    "stripe_oauth_state": "expires_at id mode session_hash state_hash tenant_id user_id",
    "stripe_audit_entry": "action actor at connection_id detail digest id sequence tenant_id",
}


@pytest.fixture(params=sorted(KEYS))
def keyed_host(request: pytest.FixtureRequest, database_url: str) -> Iterator[Host]:
    with make_host(database_url, key=request.param) as host:
        yield host


@pytest.mark.parametrize("table", COLUMNS)
def test_the_columns_of_each_table_are_frozen(table: str) -> None:
    db, tenant, payment, _ = make_models()
    ValetProStripe(db, tenant=tenant, payment=payment)

    assert {column.name for column in db.metadata.tables[table].columns} == set(COLUMNS[table].split())


def test_every_table_of_ours_is_in_the_frozen_set() -> None:
    db, tenant, payment, _ = make_models()
    ValetProStripe(db, tenant=tenant, payment=payment)

    assert set(db.metadata.tables) - {"user"} == set(COLUMNS)


@pytest.mark.both
def test_foreign_keys_follow_the_type_of_the_hosts_keys(keyed_host: Host) -> None:
    with keyed_host.app.app_context():
        tables = keyed_host.db.metadata.tables
        key = tables["tenant"].c.id.type
        pointing = [c for table in tables.values() for c in table.c if c.name in {"tenant_id", "payment_id"}]

        assert len(pointing) >= 8
        assert {type(column.type) for column in pointing} == {type(key)}
        assert all(column.foreign_keys for column in pointing)


@pytest.mark.both
def test_rows_of_ours_point_to_tenants_with_any_kind_of_key(keyed_host: Host) -> None:
    tenant = keyed_host.make_tenant()
    keyed_host.connect(tenant, "acct_plaza")

    with keyed_host.app.app_context():
        entry = keyed_host.db.session.scalars(sa.select(keyed_host.valetpro.models.AuditEntry)).one()
        assert entry.tenant_id == tenant.id
        assert keyed_host.tenant(tenant.id).stripe_account_id == "acct_plaza"


def test_the_database_refuses_a_connection_of_no_tenant(postgres_url: str) -> None:
    with make_host(postgres_url, key="uuid") as host, host.app.app_context():
        connection = host.valetpro.models.Connection(
            tenant_id=uuid.uuid4(),
            mode=Mode.test,
            account_type=AccountType.PLATFORM,
            status=OnboardingStatus.CONNECTED,
        )
        host.db.session.add(connection)
        with pytest.raises(sa.exc.IntegrityError):
            host.db.session.commit()


@pytest.mark.both
def test_times_come_back_aware_and_in_utc(host: Host) -> None:
    paris_summer = timezone(timedelta(hours=2))
    tenant = host.make_tenant()
    connection = host.connect(tenant, "acct_plaza")
    with host.app.app_context():
        row = host.db.session.get_one(host.valetpro.models.Connection, connection.id)
        row.ended_at = datetime(2026, 7, 1, 12, 30, tzinfo=paris_summer)
        host.db.session.commit()

    with host.app.app_context():
        row = host.db.session.get_one(host.valetpro.models.Connection, connection.id)
        assert row.ended_at == datetime(2026, 7, 1, 10, 30, tzinfo=UTC)
        assert row.ended_at.tzinfo is UTC
        assert row.created_at.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - row.created_at) < timedelta(minutes=1)


def test_a_naive_time_is_refused_because_nobody_knows_what_it_means() -> None:
    naive = datetime(2026, 7, 1, 12)  # noqa: DTZ001
    with pytest.raises(ValueError, match="without a zone"):
        UTCDateTime().process_bind_param(naive, sa.create_engine("sqlite://").dialect)


@pytest.mark.both
def test_words_are_stored_as_the_contract_spells_them(host: Host) -> None:
    host.connect(host.make_tenant(), "acct_plaza", Mode.live)
    with host.app.app_context():
        row = host.db.session.execute(sa.text("SELECT mode, account_type, status FROM stripe_connection")).one()
    assert tuple(row) == ("live", "CONNECT_STANDARD", "CONNECTED")


@pytest.mark.both
def test_a_new_tenant_works_in_test_mode_and_is_not_connected(host: Host) -> None:
    tenant = host.make_tenant()
    with host.app.app_context():
        fresh = host.tenant(tenant.id)
        assert fresh.stripe_mode is Mode.test
        assert fresh.stripe_onboarding_status is OnboardingStatus.NOT_CONNECTED
        assert fresh.stripe_account_type is None
        assert fresh.stripe_account_id is None
        assert fresh.stripe_automatic_tax is False
        assert fresh.stripe_application_fee_bps == 0


@pytest.mark.both
def test_a_tenants_attributes_are_those_of_its_active_mode(host: Host) -> None:
    tenant = host.make_tenant()
    host.connect(tenant, "acct_test", Mode.test)
    host.connect(tenant, "acct_live", Mode.live, requirements=["external_account"])

    with host.app.app_context():
        fresh = host.tenant(tenant.id)
        assert (fresh.stripe_account_id, fresh.stripe_onboarding_status) == ("acct_test", OnboardingStatus.CONNECTED)
        fresh.stripe_mode = Mode.live
        host.db.session.commit()
        assert (fresh.stripe_account_id, fresh.stripe_onboarding_status) == ("acct_live", OnboardingStatus.PENDING)


Query = Callable[[Host], sa.Select[Any]]
QUERIES: dict[str, Query] = {
    "account": lambda host: sa.select(host.Tenant.name).where(host.Tenant.stripe_account_id == "acct_plaza"),
    "status": lambda host: sa.select(host.Tenant.name).where(
        host.Tenant.stripe_onboarding_status == OnboardingStatus.CONNECTED
    ),
    "type": lambda host: sa.select(host.Tenant.name).where(
        host.Tenant.stripe_account_type == AccountType.CONNECT_STANDARD
    ),
    "filter_by": lambda host: sa.select(host.Tenant.name).filter_by(stripe_account_id="acct_plaza"),
    "filter_by two": lambda host: sa.select(host.Tenant.name).filter_by(
        stripe_onboarding_status=OnboardingStatus.CONNECTED, stripe_mode=Mode.test
    ),
}


@pytest.mark.both
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_tenants_attributes_can_be_queried(host: Host, query: Query) -> None:
    host.connect(host.make_tenant("Plaza"), "acct_plaza")
    seaside = host.make_tenant("Seaside")
    host.connect(seaside, "acct_seaside", requirements=["external_account"], account_type=AccountType.CONNECT_EXPRESS)
    # Not in the active mode, so it does not count.
    host.connect(seaside, "acct_plaza", Mode.live)

    with host.app.app_context():
        assert host.db.session.scalars(query(host)).all() == ["Plaza"]


@pytest.mark.both
def test_a_tenant_that_never_connected_is_found_as_not_connected(host: Host) -> None:
    host.make_tenant("Plaza")
    with host.app.app_context():
        asked = sa.select(host.Tenant.name).filter_by(stripe_onboarding_status=OnboardingStatus.NOT_CONNECTED)
        assert host.db.session.scalars(asked).all() == ["Plaza"]


@pytest.mark.both
def test_an_alias_of_tenant_asks_about_its_own_row(host: Host) -> None:
    """A correlated subquery that names the table, and not the alias, would answer about the wrong tenant."""
    host.connect(host.make_tenant("Plaza"), "acct_plaza")
    host.connect(host.make_tenant("Seaside"), "acct_seaside")

    other = aliased(host.Tenant)
    with host.app.app_context():
        pairs = host.db.session.execute(
            sa.select(host.Tenant.stripe_account_id, other.stripe_account_id).join(other, other.id > host.Tenant.id)
        ).all()
    assert [tuple(pair) for pair in pairs] == [("acct_plaza", "acct_seaside")]


@pytest.mark.both
def test_attributes_can_be_asked_for_beside_the_connections_themselves(host: Host) -> None:
    """Left to itself, SQLAlchemy would take the joined connection for the attribute's own."""
    tenant = host.make_tenant("Plaza")
    for account in ("acct_old", "acct_new"):
        host.connect(tenant, account)
    connection = host.valetpro.models.Connection
    with host.app.app_context():
        rows = host.db.session.execute(
            sa.select(connection.account_id, host.Tenant.stripe_account_id)
            .join(host.Tenant, connection.tenant_id == host.Tenant.id)
            .order_by(connection.id)
        ).all()
    assert [tuple(row) for row in rows] == [("acct_old", "acct_new"), ("acct_new", "acct_new")]


@pytest.mark.both
def test_attributes_can_be_ordered_by_and_selected(host: Host) -> None:
    for name in ("b", "a", "c"):
        host.connect(host.make_tenant(name), f"acct_{name}")
    with host.app.app_context():
        found = host.db.session.scalars(
            sa.select(host.Tenant.stripe_account_id).order_by(host.Tenant.stripe_account_id)
        ).all()
    assert found == ["acct_a", "acct_b", "acct_c"]


def test_a_mixin_that_is_not_bound_yet_says_what_to_call() -> None:
    _, tenant, _, _ = make_models()
    with pytest.raises(ConfigurationError, match=r"Tenant is not bound yet. Call ValetProStripe\("):
        sa.select(tenant).where(tenant.stripe_account_id == "acct_plaza")


def test_a_second_extension_on_the_same_models_is_refused() -> None:
    db, tenant, payment, _ = make_models()
    ValetProStripe(db, tenant=tenant, payment=payment)
    with pytest.raises(ConfigurationError, match="Tenant already belongs to a ValetProStripe"):
        ValetProStripe(db, tenant=tenant, payment=payment)


def _models(**bodies: Any) -> tuple[type[Any], type[Any]]:
    """Return Tenant and Payment on a fresh base, with other bases or attributes where ``bodies`` has them."""

    class Base(DeclarativeBase):
        pass

    tenant: dict[str, Any] = {"__tablename__": "tenant", "id": mapped_column(sa.Integer, primary_key=True)}
    payment: dict[str, Any] = {
        "__tablename__": "payment",
        "id": mapped_column(sa.Integer, primary_key=True),
        "tenant_id": mapped_column(sa.ForeignKey("tenant.id")),
    }
    tenant_bases = bodies.get("tenant_bases", (StripeTenantMixin,))
    payment_bases = bodies.get("payment_bases", (StripePaymentMixin,))
    return (
        type("Tenant", (*tenant_bases, Base), tenant | bodies.get("tenant", {})),
        type("Payment", (*payment_bases, Base), payment | bodies.get("payment", {})),
    )


REFUSED_MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "a tenant without its mixin": (
        {"tenant_bases": ()},
        "Tenant must inherit from StripeTenantMixin, before db.Model.",
    ),
    "a payment without its mixin": (
        {"payment_bases": (), "payment": {"connection_id": mapped_column(sa.Integer)}},
        "Payment must inherit from StripePaymentMixin, before db.Model.",
    ),
    "a tenant with two keys": (
        {"tenant": {"region": mapped_column(sa.Integer, primary_key=True)}},
        "Tenant must have a primary key of one column; it has 2.",
    ),
    "a payment with two keys": (
        {"payment": {"region": mapped_column(sa.Integer, primary_key=True)}},
        "Payment must have a primary key of one column; it has 2.",
    ),
    "a payment of no tenant": (
        {"payment": {"tenant_id": mapped_column(sa.Integer)}},
        "Payment must have exactly one foreign key to tenant.id; it has 0.",
    ),
    "a payment of two tenants": (
        {"payment": {"seller_id": mapped_column(sa.ForeignKey("tenant.id"))}},
        "Payment must have exactly one foreign key to tenant.id; it has 2.",
    ),
}


@pytest.mark.parametrize("case", REFUSED_MODELS)
def test_models_that_cannot_work_are_refused_with_a_sentence(case: str) -> None:
    bodies, message = REFUSED_MODELS[case]
    tenant, payment = _models(**bodies)
    with pytest.raises(ConfigurationError) as refused:
        ValetProStripe(make_models()[0], tenant=tenant, payment=payment)
    assert str(refused.value) == message


def test_keys_may_have_other_names() -> None:
    db, *_ = make_models()
    tenant, payment = _models(
        tenant={"id": mapped_column("tenant_number", sa.Integer, primary_key=True)},
        payment={"tenant_id": None, "owner": mapped_column(sa.ForeignKey("tenant.tenant_number"))},
    )
    models = ValetProStripe(db, tenant=tenant, payment=payment).models
    tables = tenant.metadata.tables

    assert models.payment_tenant == "owner"
    assert tables["stripe_connection"].c.tenant_id.references(tables["tenant"].c.tenant_number)


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_migration_imports_nothing_of_ours(key: str) -> None:
    """What autogenerate writes names only Alembic's op and SQLAlchemy, and makes the tables that we declare."""
    db, tenant, payment, _ = make_models(key)
    ValetProStripe(db, tenant=tenant, payment=payment)
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        steps = produce_migrations(context, db.metadata).upgrade_ops
        assert steps is not None
        code = render_python_code(steps)

        assert "valetpro" not in code
        assert "stripe_connection" in code

        lines = "".join(f"    {line}\n" for line in code.splitlines())
        names: dict[str, Any] = {"op": Operations(context), "sa": sa}
        # Whatever else it named would not be found here.
        exec(f"def upgrade():\n{lines}", names)
        names["upgrade"]()
        left = produce_migrations(context, db.metadata).upgrade_ops
        assert left is not None
        assert left.is_empty()
    engine.dispose()
