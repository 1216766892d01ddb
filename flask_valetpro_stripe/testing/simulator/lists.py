"""Lists a page at a time, and ids expanded into objects."""

from collections.abc import Callable, Iterable
from typing import Any

from .errors import invalid, missing
from .ledger import Json, Record, Scope, snapshot

# Fields that are absent until expanded, with what fills them.
Included = Callable[[Scope, Record], Json]


def page(scope: Scope, items: Iterable[Json], params: Json, url: str, *, kind: str = "object") -> Json:
    """Return Stripe's list object of ``items`` (newest first) as the paging parameters cut it."""
    everything = list(items)
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        bound, edge = ("less than or equal to", 100) if limit > 100 else ("greater than or equal to", 1)
        message = f"This value must be {bound} {edge} (it is currently '{limit}')."
        raise invalid(message, "limit", "parameter_invalid_integer")
    backwards = "ending_before" in params
    if backwards:
        before = everything[: _position(everything, params["ending_before"], kind, "ending_before")]
        shown, more = before[-limit:], len(before) > limit
    else:
        start = 0
        if "starting_after" in params:
            start = _position(everything, params["starting_after"], kind, "starting_after") + 1
        shown, more = everything[start : start + limit], len(everything) > start + limit
    return {"object": "list", "data": shown, "has_more": more, "url": url}


def _position(items: list[Json], id: str, kind: str, param: str) -> int:
    for index, item in enumerate(items):
        if item["id"] == id:
            return index
    raise missing(kind, id, param=param)


def matching(scope: Scope, kind: str, params: Json, *names: str) -> list[Json]:
    """Return this account's objects of one kind, newest first, as ``params`` asks: by ``created``, and by ``names``."""
    wanted = {name: params[name] for name in names if name in params}
    return [
        record.data
        for record in scope.list(kind)
        if all(record.data[name] == value for name, value in wanted.items())
        # Payment links have no time of creation, and no filter by it.
        and in_range(record.data.get("created", 0), params.get("created"))
    ]


def in_range(created: int, wanted: Any) -> bool:
    """Tell if a time is what a ``created`` filter asks for: a timestamp, or a hash of gt, gte, lt, lte."""
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return created == wanted
    checks = {"gt": created.__gt__, "gte": created.__ge__, "lt": created.__lt__, "lte": created.__le__}
    return all(checks[name](bound) for name, bound in wanted.items())


def expand(scope: Scope, answer: Json, paths: Iterable[str], included: dict[tuple[str, str], Included]) -> Json:
    """Return ``answer`` with the ids at ``paths`` replaced by their objects."""
    for path in paths:
        _expand(scope, answer, path.split("."), path, included)
    return answer


def _expand(scope: Scope, place: Any, path: list[str], whole: str, included: dict[tuple[str, str], Included]) -> None:
    if isinstance(place, list):
        for item in place:
            _expand(scope, item, path, whole, included)
        return
    name, rest = path[0], path[1:]
    if not isinstance(place, dict):
        raise _cannot(whole)
    filler = included.get((str(place.get("object")), name))
    if filler and name not in place:
        place[name] = filler(scope, scope.ledger.records[place["id"]])
    if name not in place:
        raise _cannot(whole)
    if isinstance(place[name], str):
        place[name] = _object(scope, place[name], whole)
    if rest and place[name] is not None:
        _expand(scope, place[name], rest, whole, included)


def _object(scope: Scope, id: str, whole: str) -> Json:
    record = scope.ledger.records.get(id)
    if record is None or (record.account, record.livemode) != (scope.account.id, scope.livemode):
        raise _cannot(whole)
    return snapshot(record.data)


def _cannot(path: str) -> Exception:
    name = path.split(".")[-1]
    return invalid(f"This property cannot be expanded ({name}).", "expand")
