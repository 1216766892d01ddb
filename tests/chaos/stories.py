"""Whole lives of one payment at the simulator, twelve events each that we handle, and how Stripe says that it ended."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest
import stripe

from flask_valetpro_stripe.handlers import HANDLERS
from flask_valetpro_stripe.testing import CardDeclined
from tests.webhooks.stage import PLAZA, SEASIDE, Stage

EVENTS = 12
DECLINED, REFUNDED_LATER = "4000000000000002", "4000000000007726"
_ID: Final = re.compile(r"\b(?:cs_test|ch|pi|plink|re)_[A-Za-z0-9]+")
_KINDS: Final = ("checkout.session", "payment_intent", "charge", "refund")


@dataclass(frozen=True)
class Story:
    """A payment, the account that took it, what Stripe told about it, and what Stripe has of it in the end."""

    account: str
    payment_id: Any
    events: list[dict[str, Any]]
    end: dict[str, Any]


class Hand:
    """What guests, banks and a hotel do about one payment."""

    def __init__(self, stage: Stage, account: str, link: str) -> None:
        self.simulator = stage.simulator
        self.link = link
        self._client = stripe.StripeClient(
            stage.simulator.platform.test_secret_key,
            stripe_account=account,
            http_client=stage.simulator.http_client(),
            base_addresses={"api": stage.simulator.base_url},
        )

    def decline(self) -> str:
        """Let a guest try a card that is declined; return the session, which stays open."""
        with pytest.raises(CardDeclined) as declined:
            self.simulator.pay(self.link, card=DECLINED)
        return str(declined.value.session["id"])

    def refund(self, session: Mapping[str, Any], amount: int) -> str:
        """Give money back as the hotel does in Stripe's dashboard; return the refund's id."""
        asked: Any = {"payment_intent": session["payment_intent"], "amount": amount}
        return str(self._client.v1.refunds.create(asked).id)


def a_card_after_another_guests(hand: Hand) -> None:
    """One guest's card is declined, another guest pays. Of three refunds the first fails; the others are equal."""
    hand.decline()
    session = hand.simulator.pay(hand.link)
    lost = hand.refund(session, 1000)
    hand.refund(session, 500)
    hand.simulator.settle(lost, succeeded=False)
    # Stripe's sum is 1000 again, as it was when it was that of the refund that failed.
    hand.refund(session, 500)


def a_bank_debit_after_a_card(hand: Hand) -> None:
    """A guest's card is declined, and then the guest pays by bank debit. Of two refunds the first fails."""
    session = hand.simulator.pay(hand.decline(), card="bank_debit")
    hand.simulator.settle(session["id"])
    lost = hand.refund(session, 1000)
    hand.refund(session, 700)
    hand.simulator.settle(lost, succeeded=False)


def refunds_that_take_days(hand: Hand) -> None:
    """The bank of the guest's card takes days for each refund, and one that was done comes back."""
    hand.decline()
    session = hand.simulator.pay(hand.link, card=REFUNDED_LATER)
    kept, lost = hand.refund(session, 500), hand.refund(session, 2000)
    for refund in (lost, kept):
        hand.simulator.settle(refund)
    hand.simulator.settle(lost, succeeded=False)


Play = Callable[[Hand], None]
PLAYS: Final[Sequence[Play]] = (a_card_after_another_guests, a_bank_debit_after_a_card, refunds_that_take_days)


def tell_twins(stage: Stage, play: Play) -> list[Story]:
    """Return one story at two hotels, each on its own account, whose objects are called alike; none is delivered.

    At Stripe no two are: it is what a hotel might sign that has another hotel's ids.
    """
    first = _tell_story(stage, stage.plaza, PLAZA, play, amount=2500)
    other = _tell_story(stage, stage.seaside, SEASIDE, play, amount=3000)
    ours, theirs = ([*_ID.findall(json.dumps(story.events)), _link_of(stage, story)] for story in (first, other))
    alike = dict(zip(theirs, ours, strict=True))
    stage.host.state.http_client = _Alike(stage.host.state.http_client, SEASIDE, alike)
    with stage.host.app.app_context():
        row = stage.host.db.session.get_one(stage.host.Payment, other.payment_id)
        row.stripe_payment_link_id = alike[row.stripe_payment_link_id]
        stage.host.db.session.commit()
    return [first, _call(other, alike)]


def _link_of(stage: Stage, story: Story) -> str:
    with stage.host.app.app_context():
        row = stage.host.db.session.get_one(stage.host.Payment, story.payment_id)
        return str(row.stripe_payment_link_id)


def _tell_story(stage: Stage, tenant: Any, account: str, play: Play, *, amount: int) -> Story:
    payment = stage.make_payment(tenant, amount=amount)
    with stage.events_while(account) as happening:
        play(Hand(stage, account, payment.stripe_payment_link_url))
    events = [event for event in happening.made if event["type"] in HANDLERS]
    assert len(events) == EVENTS
    return Story(account, payment.id, events, _end_at_stripe(stage, events))


def _end_at_stripe(stage: Stage, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what Stripe has in the end of a payment that was paid, by the names of our columns."""
    things = [stage.simulator.object(id_) for id_ in {event["data"]["object"]["id"] for event in events}]
    (session,) = (thing for thing in things if thing["object"] == "checkout.session")
    intent = stage.simulator.object(session["payment_intent"])
    charge = stage.simulator.object(intent["latest_charge"])
    assert (intent["status"], session["payment_status"], charge["refunded"]) == ("succeeded", "paid", False)
    return {
        "status": "PARTIALLY_REFUNDED" if charge["amount_refunded"] else "COMPLETED",
        "amount": intent["amount_received"],
        "currency": intent["currency"],
        "amount_refunded": charge["amount_refunded"],
        "stripe_checkout_session_id": session["id"],
        "stripe_payment_intent_id": intent["id"],
        "stripe_charge_id": charge["id"],
        "receipt_url": charge["receipt_url"],
        "refunds": sorted(
            [thing["id"], thing["amount"], thing["currency"], thing["status"], thing["reason"]]
            for thing in things
            if thing["object"] == "refund"
        ),
    }


def _call(story: Story, named: Mapping[str, str]) -> Story:
    """Return the story with other ids in it."""
    events, end = json.loads(_renamed(json.dumps([story.events, story.end]), named))
    return Story(story.account, story.payment_id, events, {**end, "refunds": sorted(end["refunds"])})


def _renamed(text: str, named: Mapping[str, str]) -> str:
    return _ID.sub(lambda found: named.get(found[0], found[0]), text)


class _Alike(stripe.HTTPClient):
    """The way to Stripe, on which the objects of one account are called as those of another."""

    name = "alike"

    def __init__(self, inner: stripe.HTTPClient, account: str, named: Mapping[str, str]) -> None:
        super().__init__()
        self._inner, self._account = inner, account
        self._named, self._real = named, {said: real for real, said in named.items()}

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **_: Any) -> Any:
        if headers.get("Stripe-Account") != self._account:
            return self._inner.request(method, url, headers, post_data)
        body, status, answered = self._inner.request(method, _renamed(url, self._real), headers, post_data)
        return _renamed(body, self._named), status, answered

    def close(self) -> None:
        pass
