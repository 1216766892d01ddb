"""/v1/payouts and /v1/billing_portal: what an account sets up in its dashboard, and so far hasn't."""

from functools import partial

from ..errors import missing
from ..ledger import Json, Scope
from ..lists import page
from ..routing import Handler, Route


def _none(scope: Scope, params: Json, *, url: str, kind: str) -> Json:
    return page(scope, [], params, url, kind=kind)


def _missing(scope: Scope, params: Json, id: str, *, kind: str) -> Json:
    raise missing(kind, id, param=kind)


def _empty(url: str, kind: str, params: str) -> tuple[Route, Route]:
    """Return the routes of a resource that an account has none of."""
    listed: Handler = partial(_none, url=url, kind=kind)
    asked_for: Handler = partial(_missing, kind=kind)
    return Route("GET", url, listed, params), Route("GET", f"{url}/{{id}}", asked_for)


ROUTES = (
    *_empty("/v1/payouts", "payout", "PayoutListParams"),
    *_empty("/v1/billing_portal/configurations", "configuration", "billing_portal.ConfigurationListParams"),
)
