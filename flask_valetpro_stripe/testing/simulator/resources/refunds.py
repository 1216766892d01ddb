"""/v1/refunds"""

from ..changes import changed
from ..ledger import Json, Scope
from ..lists import matching, page
from ..refunding import make_refund
from ..routing import Route


def _create(scope: Scope, params: Json) -> Json:
    return make_refund(scope, params).data


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    return scope.get("refund", id).data


def _update(scope: Scope, params: Json, id: str) -> Json:
    refund = scope.get("refund", id)
    changes = changed(refund.data, params)
    before = {name: refund.data[name] for name in changes}
    scope.change(refund, "refund.updated", **changes)
    # Deprecated at Stripe, and still sent beside refund.updated.
    scope.emit("charge.refund.updated", refund.data, previous=before)
    return refund.data


def _list(scope: Scope, params: Json) -> Json:
    refunds = matching(scope, "refund", params, "charge", "payment_intent")
    return page(scope, refunds, params, "/v1/refunds", kind="refund")


ROUTES = (
    Route("POST", "/v1/refunds", _create, "RefundCreateParams"),
    Route("GET", "/v1/refunds", _list, "RefundListParams"),
    Route("GET", "/v1/refunds/{id}", _retrieve),
    Route("POST", "/v1/refunds/{id}", _update, "RefundUpdateParams"),
)
