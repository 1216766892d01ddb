"""/v1/account and /v1/accounts"""

from dataclasses import replace

from ..accounts import Account, shape
from ..changes import merged_metadata
from ..errors import ApiError, no_access
from ..ledger import Json, Scope
from ..lists import page
from ..routing import Route


def _is_connected(scope: Scope, account: Account) -> bool:
    return (account.id, scope.livemode) in scope.ledger.connections


def _own(scope: Scope, params: Json) -> Json:
    return shape(scope.account, connected=scope.through_platform)


def _reachable(scope: Scope, id: str) -> Account:
    account = scope.ledger.accounts.get(id)
    if account is None or (id != scope.account.id and not _is_ours(scope, account)):
        raise no_access(scope.api_key, id)
    return account


def _is_ours(scope: Scope, account: Account) -> bool:
    return scope.account.id == scope.ledger.platform_id and _is_connected(scope, account)


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    account = _reachable(scope, id)
    return shape(account, connected=_is_connected(scope, account))


def _create(scope: Scope, params: Json) -> Json:
    if scope.account.id != scope.ledger.platform_id:
        message = "You can only create new accounts if you've signed up for Connect."
        raise ApiError(400, message)
    account = Account(
        name=(params.get("business_profile") or {}).get("name") or "New account",
        country=params.get("country", scope.account.country),
        currency=params.get("default_currency", scope.account.currency),
        email=params.get("email"),
        charges_enabled=False,
        business_type=params.get("business_type"),
        kind=_kind(params),
        metadata=merged_metadata({}, params.get("metadata") or {}),
    )
    scope.ledger.open_account(account)
    scope.ledger.connections.add((account.id, scope.livemode))
    return shape(account, connected=True)


def _kind(params: Json) -> str:
    if "type" in params:
        return str(params["type"])
    dashboard = ((params.get("controller") or {}).get("stripe_dashboard") or {}).get("type", "full")
    return {"full": "standard", "express": "express"}.get(dashboard, "none")


def _update(scope: Scope, params: Json, id: str) -> Json:
    account = _reachable(scope, id)
    if "email" in params:
        account.email = params["email"]
    if "name" in params.get("business_profile", {}):
        account.name = params["business_profile"]["name"]
    if "metadata" in params:
        account.metadata = merged_metadata(account.metadata, params["metadata"])
    answer = shape(account, connected=_is_connected(scope, account))
    replace(scope, account=account).emit("account.updated", answer)
    return answer


def _list(scope: Scope, params: Json) -> Json:
    connected = [account for account in scope.ledger.accounts.values() if _is_ours(scope, account)]
    shapes = [shape(account, connected=True) for account in reversed(connected)]
    return page(scope, shapes, params, "/v1/accounts", kind="account")


ROUTES = (
    Route("GET", "/v1/account", _own),
    Route("GET", "/v1/accounts", _list, "AccountListParams"),
    Route("POST", "/v1/accounts", _create, "AccountCreateParams"),
    Route("GET", "/v1/accounts/{id}", _retrieve),
    Route("POST", "/v1/accounts/{id}", _update, "AccountUpdateParams"),
)
