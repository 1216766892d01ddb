"""The hosted pages of an account's owner: onboarding, and the Express dashboard's door."""

from werkzeug import Request, Response
from werkzeug.utils import redirect

from .ledger import Ledger, Record
from .onboarding import find_onboarding, finish, is_open, visit
from .rendering import render

# What Stripe calls it, and what its page says.
_SPOKEN = {
    "business_profile.url": "The address of your website",
    "external_account": "A bank account for your payouts",
    "tos_acceptance.date": "Your consent to Stripe's terms of service",
}


class SetupPages:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, request: Request) -> Response:
        with self._ledger.lock:
            if request.path.startswith("/express/"):
                return self._dashboard(request.path.rsplit("/", 1)[-1])
            link = find_onboarding(self._ledger, request.path)
            if link is None:
                text = "The page you were looking for could not be found. Please check the URL."
                return render("message.html", 404, title="Something went wrong", text=text)
            return self._decided(request, link) if request.method == "POST" else self._opened(link)

    def _opened(self, link: Record) -> Response:
        if not visit(self._ledger, link):
            return redirect(link.private["refresh_url"], 303)
        account = self._ledger.accounts[link.private["account"]]
        return render(
            "onboarding.html",
            account=account,
            wanted=[_SPOKEN.get(name, name) for name in account.currently_due],
            platform=self._ledger.accounts[self._ledger.platform_id].name,
            mode="live" if link.livemode else "test",
        )

    def _decided(self, request: Request, link: Record) -> Response:
        if not is_open(self._ledger, link):
            return redirect(link.private["refresh_url"], 303)
        complete = request.form.get("decision") == "finish"
        return redirect(finish(self._ledger, link, complete=complete), 303)

    def _dashboard(self, name: str) -> Response:
        door = self._ledger.records.get(name)
        if door is None or door.kind != "express_login":
            return render("message.html", 404, title="Something went wrong", text="This link can't be used.")
        account = self._ledger.accounts[door.private["account"]]
        text = "This is where Stripe shows the account's payments and payouts."
        return render("message.html", 200, title=account.name, text=text)
