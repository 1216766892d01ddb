"""The endpoints of raw-key tenants, by the unguessable part of their addresses, remembered for a minute."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from .. import custody, endpoints
from ..errors import SecretUnavailableError
from ..models import Connection
from ..secrets import Secret
from ..secrets.asking import OncePerProcess
from ..state import State
from .verify import TENANTS_OWN, Endpoint, RefusedError

log = logging.getLogger(__name__)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
#: Seconds that an endpoint's secrets are used without asking the database and its store again. Whether the tenant is
#: still connected is asked for each genuine event all the same.
REMEMBERED: Final = 60.0
#: Seconds before the database is asked again about an endpoint whose secrets did not fit: they may be newer than ours.
RELOAD: Final = 5.0
#: Unknown addresses that the database is asked about in a second, of those that nobody made up under a SECRET_KEY that
#: we have. Stripe delivers again what comes too early.
MOST_UNKNOWN: Final = 5
_MOST: Final = 10_000


@dataclass(frozen=True)
class _Known:
    endpoint: Endpoint
    since: float


class TenantEndpoints:
    """What one process remembers of its app's tenant endpoints. Forged requests cost no query, whatever they name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # A worker that is forked while a thread holds it would wait forever.
        self._lock = OncePerProcess(threading.Lock)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._window = 0.0
        self._unknown = 0

    def find(self, state: State, token: str, *, again: bool = False) -> Endpoint | None:
        """Return the endpoint with this address, or None.

        :param again: what was remembered did not fit, so look whether it has changed.
        :raises SecretUnavailableError: if the store of its secrets cannot answer.
        :raises RefusedError: if it was not looked up: too many made-up ones were asked for in this second.
        """
        if not _TOKEN.fullmatch(token):
            return None
        is_of_ours = endpoints.is_of_ours(state, token)
        with self._lock.get():
            known = self._known.get(token)
            is_fresh = known is not None and self._clock() - known.since < (RELOAD if again else REMEMBERED)
            if known is None and not is_of_ours and self._asked_too_often():
                raise RefusedError("rate")
        if known is not None and is_fresh:
            return None if again else known.endpoint
        return self._load(state, token, counts=not is_of_ours)

    def _asked_too_often(self) -> bool:
        now = self._clock()
        if now - self._window >= 1.0:
            self._window, self._unknown = now, 0
        return self._unknown >= MOST_UNKNOWN

    def _load(self, state: State, token: str, *, counts: bool) -> Endpoint | None:
        endpoint = _read(state, token)
        with self._lock.get():
            self._known.pop(token, None)
            self._unknown += endpoint is None and counts
            if endpoint is not None:
                self._known[token] = _Known(endpoint, self._clock())
                if len(self._known) > _MOST:
                    self._known.popitem(last=False)
        return endpoint


def _read(state: State, token: str) -> Endpoint | None:
    model = state.models.Connection
    connection = state.session.scalar(sa.select(model).where(model.endpoint_token == token))
    if connection is None:
        return None
    return Endpoint(
        scope=f"{TENANTS_OWN}{connection.id}",
        mode=connection.mode,
        connect=False,
        secrets=tuple(_secrets_of(state, connection)),
        connection_id=connection.id,
        account_id=connection.account_id,
    )


def _secrets_of(state: State, connection: Connection) -> list[Secret]:
    """Return what the endpoint may sign with now. One that is lost for good does not take the others along.

    :raises SecretUnavailableError: if a store cannot answer now, or the present secret is lost.
    """
    secrets = []
    for row in custody.valid_webhook_secrets(state, connection):
        try:
            secrets.append(custody.read(state, connection, row))
        except SecretUnavailableError as error:
            if row.archived_at is None or error.code == SecretUnavailableError.default_code:
                raise
            log.warning("an earlier webhook secret of connection %s cannot be used: %s", connection.id, error.code)
    return secrets
