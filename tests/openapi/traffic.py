"""Checks everything that passed through a simulator: each request, each answer, each event."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flask_valetpro_stripe.testing import LoggedRequest, Simulator

from .description import CURRENT_VERSION, check_answer, check_event, check_request
from .forms import UndecodableFormError, decode

# What the pages of Checkout itself call, and what the CLI borrows to pay: Stripe describes it nowhere.
PRIVATE_PATHS = ("/v1/payment_pages/",)


@contextmanager
def validated(simulator: Simulator, *, refusable: bool = True) -> Iterator[Simulator]:
    """Fail at the end of the block if something in it, deliveries too, was not as Stripe describes it.

    A request that Stripe would refuse passes if it is ``refusable`` and the simulator did refuse it.
    """
    requests, events, deliveries = len(simulator.requests), len(simulator.events), len(simulator.deliveries)
    yield simulator
    delivered = [delivery.event for delivery in simulator.deliveries[deliveries:]]
    problems = [
        *problems_of_requests(simulator.requests[requests:], refusable=refusable),
        *problems_of_events([*simulator.events[events:], *delivered]),
    ]
    assert not problems, "\n".join(["Not as Stripe describes it:", *problems])


def problems_of_requests(requests: Sequence[LoggedRequest], *, refusable: bool = True) -> list[str]:
    """Return what is wrong with these requests and their answers, each once."""
    described = [request for request in requests if _is_described(request.path)]
    return list(dict.fromkeys(problem for request in described for problem in _problems(request, refusable)))


def problems_of_events(events: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is wrong with these events, each once."""
    return list(dict.fromkeys(problem for event in events for problem in check_event(event)))


def _is_described(path: str) -> bool:
    return path.startswith(("/v1/", "/v2/", "/oauth/")) and not path.startswith(PRIVATE_PATHS)


def _problems(request: LoggedRequest, refusable: bool) -> Iterator[str]:
    is_post = request.method == "POST"
    is_json = is_post and request.path.startswith("/v2/")
    wrong = check_request(
        request.method,
        request.path,
        query=request.query,
        form=request.params if is_post and not is_json else "",
        json=request.params if is_json else None,
        version=request.stripe_version or CURRENT_VERSION,
    )
    if not (refusable and 400 <= request.status < 500):
        yield from wrong
    if request.response:
        expand = _expand(request)
        yield from check_answer(request.method, request.path, request.status, request.response, expand=expand)


def _expand(request: LoggedRequest) -> list[str]:
    try:
        asked = decode(request.params if request.method == "POST" else request.query).get("expand", {})
    except UndecodableFormError:
        return []
    return list(asked.values()) if isinstance(asked, dict) else []


def sent(simulator: Simulator) -> set[str]:
    """Return the endpoints that were asked, without the ids."""
    id_ = re.compile("/[a-z]+_(?:test_)?[A-Za-z0-9]{8,}")
    return {f"{request.method} {id_.sub('/:id', request.path)}" for request in simulator.requests}


def event_types(simulator: Simulator) -> set[str]:
    return {event["type"] for event in simulator.events}
