"""/v1/webhook_endpoints"""

from urllib.parse import urlsplit

from ..changes import changed, given, new_metadata
from ..errors import ApiError, invalid
from ..ids import new_id, new_webhook_secret
from ..ledger import Json, Ledger, Record, Scope
from ..lists import page
from ..routing import Route

MOST = 16


def make_endpoint(scope: Scope, params: Json, *, secret: str | None = None) -> Record:
    """Store a webhook endpoint; its secret is shown once, in the answer to its creation."""
    endpoint = {
        "id": new_id("we"),
        "object": "webhook_endpoint",
        "api_version": given(params, "api_version"),
        "application": None,
        "created": scope.now(),
        "description": given(params, "description"),
        "enabled_events": params["enabled_events"],
        "livemode": scope.livemode,
        "metadata": new_metadata(params),
        "status": "enabled",
        "url": params["url"],
    }
    # (secret, valid until); the last one is the current secret
    secrets = [(secret or new_webhook_secret(), None)]
    return scope.add(endpoint, connect=bool(params.get("connect")), secrets=secrets)


def roll_secret(ledger: Ledger, endpoint: str, *, keep_old: float) -> str:
    """Give an endpoint (by id or present secret) a new secret, and let the old one sign for a while longer."""
    for record in ledger.records.values():
        if record.kind == "webhook_endpoint" and endpoint in (record.data["id"], record.private["secrets"][-1][0]):
            secrets, until = record.private["secrets"], ledger.now() + keep_old
            secrets[:] = [(old, until if end is None else end) for old, end in secrets]
            secrets.append((new_webhook_secret(), None))
            return str(secrets[-1][0])
    raise LookupError("The simulator has no webhook endpoint with this id or secret.")


def _check_owner(scope: Scope) -> None:
    if scope.application:
        message = (
            "You are not permitted to configure webhook endpoints on a connected account. Did you mean to create a "
            "Connect webhook on your account instead?"
        )
        raise ApiError(403, message)


def _check_url(scope: Scope, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        message = "Invalid URL: An explicit scheme (such as https) must be provided."
        raise invalid(message, "url", "url_invalid")
    if scope.livemode and parts.scheme != "https":
        raise invalid("Invalid URL: In live mode webhook URLs must start with https://.", "url", "url_invalid")


def _create(scope: Scope, params: Json) -> Json:
    _check_owner(scope)
    _check_url(scope, params["url"])
    if len(scope.list("webhook_endpoint")) >= MOST:
        mode = "live" if scope.livemode else "test"
        raise ApiError(400, f"You have reached the maximum of {MOST} {mode} webhook endpoints.")
    endpoint = make_endpoint(scope, params)
    return {**endpoint.data, "secret": endpoint.private["secrets"][-1][0]}


def _retrieve(scope: Scope, params: Json, id: str) -> Json:
    _check_owner(scope)
    return scope.get("webhook_endpoint", id).data


def _update(scope: Scope, params: Json, id: str) -> Json:
    _check_owner(scope)
    endpoint = scope.get("webhook_endpoint", id)
    if "url" in params:
        _check_url(scope, params["url"])
    endpoint.data |= changed(endpoint.data, params, "description", "enabled_events", "url")
    if "disabled" in params:
        endpoint.data["status"] = "disabled" if params["disabled"] else "enabled"
    return endpoint.data


def _delete(scope: Scope, params: Json, id: str) -> Json:
    _check_owner(scope)
    scope.get("webhook_endpoint", id).deleted = True
    return {"id": id, "object": "webhook_endpoint", "deleted": True}


def _list(scope: Scope, params: Json) -> Json:
    _check_owner(scope)
    endpoints = [endpoint.data for endpoint in scope.list("webhook_endpoint")]
    return page(scope, endpoints, params, "/v1/webhook_endpoints", kind="webhook endpoint")


ROUTES = (
    Route("POST", "/v1/webhook_endpoints", _create, "WebhookEndpointCreateParams"),
    Route("GET", "/v1/webhook_endpoints", _list, "WebhookEndpointListParams"),
    Route("GET", "/v1/webhook_endpoints/{id}", _retrieve),
    Route("POST", "/v1/webhook_endpoints/{id}", _update, "WebhookEndpointUpdateParams"),
    Route("DELETE", "/v1/webhook_endpoints/{id}", _delete),
)
