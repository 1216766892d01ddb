"""The runbooks of docs/, tried as they are written: each button pressed, each command run, each sentence read.

In a section that begins with ``<!-- tried: … -->``, these mean something: open and press, with the words of a page in
bold; "enter the new key under" with a field's label; a quoted paragraph that the page must say; an indented
``flask …`` and the text block with what it prints; ``<!-- do: … -->`` for what is done at Stripe or at the desk.
"…" stands for anything.
"""

from __future__ import annotations

import base64
import html
import re
import secrets
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
import stripe
from flask import Flask

from flask_valetpro_stripe.testing import Account, Simulator
from sample_app import create_app
from sample_app.extensions import db
from sample_app.seed import seed
from sample_app.sms import ConsoleSms
from sample_app.valetpro import valetpro
from tests.hosts import Templates

DOCS = Path(__file__).parent.parent / "docs"
RUNBOOKS = ("7-runbook-rotate-a-key.md", "8-runbook-disconnect-a-tenant.md")
DESK = "https://desk.test"
ALLOWED = (
    "account:read balance:read balance_transactions:read billing_portal:read checkout customers:read events:read "
    "payment_intents payment_links payouts:read prices products refunds tax:read tokens:read webhook_endpoints"
).split()
_STEP = re.compile(
    r"<!-- (?P<does>do|gone): (?P<what>[^>]*?) -->"
    r"|(?P<verb>[Oo]pen|[Pp]ress)\s+\*\*(?P<words>[^*]+)\*\*"
    r"|[Ee]nter\s+the\s+new\s+(?P<value>key|secret)\s+under\s+\*\*(?P<label>[^*]+)\*\*"
    r"|(?P<quote>(?:^ *> .*\n)+)"
    r"|^ {4,}flask (?P<command>.*)$"
    r"|```text\n(?P<printed>[^`]*)```",
    re.MULTILINE,
)


def tried_sections() -> list[Any]:
    """Return setting and text of every section that is tried, with its heading as the test's name."""
    found = []
    for runbook in RUNBOOKS:
        for section in re.split(r"(?m)^## ", (DOCS / runbook).read_text(encoding="utf-8"))[1:]:
            for number, part in enumerate(section.split("<!-- tried: ")[1:]):
                setting, _, text = part.partition(" -->")
                name = f"{runbook[0]} {section.splitlines()[0]}{f' {number + 1}' if number else ''}"
                found.append(pytest.param(setting, text, id=name))
    return found


def seen(page: str) -> str:
    """Return what a person sees, in one line; what only a screen reader says is left out."""
    page = re.sub(r'<span class="[^"]*\b(?:vp-hidden|visually-hidden)\b[^"]*">.*?</span>', "", page, flags=re.DOTALL)
    page = re.sub(r"(?s)<(script|style|head)\b.*?</\1>|<[^>]+>", " ", page)
    return re.sub(r" ([.,;:])", r"\1", " ".join(html.unescape(page).split()))


def says(text: str, wanted: str) -> bool:
    """Return whether ``text`` says ``wanted``, where "…" is anything."""
    pattern = "(?:.*)".join(re.escape(part) for part in " ".join(wanted.split()).split("…"))
    return re.search(pattern, text) is not None


def prints(output: str, wanted: str) -> bool:
    """Return whether ``wanted`` is printed, as whole lines, and nothing more about the last of them."""
    pattern = "[^\n]*".join(re.escape(part) for part in wanted.strip("\n").rstrip(" ").split("…"))
    return re.search(rf"^{pattern}\n(?! )", output, re.MULTILINE) is not None


def attributes(tag: str) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}


class Ticket(NamedTuple):
    """Where the ticket of a parked car is, and what its guest pays by."""

    page: str
    link: str


@dataclass
class Browser:
    """Somebody of a hotel, at a page of the desk."""

    app: Flask
    email: str
    at: str = ""
    page: str = ""
    typed: dict[str, str] = field(default_factory=dict)
    #: Where the browser went beyond the desk.
    elsewhere: str = ""

    def __post_init__(self) -> None:
        self.client = self.app.test_client()
        self.visit("/login")
        self.typed = {"email": self.email, "password": "demo"}
        self.press("Sign in")

    def visit(self, path: str) -> None:
        self.at, self.page, self.typed = path, self.client.get(path, base_url=DESK).text, {}

    @property
    def card(self) -> str:
        """The card of live mode on the settings page; any other page is one card."""
        found = re.search(r'<section[^>]*id="vp-card-live".*?</section>', self.page, re.DOTALL)
        return found[0] if found else self.page

    @property
    def sees(self) -> str:
        """What is seen, but for the card of test mode, which no step is about."""
        return seen(re.sub(r'<section[^>]*id="vp-card-test".*?</section>', "", self.page, flags=re.DOTALL))

    def open(self, words: str) -> None:
        for there, text in re.findall(r'<a\b[^>]*href="([^"]*)"[^>]*>(.*?)</a>', self.page, re.DOTALL):
            if seen(text) == words:
                return self.visit(html.unescape(there))
        summaries = [seen(text) for text in re.findall(r"<summary\b[^>]*>(.*?)</summary>", self.card, re.DOTALL)]
        assert words in summaries, f"There is nothing to open: {words}. There are: {summaries}"
        return None

    def enter(self, value: str, label: str) -> None:
        labels = {
            seen(text): attributes(tag)["for"]
            for tag, text in re.findall(r"<label\b([^>]*)>(.*?)</label>", self.card, re.DOTALL)
        }
        assert label in labels, f"There is no field {label}, only: {list(labels)}"
        (tag,) = re.findall(rf'<input\b[^>]*id="{labels[label]}"[^>]*>', self.card)
        self.typed[attributes(tag)["name"]] = value

    def press(self, words: str) -> None:
        buttons = {}
        for form, inside in re.findall(r"<form\b([^>]*)>(.*?)</form>", self.card, re.DOTALL):
            for button, text in re.findall(r"<button\b([^>]*)>(.*?)</button>", inside, re.DOTALL):
                buttons[seen(text)] = (attributes(form).get("action", "/login"), attributes(button), inside)
        assert words in buttons, f"There is no button {words}, only: {list(buttons)}"
        action, button_, inside = buttons[words]
        hidden = [attributes(tag) for tag in re.findall(r'<input\b[^>]*type="hidden"[^>]*>', inside)]
        fields = {tag["name"]: tag["value"] for tag in hidden} | self.typed
        if "name" in button_:
            fields[button_["name"]] = button_["value"]
        self.typed = {}
        self._send(action, fields)

    def _send(self, action: str, fields: dict[str, str]) -> None:
        answer = self.client.post(action, data=fields, base_url=DESK)
        there = answer.headers.get("Location", "")
        if there.startswith("http") and not there.startswith(DESK):
            self.elsewhere = there
        elif there:
            self.visit(there)
        else:
            self.page = answer.text

    def come_back(self, address: str) -> None:
        parts = urlsplit(address)
        answer = self.client.get(f"{parts.path}?{parts.query}", base_url=DESK)
        self.visit(answer.headers["Location"])


@dataclass
class Night:
    """One runbook at work: the hotel's admin, the operator's terminal, and Stripe."""

    app: Flask
    simulator: Simulator
    admin: Browser
    account: Account
    key: str = ""
    new: dict[str, str] = field(default_factory=dict)
    ticket: Ticket | None = None
    printed: str = ""

    def follow(self, text: str) -> None:
        """Do what the text says, step by step."""
        steps = list(_STEP.finditer(text))
        assert steps, "Nothing in this text is a step."
        for step in steps:
            if step["does"] == "gone":
                assert not says(seen(self.admin.card), step["what"])
            elif step["does"]:
                _DONE_ELSEWHERE[step["what"]](self)
            elif step["verb"]:
                getattr(self.admin, step["verb"].lower())(" ".join(step["words"].split()))
            elif step["label"]:
                self.admin.enter(self.new[step["value"]], " ".join(step["label"].split()))
            elif step["quote"]:
                wanted = " ".join(line.strip().removeprefix("> ") for line in step["quote"].splitlines())
                assert says(self.admin.sees, wanted), f"{wanted!r} is not said by: {self.admin.sees}"
            elif step["command"]:
                self.printed = self.app.test_cli_runner().invoke(args=step["command"].split()).output
            else:
                assert prints(self.printed, textwrap.dedent(step["printed"])), self.printed

    # -- what is done at Stripe and at the desk

    def make_key(self) -> None:
        self.new["key"] = self.simulator.create_restricted_key(self.account.id, livemode=True, allow=ALLOWED)

    def delete_old_key(self) -> None:
        self.simulator.expire_key(self.key)

    def roll_secret(self) -> None:
        self.new["secret"] = self.simulator.roll_secret(self.endpoints()[0].id)

    def endpoints(self) -> list[Any]:
        client = stripe.StripeClient(
            self.account.live_secret_key,
            http_client=self.simulator.http_client(),
            base_addresses={"api": self.simulator.base_url},
        )
        return list(client.v1.webhook_endpoints.list())

    def park_a_car(self) -> None:
        self.ticket = park_a_car(self.app)

    def go_to_the_ticket(self) -> None:
        assert self.ticket is not None
        self.admin.visit(self.ticket.page)

    def receive_an_event(self) -> None:
        # Only what the new secret signs may count from here on.
        self.simulator.advance(25 * 3600)
        self.simulator.pay(park_a_car(self.app).link)
        assert {delivery.status for delivery in self.simulator.deliver_all(self.app)} == {200}

    def consent(self) -> None:
        self.admin.come_back(self.simulator.authorize(self.admin.elsewhere, self.account.id))

    def come_back(self) -> None:
        self.admin.come_back(self.simulator.onboard(self.admin.elsewhere))

    def withdraw(self) -> None:
        # Stripe's times have no fractions: an event of the second in which the account was connected is older.
        self.simulator.advance(2)
        self.simulator.disconnect(self.account.id, livemode=True)
        self.simulator.deliver_all(self.app)

    def see_that_access_is_gone(self) -> None:
        assert not self.simulator.is_connected(self.account.id, livemode=True)

    def see_that_the_endpoint_is_gone(self) -> None:
        assert self.endpoints() == []

    def go_down(self) -> None:
        self.simulator.faults.add(path="/", fault="drop_before", times=1000)


_DONE_ELSEWHERE: dict[str, Callable[[Night], None]] = {
    "make a key": Night.make_key,
    "delete the old key": Night.delete_old_key,
    "roll the secret": Night.roll_secret,
    "park a car": Night.park_a_car,
    "receive an event": Night.receive_an_event,
    "go to the ticket": Night.go_to_the_ticket,
    "consent with the same account": Night.consent,
    "come back from Stripe": Night.come_back,
    "withdraw our access at Stripe": Night.withdraw,
    "see that our access is gone": Night.see_that_access_is_gone,
    "see that the endpoint is gone": Night.see_that_the_endpoint_is_gone,
    "Stripe goes down": Night.go_down,
    "Stripe is back": lambda night: night.simulator.faults.clear(),
}


def park_a_car(app: Flask, hotel: str = "plaza") -> Ticket:
    """Return a new ticket of a hotel; its link is made."""
    clerk = Browser(app, f"admin@{hotel}.example")
    clerk.visit("/tickets/")
    form = next(each for each in re.findall(r"<form\b.*?</form>", clerk.page, re.DOTALL) if 'name="operation"' in each)
    hidden = [attributes(tag) for tag in re.findall(r'<input\b[^>]*type="hidden"[^>]*>', form)]
    guest = {"guest_name": "Ada Lovelace", "phone": "+33612345678", "plate": "AB-123-CD", "amount": "25.00"}
    fields = {tag["name"]: tag["value"] for tag in hidden} | guest
    clerk.visit(str(clerk.client.post("/tickets/", data=fields, base_url=DESK).headers["Location"]))
    (link,) = re.findall(r'<input\b[^>]*id="payment-link"[^>]*>', clerk.page)
    return Ticket(clerk.at, attributes(link)["value"])


# -- the settings in which a runbook begins


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(public_url=DESK)


@pytest.fixture
def app(sqlite_url: str, simulator: Simulator) -> Iterator[Flask]:
    app = create_app(
        {
            "TESTING": True,
            "DEMO": True,
            "PASSWORD_METHOD": "pbkdf2:sha256:1",
            # A long one: the doctor of the runbook must have nothing to say.
            "SECRET_KEY": secrets.token_hex(32),
            "SQLALCHEMY_DATABASE_URI": sqlite_url,
            "SMS": ConsoleSms(),
            "VALETPRO_STRIPE_ENCRYPTION_KEYS": [base64.b64encode(bytes(range(32))).decode()],
            **simulator.config(),
        }
    )
    app.jinja_env.bytecode_cache = Templates()
    simulator.install(app)
    with app.app_context():
        db.create_all()
        seed()
    yield app
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def connect_by_key(app: Flask, simulator: Simulator, hotel: str, name: str) -> Night:
    admin, account = Browser(app, f"admin@{hotel}.example"), simulator.create_account(name)
    night = Night(app, simulator, admin, account)
    night.make_key()
    night.key = night.new["key"]
    admin.open("Payments")
    admin.enter(night.key, "Restricted or secret key")
    admin.press("Check and save")
    return go_live(night)


def connect_by_oauth(app: Flask, simulator: Simulator, hotel: str, name: str) -> Night:
    night = Night(app, simulator, Browser(app, f"admin@{hotel}.example"), simulator.create_account(name))
    night.admin.open("Payments")
    night.admin.press("Connect with Stripe")
    night.consent()
    return go_live(night)


def connect_made(app: Flask, simulator: Simulator, hotel: str, name: str) -> Night:
    night = Night(app, simulator, Browser(app, f"admin@{hotel}.example"), simulator.platform)
    night.admin.open("Payments")
    night.admin.press("Set up an Express account")
    night.come_back()
    return go_live(night)


def go_live(night: Night) -> Night:
    night.admin.page = re.sub(r'id="vp-card-live"', 'id=""', night.admin.page)  # The switch is above the cards.
    night.admin.press("Switch to live mode")
    return night


def exchange(night: Night) -> None:
    night.make_key()
    night.admin.enter(night.new["key"], "New secret key")
    night.admin.press("Save")


_SETTINGS: dict[str, tuple[Callable[..., Night], Callable[[Night], object]]] = {
    "own keys": (connect_by_key, lambda night: None),
    "own keys, exchanged": (connect_by_key, exchange),
    "own keys, a car parked": (connect_by_key, Night.park_a_car),
    "connected by oauth": (connect_by_oauth, lambda night: None),
    "an account made here": (connect_made, lambda night: None),
}


def kept_for(app: Flask, hotel: Any) -> list[Any]:
    """Return all that is kept of a hotel's connections and secrets, its history too."""
    models = valetpro.models
    with app.app_context():
        kept: tuple[Any, ...] = (models.Connection, models.Secret, models.AuditEntry)
        tables = [model.__table__ for model in kept]
        return [db.session.execute(sa.select(table).where(table.c.tenant_id == hotel)).all() for table in tables]


@pytest.mark.parametrize(("setting", "text"), tried_sections())
def test_runbook_leads_where_it_says(app: Flask, simulator: Simulator, setting: str, text: str) -> None:
    connect, prepare = _SETTINGS[setting]
    night = connect(app, simulator, "plaza", "Plaza Hotel SAS")
    connect(app, simulator, "seaside", "Seaside Resort")
    prepare(night)
    neighbour = kept_for(app, 2)

    night.follow(text)

    simulator.faults.clear()
    assert kept_for(app, 2) == neighbour
    park_a_car(app, "seaside")


def test_every_section_with_steps_is_tried() -> None:
    texts = [(DOCS / runbook).read_text(encoding="utf-8") for runbook in RUNBOOKS]
    sections = [section for text in texts for section in re.split(r"(?m)^## ", text)[1:]]
    with_steps = [section for section in sections if re.search(r"(?m)^1\. |^ {4,}flask ", section)]

    assert len(with_steps) >= 10
    assert [section.splitlines()[0] for section in with_steps if "<!-- tried: " not in section] == []


# -- what the page says when a key is refused


def refusals() -> list[str]:
    """Return the sentences of the runbook's table of refusals, in its order."""
    (table,) = re.findall(r"<!-- refusals -->\n((?:\|.*\n)+)", (DOCS / RUNBOOKS[0]).read_text(encoding="utf-8"))
    return [row.split("|")[1].strip() for row in table.splitlines()[2:]]


def allowed_without(night: Night, resource: str) -> str:
    allowed = [word for word in ALLOWED if word.partition(":")[0] != resource]
    return night.simulator.create_restricted_key(night.account.id, livemode=True, allow=allowed)


#: Of the right form, and of nobody; not in one piece, so that nothing here reads as a live key.
_NOBODYS = "rk_" + "live_nobodyHasThisKey"
#: What is entered to get each refusal, in the table's order.
_WRONG: tuple[Callable[[Night], str], ...] = (
    lambda night: night.account.test_secret_key,
    lambda night: night.account.live_publishable_key,
    lambda night: "rk_live_51Ab••••••••42",
    lambda night: allowed_without(night, "payment_links"),
    lambda night: allowed_without(night, "payouts"),
    lambda night: night.simulator.create_account("Hotel Riviera").live_secret_key,
    lambda night: _NOBODYS,
)


def test_refusals_are_the_ones_of_the_runbook_and_change_nothing(app: Flask, simulator: Simulator) -> None:
    night = connect_by_key(app, simulator, "plaza", "Plaza Hotel SAS")
    *told, too_many = refusals()
    connections, stored, _ = kept_for(app, 1)

    for sentence, wrong in zip(told, _WRONG, strict=True):
        night.admin.open("Payments")
        night.admin.enter(wrong(night), "New secret key")
        night.admin.press("Save")
        assert says(seen(night.admin.card), sentence), seen(night.admin.card)
        assert kept_for(app, 1)[:2] == [connections, stored]
    for _ in range(10):
        night.admin.enter(_NOBODYS, "New secret key")
        night.admin.press("Save")
    assert says(seen(night.admin.card), too_many)
