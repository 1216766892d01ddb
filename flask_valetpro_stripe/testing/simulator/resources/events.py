"""/v1/events"""

import re

from ..delivery import view
from ..errors import invalid, missing
from ..ledger import Emitted, Json, Scope
from ..lists import in_range, page
from ..routing import Route


def _own(scope: Scope) -> list[Emitted]:
    return [
        emitted
        for emitted in reversed(scope.ledger.events)
        if (emitted.account, emitted.livemode) == (scope.account.id, scope.livemode)
        and not (emitted.platform_only or emitted.thin)
    ]


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    for emitted in _own(scope):
        if emitted.body["id"] == id:
            return view(emitted, through_platform=scope.through_platform)
    raise missing("event", id)


def _list(scope: Scope, params: Json) -> Json:
    if "type" in params and "types" in params:
        raise invalid("You may only specify one of these parameters: type, types.", "type")
    types = params.get("types") or ([params["type"]] if "type" in params else ["*"])
    wanted = re.compile("|".join(re.escape(type).replace(r"\*", ".*") for type in types))
    events = [
        view(emitted, through_platform=scope.through_platform)
        for emitted in _own(scope)
        if wanted.fullmatch(emitted.body["type"])
        and in_range(emitted.body["created"], params.get("created"))
        and params.get("delivery_success", _delivered(emitted)) == _delivered(emitted)
    ]
    return page(scope, events, params, "/v1/events", kind="event")


def _delivered(emitted: Emitted) -> bool:
    return bool(emitted.body["pending_webhooks"] == 0)


ROUTES = (
    Route("GET", "/v1/events", _list, "EventListParams"),
    Route("GET", "/v1/events/{id}", _retrieve),
)
