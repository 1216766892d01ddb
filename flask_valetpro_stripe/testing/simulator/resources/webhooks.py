"""/v1/webhook_endpoints"""

from urllib.parse import urlsplit

from ..addresses import is_public
from ..changes import changed
from ..endpoints import make_endpoint
from ..errors import ApiError, invalid
from ..ledger import Json, Scope
from ..lists import page
from ..routing import Route


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
    if scope.ledger.refuse_private_urls:
        _check_publicity(scope, url)


def _check_publicity(scope: Scope, url: str) -> None:
    if scope.livemode and urlsplit(url).scheme != "https":
        raise invalid("Invalid URL: In live mode webhook URLs must start with https://.", "url", "url_invalid")
    if not is_public(url):
        message = (
            "Invalid URL: URL must be publicly accessible. Consider using a tool like the Stripe CLI to test webhooks "
            "locally: https://github.com/stripe/stripe-cli"
        )
        raise invalid(message, "url", "url_invalid")


def _create(scope: Scope, params: Json) -> Json:
    _check_owner(scope)
    _check_url(scope, params["url"])
    most = scope.ledger.most_webhook_endpoints
    if len(scope.list("webhook_endpoint")) >= most:
        mode = "live" if scope.livemode else "test"
        raise ApiError(400, f"You have reached the maximum of {most} {mode} webhook endpoints.")
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
