"""The way to Stripe's own onboarding and back, for accounts that we make; and the door to the Express dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask import abort, request
from werkzeug.wrappers import Response as BaseResponse

from ..context import get_tenant
from ..enums import AccountType, Mode, OnboardingStatus
from ..errors import ValetProStripeError
from ..onboarding import account_links
from ..state import get_state
from .access import user_id
from .answers import asked_mode, go_back, go_to, refusals_on_the_page

_STATUS: Final[Mapping[OnboardingStatus, str]] = {
    OnboardingStatus.CONNECTED: "connected",
    OnboardingStatus.PENDING: "begun",
}


@refusals_on_the_page
def begin() -> BaseResponse:
    """Send the admin to Stripe, to tell it what it wants to know about the account that we make for them."""
    mode = asked_mode()
    address = account_links.begin(get_state(), get_tenant(), mode, _asked_type(), user_id=user_id(), **_ways_back(mode))
    return go_to(address)


@refusals_on_the_page
def come_back() -> BaseResponse:
    """Take the admin back from Stripe, and look how far the account is."""
    _refuse_previews()
    connection = account_links.come_back(get_state(), get_tenant(), asked_mode(), actor=user_id())
    if connection is None:
        return go_back("not_begun")
    return go_back(_STATUS.get(connection.status, "revoked"))


@refusals_on_the_page
def renew() -> BaseResponse:
    """Send the admin to Stripe once more, when the link that they had was used or too old."""
    _refuse_previews()
    mode = asked_mode()
    return go_to(account_links.renew(get_state(), get_tenant(), mode, user_id=user_id(), **_ways_back(mode)))


@refusals_on_the_page
def open_dashboard() -> BaseResponse:
    """Send the admin to their Express dashboard, signed in."""
    return go_to(account_links.dashboard_link(get_state(), get_tenant(), asked_mode(), user_id=user_id()))


def _refuse_previews() -> None:
    # Flask takes a HEAD for a GET; a link preview must not ask Stripe for anything.
    if request.method == "HEAD":
        abort(405)


def _ways_back(mode: Mode) -> dict[str, str]:
    # From the configuration, never from the request: its Host is the sender's to choose.
    page = f"{get_state().config.settings_page}onboard"
    return {"return_url": f"{page}/return?mode={mode}", "refresh_url": f"{page}/refresh?mode={mode}"}


def _asked_type() -> AccountType:
    try:
        return AccountType(request.form.get("account_type", ""))
    except ValueError:
        raise ValetProStripeError(
            "Choose what kind of account it shall be: Standard, Express or Custom.", code="account_type"
        ) from None
