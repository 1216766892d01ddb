"""Where an error holds a secret: in its words, in what it came from, or in a frame that it passed through."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from types import ModuleType

from tests.guards import __file__ as one_of_ours_file

TESTS = one_of_ours_file.rpartition("/")[0]


def places_of(secret: str, error: BaseException | None) -> list[str]:
    """Return every place in the error that holds the secret, the tests' own frames aside."""
    return [place for place, held in _held_by(error) if secret in held]


def _held_by(error: BaseException | None) -> Iterator[tuple[str, str]]:
    if error is None:
        return
    yield f"what {type(error).__name__} says", f"{error} {error!r} {error.args!r} {_inside(vars(error))}"
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not frame.f_code.co_filename.startswith(TESTS):
            for name, value in frame.f_locals.items():
                yield f"{name} in {frame.f_code.co_qualname}, line {line}", _inside(value)
    yield from _held_by(error.__cause__)
    yield from _held_by(error.__context__)


def _inside(value: object, depth: int = 4) -> str:
    """Return the value as a collector of errors would write it, and what its attributes and cells hold as well."""
    parts = [repr(value)]
    if depth:
        inner: list[object] = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        inner += (
            vars(value).values() if hasattr(value, "__dict__") and not isinstance(value, (type, ModuleType)) else []
        )
        inner += value.values() if isinstance(value, Mapping) else []
        inner += value if isinstance(value, (list, tuple, set)) else []
        parts += [_inside(part, depth - 1) for part in inner]
    return " ".join(parts)
