"""The webhook endpoint in a raw-key tenant's own account: made, saved, and only then the ones before it removed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, cast

import sqlalchemy as sa
import stripe
from sqlalchemy.exc import SQLAlchemyError

from . import audit, custody
from .credentials import client_for
from .errors import (
    InvalidKeyError,
    MissingPermissionError,
    NotConnectedError,
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
_Marks = list[dict[str, str]]
_ENDPOINT_ID: Final = re.compile(r"we_[A-Za-z0-9]{1,252}", re.ASCII)
#: Anybody could sign with what the SDK takes as well: "None", "null" or a blank.
_SIGNING_SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/=_-]{24,249}", re.ASCII)
#: Characters of a token that are random, and those after them that say that it is ours: 192 and 66 bits.
_RANDOM: Final = 32
_TAG: Final = 11


def url_of(state: State, connection: Connection) -> str:
    """Return the address that Stripe delivers this connection's events to."""
    return f"{state.config.public_url}{state.config.webhook_url}/{connection.endpoint_token}"


def reserve(state: State, connection: Connection) -> None:
    """Give the connection its unguessable address, once and for all. The caller commits.

    :raises NotConnectedError: if the connection ended meanwhile.
    """
    # Two clicks at once would each give it one, and an endpoint would be made for the address that did not stay.
    lock_living(state, connection)
    connection.endpoint_token = connection.endpoint_token or _make_token(state)


def _make_token(state: State) -> str:
    """Return 43 characters that nobody can guess, and whose end says that this app made them up."""
    random = secrets.token_urlsafe(_RANDOM * 3 // 4)
    # Without SECRET_KEY no key can be saved in the first place.
    tags = _tags(state, random)
    return random + (tags[0] if tags else secrets.token_urlsafe(_TAG)[:_TAG])


def is_of_ours(state: State, token: str) -> bool:
    """Tell without asking the database whether a token was made under this app's SECRET_KEY, or an earlier one."""
    return any(hmac.compare_digest(token[_RANDOM:], tag) for tag in _tags(state, token[:_RANDOM]))


def _tags(state: State, random: str) -> list[str]:
    """Return the end of a token for each key that Flask signs or verifies sessions with, newest first."""
    keys = [state.app.secret_key, *(state.app.config.get("SECRET_KEY_FALLBACKS") or [])]
    tags = []
    for key in filter(None, keys):
        raw = key.encode() if isinstance(key, str) else key
        separate = hmac.new(raw, b"flask-valetpro-stripe endpoint token", hashlib.sha256).digest()
        digest = hmac.new(separate, random.encode(), hashlib.sha256).digest()
        tags.append(base64.urlsafe_b64encode(digest).decode()[:_TAG])
    return tags


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
    body, ours = _body(state, connection), _marks(state, connection)
    state.session.commit()
    if endpoint_id is None or not _keep(client, endpoint_id, body, ours):
        make(state, connection, actor=actor)
        return
    _forget_state(connection)
    state.session.commit()


def _forget_state(connection: Connection) -> None:
    """Forget what Stripe said about the endpoint: it was about what is over now."""
    connection.endpoint_state = None


def _present_secret(state: State, connection: Connection) -> int | None:
    row = custody.find_present(state, connection, custody.WEBHOOK_SECRET)
    return row.id if row else None


def _keep(client: stripe.StripeClient, endpoint_id: str, body: dict[str, Any], ours: _Marks) -> bool:
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
    for each in _older(_ours(client, ours), endpoint_id):
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
    key, before, secret_before = connection.id, connection.endpoint_id, _present_secret(state, connection)
    body, ours = _body(state, connection), _marks(state, connection)
    state.session.commit()
    left_over = [found for found in _ours(client, ours) if found != before]
    endpoint_id, secret = _create(client, body, left_over, before)
    try:
        _save(state, connection, endpoint_id, secret, actor=actor, before=secret_before)
    except Exception:
        # Nobody will ever know its secret. If this is not reached either, the next call finds it by its metadata.
        with suppress(ValetProStripeError):
            if not _may_be_in_use(state, key, endpoint_id):
                _delete(client, endpoint_id)
        raise
    for each in {*left_over, *([before] if before else [])}:
        _delete(client, each)


def _may_be_in_use(state: State, key: int, endpoint_id: str) -> bool:
    """Tell whether a connection has the endpoint all the same: its commit took effect, and only the answer was lost."""
    model = state.models.Connection
    try:
        state.session.rollback()
        found = state.session.scalar(sa.select(model.endpoint_id).where(model.id == key).with_for_update())
        state.session.rollback()
    except SQLAlchemyError:
        return True
    return found == endpoint_id


def remake(state: State, connection: Connection) -> None:
    """Make the endpoint again, at the app's present address. Commits."""
    make(state, connection, actor="operator")


def _body(state: State, connection: Connection) -> dict[str, Any]:
    return {
        "url": url_of(state, connection),
        "enabled_events": _events(state),
        "api_version": state.config.stripe_version,
        "description": "Made by flask-valetpro-stripe. Disconnecting there removes it.",
        "metadata": _mark(connection, state.config.public_url),
    }


def _mark(connection: Connection, public_url: str) -> dict[str, str]:
    """Return the metadata by which, and by nothing else, an endpoint is known to be ours."""
    return {
        "valetpro_app": public_url[:500],
        "valetpro_tenant": str(connection.tenant_id),
        "valetpro_connection": str(connection.id),
        # A copy of the database counts on from the same ids, perhaps with the same settings; its addresses are others.
        "valetpro_address": _name_of_address(connection),
    }


def _name_of_address(connection: Connection) -> str:
    """Return what names the connection's address, and does not tell it to who reads metadata."""
    return hashlib.sha256((connection.endpoint_token or "").encode()).hexdigest()[:16]


def _marks(state: State, connection: Connection) -> _Marks:
    """Return the metadata of all that this connection made, also at the address that the app is moving away from."""
    addresses = {state.config.public_url, connection.public_url or state.config.public_url}
    return [_mark(connection, address) for address in addresses]


def _events(state: State) -> list[str]:
    types = [each for each in state.registry.types if not each.startswith(_NOT_OF_AN_ACCOUNT)]
    return ["*"] if "*" in types else sorted(types)


def _ours(client: stripe.StripeClient, marks: _Marks) -> list[str]:
    """Return the ids of the endpoints that this very connection made; a merchant's own never carry its metadata."""
    page = ask_stripe("Looking for webhook endpoints", client.v1.webhook_endpoints.list, {"limit": 100})
    found: Iterator[Any] = page.auto_paging_iter()
    every = ask_stripe("Looking for webhook endpoints", lambda: [each.to_dict() for each in found])
    return [
        str(each["id"]) for each in every if any(mark.items() <= (each.get("metadata") or {}).items() for mark in marks)
    ]


def _create(
    client: stripe.StripeClient, body: dict[str, Any], left_over: list[str], before: str | None
) -> tuple[str, Secret]:
    """Return the id and the secret of a new endpoint, with room made for it where the account holds no more.

    Ours whose secret was lost in a crash are no use to anybody. The one in use goes only where there is no other way.
    """
    while True:
        try:
            return _create_one(client, body)
        except ValetProStripeError as error:
            # Any other refusal says nothing about those that are there; one may be another click's, about to be saved.
            if _MOST not in str(error) or not (left_over or before):
                raise
            if left_over:
                _delete(client, left_over.pop())
            elif before:
                _delete(client, before)
                before = None


def _create_one(client: stripe.StripeClient, body: dict[str, Any]) -> tuple[str, Secret]:
    made = ask_stripe("Making the webhook endpoint", client.v1.webhook_endpoints.create, cast(Any, body))
    endpoint_id = _matching(_ENDPOINT_ID, getattr(made, "id", None))
    secret = _matching(_SIGNING_SECRET, getattr(made, "secret", None))
    # The frame of an error that is raised below must not hold it.
    made = None  # type: ignore[assignment]
    if endpoint_id is None:
        secret = None
        raise _unusable("no endpoint's id")
    if secret is None:
        # Anybody could sign for it.
        with suppress(ValetProStripeError):
            _delete(client, endpoint_id)
        raise _unusable("no signing secret")
    return endpoint_id, Secret(secret)


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _unusable(lack: str) -> ValetProStripeError:
    return ValetProStripeError(
        f"Stripe's answer about the new webhook endpoint holds {lack}, so it was not taken.",
        code="bad_answer",
        hint="Try again. If that is of no use, make the endpoint in the Stripe Dashboard, and enter its secret.",
    )


def _save(
    state: State, connection: Connection, endpoint_id: str, secret: Secret, *, actor: str, before: int | None
) -> None:
    with custody.entrusted(state, connection, custody.WEBHOOK_SECRET, secret) as entrusted:
        save_secret(state, connection, entrusted, actor=actor, before=before, endpoint_id=endpoint_id)
        state.session.commit()


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
    _forget_state(connection)
    action, known_by = "endpoint_made" if endpoint_id else "webhook_secret_saved", entrusted.fingerprint
    audit.record_about(state, connection, actor=actor, action=action, fingerprint=known_by, endpoint_id=endpoint_id)


def remove(state: State, connection: Connection) -> bool:
    """Remove the endpoints that we made; return False if the tenant must do it, because its key no longer may.

    :raises ValetProStripeError: if Stripe, or the store of the key, could not be asked.
    """
    if connection.endpoint_token is None:
        # It never got as far as that.
        return True
    endpoint_id = connection.endpoint_id
    try:
        client, ours = client_for(state, connection), _marks(state, connection)
        state.session.commit()
        for each in {*_ours(client, ours), *([endpoint_id] if endpoint_id else [])}:
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
