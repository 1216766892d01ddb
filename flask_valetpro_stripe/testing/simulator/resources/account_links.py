"""/v1/account_links and the login links of Express accounts"""

from ..accounts import Account
from ..errors import ApiError, invalid, missing_param, no_access
from ..ids import token
from ..ledger import Json, Scope
from ..onboarding import make_link
from ..routing import Route


def _ours(scope: Scope, id: str) -> Account:
    """Return an account that the platform, and nobody else, asks about."""
    asked_by_platform = scope.account.id == scope.ledger.platform_id
    if not asked_by_platform or (id, scope.livemode) not in scope.ledger.connections:
        raise no_access(scope.api_key, id)
    return scope.ledger.accounts[id]


def _create(scope: Scope, params: Json) -> Json:
    account = _ours(scope, params["account"])
    if account.made_through is None:
        # That it is refused is documented ("accounts that you control"), the wording is assumed.
        message = f"You can't create account links for '{account.id}': your platform doesn't control this account."
        raise invalid(message, "account")
    if params["type"] == "account_update" and account.terms.dashboard != "none":
        message = (
            "You cannot create `account_update` type Account Links for this account. Valid types for this account are "
            '["account_onboarding"].'
        )
        raise invalid(message, "type")
    for name in ("refresh_url", "return_url"):
        if name not in params:
            raise missing_param(name)
    link = make_link(scope, account, refresh_url=params["refresh_url"], return_url=params["return_url"])
    shown = {name: link.data[name] for name in ("created", "expires_at")}
    return {"object": "account_link", "url": link.private["url"], **shown}


def _log_in(scope: Scope, params: Json, id: str) -> Json:
    account = _ours(scope, id)
    if account.terms.dashboard != "express":
        raise invalid(f"Cannot create an edit link for the account {id}, which is not an Express account.")
    if not account.is_submitted:
        raise ApiError(400, "Cannot create a login link for an account that has not completed onboarding.")
    door = scope.add({"id": token(12), "object": "express_login", "created": scope.now()}, account=id)
    url = f"{scope.ledger.base_url}/express/{id}/{door.data['id']}"
    return {"object": "login_link", "created": scope.now(), "url": url}


ROUTES = (
    Route("POST", "/v1/account_links", _create, "AccountLinkCreateParams"),
    Route("POST", "/v1/accounts/{id}/login_links", _log_in, "AccountCreateLoginLinkParams"),
)
