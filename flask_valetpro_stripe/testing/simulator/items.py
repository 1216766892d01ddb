"""Products, prices and the line items that are made of them."""

from decimal import Decimal
from typing import Any

from .amounts import chargeable, known_currency
from .changes import given, new_metadata
from .errors import invalid, missing_param
from .ids import new_id
from .ledger import Json, Record, Scope


def make_product(scope: Scope, params: Json, *, active: bool = True) -> Record:
    """Store a product and emit product.created."""
    now = scope.now()
    product = {
        "id": params.get("id") or new_id("prod"),
        "object": "product",
        "active": params.get("active", active),
        "created": now,
        "default_price": None,
        "description": given(params, "description"),
        "images": params.get("images") or [],
        "livemode": scope.livemode,
        "marketing_features": params.get("marketing_features") or [],
        "metadata": new_metadata(params),
        "name": params["name"],
        "package_dimensions": None,
        "shippable": params.get("shippable"),
        "statement_descriptor": params.get("statement_descriptor"),
        "tax_code": params.get("tax_code"),
        "unit_label": params.get("unit_label"),
        "updated": now,
        "url": params.get("url"),
    }
    if product["id"] in scope.ledger.records:
        raise invalid("Product already exists.", "id", "resource_already_exists")
    record = scope.add(product)
    scope.emit("product.created", product)
    return record


def make_price(scope: Scope, params: Json, *, path: str = "", active: bool = True) -> Record:
    """Store a price, with its product where ``product_data`` describes one, and emit price.created."""
    product = _product_of(scope, params, path, active=active)
    recurring = params.get("recurring")
    amount, exact = _unit_amount(params, path)
    price = {
        "id": new_id("price"),
        "object": "price",
        "active": params.get("active", active),
        "billing_scheme": params.get("billing_scheme", "per_unit"),
        "created": scope.now(),
        "currency": known_currency(params["currency"], _at(path, "currency")),
        "custom_unit_amount": None,
        "livemode": scope.livemode,
        "lookup_key": params.get("lookup_key"),
        "metadata": new_metadata(params),
        "nickname": params.get("nickname"),
        "product": product.data["id"],
        "recurring": _recurring(recurring) if recurring else None,
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if recurring else "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": exact,
    }
    record = scope.add(price)
    scope.emit("price.created", price)
    return record


def _at(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name


def _product_of(scope: Scope, params: Json, path: str, *, active: bool) -> Record:
    if "product" in params:
        return scope.get("product", params["product"], param=_at(path, "product"))
    if "product_data" not in params:
        raise missing_param(_at(path, "product"))
    return make_product(scope, params["product_data"], active=active)


def _unit_amount(params: Json, path: str) -> tuple[int | None, str]:
    exact: Any = params.get("unit_amount_decimal")
    if "unit_amount" in params:
        exact = Decimal(params["unit_amount"])
    if exact is None:
        raise missing_param(_at(path, "unit_amount"))
    if exact < 0:
        message = "This value must be greater than or equal to 0."
        raise invalid(message, _at(path, "unit_amount"), "parameter_invalid_integer")
    whole = exact == exact.to_integral_value()
    return (int(exact) if whole else None), f"{exact.normalize():f}"


def _recurring(params: Json) -> Json:
    return {
        "interval": params["interval"],
        "interval_count": params.get("interval_count", 1),
        "meter": params.get("meter"),
        "trial_period_days": params.get("trial_period_days"),
        "usage_type": params.get("usage_type", "licensed"),
    }


def make_items(scope: Scope, lines: list[Json]) -> list[Json]:
    """Return line items for what ``line_items`` asks for, making prices out of ``price_data``."""
    return [_item(scope, line, f"line_items[{index}]") for index, line in enumerate(lines)]


def _item(scope: Scope, line: Json, path: str) -> Json:
    if "price" in line:
        price = scope.get("price", line["price"], param=f"{path}[price]")
    elif "price_data" in line:
        price = make_price(scope, line["price_data"], path=f"{path}[price_data]", active=False)
    else:
        raise missing_param(f"{path}[price]")
    product = scope.ledger.records[price.data["product"]]
    quantity = line.get("quantity", 1)
    if quantity < 1:
        message = "This value must be greater than or equal to 1."
        raise invalid(message, f"{path}[quantity]", "parameter_invalid_integer")
    return item_of(price.data, product.data["name"], quantity)


def item_of(price: Json, description: str | None, quantity: int) -> Json:
    """Return one line item."""
    total = (price["unit_amount"] or 0) * quantity
    return {
        "id": new_id("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": total,
        "amount_tax": 0,
        "amount_total": total,
        "currency": price["currency"],
        "description": description,
        "price": price,
        "quantity": quantity,
    }


def total_of(items: list[Json]) -> tuple[int, str]:
    """Return the sum and the one currency of ``items``, or raise Stripe's answer for a mixture."""
    currencies = sorted({item["currency"] for item in items})
    if not currencies:
        raise missing_param("line_items")
    if len(currencies) > 1:
        message = f"All line items must have the same currency; these have: {', '.join(currencies)}."
        raise invalid(message, "line_items")
    return sum(item["amount_total"] for item in items), currencies[0]


def payable_total(items: list[Json], what: str) -> tuple[int, str]:
    """Return sum and currency of ``items`` if Stripe would take that much."""
    total, currency = total_of(items)
    chargeable(total, currency, param="line_items", subject=f"The {what}'s total amount due must add up to")
    return total, currency
