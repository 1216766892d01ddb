"""Deposits, disputes and customers

Revision: 0006, after 0005, 2026-11-28 09:20:00.000000
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "stripe_customer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mode", sa.Enum("test", "live", name="mode", native_enum=False, length=32), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.String(length=255), nullable=False),
        sa.Column("stripe_customer_id", sa.String(length=255), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("attempted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenant.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tenant_id", "mode", "account_id", "reference", name="uq_stripe_customer"),
    )
    with op.batch_alter_table("stripe_customer", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stripe_customer_tenant_id"), ["tenant_id"], unique=False)

    op.create_table(
        "stripe_dispute",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stripe_dispute_id", sa.String(length=255), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("due_by", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payment_id", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payment.id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenant.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("payment_id", "stripe_dispute_id", name="uq_stripe_dispute_id"),
    )
    with op.batch_alter_table("stripe_dispute", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stripe_dispute_payment_id"), ["payment_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_stripe_dispute_tenant_id"), ["tenant_id"], unique=False)

    with op.batch_alter_table("payment", schema=None) as batch_op:
        batch_op.add_column(sa.Column("checkout_url", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("stripe_customer_id", sa.String(length=255), nullable=True))
        batch_op.add_column(sa.Column("receipt_email", sa.Text(), nullable=True))
        batch_op.add_column(
            sa.Column(
                "capture_method",
                sa.Enum("automatic", "manual", name="capturemethod", native_enum=False, length=32),
                server_default="automatic",
                nullable=False,
            )
        )
        batch_op.add_column(sa.Column("amount_capturable", sa.BigInteger(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("capture_before", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("amount_captured", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("automatic_tax", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade():
    with op.batch_alter_table("payment", schema=None) as batch_op:
        batch_op.drop_column("automatic_tax")
        batch_op.drop_column("amount_captured")
        batch_op.drop_column("capture_before")
        batch_op.drop_column("amount_capturable")
        batch_op.drop_column("capture_method")
        batch_op.drop_column("receipt_email")
        batch_op.drop_column("stripe_customer_id")
        batch_op.drop_column("checkout_url")

    with op.batch_alter_table("stripe_dispute", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_stripe_dispute_tenant_id"))
        batch_op.drop_index(batch_op.f("ix_stripe_dispute_payment_id"))

    op.drop_table("stripe_dispute")
    with op.batch_alter_table("stripe_customer", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_stripe_customer_tenant_id"))

    op.drop_table("stripe_customer")
