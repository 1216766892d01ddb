"""The inbox as a state machine, and what Stripe said about endpoints

Revision: 0003, after 0002, 2026-11-23 16:40:00.000000
"""

from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WAITING = sa.text("due_at IS NOT NULL")


def upgrade():
    with op.batch_alter_table("stripe_webhook_event", schema=None) as batch_op:
        batch_op.add_column(sa.Column("generation", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index(
            "ix_stripe_webhook_event_waiting",
            ["tenant_id", "due_at"],
            unique=False,
            postgresql_where=WAITING,
            sqlite_where=WAITING,
        )
        batch_op.create_index("ix_stripe_webhook_event_received", ["received_at"], unique=False)
    # What failed before waits for a worker as well as for Stripe.
    event = sa.table(
        "stripe_webhook_event",
        sa.column("status", sa.String()),
        sa.column("due_at", sa.DateTime(timezone=True)),
        sa.column("received_at", sa.DateTime(timezone=True)),
    )
    waiting = event.c.status.in_(["received", "failed"])
    op.execute(sa.update(event).where(waiting).values(due_at=event.c.received_at))

    with op.batch_alter_table("stripe_connection", schema=None) as batch_op:
        batch_op.add_column(sa.Column("endpoint_state", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("endpoint_checked_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("events_until", sa.DateTime(timezone=True), nullable=True))


def downgrade():
    with _free_to_rebuild(), op.batch_alter_table("stripe_connection", schema=None) as batch_op:
        batch_op.drop_column("events_until")
        batch_op.drop_column("endpoint_checked_at")
        batch_op.drop_column("endpoint_state")

    with op.batch_alter_table("stripe_webhook_event", schema=None) as batch_op:
        batch_op.drop_index("ix_stripe_webhook_event_received")
        batch_op.drop_index("ix_stripe_webhook_event_waiting", postgresql_where=WAITING, sqlite_where=WAITING)
        batch_op.drop_column("due_at")
        batch_op.drop_column("generation")


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
