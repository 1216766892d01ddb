"""The simulator's front page: accounts with the keys that can be pasted, what was paid, what was delivered."""

from typing import Final

from werkzeug import Request, Response
from werkzeug.utils import redirect

from .accounts import Account, ApiKey
from .delivery import Mailroom
from .ids import new_key
from .ledger import Ledger
from .oauth_views import open_demo_account
from .permissions import grants
from .rendering import render

_SHOWN: Final = 25
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


def index_page(request: Request, ledger: Ledger, mail: Mailroom) -> Response:
    """Return a page of accounts, payment links and the latest deliveries; do what one of its buttons asks for."""
    with ledger.lock:
        if request.method == "POST":
            return _pressed(request, ledger)
        accounts = [(account, _modes(ledger, account.id), _keys(ledger, account)) for account in _newest_first(ledger)]
        links = [record for record in ledger.records.values() if record.kind == "payment_link"]
        rows = [(ledger.accounts[link.account].name, link.data, link.private["items"][0]) for link in links[-_SHOWN:]]
        deliveries = list(reversed(mail.log[-_SHOWN:]))
        platform = ledger.platform_id
        return render("index.html", accounts=accounts, links=rows[::-1], deliveries=deliveries, platform=platform)


def _pressed(request: Request, ledger: Ledger) -> Response:
    account_id = request.form.get("account", "")
    if account_id in ledger.accounts and account_id != ledger.platform_id:
        key = new_key("rk", livemode=False)
        ledger.keys[key] = ApiKey(account_id, False, allowed=grants(_ALLOWED))
    elif "name" in request.form:
        account_id = open_demo_account(ledger, request.form["name"]).id
    return redirect(f"/#{account_id}" if account_id in ledger.accounts else "/", 303)


def _newest_first(ledger: Ledger) -> list[Account]:
    own = [account for account in ledger.accounts.values() if account.id != ledger.platform_id]
    return [*reversed(own), ledger.accounts[ledger.platform_id]]


def _modes(ledger: Ledger, account: str) -> list[str]:
    return sorted("live" if livemode else "test" for id, livemode in ledger.connections if id == account)


def _keys(ledger: Ledger, account: Account) -> list[tuple[str, str]]:
    """Return the account's test keys with their names. The platform's own connect nobody; of ours Stripe shows none."""
    if account.id == ledger.platform_id or account.made_through is not None:
        return []
    own = [key for key, known in ledger.keys.items() if known.account == account.id and not known.expired]
    restricted = [("Restricted key", key) for key in own if key.startswith("rk_test_")]
    secret = [("Secret key", key) for key in own if key == account.test_secret_key]
    return [*secret, *restricted, ("Publishable key", account.test_publishable_key)]
