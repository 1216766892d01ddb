"""/v1/customers and /v1/payment_methods"""

from ..changes import changed
from ..customers import make_customer
from ..errors import invalid
from ..ledger import Json, Scope
from ..lists import matching, page
from ..methods import from_params, resolve
from ..routing import Route

_PLAIN = ("address", "balance", "description", "email", "name", "phone", "preferred_locales", "shipping", "tax_exempt")


def _create(scope: Scope, params: Json) -> Json:
    return make_customer(scope, params).data


def _gone(id: str) -> Json:
    return {"id": id, "object": "customer", "deleted": True}


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    # Of a deleted customer Stripe still says that it was one; other deleted objects are 404.
    record = scope.ledger.records.get(id)
    mine = record and (record.account, record.livemode) == (scope.account.id, scope.livemode)
    if record and mine and record.deleted and record.kind == "customer":
        return _gone(id)
    return scope.get("customer", id).data


def _update(scope: Scope, params: Json, id: str) -> Json:
    customer = scope.get("customer", id)
    scope.change(customer, "customer.updated", **changed(customer.data, params, *_PLAIN))
    return customer.data


def _delete(scope: Scope, params: Json, id: str) -> Json:
    customer = scope.get("customer", id)
    customer.deleted = True
    scope.emit("customer.deleted", customer.data)
    return _gone(id)


def _list(scope: Scope, params: Json) -> Json:
    customers = matching(scope, "customer", params, "email")
    return page(scope, customers, params, "/v1/customers", kind="customer")


def _create_method(scope: Scope, params: Json) -> Json:
    return from_params(scope, params).data


def _method(scope: Scope, params: Json, id: str) -> Json:
    return resolve(scope, id).data


def _attach(scope: Scope, params: Json, id: str) -> Json:
    method = resolve(scope, id)
    customer = scope.get("customer", params["customer"], param="customer")
    if method.data["customer"]:
        raise invalid("The payment method you provided has already been attached to a customer.")
    method.data["customer"] = customer.data["id"]
    scope.emit("payment_method.attached", method.data)
    return method.data


ROUTES = (
    Route("POST", "/v1/customers", _create, "CustomerCreateParams"),
    Route("GET", "/v1/customers", _list, "CustomerListParams"),
    Route("GET", "/v1/customers/{id}", _retrieve),
    Route("POST", "/v1/customers/{id}", _update, "CustomerUpdateParams"),
    Route("DELETE", "/v1/customers/{id}", _delete),
    Route("POST", "/v1/payment_methods", _create_method, "PaymentMethodCreateParams"),
    Route("GET", "/v1/payment_methods/{id}", _method),
    Route("POST", "/v1/payment_methods/{id}/attach", _attach, "PaymentMethodAttachParams"),
)
