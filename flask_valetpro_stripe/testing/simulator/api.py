"""The API surface: one request in, Stripe's answer out."""

import json
from dataclasses import dataclass, field
from typing import Any

from werkzeug import Request, Response

from . import forms
from .auth import Caller, authenticate
from .errors import ApiError, LinkInactive
from .faults import DELAY, DROP_AFTER, DROP_BEFORE, SERVER_ERROR, SERVER_ERROR_AFTER, Fault, Faults, dropped
from .idempotency import Idempotency, key_in_use
from .ids import token
from .ledger import Json, Ledger, Scope, snapshot
from .lists import expand
from .params import check
from .requestlog import RequestLog
from .resources import INCLUDED, ROUTER
from .routing import Route
from .v2 import error_body, is_v2, read_body
from .versions import CURRENT

_UNSAVED = (401, 403, 409, 429)


@dataclass
class Exchange:
    """One request on its way to an answer."""

    request: Request
    id: str = field(default_factory=lambda: f"req_{token(14)}")
    caller: Caller | None = None
    query: Json = field(default_factory=dict)
    params: Json = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def idempotency_key(self) -> str | None:
        return self.request.headers.get("Idempotency-Key") if self.request.method == "POST" else None


class Api:
    def __init__(self, ledger: Ledger, faults: Faults, log: RequestLog) -> None:
        self._ledger = ledger
        self._faults = faults
        self._log = log
        self._idempotency = Idempotency(ledger)

    def __call__(self, request: Request) -> Response:
        exchange = Exchange(request)
        fault: Fault | None = None
        try:
            status, body, fault = self._answer(exchange)
        except ApiError as error:
            status, body = error.status, _refusal(exchange, error)
            exchange.headers |= error.headers
        except ConnectionError:
            self._record(exchange, 0, {})
            raise
        self._record(exchange, status, body)
        if fault is not None and fault.kind == DROP_AFTER.kind:
            raise dropped(DROP_AFTER)
        return self._response(exchange, status, body)

    def _answer(self, exchange: Exchange) -> tuple[int, Json, Fault | None]:
        request = exchange.request
        with self._ledger.lock:
            exchange.caller = caller = authenticate(self._ledger, request)
        exchange.query = forms.decode(request.query_string.decode())
        exchange.params = exchange.query | _decoded(request)
        route, ids = ROUTER.find(request.method, request.path)
        caller.require(route.resource, write=request.method != "GET")
        version = request.headers.get("Stripe-Version")
        params = check(exchange.params, route.params, version=version) if route.checked else exchange.params
        fault = self._faults.take(request.method, request.path, caller.account.id)
        _refuse(exchange, fault)
        status, body = self._once(exchange, caller, lambda: self._execute(exchange, caller, route, params, ids, fault))
        return status, body, fault

    def _once(self, exchange: Exchange, caller: Caller, execute: Any) -> tuple[int, Json]:
        """Execute under the request's idempotency key, or replay what is saved under it."""
        key = exchange.idempotency_key
        if key is None:
            answer: tuple[int, Json] = execute()
            return answer
        place = (caller.account.id, caller.livemode, key)
        saved = self._idempotency.begin(*place, exchange.request.path, exchange.params)
        if saved is not None and saved.status is not None:
            exchange.headers["Idempotent-Replayed"] = "true"
            return saved.status, snapshot(saved.body or {})
        try:
            status, body = execute()
        except BaseException:
            self._idempotency.release(*place)
            raise
        # v2 runs a failed request again under the same key (docs.stripe.com/api-v2-overview); v1 replays the failure.
        if status in _UNSAVED or (is_v2(exchange.request) and status >= 400):
            self._idempotency.release(*place)
        else:
            self._idempotency.finish(*place, status, snapshot(body))
        return status, body

    def _execute(
        self, exchange: Exchange, caller: Caller, route: Route, params: Json, ids: Json, fault: Fault | None
    ) -> tuple[int, Json]:
        if fault is not None and fault.kind == DELAY(0).kind:
            self._faults.sleep(fault.seconds)
        if fault is not None and fault.kind == SERVER_ERROR.kind:
            return _broken(exchange)
        answer = self._act(exchange, caller, route, params, ids)
        return _broken(exchange) if fault is not None and fault.kind == SERVER_ERROR_AFTER.kind else answer

    def _act(self, exchange: Exchange, caller: Caller, route: Route, params: Json, ids: Json) -> tuple[int, Json]:
        with self._ledger.lock:
            scope = _scope(self._ledger, caller, exchange)
            try:
                answer = snapshot(route.handler(scope, params, **ids))
                expand(scope, answer, params.get("expand") or [], INCLUDED)
            except ApiError as error:
                return error.status, _refusal(exchange, error)
            except LinkInactive as error:
                return 400, ApiError(400, str(error)).body()
            return 200, answer

    def _record(self, exchange: Exchange, status: int, body: Json) -> None:
        caller = exchange.caller
        self._log.add(
            exchange.request,
            query=exchange.query,
            params=exchange.params,
            status=status,
            response=body,
            api_key=caller.key if caller else None,
            livemode=caller.livemode if caller else None,
        )

    def _response(self, exchange: Exchange, status: int, body: Json) -> Response:
        headers = {"Request-Id": exchange.id, "Stripe-Version": exchange.request.headers.get("Stripe-Version", CURRENT)}
        for name in ("Idempotency-Key", "Stripe-Account"):
            if name in exchange.request.headers:
                headers[name] = exchange.request.headers[name]
        text = json.dumps(body, indent=2, default=_number)
        return Response(text, status, headers | exchange.headers, content_type="application/json")


def _decoded(request: Request) -> Json:
    return read_body(request) if is_v2(request) else forms.decode(request.get_data(as_text=True))


def _refusal(exchange: Exchange, error: ApiError) -> Json:
    return snapshot(error_body(error) if is_v2(exchange.request) else error.body())


def _number(value: Any) -> float:
    return float(value)  # a Decimal: application_fee_percent


def _scope(ledger: Ledger, caller: Caller, exchange: Exchange) -> Scope:
    return Scope(
        ledger,
        caller.account,
        caller.livemode,
        request_id=exchange.id,
        idempotency_key=exchange.idempotency_key,
        application=caller.application,
        api_key=caller.key,
        through_platform=caller.through_platform,
    )


def _broken(exchange: Exchange) -> tuple[int, Json]:
    message = "An unknown error occurred. Please try again, or contact support@stripe.com if it persists."
    return 500, _refusal(exchange, ApiError(500, message, type="api_error"))


def _refuse(exchange: Exchange, fault: Fault | None) -> None:
    """Raise for the faults that come before Stripe does anything."""
    if fault is None:
        return
    _add_retry_header(exchange, fault)
    if fault.kind == DROP_BEFORE.kind:
        raise dropped(DROP_BEFORE)
    if fault.kind == "idempotency_key_in_use":
        raise key_in_use(exchange.idempotency_key)
    if fault.kind == "rate_limit":
        message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
        raise ApiError(429, message, code="rate_limit")
    if fault.kind == "lock_timeout":
        message = (
            "This object cannot be accessed right now because another API request or Stripe process is currently "
            "accessing it. If you see this error intermittently, retry the request."
        )
        raise ApiError(429, message, code="lock_timeout")


def _add_retry_header(exchange: Exchange, fault: Fault) -> None:
    if fault.should_retry is not None:
        exchange.headers["Stripe-Should-Retry"] = str(fault.should_retry).lower()
