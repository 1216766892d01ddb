"""The platform's own endpoints at Stripe: whether they are there for this app's address, on, and told enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from ..enums import Mode
from ..gateway import make_platform_client
from ..payments.pages import each_of
from ..state import State
from .endpoint_check import ENABLED

#: Pages of a hundred endpoints that are looked through: Stripe allows an account few.
_MOST_PAGES: Final = 3
#: Another type says the same to newer endpoints; thin events take another kind of endpoint.
_NOT_NEEDED: Final = ("charge.refund.updated", "v2.", "*")
#: What an account tells its platform only.
_OF_CONNECTED: Final = "account."
#: Before it, Stripe made a refund of what was held and let go (Stripe's changelog for 2025-03-31.basil).
_OLDEST: Final = "2025-03-31"
_LOCAL: Final = frozenset({"localhost", "127.0.0.1"})
_WHERE: Final = "in the Stripe Dashboard, under Developers, Webhooks"


def find_problems(state: State, mode: Mode) -> Iterator[str]:
    """Yield what is wrong with the endpoints that this app has the signing secrets of, each with its fix.

    :raises ValetProStripeError: if Stripe cannot be asked.
    """
    url = f"{state.config.public_url}{state.config.webhook_url}"
    if urlsplit(url).hostname in _LOCAL:
        # Stripe reaches it through a tunnel, if at all.
        return
    list_ = make_platform_client(state, mode).v1.webhook_endpoints.list
    listed = each_of(list_, {}, what="Looking for the platform's webhook endpoints", most_pages=_MOST_PAGES)
    ours = [each for each in listed if each["url"] == url]
    for connect in (True, False):
        if state.config.webhook_secrets(mode, connect=connect):
            yield from _of_scope(state, mode, url, _of_one_scope(ours, connect=connect), connect=connect)


def _of_one_scope(ours: Sequence[dict[str, Any]], *, connect: bool) -> list[dict[str, Any]]:
    """Return those for connected accounts, which name the platform's Connect application, or the others."""
    if len(ours) > 1 and not any(each.get("application") for each in ours):
        # Stripe does not say what each is for.
        return list(ours)
    return [each for each in ours if bool(each.get("application")) is connect]


def _of_scope(state: State, mode: Mode, url: str, found: Sequence[dict[str, Any]], *, connect: bool) -> Iterator[str]:
    whose = "connected accounts" if connect else "your account"
    setting = f"VALETPRO_STRIPE_{mode.upper()}_{'CONNECT_' if connect else ''}WEBHOOK_SECRETS"
    enabled = [each for each in found if each["status"] == ENABLED]
    told = {event_type for each in enabled for event_type in each["enabled_events"]}
    lacking = sorted(_needed(state, connect=connect) - told)
    if not found:
        yield (
            f"Stripe has no {mode} webhook endpoint for {whose} at {url}: make it {_WHERE}, and put its signing secret "
            f"into {setting}."
        )
    elif not enabled:
        yield f"The {mode} webhook endpoint for {whose} at {url} is switched off at Stripe: switch it on {_WHERE}."
    elif old := sorted({each["api_version"] for each in enabled if (each.get("api_version") or _OLDEST) < _OLDEST}):
        yield (
            f"The {mode} webhook endpoint for {whose} at {url} has API version {old[0]}, which tells of a deposit that "
            f"was let go as of a refund. Make a new one {_WHERE}, and put its signing secret into {setting}."
        )
    elif lacking and "*" not in told:
        yield (
            f"The {mode} webhook endpoint for {whose} does not get every event that is handled here: add these to it "
            f"{_WHERE}: {', '.join(lacking)}."
        )


def _needed(state: State, *, connect: bool) -> set[str]:
    wanted = {each for each in state.registry.types if not each.startswith(_NOT_NEEDED)}
    return wanted if connect else {each for each in wanted if not each.startswith(_OF_CONNECTED)}
