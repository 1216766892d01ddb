"""/v1/charges, /v1/balance and /v1/balance_transactions"""


from ..changes import changed
from ..ledger import Json, Record, Scope, snapshot
from ..lists import matching, page
from ..routing import Route


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    return scope.get("charge", id, param="id").data


def _update(scope: Scope, params: Json, id: str) -> Json:
    charge = scope.get("charge", id, param="id")
    scope.change(charge, "charge.updated", **changed(charge.data, params, "description", "receipt_email"))
    return charge.data


def _list(scope: Scope, params: Json) -> Json:
    charges = matching(scope, "charge", params, "payment_intent", "customer")
    return page(scope, charges, params, "/v1/charges", kind="charge")


def refunds_of(scope: Scope, charge: Record) -> Json:
    """Return the list object of a charge's refunds."""
    refunds = [snapshot(r.data) for r in scope.list("refund") if r.data["charge"] == charge.data["id"]]
    url = f"/v1/charges/{charge.data['id']}/refunds"
    return {"object": "list", "data": refunds[:10], "has_more": len(refunds) > 10, "url": url}


def _transaction(scope: Scope, params: Json, id: str) -> Json:
    return scope.get("balance_transaction", id).data


def _transactions(scope: Scope, params: Json) -> Json:
    found = matching(scope, "balance_transaction", params, "type", "source", "currency")
    return page(scope, found, params, "/v1/balance_transactions", kind="balance_transaction")


def _balance(scope: Scope, params: Json) -> Json:
    pending = {scope.account.currency: 0}
    for record in scope.list("balance_transaction"):
        currency = record.data["currency"]
        pending[currency] = pending.get(currency, 0) + record.data["net"]
    return {
        "object": "balance",
        "available": [_amount(0, currency) for currency in pending],
        "livemode": scope.livemode,
        "pending": [_amount(net, currency) for currency, net in pending.items()],
    }


def _amount(amount: int, currency: str) -> Json:
    return {"amount": amount, "currency": currency, "source_types": {"card": amount}}


ROUTES = (
    Route("GET", "/v1/charges", _list, "ChargeListParams"),
    Route("GET", "/v1/charges/{id}", _retrieve),
    Route("POST", "/v1/charges/{id}", _update, "ChargeUpdateParams"),
    Route("GET", "/v1/balance", _balance),
    Route("GET", "/v1/balance_transactions", _transactions, "BalanceTransactionListParams"),
    Route("GET", "/v1/balance_transactions/{id}", _transaction),
)
