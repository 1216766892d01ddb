"""/v1/tokens"""

from ..errors import invalid
from ..ids import new_id
from ..ledger import Json, Scope
from ..routing import Route

# What a token stands for, with how its id begins.
_PREFIXES = {"account": "ct", "pii": "pii"}
_OTHERS = ("bank_account", "card", "customer", "cvc_update", "person")


def _create(scope: Scope, params: Json) -> Json:
    kind = _kind(params)
    # What is in it stays with Stripe: a token only says that it is there.
    token = {
        "id": new_id(_PREFIXES[kind]),
        "object": "token",
        "client_ip": None,
        "created": scope.now(),
        "livemode": scope.livemode,
        "type": kind,
        "used": False,
    }
    return scope.add(token).data


def _kind(params: Json) -> str:
    for name in _OTHERS:
        if name in params:
            raise invalid("The simulator makes tokens of pii and account only.", name)
    kinds = [name for name in _PREFIXES if name in params]
    if len(kinds) != 1:
        message = (
            "You must supply either a card, customer, PII data, bank account, or account legal entity to create a "
            "token."
        )
        raise invalid(message)
    return kinds[0]


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    return scope.get("token", id, param="token").data


ROUTES = (
    Route("POST", "/v1/tokens", _create, "TokenCreateParams"),
    Route("GET", "/v1/tokens/{id}", _retrieve),
)
