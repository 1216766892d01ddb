"""A real HTTP server on 127.0.0.1, and what it saw: for what only a real wire can show."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, Mapping[str, str], bytes]
OBJECT = b'{"id": "acct_x", "object": "account"}'


@dataclass(frozen=True)
class Seen:
    """One request; ``connection`` tells one TCP connection from another."""

    connection: int
    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Wire:
    """A server that answers everything with ``answer``."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    answer: Callable[[str], Answer] = lambda path: (200, {}, OBJECT)

    @property
    def connections(self) -> set[int]:
        return {request.connection for request in self.seen}


@contextmanager
def listening() -> Iterator[Wire]:
    """Serve on a free port until the block ends."""
    wire = Wire()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            wire.seen.append(Seen(self.client_address[1], self.command, self.path, dict(self.headers.items())))
            status, headers, body = wire.answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _take

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # Kept-alive connections outlive the block; their threads end with the process.
    server.daemon_threads = True
    server.block_on_close = False
    wire.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield wire
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
