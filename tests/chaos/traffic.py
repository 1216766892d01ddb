"""What Stripe has to tell about the payments of four hotels, and a sender that does not give up."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

from flask_valetpro_stripe import AccountType, Mode, custody
from flask_valetpro_stripe.enums import CollectedVia
from flask_valetpro_stripe.testing import make_event, sign
from tests import timing
from tests.raw_keys.owner import Owner
from tests.webhooks.objects import charge, intent, refund, session
from tests.webhooks.stage import URL, Stage

#: Seconds after which an event that was still not taken counts as refused. Stripe tries for days.
PATIENCE = timing.seconds(120)


@dataclass(frozen=True)
class Letter:
    """One event, with the address that it goes to and the secret that signs it."""

    event_id: str
    path: str
    body: bytes
    secret: str


class End(NamedTuple):
    """How a payment stands when all is told: its word, how much was given back, and by how many refunds."""

    status: str
    amount_refunded: int
    refunds: int


@dataclass(frozen=True)
class Story:
    """The events of one payment, by its reference, which Stripe sends one after the other; or one other event."""

    letters: Sequence[Letter]
    payment: str | None = None
    end: End | None = None


@dataclass(frozen=True)
class Hotel:
    """A tenant, and how its events come."""

    tenant_id: Any
    connection_id: int
    account_id: str | None
    path: str
    secret: str

    def letter(self, event_type: str, thing: dict[str, Any]) -> Letter:
        """Return one event about a thing at Stripe."""
        # An endpoint in an account of its own speaks about no other, and names none.
        event = make_event(event_type, thing, account=self.account_id if self.path == URL else None)
        return Letter(event["id"], self.path, json.dumps(event).encode(), self.secret)


def hotels(stage: Stage) -> list[Hotel]:
    """Return two with connected accounts, one that the platform collects for, and one with keys of its own."""
    managed, own = stage.host.make_tenant("Managed"), Owner.of(stage.host, "Own Keys")
    stage.host.connect(managed, None, account_type=AccountType.PLATFORM)
    own.connect()
    found = []
    for connection in stage.rows("Connection"):
        is_own = connection.tenant_id == own.tenant.id
        path = own.path() if is_own else URL
        secret = own.in_use(custody.WEBHOOK_SECRET) if is_own else stage.secret(connect=bool(connection.account_id))
        found.append(Hotel(connection.tenant_id, connection.id, connection.account_id, path, secret))
    return found


def make_stories(stage: Stage, count: int) -> list[Story]:
    """Return so many events: most about payments, some of which are given back, and some about nothing of ours."""
    found, stories, payments, left = hotels(stage), list[Story](), list[Any](), count
    while left > count // 5:
        number = len(stories)
        hotel, given_back = found[number % len(found)], [0, 500, 0, 2500][number // len(found) % 4]
        payments.append(_payment(stage, hotel, number))
        stories.append(_story(hotel, payments[-1], given_back))
        left -= len(stories[-1].letters)
    with stage.host.app.app_context():
        stage.host.db.session.add_all(payments)
        stage.host.db.session.commit()
    plain = [{"id": f"cus_{number}", "object": "customer"} for number in range(left)]
    return stories + [Story([found[n % len(found)].letter("customer.created", thing)]) for n, thing in enumerate(plain)]


def _payment(stage: Stage, hotel: Hotel, number: int) -> Any:
    """Return a payment as it is once its session was made."""
    return stage.host.Payment(
        tenant_id=hotel.tenant_id,
        connection_id=hotel.connection_id,
        stripe_account_id=hotel.account_id,
        collected_via=CollectedVia.TENANT if hotel.account_id else CollectedVia.PLATFORM,
        mode=Mode.test,
        amount=2500,
        currency="eur",
        description="Valet parking",
        reference=str(number),
        stripe_checkout_session_id=f"cs_{number}",
        stripe_payment_intent_id=f"pi_{number}",
    )


def _story(hotel: Hotel, payment: Any, given_back: int) -> Story:
    """Let a guest pay, and the hotel give some of it back in its dashboard."""
    intent_id, charge_id = payment.stripe_payment_intent_id, f"ch_{payment.reference}"
    paid = charge(payment, None, id=charge_id, payment_intent=intent_id)
    session_id = payment.stripe_checkout_session_id
    happened = [
        ("payment_intent.succeeded", intent(payment, "", id=intent_id, latest_charge=charge_id)),
        ("charge.succeeded", paid),
        ("checkout.session.completed", session(payment, id=session_id, payment_intent=intent_id)),
    ]
    if given_back:
        given = refund(payment, id=f"re_{payment.reference}", amount=given_back, charge=charge_id)
        happened += [
            ("refund.created", given | {"status": "pending"}),
            ("refund.updated", given),
            ("charge.refunded", paid | {"amount_refunded": given_back}),
        ]
    status = {0: "COMPLETED", payment.amount: "REFUNDED"}.get(given_back, "PARTIALLY_REFUNDED")
    end = End(status, given_back, refunds=int(given_back > 0))
    return Story([hotel.letter(*each) for each in happened], payment.reference, end)


@dataclass(frozen=True)
class Answer:
    """What one attempt to deliver an event came to, and when; None is a line that was cut before the answer."""

    event_id: str
    status: int | None
    began: float
    ended: float

    @property
    def is_taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass
class Sender:
    """Delivers at least once: again until a 2xx comes, sometimes twice at once, sometimes again though it was taken."""

    port: int
    dice: random.Random
    #: Is called when an event is taken for the first time, with how many were before it.
    on_taken: Callable[[int], object] = lambda _: None
    answers: list[Answer] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, stories: Sequence[Story], *, threads: int = 8) -> None:
        """Deliver all of them, so many at once; those of one story in turn."""
        mixed = self.dice.sample(stories, len(stories))
        with ThreadPoolExecutor(threads) as tellers, ThreadPoolExecutor(threads) as twins:
            list(tellers.map(lambda story: self._tell(story, twins), mixed))

    @property
    def figures(self) -> dict[str, int]:
        """How often which answer came."""
        return dict(Counter(str(answer.status or "none") for answer in self.answers).most_common())

    def _tell(self, story: Story, twins: ThreadPoolExecutor) -> None:
        for letter in story.letters:
            chance = self.dice.random()
            twin = twins.submit(self.deliver, letter) if chance < 0.1 else None
            self.deliver(letter)
            if chance > 0.9:
                self.deliver(letter)
            if twin is not None:
                twin.result()

    def deliver(self, letter: Letter) -> None:
        """Deliver one event until it is taken, with a fresh signature each time."""
        until, pause = time.monotonic() + PATIENCE, 0.02
        while not (answer := self._post(letter)).is_taken:
            if time.monotonic() > until:
                self.broken.append(f"{letter.event_id} was refused for {PATIENCE:.0f} s, at last with {answer.status}.")
                return
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 0.5)
        with self._lock:
            is_first, before = letter.event_id not in self.taken, len(self.taken)
            self.taken.add(letter.event_id)
        if is_first:
            self.on_taken(before)

    def _post(self, letter: Letter) -> Answer:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign(letter.body, letter.secret),
            "Connection": "close",
        }
        began, status = time.monotonic(), None
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timing.seconds(30))
        try:
            connection.request("POST", letter.path, letter.body, headers)
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        answer = Answer(letter.event_id, status, began, time.monotonic())
        self.answers.append(answer)
        return answer
