"""How a tenant may connect in one mode, and what it has there beside its card: keys, and accounts not ready yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from .. import custody, endpoints
from ..credentials import find_living, is_unfinished
from ..enums import AccountType, Mode, OnboardingStatus
from ..models import Connection, key_of
from ..models import Secret as SecretRow
from ..models.types import utcnow
from ..onboarding import raw_keys
from ..onboarding.key_check import OPTIONAL, REQUIRED
from ..onboarding.presets import PRESETS
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
#: What follows for the admin from a type that is less usual. What the operator takes on stands in the operator's docs.
_TERMS: Final[Mapping[AccountType, tuple[str, ...]]] = {
    AccountType.CONNECT_CUSTOM: (
        "You do not sign in at Stripe: the operator shows you your payments, payouts, refunds and disputes.",
        "The operator asks you what Stripe wants to know about your business and the people behind it, again whenever "
        "Stripe wants more.",
        "Your questions go to the operator: Stripe gives you no support.",
        "You accept Stripe's Connected Account Agreement.",
    ),
}


@dataclass(frozen=True)
class Offer:
    """A type of account that we make for a tenant, in words."""

    account_type: AccountType
    name: str
    about: str
    #: What follows from it for the tenant.
    terms: tuple[str, ...]


@dataclass(frozen=True)
class Keys:
    """The API keys of a tenant's own connection: what may be shown of them."""

    connection: Connection
    key: SecretRow | None
    webhook_secret: SecretRow | None
    webhook_url: str | None
    #: New payments do not use it.
    is_beside: bool

    @property
    def is_begun(self) -> bool:
        """Return whether they are being set up while another connection is the current one."""
        return self.is_beside and is_unfinished(self.connection)

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
    #: Those of the current connection, then those of the one that the form is about, if that is another.
    keys: tuple[Keys, ...]
    #: The key that can be brought back.
    previous: SecretRow | None
    #: Secrets of this mode that nothing uses any more and that are not destroyed.
    archived: int
    #: Accounts that are being set up at Stripe while another one, or none, takes payments.
    beside: tuple[Connection, ...]
    #: What a disconnect ends together with the current connection.
    ends_too: tuple[Connection, ...]

    #: The permissions of a restricted key, by their names in Stripe's dashboard.
    must_allow: tuple[str, ...] = tuple(REQUIRED)
    may_allow: tuple[str, ...] = tuple(OPTIONAL)

    @property
    def form(self) -> Keys | None:
        """Return what the form acts on as long as no secret key is entered, which would tell its account itself."""
        return self.keys[-1] if self.keys else None


def ways_of(state: State, tenant: Any, mode: Mode, current: Connection | None) -> Ways:
    """Return what a tenant may do in ``mode``, and what it has. Reads two tables; asks no vault."""
    living = find_living(state, tenant, mode)
    allowed = state.config.allowed_account_types
    secrets = _secrets(state, tenant, mode)
    has_platform = state.config.secret_key(mode) is not None
    keys = _keys(state, current, raw_keys.find_own(state, tenant, mode), secrets)
    return Ways(
        by_oauth=AccountType.CONNECT_STANDARD in allowed,
        offers=tuple(_offer(kind) for kind in PRESETS if kind in allowed) if has_platform else (),
        by_keys=AccountType.RAW_KEYS in allowed,
        only_restricted_keys=not state.config.allow_secret_keys,
        keys=keys,
        previous=_previous(keys[0].connection, secrets) if keys else None,
        archived=sum(1 for row in secrets if _is_destroyable(row)),
        beside=tuple(_being_set_up(living)),
        ends_too=tuple(_ends_too(living, current)),
    )


def _offer(account_type: AccountType) -> Offer:
    return Offer(account_type, *_ABOUT[account_type], _TERMS.get(account_type, ()))


def _being_set_up(living: list[Connection]) -> list[Connection]:
    """Return the tenant's accounts that Stripe asks about and that new payments do not use yet, newest first."""
    others = (AccountType.PLATFORM, AccountType.RAW_KEYS)
    pending = [c for c in living if c.status is OnboardingStatus.PENDING and not c.is_current]
    return [c for c in pending if c.account_type not in others]


def _ends_too(living: list[Connection], current: Connection | None) -> list[Connection]:
    """Return what connections.disconnect ends beside the current one: each account once for each way into it."""
    own = [each for each in living if each.account_type is not AccountType.PLATFORM]
    # The first of each is kept: the current one, then the newest.
    by_way = {(each.account_id, each.account_type, each.accounts_api): each for each in reversed(own)}
    return [each for each in reversed(by_way.values()) if current is None or each.id != current.id]


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


def _keys(
    state: State, current: Connection | None, own: Connection | None, secrets: list[SecretRow]
) -> tuple[Keys, ...]:
    by_id = {each.id: each for each in (current, own) if each and each.account_type is AccountType.RAW_KEYS}
    return tuple(_keys_of(state, each, secrets) for each in by_id.values())


def _keys_of(state: State, own: Connection, secrets: list[SecretRow]) -> Keys:
    present = {row.purpose: row for row in secrets if row.connection_id == own.id and row.archived_at is None}
    return Keys(
        connection=own,
        key=present.get(custody.API_KEY),
        webhook_secret=present.get(custody.WEBHOOK_SECRET),
        webhook_url=endpoints.url_of(state, own) if own.endpoint_token else None,
        is_beside=not own.is_current,
    )


def _previous(own: Connection, secrets: list[SecretRow]) -> SecretRow | None:
    """Return the key that raw_keys.roll_back would bring back."""
    api_keys = [row for row in secrets if row.connection_id == own.id and row.purpose == custody.API_KEY]
    return custody.previous_of(api_keys)
