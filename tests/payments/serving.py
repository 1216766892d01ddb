"""The simulator on a port, for tests with several processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.serving import make_server

from flask_valetpro_stripe.testing import Simulator


@contextmanager
def served(simulator: Simulator, port: int) -> Iterator[None]:
    """Serve the simulator on a port of this machine; nobody delivers its events."""
    server = make_server("127.0.0.1", port, simulator, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
