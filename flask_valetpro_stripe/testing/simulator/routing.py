"""Which function answers which method and path."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .errors import ApiError
from .ledger import Json

Handler = Callable[..., Json]
"""Called with the scope, the checked parameters and the ids in the path."""


@dataclass(frozen=True)
class Route:
    """One operation. ``params`` names the SDK's parameter type; None allows none but ``expand``."""

    method: str
    path: str
    handler: Handler
    params: str | None = None
    checked: bool = True
    """False for calls that Stripe doesn't document, whose parameters nobody can look up."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile("^" + re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", self.path) + "$")

    @property
    def resource(self) -> str:
        """Return the word that restricted keys are given access by: ``payment_links``, ``checkout``, …"""
        return self.path.split("/")[2]


class Router:
    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, Any]]:
        """Return the route and the ids in the path, or raise Stripe's 404."""
        path = path.rstrip("/") or path
        for route in self._routes:
            if route.method == method and (match := route.pattern.match(path)):
                return route, match.groupdict()
        message = (
            f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
            "https://support.stripe.com/."
        )
        raise ApiError(404, message)
