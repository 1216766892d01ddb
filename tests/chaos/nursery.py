"""Web and worker processes that are forked in milliseconds from one parent, as gunicorn does it, and killed at will."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import sqlalchemy as sa
from werkzeug.serving import WSGIRequestHandler, make_server

from flask_valetpro_stripe import signals
from flask_valetpro_stripe.handlers import FETCHERS
from flask_valetpro_stripe.webhooks import claims, worker
from tests import timing
from tests.hosts import Host, make_host
from tests.integration.delivering import add_effects
from tests.servers import end_with_parent

from .copies import copies

#: Seconds after which a nursery that does not answer is given up.
PATIENCE = timing.seconds(60)
#: Workers look into the inbox, and at a database that is away, so many times more often than they do outside of tests.
HASTE = 10
#: Short enough to end again and again while the test runs.
LEASE = timedelta(seconds=1)
FIRST_PAUSE = timedelta(seconds=0.2)


# -- what the processes do


def hesitate(often: float) -> None:
    """Take some milliseconds now and then, so that a kill hits here too."""
    if random.random() < often:
        time.sleep(random.uniform(0.001, 0.02))


def misbehave(host: Host) -> None:
    """Let handlers be slow and make mistakes, and whoever listens to what is committed be slow as well."""
    add_effects(host, "*")

    @host.valetpro.on("*")
    def dawdle(event: Any) -> None:
        hesitate(0.15)
        if random.random() < 0.02:
            raise ValueError("This time the handler has a mistake.")

    def listen(app: Any, **_: Any) -> None:
        hesitate(0.1)

    signals.webhook_received.connect(listen, weak=False)


def serve_inline(host: Host, listening: socket.socket) -> None:
    """Serve the webhook; each delivery is handled before it is answered."""
    port = listening.getsockname()[1]
    make_server(
        "127.0.0.1", port, host.app, threaded=True, request_handler=_Silent, fd=listening.fileno()
    ).serve_forever()


def serve_stored(host: Host, listening: socket.socket) -> None:
    """Serve the webhook; each delivery is stored for a worker, and no message ever arrives."""
    host.state.enqueue = lambda *_: hesitate(0.1)
    serve_inline(host, listening)


def drain(host: Host, _: socket.socket) -> None:
    """Work off the inbox, as ``flask stripe worker`` does."""
    with host.app.app_context():
        worker.keep_draining(
            host.state, FETCHERS, should_stop=lambda: False, pause=lambda seconds: time.sleep(seconds / HASTE)
        )


def as_hosts_do(connection: Any, _: object) -> None:
    """Set up SQLite for several processes, as the sample app does; nothing here needs to survive a power cut."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


class _Silent(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None:
        pass


ROLES: Mapping[str, Callable[[Host, socket.socket], None]] = {
    "inline": serve_inline,
    "stored": serve_stored,
    "worker": drain,
}


# -- their parent


@dataclass
class _Parent:
    """Has imported everything, and has neither a connection to the database nor a thread when it forks."""

    pipe: Connection
    host: Host
    listening: socket.socket
    living: dict[int, str] = field(default_factory=dict)

    def fork(self, role: str) -> None:
        pid = os.fork()
        if pid == 0:
            self._live(role)
        self.living[pid] = role

    def _live(self, role: str) -> NoReturn:
        try:
            end_with_parent()
            self.pipe.close()
            ROLES[role](self.host, self.listening)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def kill(self, pid: int) -> str:
        """End a child in the middle of whatever it does; return what it was."""
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return self.living.pop(pid)

    def replace(self, role: str) -> None:
        """Kill a child with this role some moment from now, and put another in its place."""
        time.sleep(random.uniform(0, 0.03))
        self.fork(self.kill(random.choice([pid for pid, its in self.living.items() if its == role])))

    def buried(self) -> list[str]:
        """Return the roles of children that ended without being killed, which none ever should."""
        found = []
        for pid in list(self.living):
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                found.append(self.living.pop(pid))
        return found


def tend(pipe: Connection, url: str, config: Mapping[str, Any], crew: Sequence[str]) -> None:
    """Keep a crew alive, kill whom the test names, and say at the end who died by himself; a process of its own."""
    end_with_parent()
    claims.LEASE, claims._FIRST_PAUSE = LEASE, FIRST_PAUSE  # type: ignore[misc]
    # What asks Stripe about a refund has its event for longer, and may be killed as well.
    claims.LONG_LEASE = 3 * LEASE  # type: ignore[misc]
    with make_host(url, config=config, own_models=True) as host:
        misbehave(host)
        if url.startswith("sqlite"):
            with host.app.app_context():
                sa.event.listen(host.db.engine, "connect", as_hosts_do)
    parent = _Parent(pipe, host, socket.create_server(("127.0.0.1", 0), backlog=128))
    try:
        for role in crew:
            parent.fork(role)
        pipe.send(parent.listening.getsockname()[1])
        while (role := pipe.recv()) is not None:
            parent.replace(role)
        pipe.send(parent.buried())
    except EOFError:
        # The test failed.
        pass
    finally:
        for pid in list(parent.living):
            parent.kill(pid)


# -- the test's side


@dataclass
class Nursery:
    """A crew behind one port of this machine."""

    port: int
    _pipe: Connection
    kills: Counter[str] = field(default_factory=Counter)
    #: Whoever ended without being killed; known once the nursery is closed.
    died: list[str] = field(default_factory=list)

    def kill(self, role: str) -> None:
        """Have one process with this role killed, and replaced."""
        self._pipe.send(role)
        self.kills[role] += 1

    def close(self) -> None:
        """End all of them, once all kills are done."""
        self._pipe.send(None)
        assert self._pipe.poll(PATIENCE), "The nursery does not answer."
        self.died = self._pipe.recv()


@contextmanager
def nursery(url: str, config: Mapping[str, Any], *crew: str) -> Iterator[Nursery]:
    """Give a crew of processes with these roles on a host's database; :data:`ROLES` has what they do."""
    ours, theirs = copies.Pipe()
    process = copies.Process(target=tend, args=(theirs, url, config, crew))
    process.start()
    theirs.close()
    try:
        assert ours.poll(PATIENCE), "The nursery did not start."
        yield Nursery(ours.recv(), ours)
    finally:
        # It ends its children when nobody holds the other end any more.
        ours.close()
        process.join(timing.seconds(10))
        if process.is_alive():
            process.kill()
            process.join()
        process.close()
