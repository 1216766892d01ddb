"""/v1/account and /v1/accounts"""

from dataclasses import replace

from ..accounts import Account, shape
from ..changes import merged_metadata
from ..errors import ApiError, no_access
from ..ledger import Json, Scope
from ..lists import page
from ..routing import Route
from ..terms import terms_of_v1

_NO_LONGER = (
    "Stripe no longer recommends Accounts v1 for new Connect integrations. Create connected accounts with POST "
    "/v2/core/accounts instead: https://docs.stripe.com/api/v2/core/accounts. Read more about Accounts v2: "
    "https://docs.stripe.com/connect/accounts-v2/account-creation. If your integration requires v1 account creation "
    "for a supported compatibility scenario, enable Accounts v1 support in the Dashboard."
)


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
    if not scope.ledger.accounts_v1:
        raise ApiError(400, _NO_LONGER)
    terms = terms_of_v1(params)
    account = Account(
        name=(params.get("business_profile") or {}).get("name") or "New account",
        country=params.get("country", scope.account.country),
        currency=params.get("default_currency", scope.account.currency),
        email=params.get("email"),
        charges_enabled=False,
        business_type=params.get("business_type"),
        kind=params.get("type", "none"),
        metadata=merged_metadata({}, params.get("metadata") or {}),
        terms=terms,
        made_through="v1",
    )
    account.capabilities = _requested(params) or account.capabilities
    scope.ledger.open_account(account)
    scope.ledger.connections.add((account.id, scope.livemode))
    return shape(account, connected=True)


def _requested(params: Json) -> tuple[str, ...]:
    capabilities = params.get("capabilities") or {}
    return tuple(name for name, asked in capabilities.items() if asked.get("requested"))


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
