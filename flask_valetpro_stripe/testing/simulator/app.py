"""The simulator itself: its Python interface, and the WSGI app over its three surfaces."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import stripe
from flask import Flask
from werkzeug import Request, Response

from . import checkout, holds, settings, tax
from .account_changes import change_account
from .accounts import Account, ApiKey, shape
from .api import Api
from .connect import Connect
from .delivery import Delivery, Mailroom, send_by_http, send_in_process, view
from .endpoints import disable_endpoint, roll_secret
from .faults import Faults
from .guests import GuestsAndBanks
from .ids import new_key
from .index import index_page
from .ledger import Json, Ledger, snapshot
from .oauth_views import OAuthViews, open_demo_account
from .onboarding import walk
from .pages import Pages
from .permissions import grants
from .requestlog import LoggedRequest, RequestLog
from .server import Server
from .setup_pages import SetupPages
from .transport import InProcessClient

WEBHOOK_PATH = "/api/webhooks/stripe"


class Simulator(GuestsAndBanks):
    """Stripe as far as we use it, in one WSGI app: the API, Connect's OAuth, and the hosted pages.

    It has one platform and any number of accounts. Two simulators share nothing. All methods may be called from any
    thread.

    :param base_url: where the simulator can be reached; its pages' URLs are built from it.
    :param public_url: where the host app can be reached; webhooks go there, and OAuth only returns to there.
    :param clock: seconds since the epoch; replace it to control time.
    :param refuse_private_urls: refuse webhook endpoints on localhost and private addresses, as Stripe does.
    :param most_webhook_endpoints: how many an account may have in each mode.
    :param accounts_v1: False refuses ``POST /v1/accounts``, as Stripe does for platforms that began with v2.
    """

    def __init__(
        self,
        *,
        base_url: str = "http://stripe.test",
        public_url: str = "http://app.test",
        clock: Callable[[], float] = time.time,
        platform_name: str = "ValetPro",
        refuse_private_urls: bool = False,
        most_webhook_endpoints: int = 16,
        accounts_v1: bool = True,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.public_url = public_url.rstrip("/")
        self.faults = Faults()
        self._log = RequestLog()
        self._ledger = Ledger(clock=clock, base_url=self.base_url)
        self._ledger.refuse_private_urls = refuse_private_urls
        self._ledger.most_webhook_endpoints = most_webhook_endpoints
        self._ledger.accounts_v1 = accounts_v1
        self._mail = Mailroom(self._ledger, self.faults, clock)
        self.platform = self._ledger.open_account(Account(name=platform_name))
        self._ledger.platform_id = self.platform.id
        self._connect = Connect(self._ledger, self.public_url)
        self._api = Api(self._ledger, self.faults, self._log)
        self._oauth = OAuthViews(self._ledger, self._connect, self.faults, self._log)
        self._pages = Pages(self._ledger)
        self._setup = SetupPages(self._ledger)
        self._server: Server | None = None

    # -- as a WSGI app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return self._dispatch(Request(environ))(environ, start_response)

    def _dispatch(self, request: Request) -> Response:
        if request.path.startswith(("/v1/", "/v2/")):
            return self._api(request)
        if request.path.startswith("/oauth/"):
            return self._oauth(request)
        if request.path == "/":
            return index_page(request, self._ledger, self._mail, self._connect)
        return self._setup(request) if request.path.startswith(("/setup/", "/express/")) else self._pages(request)

    # -- a host app's side

    def config(self, webhook_path: str = WEBHOOK_PATH) -> dict[str, Any]:
        """Return the ``VALETPRO_STRIPE_*`` settings that point a host app at this simulator.

        Registers the platform's four endpoints (account and connect scope, test and live); calling it again changes
        nothing.
        """
        with self._ledger.lock:
            return settings.make_config(self._ledger, self.base_url, self.public_url, webhook_path)

    @classmethod
    def for_config(cls, config: Mapping[str, Any], *, base_url: str, **options: Any) -> "Simulator":
        """Return a simulator whose keys, client ids and webhook secrets are those of a host app's ``config``."""
        public_url = config.get("VALETPRO_STRIPE_PUBLIC_URL") or "http://127.0.0.1:5000"
        options.setdefault("public_url", public_url)
        simulator = cls(base_url=base_url, **options)
        with simulator._ledger.lock:
            settings.take_over(simulator._ledger, config, simulator.public_url, WEBHOOK_PATH)
        return simulator

    def http_client(self) -> stripe.HTTPClient:
        """Return a transport for ``stripe.StripeClient(…, http_client=…)`` that needs no sockets."""
        return InProcessClient(self)

    def install(self, app: Flask) -> None:
        """Let the extension of ``app`` talk to this simulator in-process."""
        app.extensions["valetpro_stripe"].http_client = self.http_client()

    # -- accounts

    def create_account(
        self,
        name: str,
        *,
        id: str | None = None,
        country: str = "FR",
        currency: str = "eur",
        charges_enabled: bool = True,
        email: str | None = None,
    ) -> Account:
        """Open an account with keys for both modes; it is not connected to the platform yet."""
        account = Account(
            name=name, country=country, currency=currency, charges_enabled=charges_enabled, email=email
        )
        account.id = id or account.id
        with self._ledger.lock:
            return self._ledger.open_account(account)

    def connect(self, account_id: str, *, livemode: bool = False) -> None:
        """Connect an account to the platform, as if OAuth had been done."""
        with self._ledger.lock:
            self._connect.connect(self._ledger.accounts[account_id].id, livemode=livemode)

    def disconnect(self, account_id: str, *, livemode: bool = False) -> None:
        """Cut an account off the platform, as its owner does in Stripe's dashboard."""
        with self._ledger.lock:
            self._connect.disconnect(account_id, livemode=livemode)

    def is_connected(self, account_id: str, *, livemode: bool = False) -> bool:
        """Tell if the platform may act for the account in this mode."""
        with self._ledger.lock:
            return (account_id, livemode) in self._ledger.connections

    def authorize(self, authorize_url: str, account_id: str | None, *, deny: bool = False) -> str:
        """Answer the consent page and return the URL that the browser is sent to; None opens a new account.

        :raises OAuthError: where Stripe would show an error page instead.
        """
        query = Request.from_values(authorize_url).args.to_dict()
        with self._ledger.lock:
            asked = self._connect.read_request(query)
            if deny:
                return self._connect.deny(asked)
            chosen = account_id or open_demo_account(self._ledger, "").id
            return self._connect.approve(asked, self._ledger.accounts[chosen].id)

    def update_account(self, account_id: str, *, livemode: bool = False, **changes: Any) -> None:
        """Change an account as Stripe or its owner does; emits account.updated, and thin events for v2 accounts.

        For example ``charges_enabled``, ``name``, ``due`` (what Stripe wants), ``deadline`` (until when, a timestamp),
        or ``disabled_reason`` ("rejected.fraud").
        """
        with self._ledger.lock:
            change_account(self._ledger, self._ledger.accounts[account_id], livemode=livemode, **changes)

    def enable_tax(
        self, account_id: str, *, livemode: bool = False, countries: Iterable[str] | None = None
    ) -> None:
        """Complete an account's tax settings as its owner does, and register it in ``countries``: its own, or these.

        Without this, ``automatic_tax`` is refused. With ``countries=()`` it is taken, and no tax is collected.
        """
        with self._ledger.lock:
            scope = self._ledger.scope(account_id, livemode)
            tax.enable(scope, [scope.account.country] if countries is None else countries)

    def onboard(self, url: str, *, complete: bool = True) -> str:
        """Open an account link and return the URL that the browser is sent to; not ``complete`` leaves it for later.

        That is the link's return_url, or its refresh_url if the link was used or has expired.
        """
        with self._ledger.lock:
            return walk(self._ledger, url, complete=complete)

    def create_restricted_key(
        self, account_id: str, *, livemode: bool = False, allow: Iterable[str] | None = None
    ) -> str:
        """Return a new ``rk_`` key. ``allow`` lists what it may use: ``payment_links``, or ``payment_links:read``.

        None allows all. A resource is what follows ``/v1/`` in the path: ``checkout`` for ``/v1/checkout/sessions``.
        """
        key = new_key("rk", livemode=livemode)
        allowed = None if allow is None else grants(allow)
        with self._ledger.lock:
            self._ledger.keys[key] = ApiKey(account_id, livemode, allowed=allowed)
        return key

    def expire_key(self, key: str) -> None:
        """Let requests with ``key`` fail from now on, as after a roll in the dashboard."""
        with self._ledger.lock:
            keys = self._ledger.publishable_keys if key.startswith("pk_") else self._ledger.keys
            keys[key].expired = True

    # -- what happened

    def object(self, id: str) -> Json:
        """Return a copy of any object, whatever its account and mode."""
        with self._ledger.lock:
            if id in self._ledger.accounts:
                return shape(self._ledger.accounts[id])
            if id not in self._ledger.records:
                raise LookupError(f"The simulator has no object {id!r}.")
            return snapshot(self._ledger.records[id].data)

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every request to the API and to OAuth's endpoints, oldest first; may be cleared."""
        return self._log.entries

    @property
    def events(self) -> list[Json]:
        """Every event, oldest first; those of connected accounts with ``account``, as the platform sees them."""
        with self._ledger.lock:
            return [view(emitted, through_platform=True) for emitted in self._ledger.events]

    def events_of(self, account_id: str | None) -> list[Json]:
        """Return the events of one account; None for the platform's own."""
        wanted = account_id or self.platform.id
        with self._ledger.lock:
            own = [emitted for emitted in self._ledger.events if emitted.account == wanted]
            return [view(emitted, through_platform=True) for emitted in own]

    @property
    def deliveries(self) -> list[Delivery]:
        """Every attempted delivery, oldest first."""
        return self._mail.log

    # -- webhooks and time

    def advance(self, seconds: float) -> None:
        """Move the simulator's time on: retries, expiry of codes, keys, sessions, holds. Signatures stay dated now."""
        with self._ledger.lock:
            self._ledger.clock_offset += seconds
            holds.expire_due(self._ledger)
        self.expire_sessions()

    def expire_sessions(self) -> None:
        """Expire the sessions whose time has come."""
        with self._ledger.lock:
            for record in list(self._ledger.records.values()):
                if record.kind == "checkout.session":
                    checkout.expire_if_due(self._ledger.scope_of(record), record)

    def roll_secret(self, endpoint: str, *, keep_old: float = 86_400) -> str:
        """Roll the secret of an endpoint, given by id or present secret, and return the new one.

        Deliveries carry both signatures for ``keep_old`` seconds.
        """
        with self._ledger.lock:
            return roll_secret(self._ledger, endpoint, keep_old=keep_old)

    def disable_endpoint(self, endpoint_id: str) -> None:
        """Switch a webhook endpoint off, as in the dashboard: no more deliveries and no more retries to it."""
        with self._ledger.lock:
            disable_endpoint(self._ledger, endpoint_id)

    def deliver(self, app: Flask | None = None, *, limit: int | None = None) -> list[Delivery]:
        """Try every due delivery once, through ``app``'s test client if given, otherwise by HTTP."""
        return self._mail.deliver(send_in_process(app) if app else send_by_http, limit=limit)

    def deliver_all(self, app: Flask | None = None, *, rounds: int = 10) -> list[Delivery]:
        """Deliver until nothing is pending, without waiting for the retries' time; ends after ``rounds`` tries."""
        send = send_in_process(app) if app else send_by_http
        attempts: list[Delivery] = []
        for _ in range(rounds):
            if self._mail.is_empty:
                break
            attempts += self._mail.deliver(send, early=True)
        return attempts

    # -- as a server

    def serve(
        self, port: int, host: str = "127.0.0.1", *, ready: Any = None, settle_after: float = 8.0
    ) -> None:
        """Serve until interrupted or :meth:`stop` is called; deliver, retry, and settle delayed payments meanwhile.

        :param ready: called, or set if it is an Event, once connections are accepted.
        :param settle_after: seconds until a bank debit made on the hosted page settles or fails.
        """
        self._server = Server(self, host, port, tick=lambda: self._tick(settle_after))
        self._server.run(ready)

    def stop(self) -> None:
        """Stop serving; returns once the server is asked to."""
        if self._server:
            self._server.stop()

    def _tick(self, settle_after: float) -> None:
        self.expire_sessions()
        with self._ledger.lock:
            checkout.settle_due(self._ledger, settle_after)
            holds.expire_due(self._ledger)
        self.deliver()
