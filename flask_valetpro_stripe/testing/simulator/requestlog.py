"""What was asked of the simulator, for assertions."""

import threading
from dataclasses import dataclass, field

from werkzeug import Request

from .ledger import Json


@dataclass(frozen=True)
class LoggedRequest:
    """One request to the API or to OAuth, and its answer. ``status`` is 0 if the connection dropped before it acted."""

    method: str
    path: str
    query: Json
    params: Json
    """The decoded parameters: of the form body, and of the query where there is one."""
    api_key: str | None = field(repr=False)
    stripe_account: str | None
    stripe_version: str | None
    idempotency_key: str | None
    headers: dict[str, str] = field(repr=False)
    status: int
    response: Json = field(repr=False)
    livemode: bool | None


class RequestLog:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.entries: list[LoggedRequest] = []

    def add(
        self,
        request: Request,
        *,
        query: Json,
        params: Json,
        status: int,
        response: Json,
        api_key: str | None,
        livemode: bool | None,
    ) -> None:
        entry = LoggedRequest(
            method=request.method,
            path=request.path,
            query=query,
            params=params,
            api_key=api_key,
            stripe_account=request.headers.get("Stripe-Account"),
            stripe_version=request.headers.get("Stripe-Version"),
            idempotency_key=request.headers.get("Idempotency-Key"),
            headers=dict(request.headers),
            status=status,
            response=response,
            livemode=livemode,
        )
        with self._lock:
            self.entries.append(entry)
