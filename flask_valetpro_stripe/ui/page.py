"""What the settings page shows: one card for each mode, read from the database and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..connections import missing_for
from ..credentials import falls_back, find_connection
from ..enums import AccountType, Mode, OnboardingStatus, PaymentStatus
from ..models import Connection, WebhookEvent, key_of
from ..onboarding.presets import PRESETS
from ..state import State
from ..webhooks.health import Health, health_of


@dataclass(frozen=True)
class Card:
    """One mode of a tenant: its connection, its last event, and what stands in the way."""

    mode: Mode
    is_active: bool
    status: OnboardingStatus
    connection: Connection | None
    #: Of this connection; one that failed is shown whatever connection it came by.
    last_event: WebhookEvent | None
    #: How the events of this mode are: whether they come, and are handled.
    health: Health
    open_payments: int
    #: What the operator must set before accounts can be connected by Stripe Connect, where that is offered.
    operator_must_set: tuple[str, ...]
    #: What is missing before payments can be taken, for the tenant's admin and the operator.
    missing: tuple[str, ...]
    can_connect: bool
    #: Payments go to the platform's account until the tenant connects its own.
    falls_back: bool

    @property
    def account_type(self) -> AccountType | None:
        """Return how the tenant is connected in this mode."""
        return self.connection.account_type if self.connection else None


def cards_of(state: State, tenant: Any) -> list[Card]:
    """Return the tenant's cards, test first."""
    return [_card(state, tenant, mode) for mode in Mode]


def _card(state: State, tenant: Any, mode: Mode) -> Card:
    connection = find_connection(state, tenant, mode)
    operator = _operator_must_set(state, mode)
    return Card(
        mode=mode,
        is_active=tenant.stripe_mode is mode,
        status=connection.status if connection else OnboardingStatus.NOT_CONNECTED,
        connection=connection,
        last_event=_last_event(state, tenant, mode, connection),
        health=health_of(state, tenant, mode),
        open_payments=_open_payments(state, tenant, mode),
        operator_must_set=operator,
        missing=tuple(missing_for(state, tenant, mode)),
        can_connect=not operator and AccountType.CONNECT_STANDARD in state.config.allowed_account_types,
        falls_back=connection is None and falls_back(state, tenant, mode),
    )


def _operator_must_set(state: State, mode: Mode) -> tuple[str, ...]:
    allowed, needed = state.config.allowed_account_types, {}
    if not allowed.isdisjoint(PRESETS):
        needed["SECRET_KEY"] = state.config.secret_key(mode) is not None
    if AccountType.CONNECT_STANDARD in allowed:
        needed["CLIENT_ID"] = state.config.client_id(mode) is not None
    return tuple(f"VALETPRO_STRIPE_{mode.upper()}_{name}" for name, is_set in needed.items() if not is_set)


def _last_event(state: State, tenant: Any, mode: Mode, connection: Connection | None) -> WebhookEvent | None:
    """Return the newest event that is the shown connection's, or that failed, whosever it was in this mode."""
    model = state.models.WebhookEvent
    shown = model.needs_attention()
    if connection is not None:
        # An event that is routed to an earlier connection to the same account tells as much about this one.
        since = sa.and_(model.account_id == connection.account_id, model.received_at >= connection.created_at)
        shown = sa.or_(shown, model.connection_id == connection.id, since)
    return state.session.scalar(
        sa.select(model)
        .where(model.tenant_id == key_of(tenant), model.mode == mode, shown)
        .order_by(model.received_at.desc())
        .limit(1)
    )


def _open_payments(state: State, tenant: Any, mode: Mode) -> int:
    model: Any = state.models.Payment
    owner = getattr(model, state.models.payment_tenant)
    return (
        state.session.scalar(
            sa.select(sa.func.count()).where(
                owner == key_of(tenant),
                model.mode == mode,
                model.status.in_([PaymentStatus.PENDING, PaymentStatus.FAILED]),
                model.stripe_payment_link_id.is_not(None),
            )
        )
        or 0
    )
