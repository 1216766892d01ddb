"""A connection to a vault that can be cut, silenced or slowed, while the vault itself stays as it is."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.timing import seconds

#: The most that a test ever waits for a vault that says nothing.
SILENCE = seconds(5)
DRIP = 0.1


class Relay:
    """Passes bytes between its own port and the vault's."""

    def __init__(self, target: int) -> None:
        self._target = target
        #: How many were taken so far.
        self.connections = 0
        self._mode = "open"
        self._changed = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    def open(self) -> None:
        """Pass everything, from now on."""
        self._become("open")

    def refuse(self) -> None:
        """Take no connection."""
        self._become("refusing")

    def silence(self) -> None:
        """Take connections, and say nothing."""
        self._become("silent")

    def drip(self) -> None:
        """Pass what the vault says in single bytes, far apart."""
        self._become("dripping")

    def lead_to(self, target: int) -> None:
        """Pass everything to and from another port, from now on."""
        self._target = target
        self.open()

    def close(self) -> None:
        """End all that was started."""
        self._stop()

    def _become(self, mode: str) -> None:
        self._stop()
        self._changed.clear()
        self._mode = mode
        if mode != "refusing":
            self._listener = self._listen(self.port)

    def _stop(self) -> None:
        self._changed.set()
        for open_socket in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(SILENCE)
        for open_socket in [self._listener, *self._sockets]:
            open_socket.close()
        self._sockets, self._threads = [], []

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        self._start(self._accept, listener)
        return listener

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.connections += 1
                self._sockets.append(client)
                if self._mode == "silent":
                    continue
                vault = socket.create_connection(("127.0.0.1", self._target))
                self._sockets.append(vault)
                self._start(self._pass, client, vault, False)
                self._start(self._pass, vault, client, self._mode == "dripping")

    def _pass(self, source: socket.socket, target: socket.socket, slowly: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 if slowly else 65536):
                target.sendall(data)
                if slowly and self._changed.wait(DRIP):
                    return
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relay_to(target: int) -> Iterator[Relay]:
    """Give an open relay to this port of 127.0.0.1."""
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()
