"""What one app's extension knows: its configuration, models, handlers and HTTP client, in ``app.extensions``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import stripe
from blinker import NamedSignal
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Session

from .config import Config
from .counts import Count, count_nothing
from .errors import ConfigurationError
from .models import Models
from .secrets.store import SecretStore
from .waits import Waits

if TYPE_CHECKING:
    from .events import Registry
    from .webhooks.verify import Endpoint

log = logging.getLogger(__name__)
EXTENSION: Final = "valetpro_stripe"


@dataclass
class State:
    """Everything per app. Nothing of it is kept on the extension, which may serve several apps."""

    app: Flask
    config: Config
    db: SQLAlchemy
    models: Models
    registry: Registry
    #: ``@valetpro.tenant_loader`` and ``@valetpro.admin_check``; None until the host registers them.
    callbacks: Callbacks
    #: The four endpoints of the platform's webhook URL, with their secrets.
    platform_endpoints: tuple[Endpoint, ...]
    #: The endpoints in tenants' own accounts.
    tenant_endpoints: FindsEndpoints
    #: Where tenants' own secrets rest, by name. New ones go into the first; the others are read, and moved out of.
    stores: Mapping[str, SecretStore]
    #: Tells a worker that an event is stored, by its row's id and its type; None where handlers run before Stripe is
    #: answered.
    enqueue: Callable[[int, str], None] | None = field(default=None, kw_only=True)
    #: Counts for whoever watches this process.
    count: Count = field(default=count_nothing, kw_only=True)
    #: The one transport to Stripe, shared by all tenants; tests put a simulator's here.
    http_client: stripe.HTTPClient
    #: The monotonic clock, and how a moment is waited for; tests put their own here.
    clock: Callable[[], float] = field(default=time.monotonic, kw_only=True)
    pause: Callable[[float], object] = field(default=time.sleep, kw_only=True)
    #: When it was last said that deliveries' signatures do not fit, on the monotonic clock.
    refusals_told_at: float = field(default=float("-inf"), kw_only=True)
    #: How often each tenant's calls have waited for Stripe lately.
    waits: Waits = field(default_factory=Waits, kw_only=True)
    #: When a connection's account was last found ready to compute tax, on the monotonic clock.
    tax_ready: dict[int, float] = field(default_factory=dict, kw_only=True)

    def tell(self, signal: NamedSignal, **facts: Any) -> None:
        """Send a signal about what is committed. A listener that raises cannot undo it, so that is only logged."""
        try:
            signal.send(self.app, **facts)
        except Exception:
            self.session.rollback()
            log.exception("a listener of %s failed", signal.name)

    @property
    def session(self) -> Session:
        """Return the host's session: what is written through it commits with ours, or not at all."""
        return self.db.session()


class FindsEndpoints(Protocol):
    """What finds the endpoint in a tenant's own account by its address: :class:`.webhooks.tenants.TenantEndpoints`."""

    def find(self, state: State, token: str, *, again: bool = False) -> Endpoint | None:
        """Return the endpoint with this unguessable part of its address, or None."""


@dataclass
class Callbacks:
    """What the host decides: who the tenant of a request is, and who may manage it."""

    tenant_loader: Callable[[], Any] | None = field(default=None)
    admin_check: Callable[[Any], bool] | None = field(default=None)


def get_state() -> State:
    """Return the state of the current app.

    :raises ConfigurationError: if the extension was not initialised on it.
    """
    try:
        return cast(State, current_app.extensions[EXTENSION])
    except KeyError:
        raise ConfigurationError("This app has no flask-valetpro-stripe. Call valetpro.init_app(app).") from None
