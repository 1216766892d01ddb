"""The simulator on a port, with a thread that delivers webhooks."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

log = logging.getLogger(__name__)
_PAUSE = 0.25
_PAUSE_AFTER_ERROR = 5.0


class _QuietHandler(WSGIRequestHandler):
    """Keeps connections open, as Stripe does, and logs nothing: URLs of pages hold ids, headers hold keys."""

    protocol_version = "HTTP/1.1"

    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        # Without this the kept-alive connection would stay open, and a dropped one look like a slow one.
        self.close_connection = True

    def log(self, type: str, message: str, *args: Any) -> None:
        log.debug(message, *args)


class Server:
    """One threaded HTTP server and one thread that calls ``tick`` again and again."""

    def __init__(self, wsgi_app: Any, host: str, port: int, *, tick: Callable[[], None]) -> None:
        self._http = make_server(host, port, wsgi_app, threaded=True, request_handler=_QuietHandler)
        self._tick = tick
        self._ended = threading.Event()

    def run(self, ready: Any = None) -> None:
        """Serve until :meth:`stop` or an interrupt."""
        worker = threading.Thread(target=self._work, name="simulator-deliveries", daemon=True)
        worker.start()
        try:
            if ready is not None:
                getattr(ready, "set", ready)()
            with suppress(KeyboardInterrupt):
                self._http.serve_forever(poll_interval=0.1)
        finally:
            self._ended.set()
            self._http.server_close()
            worker.join(timeout=20)

    def stop(self) -> None:
        self._ended.set()
        self._http.shutdown()

    def _work(self) -> None:
        while not self._ended.wait(_PAUSE):
            try:
                self._tick()
            except Exception:
                log.exception("The simulator could not deliver; it tries again.")
                self._ended.wait(_PAUSE_AFTER_ERROR)
