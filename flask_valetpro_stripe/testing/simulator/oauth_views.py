"""Connect's web surface: the consent page and the two OAuth endpoints."""

import json
from collections.abc import Callable

from werkzeug import Request, Response
from werkzeug.utils import redirect

from . import forms
from .accounts import Account, ApiKey
from .auth import bearer
from .connect import AuthorizeRequest, Connect, OAuthError, unknown_key
from .faults import DROP_AFTER, DROP_BEFORE, SERVER_ERROR, SERVER_ERROR_AFTER, Faults, dropped
from .ledger import Json, Ledger
from .rendering import render
from .requestlog import RequestLog

Answer = Callable[[ApiKey, Json], Json]


class OAuthViews:
    def __init__(self, ledger: Ledger, connect: Connect, faults: Faults, log: RequestLog) -> None:
        self._ledger = ledger
        self._connect = connect
        self._faults = faults
        self._log = log

    def __call__(self, request: Request) -> Response:
        place = (request.method, request.path)
        if place == ("POST", "/oauth/token"):
            return self._endpoint(request, self._connect.token)
        if place == ("POST", "/oauth/deauthorize"):
            return self._endpoint(request, self._connect.deauthorize)
        if request.path == "/oauth/authorize" and request.method in ("GET", "POST"):
            return self._authorize(request)
        return render("message.html", 404, title="Not found", text="There is nothing at this address.")

    def _authorize(self, request: Request) -> Response:
        with self._ledger.lock:
            try:
                asked = self._connect.read_request(request.args.to_dict())
            except OAuthError as error:
                text = str(error.body["error_description"])
                return render("message.html", 400, title="This link can't be used", text=text)
            if request.method == "POST":
                return self._decided(request, asked)
            return self._ask(asked, request.args.get("stripe_user[business_name]", ""))

    def _ask(self, asked: AuthorizeRequest, suggested: str) -> Response:
        platform = self._connect.platform.id
        accounts = [a for a in self._ledger.accounts.values() if a.id != platform and not a.made_through]
        return render(
            "authorize.html",
            platform=self._connect.platform.name,
            accounts=accounts,
            mode="live" if asked.livemode else "test",
            read_write=asked.scope == "read_write",
            chosen=accounts[0].id if accounts and not suggested else "new",
            suggested=suggested,
        )

    def _decided(self, request: Request, asked: AuthorizeRequest) -> Response:
        if request.form.get("decision") != "approve":
            return redirect(self._connect.deny(asked), 302)
        account_id = request.form.get("account", "new")
        if account_id == "new":
            account_id = open_demo_account(self._ledger, request.form.get("name", "")).id
        if account_id not in self._ledger.accounts:
            return render("message.html", 400, title="No such account", text="Go back and pick another account.")
        return redirect(self._connect.approve(asked, account_id), 302)

    def _endpoint(self, request: Request, answer: Answer) -> Response:
        fault = self._faults.take(request.method, request.path, None)
        kind = fault.kind if fault else None
        if kind == DROP_BEFORE.kind:
            self._record(request, {}, 0, {})
            raise dropped(DROP_BEFORE)
        params = forms.decode(request.get_data(as_text=True))
        status, body = _REFUSED[kind] if kind in _REFUSED else self._answer(request, params, answer)
        if kind == SERVER_ERROR_AFTER.kind:
            status, body = _REFUSED[SERVER_ERROR.kind]
        self._record(request, params, status, body)
        if kind == DROP_AFTER.kind:
            raise dropped(DROP_AFTER)
        return Response(json.dumps(body, indent=2), status, content_type="application/json")

    def _answer(self, request: Request, params: Json, answer: Answer) -> tuple[int, Json]:
        with self._ledger.lock:
            try:
                return 200, answer(self._key(request, params), params)
            except OAuthError as error:
                return error.status, error.body

    def _key(self, request: Request, params: Json) -> ApiKey:
        given = bearer(request) or params.get("client_secret")
        key = self._ledger.keys.get(given or "")
        if key is None:
            raise unknown_key(given)
        return key

    def _record(self, request: Request, params: Json, status: int, body: Json) -> None:
        given = bearer(request) or params.get("client_secret")
        key = self._ledger.keys.get(given or "")
        query = request.args.to_dict()
        livemode = key.livemode if key else None
        self._log.add(
            request, query=query, params=params, status=status, response=body, api_key=given, livemode=livemode
        )


_REFUSED: dict[str | None, tuple[int, Json]] = {
    "server_error": (500, {"error": {"type": "api_error", "message": "An unknown error occurred."}}),
    "rate_limit": (429, {"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "Too many."}}),
}


def open_demo_account(ledger: Ledger, name: str) -> Account:
    """Open a new account as somebody does who meets Stripe for the first time."""
    return ledger.open_account(Account(name=name.strip()[:60] or "Demo account"))
