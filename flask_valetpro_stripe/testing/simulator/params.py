"""Checks a request's parameters against the SDK's own parameter types."""

import re
import types
import typing
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Literal, Union

import stripe.params
import stripe.params.v2.core
from stripe._request_options import RequestOptions

from .errors import ApiError, invalid, missing_param
from .versions import accepts_payment_method_types

_INTEGER = re.compile(r"^-?\d{1,18}$")
_ONCE_HAD_METHOD_TYPES = ("PaymentIntent", "checkout.Session")
_EXPAND = {"expand": list[str]}


@cache
def _fields(spec: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Return a parameter type's fields with their types, and the names of the required ones."""
    hints = typing.get_type_hints(spec, localns={"Mapping": Mapping, "StripeContext": Any})
    own = {name: hint for name, hint in hints.items() if name not in RequestOptions.__annotations__}
    return own, frozenset(spec.__required_keys__)


@cache
def _spec(name: str) -> Any:
    place: Any = stripe.params
    for part in name.split("."):
        place = getattr(place, part)
    return place


def check(given: Mapping[str, Any], name: str | None, *, version: str | None = None) -> dict[str, Any]:
    """Return ``given`` with its strings turned into the declared types, or raise Stripe's 400.

    ``name`` is the SDK's parameter type ("PaymentLinkCreateParams"); None allows nothing but ``expand``.
    """
    fields, required = _fields(_spec(name)) if name else ({}, frozenset())
    fields = fields if name and name.startswith("v2.") else _EXPAND | fields
    if name and name.startswith(_ONCE_HAD_METHOD_TYPES) and "payment_method_types" in given:
        if not accepts_payment_method_types(version):
            raise _method_types_are_gone()
        fields = fields | {"payment_method_types": list[str]}
    return _hash(given, fields, required, "")


def _method_types_are_gone() -> ApiError:
    message = (
        "The `payment_method_types` parameter is no longer supported in this API version. Leave it out to use dynamic "
        "payment methods, or use `allowed_payment_method_types` or `excluded_payment_method_types`."
    )
    return invalid(message, "payment_method_types", "payment_method_types_no_longer_supported")


def _hash(given: Mapping[str, Any], fields: Mapping[str, Any], required: frozenset[str], path: str) -> dict[str, Any]:
    unknown = [_join(path, name) for name in given if name not in fields]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        raise invalid(f"Received unknown parameter{plural}: {', '.join(unknown)}", unknown[0], "parameter_unknown")
    for name in sorted(required):
        if name not in given:
            raise missing_param(_join(path, name))
    return {name: _value(value, fields[name], _join(path, name)) for name, value in given.items()}


def _join(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name


def _arms(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (Union, types.UnionType):
        return [arm for part in typing.get_args(hint) for arm in _arms(part)]
    return [hint]


def _value(given: Any, hint: Any, path: str) -> Any:
    arms = _arms(hint)
    words = [word for arm in arms if typing.get_origin(arm) is Literal for word in typing.get_args(arm)]
    if given == "":
        return _empty(words, path)
    if isinstance(given, str):
        return _scalar(given, arms, [str(word) for word in words if word != ""], path)
    if given is None or isinstance(given, bool | int | float):
        return _from_json(given, arms, path)
    return _nested(given, arms, path)


def _empty(words: list[Any], path: str) -> str:
    if "" in words:
        return ""
    message = (
        f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; however "
        f"'{path}' cannot be unset. You should remove '{path}' from your request or supply a non-empty value."
    )
    raise invalid(message, path, "parameter_invalid_empty")


def _scalar(given: str, arms: list[Any], words: list[str], path: str) -> Any:
    if given in words:
        return given
    for kind, convert in ((bool, _boolean), (int, _integer), (float, _number), (Decimal, _number)):
        if kind in arms:
            return convert(given, path)
    if words:
        raise invalid(f"Invalid {path}: must be one of {_listed(words)}", path)
    if str in arms:
        if len(given) > 5000:
            raise invalid(f"Invalid string: {path} must be at most 5000 characters", path, "parameter_invalid_string")
        return given
    shape = "array" if any(typing.get_origin(arm) is list for arm in arms) else "object"
    raise invalid(f"Invalid {shape}", path)


def _from_json(given: Any, arms: list[Any], path: str) -> Any:
    """Return a JSON body's own scalar; null unsets like an empty string in a form."""
    if given is None or type(given) in arms:
        return given
    raise invalid(f"Invalid value for {path}: {given!r}", path)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])}, or {words[-1]}"


def _integer(given: str, path: str) -> int:
    if not _INTEGER.match(given):
        raise invalid(f"Invalid integer: {given}", path, "parameter_invalid_integer")
    return int(given)


def _boolean(given: str, path: str) -> bool:
    if given not in ("true", "false"):
        raise invalid(f"Invalid boolean: {given}", path)
    return given == "true"


def _number(given: str, path: str) -> Decimal:
    try:
        number = Decimal(given)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise invalid(f"Invalid decimal: {given}", path)
    return number


def _nested(given: Any, arms: list[Any], path: str) -> Any:
    for arm in arms:
        if hasattr(arm, "__required_keys__") and isinstance(given, dict):
            return _hash(given, *_fields(arm), path)
        if typing.get_origin(arm) is list and isinstance(given, list):
            (item,) = typing.get_args(arm)
            return [_value(value, item, f"{path}[{index}]") for index, value in enumerate(given)]
        if typing.get_origin(arm) is dict:
            return _mapping(given, typing.get_args(arm)[1], path)
    raise invalid(f"Invalid {'array' if isinstance(given, dict) else 'string'}: {path}", path)


def _mapping(given: Any, hint: Any, path: str) -> dict[str, Any]:
    # metadata[0]=x decodes to a list; as a hash its keys are the words "0", "1", …
    pairs = given if isinstance(given, dict) else {str(index): value for index, value in enumerate(given)}
    if hint is not str:
        return {key: _value(value, hint, _join(path, key)) for key, value in pairs.items()}
    if len(pairs) > 50:
        raise invalid("Metadata can have up to 50 keys.", path)
    return {key: _metadata_value(key, value, _join(path, key)) for key, value in pairs.items()}


def _metadata_value(key: str, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise invalid("Metadata values must be strings, but at least one is a hash or an array.", path)
    if len(key) > 40:
        raise invalid(f"Metadata keys can be up to 40 characters long: {key}", path)
    if len(value) > 500:
        message = f"Metadata values can have up to 500 characters; you passed one that is {len(value)} long."
        raise invalid(message, path)
    return value
