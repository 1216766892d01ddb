"""Connections, their secrets and events: declared once for each ValetProStripe on the host's metadata."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from ..enums import AccountType, EventStatus, Mode, OnboardingStatus
from .owned import Hosted, TenantOwned, pointing_to
from .types import BigKey, UTCDateTime, utcnow, words

#: Which events somebody should look at. Databases use the index of these only for a condition in its very words.
NEEDS_ATTENTION: Final = "status IN ('failed', 'dead')"


class Connection(TenantOwned):
    """One set of credentials of one tenant in one mode. Reconnecting makes a new row; old rows never move."""

    __tablename__ = "stripe_connection"

    id: Mapped[int] = mapped_column(primary_key=True)
    mode: Mapped[Mode] = mapped_column(words(Mode))
    account_type: Mapped[AccountType] = mapped_column(words(AccountType))
    status: Mapped[OnboardingStatus] = mapped_column(words(OnboardingStatus))
    #: ``acct_…``; None for the platform's own account.
    account_id: Mapped[str | None] = mapped_column(sa.String(64), index=True)
    #: The account that this connection holds for its tenant alone. None once it has ended, or where sharing is allowed.
    claimed_account_id: Mapped[str | None] = mapped_column(sa.String(64))
    #: The one that new payments of the tenant use in this mode.
    is_current: Mapped[bool] = mapped_column(default=True)
    #: What the account calls itself: foreign text, to be shown as text only.
    account_name: Mapped[str | None] = mapped_column(sa.String(255))
    #: When Stripe was last asked about the account: an answer to an earlier question is not applied.
    asked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    #: What Stripe still wants before the account may charge, as a list of Stripe's field names.
    requirements: Mapped[list[str] | None] = mapped_column(sa.JSON)
    #: When Stripe stops the account's charges or payouts unless it gets them.
    requirements_due_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    #: ``v1`` or ``v2``: the API by which we made the account. None for an account that was not made by us.
    accounts_api: Mapped[str | None] = mapped_column(sa.String(2))
    #: ``pk_…`` of a raw-key tenant: public, for the browser.
    publishable_key: Mapped[str | None] = mapped_column(sa.String(255))
    #: What a raw-key tenant's restricted key may not do, by the permissions' names in Stripe's dashboard.
    missing_permissions: Mapped[list[str] | None] = mapped_column(sa.JSON)
    #: The unguessable last part of a raw-key tenant's webhook URL.
    endpoint_token: Mapped[str | None] = mapped_column(sa.String(64))
    #: ``we_…``, the endpoint at Stripe that we made with the tenant's key. None where the secret was pasted.
    endpoint_id: Mapped[str | None] = mapped_column(sa.String(255))
    #: What Stripe said about that endpoint when it was last asked: ``enabled``, ``disabled``, ``missing``, …
    endpoint_state: Mapped[str | None] = mapped_column(sa.String(32))
    endpoint_checked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    #: Up to when Stripe's list of events has been gone through for missed ones.
    events_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    #: The app's public address when the connection was made. In a copy of the database it is another app's.
    public_url: Mapped[str | None] = mapped_column(sa.String(255))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    connected_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    #: When it was disconnected or revoked: from then on nothing uses its credentials.
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        current = sa.text("is_current")
        return (
            sa.Index(
                "uq_stripe_connection_current",
                "tenant_id",
                "mode",
                unique=True,
                postgresql_where=current,
                sqlite_where=current,
            ),
            sa.UniqueConstraint("mode", "claimed_account_id", name="uq_stripe_connection_claim"),
            sa.Index("uq_stripe_connection_endpoint", "endpoint_token", unique=True),
        )


class Secret(TenantOwned):
    """One version of one secret of a connection: its ciphertext, or its name in a vault."""

    __tablename__ = "stripe_secret"

    id: Mapped[int] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(sa.ForeignKey("stripe_connection.id"), index=True)
    #: What it is for: ``secret_key``, ``webhook_secret``.
    purpose: Mapped[str] = mapped_column(sa.String(32))
    version: Mapped[int] = mapped_column()
    #: Where it rests: ``database``, ``aws``, ``gcp``, ``vault``, or the name of the host's own store.
    store: Mapped[str] = mapped_column(sa.String(32))
    #: Ciphertext, or reference. None once it is destroyed.
    stored: Mapped[str | None] = mapped_column(sa.Text)
    #: Which encryption key made the ciphertext; None for a reference.
    key_id: Mapped[str | None] = mapped_column(sa.String(16), index=True)
    #: Keyed, so that it tells two secrets apart and nothing else.
    fingerprint: Mapped[str] = mapped_column(sa.String(16))
    #: What a person may see of it: ``sk_live_…4242``.
    masked: Mapped[str] = mapped_column(sa.String(32))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    #: When another version took its place, or its connection ended. An archived API key is never used.
    archived_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    #: Until when an archived webhook secret still verifies: Stripe signs with the old one for a while. Any version that
    #: has such an end is not brought back; an API key gets one when it is to be destroyed.
    valid_until: Mapped[datetime | None] = mapped_column(UTCDateTime)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        present = sa.text("archived_at IS NULL")
        return (
            sa.UniqueConstraint("connection_id", "purpose", "version", name="uq_stripe_secret_version"),
            sa.Index(
                "uq_stripe_secret_present",
                "connection_id",
                "purpose",
                unique=True,
                postgresql_where=present,
                sqlite_where=present,
            ),
        )


class WebhookEvent(Hosted):
    """One genuine event of one endpoint. Rows stay after success: they are what makes a duplicate harmless."""

    __tablename__ = "stripe_webhook_event"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    #: The endpoint that it came by, for example ``platform:test:connect``. A raw-key tenant can sign any event id, so
    #: an id is unique only within its endpoint.
    scope: Mapped[str] = mapped_column(sa.String(64))
    #: Stripe's ``evt_…``.
    event_id: Mapped[str] = mapped_column(sa.String(255))
    type: Mapped[str] = mapped_column(sa.String(255))
    mode: Mapped[Mode] = mapped_column(words(Mode))
    #: Stripe's ``account``: the connected account that it is about.
    account_id: Mapped[str | None] = mapped_column(sa.String(64))
    connection_id: Mapped[int | None] = mapped_column(sa.ForeignKey("stripe_connection.id"))
    status: Mapped[EventStatus] = mapped_column(words(EventStatus))
    attempts: Mapped[int] = mapped_column(default=1)
    #: Goes up with each claim: whoever was slow, and lost the event to somebody else, can no longer finish it.
    generation: Mapped[int] = mapped_column(default=0, server_default="0")
    #: From when on it is anybody's to take: at once, after a pause, or when the lease of whoever has it ends. None
    #: where nothing is left to do.
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    #: Why it failed, was parked, or was not applied.
    error: Mapped[str | None] = mapped_column(sa.Text)
    #: The event as it was signed; None once pruned.
    body: Mapped[str | None] = mapped_column(sa.Text)
    received_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    processed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    #: It was fetched from Stripe's list, since nobody had delivered it. False again once Stripe delivers it after all:
    #: only what is delivered proves that deliveries arrive.
    was_missed: Mapped[bool] = mapped_column(default=False, server_default=sa.text("false"))

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        # Made anew for each ValetProStripe: an index belongs to one table.
        return (
            sa.UniqueConstraint("scope", "event_id", name="uq_stripe_webhook_event"),
            sa.Index("ix_stripe_webhook_event_health", "tenant_id", "mode", "received_at"),
            # Only what waits: of a table that keeps everything, the worker looks at little.
            sa.Index(
                "ix_stripe_webhook_event_waiting",
                "tenant_id",
                "due_at",
                postgresql_where=sa.text("due_at IS NOT NULL"),
                sqlite_where=sa.text("due_at IS NOT NULL"),
            ),
            # Few of very many, and asked for by everybody who has the page open.
            sa.Index(
                "ix_stripe_webhook_event_attention",
                "tenant_id",
                "mode",
                "received_at",
                postgresql_where=sa.text(NEEDS_ATTENTION),
                sqlite_where=sa.text(NEEDS_ATTENTION),
            ),
            # Only what nobody works on by itself: few, of a table that keeps everything.
            sa.Index(
                "ix_stripe_webhook_event_aside",
                "status",
                "tenant_id",
                "mode",
                postgresql_where=sa.text("status IN ('dead', 'parked')"),
                sqlite_where=sa.text("status IN ('dead', 'parked')"),
            ),
            sa.Index(
                "ix_stripe_webhook_event_missed",
                "tenant_id",
                "received_at",
                postgresql_where=sa.text("was_missed"),
                sqlite_where=sa.text("was_missed = 1"),
            ),
            sa.Index("ix_stripe_webhook_event_received", "received_at"),
        )

    @declared_attr
    def tenant_id(cls) -> Mapped[Any]:
        """Return the column that points to the tenant; None for an event of the platform's own account."""
        return pointing_to(cls.host_keys.tenant, nullable=True)

    @classmethod
    def needs_attention(cls) -> sa.ColumnElement[bool]:
        """Return the condition under which an event waits for another try, or for a person."""
        return sa.literal_column(NEEDS_ATTENTION)

    #: What Stripe answered when the event's object was fetched again; None where the event itself is enough.
    fetched = cast(Any, None)
    #: When Stripe was asked for it.
    fetched_at = cast(datetime, None)

    @cached_property
    def facts(self) -> list[Callable[[], object]]:
        """Return what to tell the host once the event is committed; handlers of ours append to it."""
        return []

    @cached_property
    def payload(self) -> dict[str, Any]:
        """Return the whole event as a dict; empty once it has been pruned."""
        return dict(json.loads(self.body)) if self.body else {}

    @property
    def object(self) -> dict[str, Any]:
        """Return the event's ``data.object``."""
        data = self.payload.get("data")
        found = data.get("object") if isinstance(data, dict) else None
        return found if isinstance(found, dict) else {}


class OAuthState(TenantOwned):
    """One started OAuth connection: bound to user, tenant, mode and session, used once, for ten minutes."""

    __tablename__ = "stripe_oauth_state"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: SHA-256 of the state: a reader of the database cannot finish somebody's connection.
    state_hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    session_hash: Mapped[str] = mapped_column(sa.String(64))
    user_id: Mapped[str] = mapped_column(sa.String(255))
    mode: Mapped[Mode] = mapped_column(words(Mode))
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime, index=True)


class AuditEntry(TenantOwned):
    """Who did what to a tenant's connection, in the same transaction as the act. Never changed, never deleted."""

    __tablename__ = "stripe_audit_entry"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    #: 1, 2, 3, … for each tenant, without a gap.
    sequence: Mapped[int] = mapped_column()
    #: SHA-256 over this entry and the digest of the tenant's entry before it.
    digest: Mapped[str] = mapped_column(sa.String(64))
    connection_id: Mapped[int | None] = mapped_column(sa.ForeignKey("stripe_connection.id"))
    #: The user's id, or ``stripe`` or ``operator``.
    actor: Mapped[str] = mapped_column(sa.String(255))
    action: Mapped[str] = mapped_column(sa.String(64))
    detail: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (sa.UniqueConstraint("tenant_id", "sequence", name="uq_stripe_audit_sequence"),)
