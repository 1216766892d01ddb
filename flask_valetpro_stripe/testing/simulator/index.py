"""The simulator's front page: who is connected, what was paid, what was delivered."""

from werkzeug import Response

from .delivery import Mailroom
from .ledger import Ledger
from .rendering import render

_SHOWN = 25


def index_page(ledger: Ledger, mail: Mailroom) -> Response:
    """Return a page of accounts, payment links and the latest deliveries."""
    with ledger.lock:
        accounts = [(account, sorted(_modes(ledger, account.id))) for account in ledger.accounts.values()]
        links = [record for record in ledger.records.values() if record.kind == "payment_link"]
        rows = [(ledger.accounts[link.account].name, link.data, link.private["items"][0]) for link in links[-_SHOWN:]]
        deliveries = list(reversed(mail.log[-_SHOWN:]))
        platform = ledger.platform_id
        return render("index.html", accounts=accounts, links=rows[::-1], deliveries=deliveries, platform=platform)


def _modes(ledger: Ledger, account: str) -> list[str]:
    return ["live" if livemode else "test" for id, livemode in ledger.connections if id == account]
