"""Who is asking: an API key, perhaps acting for a connected account."""

import base64
import binascii
from dataclasses import dataclass

from werkzeug import Request

from .accounts import Account
from .errors import ApiError, masked, no_access
from .ledger import Ledger
from .permissions import grant, stripes_name

# What a page in a guest's browser may call, with the publishable key that everybody can read there.
_FOR_PUBLISHABLE_KEYS = {("POST", "/v1/tokens")}


@dataclass(frozen=True)
class Caller:
    """The account and mode that a request acts in."""

    account: Account
    livemode: bool
    key: str
    application: str | None
    through_platform: bool
    allowed: frozenset[str] | None

    def require(self, resource: str, *, write: bool) -> None:
        """Raise Stripe's 403 if a restricted key may not do this with ``resource``."""
        if self.allowed is None or grant(resource, write=write) in self.allowed:
            return
        message = (
            f"The provided key '{masked(self.key)}' does not have the required permissions for this endpoint on "
            f"account '{self.account.id}'. Having the '{stripes_name(resource, write=write)}' permission would allow "
            "this request to continue."
        )
        raise ApiError(403, message, code="more_permissions_required_for_application")


def bearer(request: Request) -> str | None:
    """Return the key of a request, from Bearer or Basic authorization."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value).decode().partition(":")[0] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def authenticate(ledger: Ledger, request: Request) -> Caller:
    """Return who is asking, or raise Stripe's 401 or 403."""
    key = bearer(request)
    if key is None:
        message = (
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
            "https://stripe.com/docs/api#authentication for details, or we can help at https://support.stripe.com/."
        )
        raise ApiError(401, message)
    publishable = key.startswith("pk_")
    if publishable and (request.method, request.path.rstrip("/")) not in _FOR_PUBLISHABLE_KEYS:
        message = (
            "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a list "
            "of your API keys at https://dashboard.stripe.com/account/apikeys."
        )
        raise ApiError(401, message, code="secret_key_required")
    known = (ledger.publishable_keys if publishable else ledger.keys).get(key)
    if known is None:
        raise ApiError(401, f"Invalid API Key provided: {masked(key)}")
    if known.expired:
        raise ApiError(401, f"Expired API Key provided: {masked(key)}", code="api_key_expired")
    owner = ledger.accounts[known.account]
    wanted = request.headers.get("Stripe-Account")
    if not wanted or wanted == owner.id:
        return Caller(owner, known.livemode, key, known.application, False, known.allowed)
    if owner.id != ledger.platform_id or (wanted, known.livemode) not in ledger.connections:
        raise no_access(key, wanted)
    application = owner.client_id(livemode=known.livemode)
    return Caller(ledger.accounts[wanted], known.livemode, key, application, True, known.allowed)
