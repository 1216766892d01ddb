"""Which events had to be fetched, and indexes on what waits for a person

Revision: 0005, after 0004, 2026-11-28 09:15:00.000000
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ASIDE = sa.text("status IN ('dead', 'parked')")
OPEN = sa.text("state IN ('new', 'unknown')")
PAID = sa.text("paid_at IS NOT NULL")


def upgrade():
    with op.batch_alter_table("stripe_webhook_event", schema=None) as batch_op:
        batch_op.add_column(sa.Column("was_missed", sa.Boolean(), server_default=sa.text("false"), nullable=False))
        batch_op.create_index(
            "ix_stripe_webhook_event_aside",
            ["status", "tenant_id", "mode"],
            unique=False,
            postgresql_where=ASIDE,
            sqlite_where=ASIDE,
        )
        batch_op.create_index(
            "ix_stripe_webhook_event_missed",
            ["tenant_id", "received_at"],
            unique=False,
            postgresql_where=sa.text("was_missed"),
            sqlite_where=sa.text("was_missed = 1"),
        )

    with op.batch_alter_table("stripe_operation", schema=None) as batch_op:
        batch_op.create_index(
            "ix_stripe_operation_open", ["attempted_at"], unique=False, postgresql_where=OPEN, sqlite_where=OPEN
        )

    with op.batch_alter_table("payment", schema=None) as batch_op:
        batch_op.create_index(
            "ix_payment_stripe_paid",
            ["connection_id", "created_at"],
            unique=False,
            postgresql_where=PAID,
            sqlite_where=PAID,
        )


def downgrade():
    with op.batch_alter_table("payment", schema=None) as batch_op:
        batch_op.drop_index("ix_payment_stripe_paid", postgresql_where=PAID, sqlite_where=PAID)

    with op.batch_alter_table("stripe_operation", schema=None) as batch_op:
        batch_op.drop_index("ix_stripe_operation_open", postgresql_where=OPEN, sqlite_where=OPEN)

    with op.batch_alter_table("stripe_webhook_event", schema=None) as batch_op:
        batch_op.drop_index("ix_stripe_webhook_event_missed")
        batch_op.drop_index("ix_stripe_webhook_event_aside", postgresql_where=ASIDE, sqlite_where=ASIDE)
        batch_op.drop_column("was_missed")
