"""Who the tenant is, here and now: ``current_tenant``, ``current_stripe`` and ``tenant_context``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import stripe
from flask import has_request_context, request
from werkzeug.local import LocalProxy

from .credentials import client_for, require_connection
from .enums import AccountType, Mode, OnboardingStatus
from .errors import NoTenantError
from .models import Connection
from .state import State, get_state

_MEMO = "_valetpro_stripe_tenant"


@dataclass(frozen=True)
class _Override:
    """A tenant set explicitly. ``load`` is called when somebody asks, so that an unused one costs no query."""

    load: Callable[[], Any]
    connection: Connection | None = None


_override: ContextVar[_Override | None] = ContextVar("valetpro_stripe_override", default=None)


@dataclass(frozen=True)
class TenantStripe:
    """Stripe as the present tenant has it: nothing is looked up before it is asked for."""

    tenant: Any
    _state: State
    _frozen: Connection | None = None

    @property
    def _connection(self) -> Connection | None:
        found: Connection | None = self._frozen or self.tenant.stripe_connection
        return found

    @property
    def mode(self) -> Mode:
        """Return the mode that calls are made in."""
        return self._frozen.mode if self._frozen else cast(Mode, self.tenant.stripe_mode)

    @property
    def account_type(self) -> AccountType | None:
        """Return how the tenant is connected, or None."""
        return self._connection.account_type if self._connection else None

    @property
    def account_id(self) -> str | None:
        """Return the tenant's ``acct_…``, or None: not connected, or collected by the platform."""
        return self._connection.account_id if self._connection else None

    @property
    def status(self) -> OnboardingStatus:
        """Return how far the tenant's connection is."""
        return self._connection.status if self._connection else OnboardingStatus.NOT_CONNECTED

    @property
    def client(self) -> stripe.StripeClient:
        """Return a Stripe client that cannot reach any other account.

        :raises NotConnectedError: if the tenant cannot take payments; the text says what to do.
        """
        return client_for(self._state, self._frozen or require_connection(self._state, self.tenant))


def _load_tenant() -> Any:
    override = _override.get()
    if override is not None:
        return override.load()
    if not has_request_context():
        return None
    # On the request object, not on g: g outlives a request that runs inside an outer app context.
    holder = request._get_current_object()  # type: ignore[attr-defined]
    if not hasattr(holder, _MEMO):
        loader = get_state().callbacks.tenant_loader
        setattr(holder, _MEMO, loader() if loader else None)
    return getattr(holder, _MEMO)


def get_tenant() -> Any:
    """Return the present tenant itself, not a proxy.

    :raises NoTenantError: if there is none.
    """
    tenant = _load_tenant()
    if tenant is None and _override.get() is not None:
        raise NoTenantError(
            "No tenant here: this is an event of the platform's own account, or the code runs in tenant_context(None).",
            hint="Ask 'if current_tenant:' first.",
        )
    if tenant is None:
        raise NoTenantError(
            "No tenant here. Register a loader with @valetpro.tenant_loader, or wrap the code in "
            "'with tenant_context(tenant):'."
        )
    return tenant


def get_stripe() -> TenantStripe:
    """Return Stripe as the present tenant has it.

    :raises NoTenantError: if there is no tenant.
    """
    override = _override.get()
    return TenantStripe(get_tenant(), get_state(), override.connection if override else None)


if TYPE_CHECKING:
    current_tenant: Any
    current_stripe: TenantStripe
else:
    current_tenant = LocalProxy(get_tenant)
    current_stripe = LocalProxy(get_stripe)


@contextmanager
def tenant_context(tenant: Any) -> Iterator[None]:
    """Make ``tenant`` the present one, in a job, a command or a test; None means that there is none.

    Contexts nest, and each thread and each asyncio task has its own.
    """
    real = tenant._get_current_object() if isinstance(tenant, LocalProxy) else tenant
    with _overriding(_Override(lambda: real)):
        yield


@contextmanager
def event_context(load: Callable[[], Any], connection: Connection | None) -> Iterator[None]:
    """Make an event's tenant and connection the present ones, whatever mode the tenant works in now."""
    with _overriding(_Override(load, connection)):
        yield


@contextmanager
def _overriding(override: _Override) -> Iterator[None]:
    token = _override.set(override)
    try:
        yield
    finally:
        _override.reset(token)
