"""The simulator's front page: each account's dashboard in short, what was paid, what was delivered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from werkzeug import Request, Response
from werkzeug.utils import redirect

from .accounts import Account, ApiKey
from .connect import Connect
from .delivery import Mailroom
from .endpoints import roll_secret
from .ids import mode_word, new_key
from .ledger import Ledger
from .oauth_views import open_demo_account
from .permissions import grants
from .rendering import render

_SHOWN: Final = 25
#: Seconds that a rolled secret goes on signing beside the new one.
_KEEP_OLD: Final = 86_400
#: What the restricted keys of this page may do: all that a host app has use for, and nothing else.
_ALLOWED: Final = (
    "account:read",
    "balance:read",
    "balance_transactions:read",
    "billing_portal:read",
    "checkout",
    "customers:read",
    "events:read",
    "payment_intents",
    "payment_links",
    "payouts:read",
    "prices",
    "products",
    "refunds",
    "tax:read",
    "tokens:read",
    "webhook_endpoints",
)


@dataclass(frozen=True)
class Panel:
    """What an account's owner finds in the dashboard in one mode, and may press there."""

    mode: str
    is_connected: bool
    keys: list[tuple[str, str]]
    endpoints: list[tuple[str, str, str]]
    """Id, address and present secret."""


def index_page(request: Request, ledger: Ledger, mail: Mailroom, connect: Connect) -> Response:
    """Return a page of accounts, payment links and the latest deliveries; do what one of its buttons asks for."""
    with ledger.lock:
        if request.method == "POST":
            return _pressed(request, ledger, connect)
        accounts = [(account, _panels(ledger, account)) for account in _newest_first(ledger)]
        links = [record for record in ledger.records.values() if record.kind == "payment_link"]
        rows = [(ledger.accounts[link.account].name, link.data, link.private["items"][0]) for link in links[-_SHOWN:]]
        deliveries = list(reversed(mail.log[-_SHOWN:]))
        platform = ledger.platform_id
        return render("index.html", accounts=accounts, links=rows[::-1], deliveries=deliveries, platform=platform)


def _pressed(request: Request, ledger: Ledger, connect: Connect) -> Response:
    form, account = request.form, ledger.accounts.get(request.form.get("account", ""))
    if account is None and "name" in form:
        account = open_demo_account(ledger, form["name"])
    elif account is not None and account.id != ledger.platform_id:
        for panel in _panels(ledger, account):
            _press(form, ledger, connect, account, panel)
    return redirect(f"/#{account.id}" if account else "/", 303)


def _press(form: Mapping[str, str], ledger: Ledger, connect: Connect, account: Account, panel: Panel) -> None:
    """Do what was asked for, if it is there to be pressed in this mode of the account."""
    livemode = panel.mode == "live"
    if form.get("restricted") == panel.mode and panel.keys:
        ledger.keys[new_key("rk", livemode=livemode)] = ApiKey(account.id, livemode, allowed=grants(_ALLOWED))
    elif form.get("expire") in [key for _, key in panel.keys if key in ledger.keys]:
        ledger.keys[form["expire"]].expired = True
    elif form.get("roll") in [id for id, _, _ in panel.endpoints]:
        roll_secret(ledger, form["roll"], keep_old=_KEEP_OLD)
    elif form.get("withdraw") == panel.mode and panel.is_connected:
        connect.disconnect(account.id, livemode=livemode)


def _newest_first(ledger: Ledger) -> list[Account]:
    own = [account for account in ledger.accounts.values() if account.id != ledger.platform_id]
    return [*reversed(own), ledger.accounts[ledger.platform_id]]


def _panels(ledger: Ledger, account: Account) -> list[Panel]:
    """Return what can be done in each mode. The platform has none: its keys connect nobody."""
    if account.id == ledger.platform_id:
        return []
    return [
        Panel(
            mode_word(livemode),
            (account.id, livemode) in ledger.connections,
            _keys(ledger, account, livemode=livemode),
            [
                (endpoint.data["id"], endpoint.data["url"], endpoint.private["secrets"][-1][0])
                for endpoint in ledger.of_kind("webhook_endpoint", account.id, livemode)
            ],
        )
        for livemode in (False, True)
    ]


def _keys(ledger: Ledger, account: Account, *, livemode: bool) -> list[tuple[str, str]]:
    """Return the account's keys of one mode with their names. Of accounts that the platform made Stripe shows none."""
    if account.made_through is not None:
        return []
    own = [
        key
        for key, known in ledger.keys.items()
        if (known.account, known.livemode, known.expired) == (account.id, livemode, False)
    ]
    restricted = [("Restricted key", key) for key in own if key.startswith("rk_")]
    secret = [("Secret key", key) for key in own if key in (account.test_secret_key, account.live_secret_key)]
    return [*secret, *restricted, ("Publishable key", account.publishable_key(livemode=livemode))]
