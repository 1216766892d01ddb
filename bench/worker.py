"""One app in one process: runs bursts of deliveries through its WSGI callable, and says what they cost.

Each line of stdin is ``path kind count``; each line of stdout is the answer in JSON. ``kind`` is ``genuine`` (an event
and a payment that the app never had), ``again`` (an event that it had), ``forged``, or ``count`` with one more word:
how many statements one delivery runs.
"""

from __future__ import annotations

import importlib
import io
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import events  # type: ignore[import-not-found]  # the reference's own, from --reference
import sqlalchemy as sa

Request = tuple[bytes, str]


class Deliveries:
    """Makes requests, each genuine one about another payment, so that every one has something to change."""

    def __init__(self) -> None:
        self._run = f"{random.getrandbits(40):010x}"
        self._numbers = itertools.count()
        self._order = random.sample(range(events.N_PAYMENTS), events.N_PAYMENTS)
        self._sent: list[bytes] = []

    def genuine(self) -> Request:
        """Return a signed event that is new."""
        number = next(self._numbers)
        if number >= len(self._order):
            # More would be about payments that are paid already, and cheap.
            raise SystemExit("The reference has no more payments that are not paid: ask for fewer --rounds.")
        i = self._order[number]
        body = events.event_body(f"evt_1{self._run}{number:09d}", i, i % events.N_TENANTS)
        self._sent.append(body)
        return body, events.sign(body)

    def again(self) -> Request:
        """Return an event that was sent before, signed anew."""
        body = random.choice(self._sent)
        return body, events.sign(body)

    def forged(self) -> Request:
        """Return an event that is signed with a wrong secret."""
        body = events.event_body("evt_1forged", 1, 1)
        return body, events.sign(body, "whsec_" + "forged00" * 4)


def environ(path: str, request: Request) -> dict[str, Any]:
    """Return the request as a WSGI server gives it."""
    body, signature = request
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/json; charset=utf-8",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_ACCEPT": "*/*",
        "HTTP_USER_AGENT": "Stripe/1.0",
        "HTTP_STRIPE_SIGNATURE": signature,
    }


def run(app: Any, requests: Iterable[dict[str, Any]]) -> list[str]:
    """Send requests one after the other; return the answers' statuses."""
    statuses: list[str] = []

    def start_response(status: str, headers: object, error: object = None) -> None:
        statuses.append(status[:3])

    for request in requests:
        answer = app(request, start_response)
        for _ in answer:
            pass
        if hasattr(answer, "close"):
            answer.close()
    return statuses


def measure(app: Any, path: str, make: Callable[[], Request], count: int) -> dict[str, Any]:
    """Return the microseconds of CPU and of time that each of ``count`` deliveries takes."""
    requests = [environ(path, make()) for _ in range(count)]
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    statuses = run(app, requests)
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return {"cpu": cpu / 1e3 / count, "wall": wall / 1e3 / count, "statuses": sorted(set(statuses))}


def count_statements(app: Any, path: str, make: Callable[[], Request]) -> dict[str, Any]:
    """Return the statements that one delivery runs. What begins and ends transactions is not among them."""
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    request = environ(path, make())
    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    statuses = run(app, [request])
    sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return {"statements": [" ".join(s.split())[:110] for s in statements], "statuses": statuses}


def main() -> None:
    """Answer bursts until stdin ends."""
    module, name = sys.argv[1].split(":")
    app = getattr(importlib.import_module(module), name)
    deliveries = Deliveries()
    for line in sys.stdin:
        path, kind, *rest = line.split()
        if kind == "count":
            found = count_statements(app, path, getattr(deliveries, rest[0]))
        else:
            found = measure(app, path, getattr(deliveries, kind), int(rest[0]))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
