"""/v1/tax"""

from .. import tax
from ..ledger import Json, Scope
from ..lists import matching, page
from ..routing import Route


def _settings(scope: Scope, params: Json) -> Json:
    return tax.settings_of(scope)


def _registrations(scope: Scope, params: Json) -> Json:
    names = () if params.get("status", "all") == "all" else ("status",)
    found = matching(scope, "tax.registration", params, *names)
    return page(scope, found, params, "/v1/tax/registrations", kind="registration")


def _registration(scope: Scope, params: Json, id: str) -> Json:
    return scope.get("tax.registration", id).data


ROUTES = (
    Route("GET", "/v1/tax/settings", _settings),
    Route("GET", "/v1/tax/registrations", _registrations, "tax.RegistrationListParams"),
    Route("GET", "/v1/tax/registrations/{id}", _registration),
)
