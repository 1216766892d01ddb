"""The hosted pages: where a guest pays, authenticates, and reads the receipt."""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from werkzeug import Request, Response
from werkzeug.utils import redirect

from . import checkout, intents
from .addresses import with_query
from .cards import BANK_DEBIT, BANK_DEBIT_FAILS, VISA, from_number
from .errors import ApiError, LinkInactive
from .ledger import Json, Ledger, Record
from .methods import make_method
from .rendering import render

_FIELDS = ("email", "method", "number", "expiry", "cvc", "iban")
_EMAIL = re.compile(r"^[^@\s]+@[^@\s.]+\.[^@\s]+$")
_EXPIRY = re.compile(r"^(0[1-9]|1[0-2])\s*/\s*(\d{2}|\d{4})$")
_CVC = re.compile(r"^\d{3,4}$")

TEST_CARDS = (
    ("Succeeds", VISA),
    ("Asks for 3-D Secure", "4000002500003155"),
    ("Declined", "4000000000000002"),
    ("Insufficient funds", "4000000000009995"),
    ("Succeeds, then disputed", "4000000000000259"),
)
TEST_IBANS = (("Settles later", BANK_DEBIT), ("Fails later", BANK_DEBIT_FAILS))


@dataclass(frozen=True)
class Form:
    """What the guest typed."""

    email: str = ""
    method: str = "card"
    number: str = ""
    expiry: str = ""
    cvc: str = ""
    iban: str = ""

    def mistakes(self, year_now: int) -> dict[str, str]:
        """Return a sentence for each field that can't be right."""
        found: dict[str, str] = {}
        if not _EMAIL.match(self.email):
            found["email"] = "Enter your e-mail address."
        if self.method == "bank_debit":
            if from_number(self.iban).outcome == "incorrect_number" or not self.iban[:2].isalpha():
                found["iban"] = "This IBAN is invalid. Use one of the test IBANs."
            return found
        if from_number(self.number).outcome == "incorrect_number":
            found["number"] = "Your card number is invalid."
        expiry = _EXPIRY.match(self.expiry)
        if not expiry:
            found["expiry"] = "Enter the expiry date as MM / YY."
        elif int(expiry[2]) % 100 < year_now % 100:
            found["expiry"] = "Your card's expiry year is in the past."
        if not _CVC.match(self.cvc):
            found["cvc"] = "Enter the security code."
        return found

    @property
    def instrument(self) -> str:
        return self.iban if self.method == "bank_debit" else self.number


class Pages:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, request: Request) -> Response:
        head, _, rest = request.path.lstrip("/").partition("/")
        with self._ledger.lock:
            if head == "pay":
                return self._link(rest)
            if head == "c" and rest.startswith("pay/"):
                return self._session(request, rest.removeprefix("pay/"))
            if head == "authenticate":
                return self._challenge(request, rest)
            if head == "receipts":
                return self._receipt(rest)
        return _not_found()

    def _link(self, slug: str) -> Response:
        link = find_link(self._ledger, slug)
        if link is None:
            return _not_found()
        try:
            session = checkout.visit(self._ledger.scope_of(link), link)
        except LinkInactive as error:
            return self._inactive(link, str(error))
        return redirect(session.data["url"], 303)

    def _inactive(self, record: Record, text: str) -> Response:
        return render("message.html", 200, title=self._ledger.accounts[record.account].name, text=text)

    def _session(self, request: Request, rest: str) -> Response:
        id, _, action = rest.partition("/")
        session = self._ledger.records.get(id)
        if session is None or session.kind != "checkout.session":
            return _not_found()
        if session.data["status"] == "complete":
            return self._done(session)
        try:
            checkout.require_payable(self._ledger.scope_of(session), session)
            if action == "authenticate":
                return self._authenticate(request, session)
            return self._pay(request, session) if request.method == "POST" else self._form(session, _prefilled(request))
        except LinkInactive as error:
            return self._inactive(session, str(error))

    def _form(
        self, session: Record, form: Form, *, mistakes: dict[str, str] | None = None, declined: str | None = None
    ) -> Response:
        items: list[Json] = session.private["items"]
        return render(
            "checkout.html",
            422 if mistakes or declined else 200,
            session=session.data,
            merchant=self._ledger.accounts[session.account].name,
            items=items,
            description=(session.private["intent_data"] or {}).get("description"),
            form=form,
            mistakes=dict.fromkeys(_FIELDS) | (mistakes or {}),
            declined=declined,
            cards=TEST_CARDS,
            ibans=TEST_IBANS,
            livemode=session.livemode,
        )

    def _pay(self, request: Request, session: Record) -> Response:
        form = _posted(request)
        scope = self._ledger.scope_of(session)
        mistakes = form.mistakes(1970 + scope.now() // 31_556_952)
        if mistakes:
            return self._form(session, form, mistakes=mistakes)
        method = make_method(scope, from_number(form.instrument), billing={"email": form.email})
        try:
            checkout.pay(scope, session, method, email=form.email)
        except ApiError as error:
            return self._form(session, form, declined=str(error))
        if session.data["status"] == "open":
            return redirect(f"{session.data['url']}/authenticate", 303)
        return self._done(session)

    def _authenticate(self, request: Request, session: Record) -> Response:
        if request.method == "GET":
            merchant = self._ledger.accounts[session.account].name
            amount, currency = session.data["amount_total"], session.data["currency"]
            return render("authenticate.html", amount=amount, currency=currency, merchant=merchant)
        try:
            passed = request.form.get("decision") == "complete"
            checkout.authenticate(self._ledger.scope_of(session), session, passed=passed)
        except ApiError:
            text = "We are unable to authenticate your payment method. Please choose a different one and try again."
            return self._form(session, Form(), declined=text)
        return self._done(session)

    def _challenge(self, request: Request, client_secret: str) -> Response:
        """The 3-D Secure page of an intent that was confirmed through the API."""
        intent = self._ledger.records.get(client_secret.partition("_secret_")[0])
        if intent is None or intent.data.get("client_secret") != client_secret:
            return _not_found()
        if intent.data["status"] != "requires_action":
            return self._inactive(intent, "There is nothing to authenticate.")
        if request.method == "GET":
            merchant = self._ledger.accounts[intent.account].name
            amount, currency = intent.data["amount"], intent.data["currency"]
            return render("authenticate.html", amount=amount, currency=currency, merchant=merchant)
        passed = request.form.get("decision") == "complete"
        with suppress(ApiError):
            intents.authenticate(self._ledger.scope_of(intent), intent, passed=passed)
        if not intent.private["return_url"]:
            return self._inactive(intent, "You can close this page.")
        answer = {"payment_intent": intent.data["id"], "redirect_status": "succeeded" if passed else "failed"}
        return redirect(with_query(intent.private["return_url"], answer), 303)

    def _done(self, session: Record) -> Response:
        url = checkout.return_url(session.data)
        if url:
            return redirect(url, 303)
        return render(
            "paid.html",
            session=session.data,
            merchant=self._ledger.accounts[session.account].name,
            message=self._confirmation(session),
            livemode=session.livemode,
        )

    def _confirmation(self, session: Record) -> str | None:
        if not session.data["payment_link"]:
            return None
        link = self._ledger.records[session.data["payment_link"]]
        message: Any = link.data["after_completion"]["hosted_confirmation"]["custom_message"]
        return str(message) if message else None

    def _receipt(self, id: str) -> Response:
        charge = self._ledger.records.get(id)
        if charge is None or charge.kind != "charge" or not charge.data["paid"]:
            return render("message.html", 404, title="No receipt", text="There is no receipt at this address.")
        merchant = self._ledger.accounts[charge.account].name
        details = charge.data["payment_method_details"]
        facts = details[details["type"]]
        with_what = f"{facts.get('brand', 'bank account').title()} ending in {facts['last4']}"
        return render(
            "receipt.html", charge=charge.data, merchant=merchant, with_what=with_what, livemode=charge.livemode
        )


def _not_found() -> Response:
    text = "The page you were looking for could not be found. Please check the URL."
    return render("message.html", 404, title="Something went wrong", text=text)


def _prefilled(request: Request) -> Form:
    """Return the form as the test card links fill it."""
    iban = request.args.get("iban", "")
    if iban or request.args.get("method") == "bank_debit":
        return Form(email="guest@example.com" if iban else "", method="bank_debit", iban=iban)
    number = request.args.get("card", "")
    if not number:
        return Form()
    return Form(email="guest@example.com", number=number, expiry="12 / 34", cvc="123")


def _posted(request: Request) -> Form:
    return Form(**{name: request.form.get(name, "").strip() for name in _FIELDS})


def find_link(ledger: Ledger, slug: str) -> Record | None:
    """Return the payment link with this id or this end of its URL."""
    return ledger.slugs.get(slug) or ledger.records.get(slug)
