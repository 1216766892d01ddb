"""Decodes form bodies the way Stripe reads them: a[b]=1, a[0][b]=1 and a[]=1."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
Tree = dict[str, Any]


class UndecodableFormError(ValueError):
    """The body is not a form that Stripe could read."""


def decode(form: Mapping[str, Any] | str) -> Tree:
    """Return the nested dict that a form means; arrays become dicts keyed "0", "1", ….

    A mapping may be flat (``{"a[b]": 1}``), nested (``{"a": {"b": 1}}``) or mixed: all are read as the form
    that the SDK would make of them.

    :raises UndecodableFormError: for a malformed or repeated key, or a key that is a value and a container at once.
    """
    tree: Tree = {}
    fields = parse_qsl(form, keep_blank_values=True) if isinstance(form, str) else _flatten(form)
    for key, value in fields:
        _put(tree, key, value)
    return tree


def _flatten(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten(inner, f"{key}[{name}]" if key else str(name))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _flatten(inner, f"{key}[{index}]")
    elif isinstance(value, bool):
        yield key, "true" if value else "false"
    elif value is not None:
        yield key, str(value)


def _put(tree: Tree, key: str, value: str) -> None:
    match = _KEY.fullmatch(key)
    if match is None:
        raise UndecodableFormError(f"The key {key!r} is not of the form a[b][0].")
    parts = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
    for part, following in pairwise(parts):
        tree = _descend(tree, _index(tree, part, following), key)
    last = _index(tree, parts[-1], "")
    if last in tree:
        raise UndecodableFormError(f"The key {key!r} is given twice.")
    tree[last] = value


def _index(tree: Tree, part: str, following: str) -> str:
    """Resolve an empty [] to an index: a[][b] stays in the last element until b is taken there."""
    if part != "":
        return part
    newest = tree.get(str(len(tree) - 1))
    stays = following != "" and isinstance(newest, dict) and following not in newest
    return str(len(tree) - 1) if stays else str(len(tree))


def _descend(tree: Tree, part: str, key: str) -> Tree:
    inner = tree.setdefault(part, {})
    if not isinstance(inner, dict):
        raise UndecodableFormError(f"The key {key!r} uses {part!r} as a container, which has a value already.")
    return inner
