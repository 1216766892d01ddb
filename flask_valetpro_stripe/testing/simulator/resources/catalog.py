"""/v1/products and /v1/prices"""

from ..changes import changed
from ..errors import invalid
from ..items import make_price, make_product
from ..ledger import Json, Scope
from ..lists import matching, page
from ..routing import Route


def _create_product(scope: Scope, params: Json) -> Json:
    product = make_product(scope, params)
    if "default_price_data" in params:
        price = make_price(scope, {**params["default_price_data"], "product": product.data["id"]})
        product.data["default_price"] = price.data["id"]
    return product.data


def _product(scope: Scope, params: Json, id: str) -> Json:
    return scope.get("product", id).data


def _update_product(scope: Scope, params: Json, id: str) -> Json:
    product = scope.get("product", id)
    changes = changed(product.data, params, "active", "default_price", "description", "images", "name", "url")
    scope.change(product, "product.updated", **changes, updated=scope.now())
    return product.data


def _delete_product(scope: Scope, params: Json, id: str) -> Json:
    product = scope.get("product", id)
    if any(price.data["product"] == id for price in scope.list("price")):
        message = "This product cannot be deleted because it has one or more user-created prices."
        raise invalid(message, "id")
    product.deleted = True
    scope.emit("product.deleted", product.data)
    return {"id": id, "object": "product", "deleted": True}


def _products(scope: Scope, params: Json) -> Json:
    products = matching(scope, "product", params, "active")
    if "ids" in params:
        products = [product for product in products if product["id"] in params["ids"]]
    return page(scope, products, params, "/v1/products", kind="product")


def _create_price(scope: Scope, params: Json) -> Json:
    return make_price(scope, params).data


def _price(scope: Scope, params: Json, id: str) -> Json:
    return scope.get("price", id, param="price").data


def _update_price(scope: Scope, params: Json, id: str) -> Json:
    price = scope.get("price", id, param="price")
    changes = changed(price.data, params, "active", "lookup_key", "nickname", "tax_behavior")
    scope.change(price, "price.updated", **changes)
    return price.data


def _prices(scope: Scope, params: Json) -> Json:
    prices = matching(scope, "price", params, "active", "currency", "product", "type")
    return page(scope, prices, params, "/v1/prices", kind="price")


ROUTES = (
    Route("POST", "/v1/products", _create_product, "ProductCreateParams"),
    Route("GET", "/v1/products", _products, "ProductListParams"),
    Route("GET", "/v1/products/{id}", _product),
    Route("POST", "/v1/products/{id}", _update_product, "ProductUpdateParams"),
    Route("DELETE", "/v1/products/{id}", _delete_product),
    Route("POST", "/v1/prices", _create_price, "PriceCreateParams"),
    Route("GET", "/v1/prices", _prices, "PriceListParams"),
    Route("GET", "/v1/prices/{id}", _price),
    Route("POST", "/v1/prices/{id}", _update_price, "PriceUpdateParams"),
)
