"""An index of the events that need attention

Revision: 0004, after 0003, 2026-11-28 09:10:00.000000
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ATTENTION = sa.text("status IN ('failed', 'dead')")


def upgrade():
    with op.batch_alter_table("stripe_webhook_event", schema=None) as batch_op:
        batch_op.create_index(
            "ix_stripe_webhook_event_attention",
            ["tenant_id", "mode", "received_at"],
            unique=False,
            postgresql_where=ATTENTION,
            sqlite_where=ATTENTION,
        )


def downgrade():
    with op.batch_alter_table("stripe_webhook_event", schema=None) as batch_op:
        batch_op.drop_index("ix_stripe_webhook_event_attention", postgresql_where=ATTENTION, sqlite_where=ATTENTION)
