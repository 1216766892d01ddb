"""An object that an event is about, as Stripe has it now, where the event's account lets us see it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import stripe

from ..credentials import client_for
from ..enums import Mode
from ..errors import ConfigurationError, InvalidKeyError, MissingPermissionError, NotConnectedError, ValetProStripeError
from ..gateway import ask_stripe, make_account_client
from ..models import Connection
from ..state import State

log = logging.getLogger(__name__)
_MISSING: Final = "resource_missing"


def fetch(
    state: State,
    connection: Connection | None,
    event: Mapping[str, Any],
    service: Callable[[stripe.StripeClient], Any],
    object_id: str,
    params: Mapping[str, Any] | None = None,
) -> Mapping[str, Any] | None:
    """Return the object, or None if there is none, or we may not see it. Commits.

    :param connection: whose account it is; None for the platform's own.
    :param service: Stripe's service for such objects.
    :raises ValetProStripeError: if Stripe, or the store of the tenant's key, cannot be asked now.
    """
    mode = Mode.of(event["livemode"])
    try:
        client = client_for(state, connection) if connection is not None else make_account_client(state, mode, None)
        state.session.commit()
        found: Mapping[str, Any] = ask_stripe(
            f"Reading {object_id}", service(client).retrieve, object_id, params or {}
        ).to_dict()
    except (ConfigurationError, NotConnectedError, InvalidKeyError, MissingPermissionError) as error:
        log.warning("%s of event %s cannot be read: %s", object_id, event.get("id"), error.code)
        return None
    except ValetProStripeError as error:
        if error.code != _MISSING:
            raise
        return None
    return found
