"""Raw keys, refunds, and the chain of audit entries

Revision: 0002, after 0001, 2026-11-23 15:28:13.597419

Going down again, the tenants' own keys are lost: their table held nothing before.
"""

import hashlib
import json
from contextlib import contextmanager
from datetime import UTC

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade():
    with op.batch_alter_table("stripe_connection", schema=None) as batch_op:
        batch_op.add_column(sa.Column("requirements_due_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("accounts_api", sa.String(length=2), nullable=True))
        batch_op.add_column(sa.Column("publishable_key", sa.String(length=255), nullable=True))
        batch_op.add_column(sa.Column("missing_permissions", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("endpoint_token", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("endpoint_id", sa.String(length=255), nullable=True))
        batch_op.add_column(sa.Column("public_url", sa.String(length=255), nullable=True))
        batch_op.create_index("uq_stripe_connection_endpoint", ["endpoint_token"], unique=True)

    with op.batch_alter_table("stripe_audit_entry", schema=None) as batch_op:
        batch_op.add_column(sa.Column("sequence", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("digest", sa.String(length=64), nullable=True))
    _chain_the_entries()
    with op.batch_alter_table("stripe_audit_entry", schema=None) as batch_op:
        batch_op.alter_column("sequence", existing_type=sa.Integer(), nullable=False)
        batch_op.alter_column("digest", existing_type=sa.String(length=64), nullable=False)
        batch_op.create_unique_constraint("uq_stripe_audit_sequence", ["tenant_id", "sequence"])

    op.drop_table("stripe_secret")
    _create_secrets(
        sa.Column("store", sa.String(length=32), nullable=False),
        sa.Column("stored", sa.Text(), nullable=True),
        sa.Column("key_id", sa.String(length=16), nullable=True),
        sa.Column("fingerprint", sa.String(length=16), nullable=False),
        sa.Column("masked", sa.String(length=32), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
    )
    with op.batch_alter_table("stripe_secret", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stripe_secret_key_id"), ["key_id"], unique=False)
        batch_op.create_index(
            "uq_stripe_secret_present",
            ["connection_id", "purpose"],
            unique=True,
            postgresql_where=sa.text("archived_at IS NULL"),
            sqlite_where=sa.text("archived_at IS NULL"),
        )

    with op.batch_alter_table("stripe_refund", schema=None) as batch_op:
        batch_op.add_column(sa.Column("operation_id", sa.String(length=32), nullable=True))
        batch_op.create_foreign_key("fk_stripe_refund_operation", "stripe_operation", ["operation_id"], ["id"])
        batch_op.create_unique_constraint("uq_stripe_refund_operation", ["operation_id"])
        batch_op.create_unique_constraint("uq_stripe_refund_id", ["payment_id", "stripe_refund_id"])


def downgrade():
    with op.batch_alter_table("stripe_refund", schema=None) as batch_op:
        batch_op.drop_constraint("uq_stripe_refund_id", type_="unique")
        batch_op.drop_constraint("uq_stripe_refund_operation", type_="unique")
        batch_op.drop_constraint("fk_stripe_refund_operation", type_="foreignkey")
        batch_op.drop_column("operation_id")

    op.drop_table("stripe_secret")
    _create_secrets(sa.Column("stored", sa.Text(), nullable=False))

    with op.batch_alter_table("stripe_audit_entry", schema=None) as batch_op:
        batch_op.drop_constraint("uq_stripe_audit_sequence", type_="unique")
        batch_op.drop_column("digest")
        batch_op.drop_column("sequence")

    with _free_to_rebuild(), op.batch_alter_table("stripe_connection", schema=None) as batch_op:
        batch_op.drop_index("uq_stripe_connection_endpoint")
        batch_op.drop_column("public_url")
        batch_op.drop_column("endpoint_id")
        batch_op.drop_column("endpoint_token")
        batch_op.drop_column("missing_permissions")
        batch_op.drop_column("publishable_key")
        batch_op.drop_column("accounts_api")
        batch_op.drop_column("requirements_due_at")


@contextmanager
def _free_to_rebuild():
    """Let SQLite replace a table that others point to: it drops the old one, which its foreign keys forbid."""
    sqlite = op.get_context().dialect.name == "sqlite"
    if sqlite:
        _set_foreign_keys("OFF")
    yield
    if sqlite:
        _set_foreign_keys("ON")


def _set_foreign_keys(switch):
    # SQLite takes no notice of it within a transaction.
    with op.get_context().autocommit_block():
        op.execute(f"PRAGMA foreign_keys = {switch}")


def _chain_the_entries():
    """Number each tenant's entries in the order in which they were written, and tie each to the one before it."""
    entry = sa.table(
        "stripe_audit_entry",
        sa.column("id", sa.BigInteger()),
        sa.column("tenant_id", sa.Integer()),
        sa.column("connection_id", sa.Integer()),
        sa.column("actor", sa.String()),
        sa.column("action", sa.String()),
        sa.column("detail", sa.JSON()),
        sa.column("at", sa.DateTime(timezone=True)),
        sa.column("sequence", sa.Integer()),
        sa.column("digest", sa.String()),
    )
    connection = op.get_bind()
    tenant, sequence, digest = None, 0, ""
    for row in connection.execute(sa.select(entry).order_by(entry.c.tenant_id, entry.c.id)).all():
        if row.tenant_id != tenant:
            tenant, sequence, digest = row.tenant_id, 0, ""
        sequence += 1
        digest = _digest_of(row, sequence, digest)
        connection.execute(sa.update(entry).where(entry.c.id == row.id).values(sequence=sequence, digest=digest))


def _digest_of(row, sequence, previous):
    # SQLite forgets the zone.
    at = row.at.replace(tzinfo=UTC) if row.at.tzinfo is None else row.at.astimezone(UTC)
    told = [
        previous,
        str(row.tenant_id),
        sequence,
        row.connection_id,
        row.actor,
        row.action,
        row.detail,
        at.isoformat(),
    ]
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _create_secrets(*columns):
    op.create_table(
        "stripe_secret",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("connection_id", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        *columns,
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["stripe_connection.id"]),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("connection_id", "purpose", "version", name="uq_stripe_secret_version"),
    )
    with op.batch_alter_table("stripe_secret", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stripe_secret_connection_id"), ["connection_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_stripe_secret_tenant_id"), ["tenant_id"], unique=False)
