"""Account links: single-use addresses of the pages on which an account tells Stripe about itself."""

from urllib.parse import urlsplit

from .account_changes import change_account
from .accounts import Account
from .errors import invalid
from .ids import token
from .ledger import Ledger, Record, Scope

LIFETIME = 300
_SESSION = 3600
_LETTERS = {"full": "s", "express": "e", "none": "c"}


def make_link(scope: Scope, account: Account, *, refresh_url: str, return_url: str | None) -> Record:
    """Store a link; it lives as ``private["url"]`` for five minutes and one visit."""
    for name, url in (("refresh_url", refresh_url), ("return_url", return_url)):
        if url is not None:
            _check_url(scope, name, url)
    name = token(12)
    letter = _LETTERS[account.terms.dashboard]
    data = {"id": name, "object": "onboarding", "created": scope.now(), "expires_at": scope.now() + LIFETIME}
    return scope.add(
        data,
        url=f"{scope.ledger.base_url}/setup/{letter}/{account.id}/{name}",
        account=account.id,
        refresh_url=refresh_url,
        return_url=return_url,
        visited=False,
        finished=False,
    )


def _check_url(scope: Scope, name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid("Not a valid URL", name, "url_invalid")
    if scope.livemode and parts.scheme != "https":
        raise invalid("Livemode requests must always be redirected via HTTPS.", name)


def find_onboarding(ledger: Ledger, url: str) -> Record | None:
    """Return the link with this URL or path."""
    record = ledger.records.get(url.split("?")[0].rstrip("/").rsplit("/", 1)[-1])
    return record if record is not None and record.kind == "onboarding" else None


def visit(ledger: Ledger, link: Record) -> bool:
    """Use a link up; False if it was used before, has expired, or its account has left the platform."""
    fresh = not link.private["visited"] and ledger.now() < link.data["expires_at"] and _is_connected(ledger, link)
    link.private["visited"] = True
    return fresh


def is_open(ledger: Ledger, link: Record) -> bool:
    """Tell if the page behind a visited link still takes an answer."""
    in_time = ledger.now() < link.data["expires_at"] + _SESSION
    return bool(link.private["visited"] and not link.private["finished"] and in_time and _is_connected(ledger, link))


def _is_connected(ledger: Ledger, link: Record) -> bool:
    return (link.private["account"], link.livemode) in ledger.connections


def finish(ledger: Ledger, link: Record, *, complete: bool) -> str:
    """Leave the page, with everything told to Stripe or nothing, and return where the browser goes."""
    link.private["finished"] = True
    if complete:
        account = ledger.accounts[link.private["account"]]
        told = {"details_submitted": True, "due": None, "deadline": None, "disabled_reason": None}
        ready = "card_payments" in account.capabilities
        change_account(ledger, account, livemode=link.livemode, charges_enabled=ready, **told)
    return str(link.private["return_url"] or f"{ledger.base_url}/")


def walk(ledger: Ledger, url: str, *, complete: bool) -> str:
    """Open a link and answer its page in one go; return where the browser goes."""
    link = find_onboarding(ledger, url)
    if link is None:
        raise LookupError(f"The simulator has no account link {url!r}.")
    if not visit(ledger, link):
        return str(link.private["refresh_url"])
    return finish(ledger, link, complete=complete)
