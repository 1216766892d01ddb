"""Walks a value along an OpenAPI schema, naming every place where the two disagree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Schema = Mapping[str, Any]


class Dialect(Protocol):
    """What differs between a form, where all values are strings, JSON, and the JSON that v2 answers with."""

    @property
    def null_is_absent(self) -> bool:
        """Does null say that there is no value, whatever the schema says?"""

    def place(self, parent: str, name: str | int) -> str:
        """Return how an inner value is called in a problem."""

    def elements(self, value: Any) -> list[Any] | None:
        """Return the elements if the value is an array, else None."""

    def misfit(self, value: Any, schema: Schema) -> str | None:
        """Return what a scalar must be, if it isn't."""


class FormDialect:
    """Values of a decoded form."""

    null_is_absent = False
    _PATTERNS = {"integer": r"-?\d+", "number": r"-?\d+(\.\d+)?", "boolean": r"true|false"}
    _ARTICLES = {"integer": "an integer", "number": "a number", "boolean": "true or false"}

    def place(self, parent: str, name: str | int) -> str:
        return f"{parent}[{name}]" if parent else str(name)

    def elements(self, value: Any) -> list[Any] | None:
        # Numbered from 0 without gaps, in any order: the CLI sends them as they come.
        numbers = [str(index) for index in range(len(value))] if isinstance(value, dict) else []
        return [value[number] for number in numbers] if numbers and set(numbers) == set(value) else None

    def misfit(self, value: Any, schema: Schema) -> str | None:
        kind = schema.get("type", "string")
        if not isinstance(value, str):
            return "a single value"
        if kind in self._PATTERNS and not re.fullmatch(self._PATTERNS[kind], value):
            return self._ARTICLES[kind]
        return _outside_limits(value, schema)


class JsonDialect:
    """Values of a parsed JSON body."""

    null_is_absent = False
    _TYPES: Mapping[str, type | tuple[type, ...]] = {
        "integer": int, "number": (int, float), "boolean": bool, "string": str,
    }  # fmt: skip

    def place(self, parent: str, name: str | int) -> str:
        return f"{parent}.{name}" if parent else str(name)

    def elements(self, value: Any) -> list[Any] | None:
        return value if isinstance(value, list) else None

    def misfit(self, value: Any, schema: Schema) -> str | None:
        kind = schema.get("type", "string")
        if not isinstance(value, self._TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
            return f"of type {kind}"
        return _outside_limits(value, schema)


class V2Dialect(JsonDialect):
    """Values of an answer of v2, where all that nobody asked to include is null; its schemas never say "nullable"."""

    null_is_absent = True


_FORMATS = {"currency": r"[a-z]{3}", "decimal": r"-?\d+(\.\d+)?"}


def _outside_limits(value: Any, schema: Schema) -> str | None:
    if "enum" in schema and value not in schema["enum"]:
        return "one of " + ", ".join(repr(word) for word in schema["enum"][:12])
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        return f"at most {schema['maxLength']} characters long"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"like {schema['pattern']}"
    shape = _FORMATS.get(schema.get("format", ""))
    if shape is not None and not re.fullmatch(shape, value):
        return f"a {schema['format']}"
    return None


@dataclass(frozen=True)
class Walk:
    """One walk: the description's named schemas, the dialect of the values, and what was asked to be expanded."""

    schemas: Mapping[str, Schema]
    dialect: Dialect
    expand: frozenset[str] | None = None

    def problems(self, value: Any, schema: Schema, at: str = "") -> Iterator[str]:
        """Yield a sentence for each place where the value breaks the schema."""
        schema = self.resolve(schema)
        if value is None:
            if not (schema.get("nullable") or self.dialect.null_is_absent):
                yield f"{at or 'the body'} must not be null."
        elif "oneOf" in schema:
            yield from self._any_of(value, schema["oneOf"], at)
        elif "anyOf" in schema:
            if "x-expansionResources" in schema and isinstance(value, Mapping) and not self._was_asked_for(at):
                yield f"{at} must be an id, as nobody asked to expand it."
            yield from self._any_of(value, schema["anyOf"], at)
        elif schema.get("type") == "object":
            yield from self._object(value, schema, at)
        elif schema.get("type") == "array":
            yield from self._array(value, schema, at)
        elif misfit := self.dialect.misfit(value, schema):
            yield f"{at or 'the body'} must be {misfit}, not {value!r:.80}."

    def resolve(self, schema: Schema) -> Schema:
        """Return the schema that a $ref stands for."""
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _object(self, value: Any, schema: Schema, at: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{at or 'the body'} must be an object, not {value!r:.80}."
            return
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value or (value[name] is None and self.dialect.null_is_absent):
                yield f"{self.dialect.place(at, name)} is required but missing."
        for name, inner in value.items():
            place = self.dialect.place(at, name)
            others = schema.get("additionalProperties", "properties" not in schema)
            if name in properties:
                yield from self.problems(inner, properties[name], place)
            elif others is False:
                yield f"{place} is unknown to Stripe."
            elif isinstance(others, Mapping):
                yield from self.problems(inner, others, place)

    def _array(self, value: Any, schema: Schema, at: str) -> Iterator[str]:
        elements = self.dialect.elements(value)
        if elements is None:
            yield f"{at or 'the body'} must be an array, not {value!r:.80}."
            return
        for index, element in enumerate(elements):
            yield from self.problems(element, schema["items"], self.dialect.place(at, index))

    def _any_of(self, value: Any, alternatives: list[Schema], at: str) -> Iterator[str]:
        """Yield the problems of the alternative that was most likely meant; none if any fits."""
        named = [each for each in alternatives if self._is_named(value, each)]
        attempts = [list(self.problems(value, each, at)) for each in named or alternatives]
        if all(attempts):
            yield from min(attempts, key=lambda found: (_is_about(at, found), len(found)))

    def _was_asked_for(self, at: str) -> bool:
        """Is this place in expand[], where data.0.customer goes by the name data.customer?"""
        name = ".".join(part for part in at.split(".") if not part.isdecimal())
        return self.expand is None or any(f"{asked}.".startswith(f"{name}.") for asked in self.expand)

    def _is_named(self, value: Any, schema: Schema) -> bool:
        """Is this the schema of the object that the value says it is?"""
        kinds = self.resolve(schema).get("properties", {}).get("object", {}).get("enum", ())
        return isinstance(value, Mapping) and value.get("object") in kinds


def _is_about(at: str, found: list[str]) -> bool:
    """Is the value as a whole of another kind than this alternative?"""
    return any(problem.startswith(f"{at or 'the body'} must be") for problem in found)
