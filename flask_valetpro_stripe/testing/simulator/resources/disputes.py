"""/v1/disputes"""

from .. import disputing
from ..ledger import Json, Record, Scope
from ..lists import matching, page
from ..routing import Route


def _get(scope: Scope, id: str) -> Record:
    return scope.get("dispute", id, param="dispute")


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    return _get(scope, id).data


def _update(scope: Scope, params: Json, id: str) -> Json:
    return disputing.respond(scope, _get(scope, id), params)


def _close(scope: Scope, params: Json, id: str) -> Json:
    dispute = _get(scope, id)
    disputing.accept(scope, dispute)
    return dispute.data


def _list(scope: Scope, params: Json) -> Json:
    disputes = matching(scope, "dispute", params, "charge", "payment_intent")
    return page(scope, disputes, params, "/v1/disputes", kind="dispute")


ROUTES = (
    Route("GET", "/v1/disputes", _list, "DisputeListParams"),
    Route("GET", "/v1/disputes/{id}", _retrieve),
    Route("POST", "/v1/disputes/{id}", _update, "DisputeUpdateParams"),
    Route("POST", "/v1/disputes/{id}/close", _close),
)
