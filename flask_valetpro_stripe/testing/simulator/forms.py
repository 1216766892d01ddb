"""Stripe's form encoding: ``a[b][0][c]=d`` to nested dicts and lists."""

import re
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

from .errors import invalid

_KEY = re.compile(r"^[^\[\]]+(\[[^\[\]]*\])*$")


def decode(text: str) -> dict[str, Any]:
    """Return the nested parameters of a form body or a query string."""
    tree: dict[str, Any] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        if not _KEY.match(key):
            raise invalid(f"Invalid request: the parameter name {key!r} can't be read.", key)
        head, *rest = key.replace("]", "").split("[")
        _put(tree, [head, *rest], value)
    return {key: _with_lists(value) for key, value in tree.items()}


def _put(tree: dict[str, Any], path: list[str], value: str) -> None:
    for here, following in pairwise(path):
        child = tree.setdefault(_slot(tree, here, following), {})
        if not isinstance(child, dict):
            raise invalid(f"Invalid request: {path[0]} is given both as a value and as a hash.", path[0])
        tree = child
    tree[_slot(tree, path[-1], None)] = value


def _slot(tree: dict[str, Any], name: str, following: str | None) -> str:
    """Return the key for ``name``; ``[]`` opens a new element, or goes on with the last until a key repeats."""
    if name:
        return name
    if following and tree:
        last = str(len(tree) - 1)
        if isinstance(tree[last], dict) and following not in tree[last]:
            return last
    return str(len(tree))


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    decoded = {key: _with_lists(child) for key, child in value.items()}
    if decoded and all(key.isdigit() for key in decoded):
        return [decoded[key] for key in sorted(decoded, key=int)]
    return decoded
