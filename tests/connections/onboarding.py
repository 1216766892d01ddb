"""The steps of onboarding by Account Links, and the requests that they make."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask_valetpro_stripe import AccountType, Mode
from flask_valetpro_stripe.onboarding import account_links
from flask_valetpro_stripe.testing import LoggedRequest, Simulator
from tests.connections.admin import Admin, as_tenant

RETURN = "http://app.test/settings/payments/onboard/return"
REFRESH = "http://app.test/settings/payments/onboard/refresh"
ACCOUNTS = {"v1": "/v1/accounts", "v2": "/v2/core/accounts"}


def use(admin: Admin, api: str) -> str:
    admin.host.state.config = replace(admin.host.state.config, accounts_api=api)
    return api


def begin(admin: Admin, account_type: str = "CONNECT_EXPRESS", mode: str = "test", **options: Any) -> str:
    """Press the button, and return the address at Stripe that the browser is sent to."""
    with as_tenant(admin.host, admin.tenant) as tenant:
        return account_links.begin(
            admin.host.state,
            tenant,
            Mode(mode),
            AccountType(account_type),
            user_id=str(admin.user.id),
            return_url=RETURN,
            refresh_url=REFRESH,
            **options,
        )


def come_back(admin: Admin, mode: str = "test") -> str | None:
    """Come back from Stripe, and return the status that the page shows then."""
    with as_tenant(admin.host, admin.tenant) as tenant:
        connection = account_links.come_back(admin.host.state, tenant, Mode(mode), actor=str(admin.user.id))
        return connection and str(connection.status)


def renew(admin: Admin, mode: str = "test") -> str:
    with as_tenant(admin.host, admin.tenant) as tenant:
        return account_links.renew(
            admin.host.state, tenant, Mode(mode), user_id=str(admin.user.id), return_url=RETURN, refresh_url=REFRESH
        )


def onboard(admin: Admin, account_type: str = "CONNECT_EXPRESS") -> Any:
    """Press, finish at Stripe and come back; return the connection."""
    assert admin.simulator.onboard(begin(admin, account_type)) == RETURN
    assert come_back(admin) == "CONNECTED"
    return admin.connections()[-1]


def made_at_stripe(simulator: Simulator) -> list[LoggedRequest]:
    """The requests that made an account, or would have."""
    return [request for request in simulator.requests if request.path in ACCOUNTS.values() and request.method == "POST"]
