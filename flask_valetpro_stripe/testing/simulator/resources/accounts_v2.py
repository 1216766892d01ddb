"""/v2/core/accounts and /v2/core/account_links"""

from ..accounts import Account
from ..accounts_v2 import shape_v2
from ..changes import new_metadata
from ..errors import ApiError
from ..ledger import Json, Scope
from ..onboarding import make_link
from ..routing import Route
from ..terms import terms_of_v2
from ..v2 import iso

# A v1 account needs up to ten minutes until v2 knows it ("Use the Accounts v2 API in your existing integration").
_CATCHES_UP = 600
_PLATFORMS_ONLY = "Accounts v2 is only available to Connect platforms."


def _require_platform(scope: Scope) -> None:
    if scope.account.id != scope.ledger.platform_id:
        raise ApiError(400, _PLATFORMS_ONLY, code="non_connect_platform_accounts_v2_access_blocked")


def _reachable(scope: Scope, id: str) -> Account:
    """Return an account that v2 knows and that this platform may ask about, or raise Stripe's 400 or 404."""
    _require_platform(scope)
    if (id, scope.livemode) not in scope.ledger.connections:
        raise ApiError(404, f"No such account: '{id}'", code="not_found")
    account = scope.ledger.accounts[id]
    if account.made_through is None:
        raise ApiError(400, "V1 Account ID cannot be used in V2 Account APIs.", code="v1_account_instead_of_v2_account")
    if account.made_through == "v1" and scope.now() < account.created + _CATCHES_UP:
        message = "Account is not yet compatible with V2 APIs."
        raise ApiError(400, message, code="account_not_yet_compatible_with_v2")
    return account


def _create(scope: Scope, params: Json) -> Json:
    _require_platform(scope)
    account = _opened(scope, params)
    scope.ledger.open_account(account)
    scope.ledger.connections.add((account.id, scope.livemode))
    return shape_v2(account, params.get("include") or (), livemode=scope.livemode)


def _opened(scope: Scope, params: Json) -> Account:
    identity, defaults = params.get("identity") or {}, params.get("defaults") or {}
    configuration = params.get("configuration") or {}
    if configuration and not identity.get("country"):
        message = "The `identity.country` value is required but not provided."
        raise ApiError(400, message, code="identity_country_required")
    return Account(
        name=params.get("display_name") or "New account",
        country=str(identity.get("country") or scope.account.country).upper(),
        currency=defaults.get("currency") or scope.account.currency,
        email=params.get("contact_email"),
        charges_enabled=False,
        business_type=identity.get("entity_type"),
        kind="none",
        metadata=new_metadata(params),
        terms=terms_of_v2(params),
        made_through="v2",
        capabilities=_requested(configuration),
        configurations=tuple(configuration),
        locales=tuple(defaults.get("locales") or ()),
    )


def _requested(configuration: Json) -> tuple[str, ...]:
    """Return the capabilities asked for, in the words of v1."""
    merchant = (configuration.get("merchant") or {}).get("capabilities") or {}
    names = [name for name, asked in merchant.items() if asked.get("requested")]
    recipient = (configuration.get("recipient") or {}).get("capabilities") or {}
    transfers = (recipient.get("stripe_balance") or {}).get("stripe_transfers") or {}
    return (*names, "transfers") if transfers.get("requested") else tuple(names)


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    return shape_v2(_reachable(scope, id), params.get("include") or (), livemode=scope.livemode)


def _link(scope: Scope, params: Json) -> Json:
    account = _reachable(scope, params["account"])
    use_case = params["use_case"]
    options = use_case.get(use_case["type"])
    if options is None:
        message = f"Missing required param: use_case.{use_case['type']}."
        raise ApiError(400, message, code="parameter_missing")
    link = make_link(scope, account, refresh_url=options["refresh_url"], return_url=options.get("return_url"))
    return {
        "object": "v2.core.account_link",
        "account": account.id,
        "created": iso(link.data["created"]),
        "expires_at": iso(link.data["expires_at"]),
        "livemode": scope.livemode,
        "url": link.private["url"],
        "use_case": use_case,
    }


ROUTES = (
    Route("POST", "/v2/core/accounts", _create, "v2.core.AccountCreateParams"),
    Route("GET", "/v2/core/accounts/{id}", _retrieve, "v2.core.AccountRetrieveParams"),
    Route("POST", "/v2/core/account_links", _link, "v2.core.AccountLinkCreateParams"),
)
