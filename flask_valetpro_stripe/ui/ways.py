"""How a tenant may connect in one mode, and what it has there beside its card: keys, and accounts not ready yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from .. import custody, endpoints
from ..enums import AccountType, Mode, OnboardingStatus
from ..models import Connection, key_of
from ..models import Secret as SecretRow
from ..models.types import utcnow
from ..onboarding.key_check import OPTIONAL, REQUIRED
from ..onboarding.presets import DUTIES, PRESETS
from ..onboarding.status import NO_ENDPOINT
from ..state import State

#: What a tenant's admin is told about an account that we make for it.
_ABOUT: Final[Mapping[AccountType, tuple[str, str]]] = {
    AccountType.CONNECT_STANDARD: (
        "Standard",
        "Your own Stripe account, with Stripe's whole dashboard. You pay Stripe's fees, and deal with Stripe yourself.",
    ),
    AccountType.CONNECT_EXPRESS: (
        "Express",
        "A light dashboard for your payments and payouts. The operator of this service pays Stripe's fees and carries "
        "losses.",
    ),
    AccountType.CONNECT_CUSTOM: (
        "Custom",
        "No dashboard at Stripe: the operator of this service stands between you and Stripe in everything.",
    ),
}


@dataclass(frozen=True)
class Offer:
    """A type of account that we make for a tenant, in words."""

    account_type: AccountType
    name: str
    about: str
    #: What the operator takes on.
    duties: tuple[str, ...]


@dataclass(frozen=True)
class Keys:
    """The API keys of a tenant's own connection: what may be shown of them."""

    connection: Connection
    key: SecretRow | None
    #: The one that can be brought back.
    previous: SecretRow | None
    webhook_secret: SecretRow | None
    webhook_url: str | None

    @property
    def wants_endpoint(self) -> bool:
        """Return whether only a webhook endpoint is missing."""
        return NO_ENDPOINT in (self.connection.requirements or [])


@dataclass(frozen=True)
class Ways:
    """What the card of one mode offers."""

    by_oauth: bool
    offers: tuple[Offer, ...]
    by_keys: bool
    only_restricted_keys: bool
    keys: Keys | None
    #: Secrets of this mode that nothing uses any more and that are not destroyed.
    archived: int
    #: Accounts that are being set up while another one, or none, takes payments.
    beside: tuple[Connection, ...]

    #: The permissions of a restricted key, by their names in Stripe's dashboard.
    must_allow: tuple[str, ...] = tuple(REQUIRED)
    may_allow: tuple[str, ...] = tuple(OPTIONAL)


def ways_of(state: State, tenant: Any, mode: Mode, current: Connection | None) -> Ways:
    """Return what a tenant may do in ``mode``, and what it has. Reads two tables; asks no vault."""
    allowed = state.config.allowed_account_types
    living = _living_beside(state, tenant, mode)
    secrets = _secrets(state, tenant, mode)
    has_platform = state.config.secret_key(mode) is not None
    return Ways(
        by_oauth=AccountType.CONNECT_STANDARD in allowed,
        offers=tuple(_offer(kind) for kind in PRESETS if kind in allowed) if has_platform else (),
        by_keys=AccountType.RAW_KEYS in allowed,
        only_restricted_keys=not state.config.allow_secret_keys,
        keys=_keys(state, [*([current] if current else []), *living], secrets),
        archived=sum(1 for row in secrets if _is_destroyable(row)),
        beside=tuple(c for c in living if c.status is OnboardingStatus.PENDING),
    )


def _offer(account_type: AccountType) -> Offer:
    return Offer(account_type, *_ABOUT[account_type], DUTIES[account_type])


def _living_beside(state: State, tenant: Any, mode: Mode) -> list[Connection]:
    """Return the tenant's connections that have not ended and that new payments do not use, newest first."""
    model = state.models.Connection
    return list(
        state.session.scalars(
            sa.select(model)
            .where(
                model.tenant_id == key_of(tenant),
                model.mode == mode,
                model.ended_at.is_(None),
                model.account_type != AccountType.PLATFORM,
                sa.not_(model.is_current),
            )
            .order_by(model.id.desc())
            .execution_options(populate_existing=True)
        )
    )


def _secrets(state: State, tenant: Any, mode: Mode) -> list[SecretRow]:
    """Return the tenant's secrets that are not destroyed, newest first: those of ended connections too."""
    model, connection = state.models.Secret, state.models.Connection
    return list(
        state.session.scalars(
            sa.select(model)
            .join(connection, connection.id == model.connection_id)
            .where(model.tenant_id == key_of(tenant), connection.mode == mode, model.stored.is_not(None))
            .order_by(model.connection_id.desc(), model.version.desc())
            .execution_options(populate_existing=True)
        )
    )


def _is_destroyable(row: SecretRow) -> bool:
    # As in custody.archived: a webhook secret that was replaced verifies for a while.
    return row.archived_at is not None and (row.valid_until is None or row.valid_until <= utcnow())


def _keys(state: State, living: list[Connection], secrets: list[SecretRow]) -> Keys | None:
    """Return the keys of the connection that the form is about: the same one that raw_keys.find_own finds."""
    own = next((c for c in living if c.account_type is AccountType.RAW_KEYS and c.ended_at is None), None)
    if own is None:
        return None
    rows = [row for row in secrets if row.connection_id == own.id]
    present = {row.purpose: row for row in rows if row.archived_at is None}
    earlier = [row for row in rows if row.archived_at is not None and row.purpose == custody.API_KEY]
    return Keys(
        connection=own,
        key=present.get(custody.API_KEY),
        previous=earlier[0] if earlier and custody.API_KEY in present else None,
        webhook_secret=present.get(custody.WEBHOOK_SECRET),
        webhook_url=endpoints.url_of(state, own) if own.endpoint_token else None,
    )
