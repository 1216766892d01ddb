"""The webhook endpoint in a raw-key tenant's own account: made, saved, and only then the ones before it removed."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, cast

import stripe

from . import audit, custody
from .credentials import client_for
from .errors import (
    InvalidKeyError,
    MissingPermissionError,
    NotConnectedError,
    OutcomeUnknownError,
    SecretUnavailableError,
    ValetProStripeError,
)
from .gateway import ask_stripe
from .models import Connection
from .models.types import utcnow
from .secrets import Secret
from .state import State

log = logging.getLogger(__name__)
#: How long a webhook secret that was replaced still verifies (Stripe docs, "Receive Stripe events", roll secrets).
OVERLAP: Final = timedelta(hours=24)
#: Stripe goes on delivering what was under way for three days (Stripe docs, "Receive Stripe events", retries).
RETRIES: Final = timedelta(days=3)
_MISSING: Final = "resource_missing"
#: In Stripe's refusal of one endpoint too many, which has no code.
_MOST: Final = "maximum"
#: What an account tells its platform only, or what takes another kind of endpoint.
_NOT_OF_AN_ACCOUNT: Final = ("account.application.", "v2.")


def url_of(state: State, connection: Connection) -> str:
    """Return the address that Stripe delivers this connection's events to."""
    return f"{state.config.public_url}{state.config.webhook_url}/{connection.endpoint_token}"


def reserve(state: State, connection: Connection) -> None:
    """Give the connection its unguessable address, once and for all. The caller commits.

    :raises NotConnectedError: if the connection ended meanwhile.
    """
    # Two clicks at once would each give it one, and an endpoint would be made for the address that did not stay.
    lock_living(state, connection)
    connection.endpoint_token = connection.endpoint_token or secrets.token_urlsafe(32)


def lock_living(state: State, connection: Connection) -> None:
    """Keep others from changing the tenant's connections until commit.

    :raises NotConnectedError: if this one ended meanwhile.
    """
    audit.lock_tenant(state, connection.tenant_id)
    state.session.refresh(connection)
    if connection.ended_at is not None:
        raise NotConnectedError("This account was disconnected meanwhile, so nothing was saved.")


def ensure(state: State, connection: Connection, *, actor: str) -> None:
    """Make the endpoint if Stripe says that there is none; an error of any other kind makes no second one. Commits.

    One that was switched off is switched on again, and what an interrupted :func:`make` left over is removed.
    """
    client = client_for(state, connection)
    # Without its secret an endpoint is of no use to anybody.
    secret = custody.find_present(state, connection, custody.WEBHOOK_SECRET)
    holds_secret = secret is not None and not custody.is_lost(state, connection, secret)
    endpoint_id = connection.endpoint_id if holds_secret else None
    body = _body(state, connection)
    state.session.commit()
    if endpoint_id is None or not _keep(client, endpoint_id, body):
        make(state, connection, actor=actor)


def _present_secret(state: State, connection: Connection) -> int | None:
    row = custody.find_present(state, connection, custody.WEBHOOK_SECRET)
    return row.id if row else None


def _keep(client: stripe.StripeClient, endpoint_id: str, body: dict[str, Any]) -> bool:
    """Bring an endpoint to what it should be; return False if Stripe says that there is none."""
    try:
        found = ask_stripe("Looking for the webhook endpoint", client.v1.webhook_endpoints.retrieve, endpoint_id)
    except ValetProStripeError as error:
        if error.code != _MISSING:
            raise
        return False
    changes = (
        {} if sorted(found.enabled_events) == body["enabled_events"] else {"enabled_events": body["enabled_events"]}
    )
    if found.status == "disabled":
        changes["disabled"] = False
    if changes and found.url == body["url"]:
        update = client.v1.webhook_endpoints.update
        ask_stripe("Changing the webhook endpoint", update, endpoint_id, cast(Any, changes))
    for each in _older(_ours(client, body["metadata"]), endpoint_id):
        _delete(client, each)
    return True


def _older(ours: list[str], endpoint_id: str) -> list[str]:
    """Return those made before this one. A newer one may be somebody else's who is about to save its secret."""
    # Stripe lists the newest first (API reference, "Pagination").
    return ours[ours.index(endpoint_id) + 1 :] if endpoint_id in ours else []


def make(state: State, connection: Connection, *, actor: str) -> None:
    """Make a new endpoint with the tenant's key, save its id and secret in one commit, then remove those before it.

    After a crash between any two steps, calling it again leaves exactly one. The old secret stays valid for
    :data:`OVERLAP`. Commits.

    :raises MissingPermissionError: if the key may not make endpoints.
    :raises ValetProStripeError: if Stripe refuses the address, for one, or somebody else made one meanwhile.
    """
    client = client_for(state, connection)
    reserve(state, connection)
    before, secret_before = connection.endpoint_id, _present_secret(state, connection)
    body = _body(state, connection)
    state.session.commit()
    left_over = [found for found in _ours(client, body["metadata"]) if found != before]
    endpoint_id, secret = _create(client, body, left_over, before)
    try:
        _save(state, connection, endpoint_id, secret, actor=actor, before=secret_before)
    except Exception:
        # Nobody will ever know its secret. If this is not reached either, the next call finds it by its metadata.
        with suppress(ValetProStripeError):
            _delete(client, endpoint_id)
        raise
    for each in {*left_over, *([before] if before else [])}:
        _delete(client, each)


def remake(state: State, connection: Connection) -> None:
    """Make the endpoint again, at the app's present address. Commits."""
    make(state, connection, actor="operator")


def _body(state: State, connection: Connection) -> dict[str, Any]:
    return {
        "url": url_of(state, connection),
        "enabled_events": _events(state),
        "api_version": state.config.stripe_version,
        "description": "Made by flask-valetpro-stripe. Disconnecting there removes it.",
        # By these, and nothing else, an endpoint is known to be ours.
        "metadata": {
            "valetpro_app": state.config.public_url[:500],
            "valetpro_tenant": str(connection.tenant_id),
            "valetpro_connection": str(connection.id),
        },
    }


def _events(state: State) -> list[str]:
    types = [each for each in state.registry.types if not each.startswith(_NOT_OF_AN_ACCOUNT)]
    return ["*"] if "*" in types else sorted(types)


def _ours(client: stripe.StripeClient, metadata: dict[str, str]) -> list[str]:
    """Return the ids of the endpoints that this very connection made; a merchant's own never carry its metadata."""
    page = ask_stripe("Looking for webhook endpoints", client.v1.webhook_endpoints.list, {"limit": 100})
    found: Iterator[Any] = page.auto_paging_iter()
    every = ask_stripe("Looking for webhook endpoints", lambda: [each.to_dict() for each in found])
    return [str(each["id"]) for each in every if metadata.items() <= (each.get("metadata") or {}).items()]


def _create(
    client: stripe.StripeClient, body: dict[str, Any], left_over: list[str], before: str | None
) -> tuple[str, Secret]:
    """Return the id and the secret of a new endpoint, with room made for it where the account holds no more.

    Ours whose secret was lost in a crash are no use to anybody. The one in use goes only where there is no other way.
    """
    while True:
        try:
            return _create_one(client, body)
        except (InvalidKeyError, MissingPermissionError, OutcomeUnknownError):
            raise
        except ValetProStripeError as error:
            if left_over:
                _delete(client, left_over.pop())
            elif before and _MOST in str(error):
                _delete(client, before)
                before = None
            else:
                raise


def _create_one(client: stripe.StripeClient, body: dict[str, Any]) -> tuple[str, Secret]:
    made = ask_stripe("Making the webhook endpoint", client.v1.webhook_endpoints.create, cast(Any, body))
    return str(made.id), Secret(str(made.secret))


def _save(
    state: State, connection: Connection, endpoint_id: str, secret: Secret, *, actor: str, before: int | None
) -> None:
    entrusted = custody.entrust(state, connection, custody.WEBHOOK_SECRET, secret)
    try:
        save_secret(state, connection, entrusted, actor=actor, before=before, endpoint_id=endpoint_id)
        state.session.commit()
    except Exception:
        state.session.rollback()
        custody.abandon(entrusted)
        raise


def save_secret(
    state: State,
    connection: Connection,
    entrusted: custody.Entrusted,
    *,
    actor: str,
    before: int | None,
    endpoint_id: str | None = None,
) -> None:
    """Let the endpoint sign with an entrusted secret, and with the one before it for a while. The caller commits.

    :param before: the id of the row whose place it takes.
    :param endpoint_id: the endpoint that we made for it; None leaves what there is, by hand or by us.
    :raises NotConnectedError: if the connection ended meanwhile.
    :raises ValetProStripeError: if somebody else saved one meanwhile.
    """
    lock_living(state, connection)
    custody.require_unchanged(state, connection, custody.WEBHOOK_SECRET, before)
    custody.switch(state, connection, entrusted, valid_until=utcnow() + OVERLAP)
    connection.endpoint_id = endpoint_id or connection.endpoint_id
    audit.record(
        state,
        tenant_id=connection.tenant_id,
        connection=connection,
        actor=actor,
        action="endpoint_made" if endpoint_id else "webhook_secret_saved",
        account_id=connection.account_id,
        mode=connection.mode,
        fingerprint=entrusted.fingerprint,
        endpoint_id=endpoint_id,
    )


def remove(state: State, connection: Connection) -> bool:
    """Remove the endpoints that we made; return False if the tenant must do it, because its key no longer may.

    :raises ValetProStripeError: if Stripe, or the store of the key, could not be asked.
    """
    if connection.endpoint_token is None:
        # It never got as far as that.
        return True
    endpoint_id = connection.endpoint_id
    try:
        client, metadata = client_for(state, connection), _body(state, connection)["metadata"]
        state.session.commit()
        for each in {*_ours(client, metadata), *([endpoint_id] if endpoint_id else [])}:
            _delete(client, each)
    except ValetProStripeError as error:
        # Without an id there is none of ours as far as anybody knows, and nothing to wait for.
        if endpoint_id is not None and not _is_for_good(error):
            raise
        log.warning("endpoint %s of connection %s was not removed: %s", endpoint_id, connection.id, error.code)
        return endpoint_id is None
    return True


def _is_for_good(error: ValetProStripeError) -> bool:
    """Tell whether asking again later would be no use either: the key is dead, may not, or is lost."""
    if isinstance(error, SecretUnavailableError):
        return error.code != SecretUnavailableError.default_code
    return isinstance(error, (InvalidKeyError, MissingPermissionError, NotConnectedError))


def _delete(client: stripe.StripeClient, endpoint_id: str) -> None:
    try:
        ask_stripe("Removing the webhook endpoint", client.v1.webhook_endpoints.delete, endpoint_id)
    except ValetProStripeError as error:
        if error.code != _MISSING:
            raise
