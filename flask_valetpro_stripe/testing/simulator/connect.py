"""Connect's OAuth: codes, tokens, deauthorization."""

from dataclasses import dataclass, field
from typing import Any

from .accounts import Account, ApiKey
from .addresses import with_query
from .errors import masked
from .ids import new_key, token
from .ledger import Json, Ledger

_CODE_LIFETIME = 300


class OAuthError(Exception):
    """An error of OAuth's own form."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "error_description": description}


@dataclass(frozen=True)
class AuthorizeRequest:
    """A valid request of a platform to be let into an account."""

    livemode: bool
    redirect_uri: str
    scope: str
    state: str | None

    def back(self, **answer: str) -> str:
        """Return the URL that takes the browser back to the platform."""
        if self.state is not None:
            answer["state"] = self.state
        return with_query(self.redirect_uri, answer)


@dataclass
class _Code:
    account: str
    livemode: bool
    scope: str
    expires: float
    tokens: list[str] = field(default_factory=list)
    used: bool = False


class Connect:
    """The OAuth side of the one platform."""

    def __init__(self, ledger: Ledger, redirect_base: str) -> None:
        self._ledger = ledger
        self._codes: dict[str, _Code] = {}
        self._refresh: dict[str, tuple[str, str]] = {}
        self._redirect_base = f"{redirect_base}/"

    @property
    def platform(self) -> Account:
        return self._ledger.accounts[self._ledger.platform_id]

    def read_request(self, query: Json) -> AuthorizeRequest:
        """Check what the platform's link says.

        :raises OAuthError: what Stripe's page shows instead of the consent form.
        """
        if query.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "Only 'code' is supported as the response_type.")
        livemode = self._mode_of(query.get("client_id"))
        redirect_uri = query.get("redirect_uri") or self._redirect_base
        if not redirect_uri.startswith(self._redirect_base):
            message = (
                f"Invalid redirect URI '{redirect_uri}'. Ensure this uri exactly matches one of the uris specified in "
                "your application settings."
            )
            raise OAuthError("invalid_redirect_uri", message)
        scope = query.get("scope", "read_only")
        if scope not in ("read_write", "read_only"):
            raise OAuthError("invalid_scope", f"Invalid scope: {scope}")
        return AuthorizeRequest(livemode, redirect_uri, scope, query.get("state"))

    def _mode_of(self, client_id: str | None) -> bool:
        for livemode in (False, True):
            if client_id == self.platform.client_id(livemode=livemode):
                return livemode
        message = f"No application matches the supplied client identifier: {client_id}"
        raise OAuthError("invalid_client", message, 401)

    def approve(self, asked: AuthorizeRequest, account_id: str) -> str:
        """Give out a code for the account, and return where the browser goes."""
        code = f"ac_{token(32)}"
        expires = self._ledger.now() + _CODE_LIFETIME
        self._codes[code] = _Code(account_id, asked.livemode, asked.scope, expires)
        return asked.back(scope=asked.scope, code=code)

    def deny(self, asked: AuthorizeRequest) -> str:
        return asked.back(error="access_denied", error_description="The user denied your request")

    def token(self, key: ApiKey, params: Json) -> Json:
        """Answer ``POST /oauth/token``."""
        self._require_platform(key)
        grant = params.get("grant_type")
        if grant == "authorization_code":
            return self._exchange(key, params.get("code"))
        if grant == "refresh_token":
            return self._refreshed(key, params.get("refresh_token"))
        if grant is None:
            raise OAuthError("invalid_request", "No grant type specified")
        raise OAuthError("unsupported_grant_type", f"Unsupported grant type: {grant}")

    def _require_platform(self, key: ApiKey) -> None:
        if key.account != self._ledger.platform_id or key.expired:
            raise OAuthError("invalid_client", "No such API key", 401)

    def _exchange(self, key: ApiKey, code: str | None) -> Json:
        if not code:
            raise OAuthError("invalid_request", "No authorization code provided")
        known = self._codes.get(code)
        if known is None:
            raise OAuthError("invalid_grant", f"Authorization code does not exist: {code}")
        if known.used:
            self._revoke(known)
            message = (
                "This authorization code has already been used. All tokens issued with this code have been revoked."
            )
            raise OAuthError("invalid_grant", message)
        if known.livemode != key.livemode:
            mine, theirs = ("live", "test") if key.livemode else ("test", "live")
            message = f"This authorization code was made in {theirs} mode, but the API key is a {mine} mode key."
            raise OAuthError("invalid_grant", message)
        if known.expires <= self._ledger.now():
            raise OAuthError("invalid_grant", f"Authorization code expired: {code}")
        known.used = True
        return self._issue(known.account, known.livemode, known.scope, known.tokens)

    def _revoke(self, code: _Code) -> None:
        for access_token in code.tokens:
            self._ledger.keys.pop(access_token, None)
        code.tokens.clear()
        self.disconnect(code.account, livemode=code.livemode)

    def _issue(self, account_id: str, livemode: bool, scope: str, tokens: list[str]) -> Json:
        access_token, refresh_token = new_key("sk", livemode=livemode), f"rt_{token(40)}"
        application = self.platform.client_id(livemode=livemode)
        self._ledger.keys[access_token] = ApiKey(account_id, livemode, application=application)
        self._refresh[refresh_token] = (account_id, scope)
        tokens.append(access_token)
        self.connect(account_id, livemode=livemode)
        return {
            "access_token": access_token,
            "livemode": livemode,
            "refresh_token": refresh_token,
            "token_type": "bearer",
            "stripe_publishable_key": self._ledger.accounts[account_id].publishable_key(livemode=livemode),
            "stripe_user_id": account_id,
            "scope": scope,
        }

    def _refreshed(self, key: ApiKey, refresh_token: str | None) -> Json:
        if refresh_token not in self._refresh:
            raise OAuthError("invalid_grant", f"Refresh token does not exist: {refresh_token}")
        account_id, scope = self._refresh[refresh_token]
        return self._issue(account_id, key.livemode, scope, [])

    def connect(self, account_id: str, *, livemode: bool) -> None:
        """Connect an account to the platform and tell the platform."""
        if (account_id, livemode) in self._ledger.connections:
            return
        self._ledger.connections.add((account_id, livemode))
        self._tell(account_id, livemode, "account.application.authorized")

    def disconnect(self, account_id: str, *, livemode: bool) -> None:
        """Cut an account off the platform and tell the platform; a second time does nothing."""
        if (account_id, livemode) not in self._ledger.connections:
            return
        self._ledger.connections.discard((account_id, livemode))
        application = self.platform.client_id(livemode=livemode)
        for value, key in list(self._ledger.keys.items()):
            if (key.account, key.livemode, key.application) == (account_id, livemode, application):
                del self._ledger.keys[value]
        self._tell(account_id, livemode, "account.application.deauthorized")

    def _tell(self, account_id: str, livemode: bool, type: str) -> None:
        application: Json = {
            "id": self.platform.client_id(livemode=livemode),
            "object": "application",
            "name": self.platform.name,
        }
        self._ledger.scope(account_id, livemode).emit(type, application, platform_only=True)

    def deauthorize(self, key: ApiKey, params: Json) -> Json:
        """Answer ``POST /oauth/deauthorize``."""
        self._require_platform(key)
        account_id: Any = params.get("stripe_user_id")
        if params.get("client_id") != self.platform.client_id(livemode=key.livemode):
            message = f"No such application: '{params.get('client_id')}', for the mode of this API key."
            raise OAuthError("invalid_client", message, 401)
        if (account_id, key.livemode) not in self._ledger.connections:
            message = (
                f"This application is not connected to stripe account {account_id}, or that account does not exist."
            )
            raise OAuthError("invalid_client", message, 401)
        self.disconnect(account_id, livemode=key.livemode)
        return {"stripe_user_id": account_id}


def unknown_key(key: str | None) -> OAuthError:
    shown = masked(key) if key else "(none)"
    return OAuthError("invalid_client", f"Invalid API Key provided: {shown}", 401)
