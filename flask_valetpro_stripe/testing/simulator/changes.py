"""How an update's parameters change an object: metadata merges, empty strings unset."""

from typing import Any

from .ledger import Json


def merged_metadata(current: dict[str, str], given: Any) -> dict[str, str]:
    """Return metadata after an update: "" clears all, an empty value removes its key."""
    if given == "":
        return {}
    return {key: value for key, value in {**current, **given}.items() if value != ""}


def new_metadata(params: Json) -> dict[str, str]:
    return merged_metadata({}, params.get("metadata") or {})


def changed(current: Json, params: Json, *names: str) -> Json:
    """Return the changes that ``params`` asks for among ``names`` (and metadata), with "" as null."""
    changes = {name: None if params[name] == "" else params[name] for name in names if name in params}
    if "metadata" in params:
        changes["metadata"] = merged_metadata(current.get("metadata") or {}, params["metadata"])
    return changes


def given(params: Json, name: str) -> Any:
    """Return a parameter, or None where it is absent or unset."""
    value = params.get(name)
    return None if value == "" else value
