"""Extras, tips, and the deposits of tickets

Revision: 0007, after 0006, 2026-11-28 10:00:00.000000
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "extra",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("ticket_id", sa.Integer(), nullable=False),
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("amount", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenant.id"],
        ),
        sa.ForeignKeyConstraint(
            ["ticket_id"],
            ["ticket.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tenant_id", "operation", name="uq_extra_operation_per_hotel"),
    )
    with op.batch_alter_table("extra", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_extra_tenant_id"), ["tenant_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_extra_ticket_id"), ["ticket_id"], unique=False)

    with op.batch_alter_table("payment", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tip", sa.Integer(), server_default="0", nullable=False))

    with op.batch_alter_table("ticket", schema=None) as batch_op:
        batch_op.add_column(sa.Column("deposit", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("tip", sa.Integer(), server_default="0", nullable=False))


def downgrade():
    with op.batch_alter_table("ticket", schema=None) as batch_op:
        batch_op.drop_column("tip")
        batch_op.drop_column("deposit")

    with op.batch_alter_table("payment", schema=None) as batch_op:
        batch_op.drop_column("tip")

    with op.batch_alter_table("extra", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_extra_ticket_id"))
        batch_op.drop_index(batch_op.f("ix_extra_tenant_id"))

    op.drop_table("extra")
