"""A process that dies at the nth request, step of the secret store, or commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from tests.hosts import Host
from tests.raw_keys.owner import Crash, Shelf, put_transport


class Die:
    """Let the process die at the nth of the moments that come by."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        self.is_dead = False

    def __call__(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.is_dead = True
            raise Crash


def by_request_before(host: Host, shelf: Shelf, die: Callable[..., None]) -> Callable[[], None]:
    transport = put_transport(host)
    transport.before = die
    return lambda: setattr(host.state, "http_client", transport._inner)


def by_request_after(host: Host, shelf: Shelf, die: Callable[..., None]) -> Callable[[], None]:
    transport = put_transport(host)
    transport.after = lambda method, url, body: die() or body  # type: ignore[func-returns-value]
    return lambda: setattr(host.state, "http_client", transport._inner)


def by_store(host: Host, shelf: Shelf, die: Callable[..., None]) -> Callable[[], None]:
    shelf.meanwhile = die
    return lambda: setattr(shelf, "meanwhile", lambda step: None)


def by_commit(host: Host, shelf: Shelf, die: Callable[..., None]) -> Callable[[], None]:
    return _listen(host, "before_commit", die)


def by_commit_done(host: Host, shelf: Shelf, die: Callable[..., None]) -> Callable[[], None]:
    return _listen(host, "after_commit", die)


def _listen(host: Host, moment: str, die: Callable[..., None]) -> Callable[[], None]:
    sa.event.listen(host.db.session, moment, die)
    return lambda: sa.event.remove(host.db.session, moment, die)
