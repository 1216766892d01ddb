"""Any story of hosts, guests, banks, lost answers and late webhooks: Stripe's ledger and our rows end alike."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from . import sizes
from .money_books import WITH_MONEY, Ours, Stripes
from .money_stage import METHODS, Hotel, MoneyStage, make_money_stage
from .telling import ROUND, tell

T = TypeVar("T")
#: Which of several: the story's next act is about one of those that are there by then.
ANY: Final = st.integers(0, 999)
HOTEL: Final = st.sampled_from(["plaza", "seaside"])
WAY: Final = st.sampled_from(["link", "session", "intent"])
AMOUNT: Final = st.sampled_from([1000, 2500, 9999])
#: Small ones, equal ones, some that are too large; None is all that is left.
PART: Final = st.sampled_from([None, None, 1, 333, 500, 500, 1000, 9999])
CARD: Final = st.sampled_from([*METHODS, "4242424242424242", "4242424242424242", "bank_debit", "4000002500003155"])
KINDS: Final = """
    drop_before drop_after drop_after server_error server_error_after rate_limit lock_timeout idempotency_key_in_use
""".split()
#: The SDK tries three times, so that three are an answer that is not got; fewer are one that is late.
FAULT: Final = st.none() | st.none() | st.tuples(
    st.sampled_from(KINDS), st.sampled_from(["/v1/", "/v1/", "/v1/checkout", "/v1/payment_intents"]), st.integers(1, 4)
)
Fault = tuple[str, str, int] | None
WAITS: Final = [timedelta(minutes=2), timedelta(hours=1), timedelta(hours=23), timedelta(hours=26), timedelta(days=8)]
#: So many acts are worth a quiet point, which takes as long as ten of them.
BUSY: Final = 6
A_DAY: Final = timedelta(hours=26)
#: What must really have happened in a run that is not a small one.
WANTED: Final = """
    make link: done, make session: done, make intent: done, make link: unknown, make session: unknown, make intent:
    unknown, make again, pay: paid, pay: unpaid, pay: declined, pay: closed, bank pays, bank refuses, capture: done,
    capture: unknown, capture: not_held, cancel: done, cancel: unknown, refund: done, refund: unknown, refund:
    not_paid, refund: refund_too_large, refund: charge_already_refunded, refund: charge_disputed, refund again,
    refund at Stripe, capture at Stripe, cancel at Stripe, refund settles, refund fails, dispute, inquiry, dispute:
    won, dispute: lost, dispute: warning_closed, escalate, sync, deliver, deliver again, wait, finish: done, finish:
    never made, finish: unknown, rest
"""


def pick(things: Iterable[T], any_: int) -> T:
    found = list(things)
    return found[any_ % len(found)]


class Story(RuleBasedStateMachine):
    """Each rule is an act of somebody; after each, nothing may be wrong that is never right, and at rest, nothing."""

    def __init__(self, stage: MoneyStage, ran: Counter[str]) -> None:
        super().__init__()
        self.stage, self.ran = stage, ran
        self.books = stage.begin()
        #: What the host asked for, by its key: to ask again, with the same.
        self.asked: list[tuple[Hotel, str, dict[str, Any]]] = []
        self.refunds: dict[str, tuple[Any, int | None]] = {}
        self.refund_of: dict[str, Any] = {}
        #: Payments that the host has tried to cancel, and was told that it may not have worked.
        self.to_cancel: set[Any] = set()
        self.seen: Ours = self.books.ours()
        #: How many acts there were since the last quiet point.
        self.moved = 0
        #: Whose act this was; None if it was everybody's, as time is.
        self.actor: Hotel | None = None

    def note(self, act: str) -> None:
        self.ran[act] += 1
        self.moved += 1

    def hotel_of(self, row: Any) -> Hotel:
        self.actor = next(each for each in self.stage.hotels.values() if each.desk.tenant.id == row.tenant_id)
        return self.actor

    def payments(self, *statuses: str) -> list[Any]:
        return [row for row in self.seen.payments.values() if not statuses or row.status in statuses]

    def at_stripe(self, kind: str, *statuses: str) -> list[tuple[Hotel, dict[str, Any]]]:
        """Return the objects of a kind that are in one of these states, with whose they are."""
        return [
            (hotel, each)
            for hotel in self.stage.hotels.values()
            for each in Stripes(hotel.desk).of_kind(kind)
            if each["status"] in statuses
        ]

    # -- the host

    @initialize(
        made=st.lists(st.tuples(HOTEL, WAY, AMOUNT, st.booleans(), CARD, st.booleans()), min_size=2, max_size=4)
    )
    def begin(self, made: list[tuple[str, str, int, bool, str, bool]]) -> None:
        """Some guests have paid, or tried to; of some of them the host has heard."""
        for number, (hotel, way, amount, is_deposit, card, is_known) in enumerate(made):
            self.make(hotel, way, amount, is_deposit, None)
            self.look()
            self.pay(number, card, True)
            if is_known:
                self.sync(number)
            self.look()

    @rule(hotel=HOTEL, way=WAY, amount=AMOUNT, is_deposit=st.booleans(), fault=FAULT)
    def make(self, hotel: str, way: str, amount: int, is_deposit: bool, fault: Fault) -> None:
        method = "manual" if is_deposit else "automatic"
        asked = {"amount": amount, "capture_method": method, "idempotency_key": f"key-{len(self.asked)}"}
        self.asked.append((self.stage.hotels[hotel], way, asked))
        self.note(f"make {way}: {self.make_by(*self.asked[-1], fault)}")

    def make_by(self, hotel: Hotel, way: str, asked: dict[str, Any], fault: Fault) -> str:
        self.actor = hotel
        with self.stage.failing(fault, hotel.desk.account):
            return self.stage.make(hotel, way, asked)

    @precondition(lambda self: self.asked)
    @rule(any_=ANY, fault=FAULT)
    def make_again(self, any_: int, fault: Fault) -> None:
        self.note("make again")
        known = len(self.seen.payments)
        self.make_by(*pick(self.asked, any_), fault)
        assert len(self.books.ours().payments) == known

    @precondition(lambda self: self.payments())
    @rule(any_=ANY, amount=PART, fault=FAULT)
    def capture(self, any_: int, amount: int | None, fault: Fault) -> None:
        payment = pick(self.payments("PROCESSING") or self.payments(), any_)
        hotel = self.hotel_of(payment)
        if amount is not None and amount > payment.amount_capturable:
            with self.stage.failing(fault, hotel.desk.account), suppress(ValueError):
                self.note(f"capture: {self.stage.capture(hotel, payment, amount)}")
            return
        with self.stage.failing(fault, hotel.desk.account):
            self.note(f"capture: {self.stage.capture(hotel, payment, amount)}")

    @precondition(lambda self: self.payments())
    @rule(any_=ANY, fault=FAULT)
    def cancel(self, any_: int, fault: Fault) -> None:
        payment = pick(self.payments(), any_)
        self.note(f"cancel: {self.cancel_one(payment, fault)}")

    def cancel_one(self, payment: Any, fault: Fault) -> str:
        hotel = self.hotel_of(payment)
        with self.stage.failing(fault, hotel.desk.account):
            word, status = self.stage.cancel(hotel, payment)
        self.to_cancel.discard(payment.id)
        if word != "done":
            self.to_cancel.add(payment.id)
        elif status == "CANCELED":
            self.books.cancelled.add(payment.id)
        return word

    @precondition(lambda self: self.payments())
    @rule(any_=ANY, amount=PART, fault=FAULT)
    def refund(self, any_: int, amount: int | None, fault: Fault) -> None:
        payment = pick(self.payments(*WITH_MONEY) or self.payments(), any_)
        key = f"refund-{len(self.refunds)}"
        self.refunds[key] = payment, amount
        self.note(f"refund: {self.refund_by(key, fault)}")

    def refund_by(self, key: str, fault: Fault) -> str:
        payment, amount = self.refunds[key]
        hotel = self.hotel_of(payment)
        with self.stage.failing(fault, hotel.desk.account):
            word, refund = self.stage.refund(hotel, payment, amount, key)
        if refund is not None:
            assert self.refund_of.setdefault(key, refund) == refund
        return word

    @precondition(lambda self: self.refunds)
    @rule(any_=ANY, fault=FAULT)
    def refund_again(self, any_: int, fault: Fault) -> None:
        self.note("refund again")
        key = pick(self.refunds, any_)
        word = self.refund_by(key, fault)
        assert key not in self.refund_of or word == "done"

    @precondition(lambda self: self.payments())
    @rule(any_=ANY)
    def sync(self, any_: int) -> None:
        self.note("sync")
        payment = pick(self.payments(), any_)
        self.stage.sync(self.hotel_of(payment), payment)

    @precondition(lambda self: self.seen.open_operations())
    @rule(any_=ANY, fault=FAULT)
    def finish(self, any_: int, fault: Fault) -> None:
        operation = pick(self.seen.open_operations(), any_)
        with self.stage.failing(fault, self.hotel_of(operation).desk.account):
            self.note(f"finish: {self.stage.finish(operation.id)}")

    # -- guests and banks

    @precondition(lambda self: self.payments())
    @rule(any_=ANY, card=CARD, authenticate=st.booleans())
    def pay(self, any_: int, card: str, authenticate: bool) -> None:
        payment = pick(self.payments(), any_)
        ids = (payment.stripe_payment_link_url, payment.stripe_checkout_session_id, payment.stripe_payment_intent_id)
        if any(ids):
            self.note(f"pay: {self.stage.pay(self.hotel_of(payment), payment, card, authenticate=authenticate)}")

    @precondition(lambda self: self.at_stripe("payment_intent", "processing"))
    @rule(any_=ANY, succeeded=st.booleans())
    def bank_answers(self, any_: int, succeeded: bool) -> None:
        self.note("bank pays" if succeeded else "bank refuses")
        self.actor, intent = pick(self.at_stripe("payment_intent", "processing"), any_)
        self.stage.settle(intent["id"], succeeded=succeeded)

    @precondition(lambda self: self.at_stripe("refund", "pending", "succeeded"))
    @rule(any_=ANY, succeeded=st.booleans())
    def bank_ends_a_refund(self, any_: int, succeeded: bool) -> None:
        pending = self.at_stripe("refund", "pending")
        if pending or not succeeded:
            self.note("refund settles" if succeeded else "refund fails")
            self.actor, refund = pick(pending or self.at_stripe("refund", "succeeded"), any_)
            self.stage.settle(refund["id"], succeeded=succeeded)

    @precondition(lambda self: self.disputable())
    @rule(any_=ANY, is_inquiry=st.booleans())
    def dispute(self, any_: int, is_inquiry: bool) -> None:
        self.note("inquiry" if is_inquiry else "dispute")
        self.actor, intent = pick(self.disputable(), any_)
        status = "warning_needs_response" if is_inquiry else "needs_response"
        self.stage.simulator.dispute(intent["id"], status=status)

    def disputable(self) -> list[tuple[Hotel, dict[str, Any]]]:
        """Return what was paid, not all given back, and is not disputed, nor was with success."""
        return [
            (hotel, intent)
            for hotel, intent in self.at_stripe("payment_intent", "succeeded")
            for stripes in [Stripes(hotel.desk)]
            if not stripes.charge_of(intent)["refunded"]
            and all(each["status"] in ("won", "warning_closed") for each in stripes.about("dispute", intent))
        ]

    @precondition(lambda self: self.at_stripe("dispute", "needs_response", "warning_needs_response"))
    @rule(any_=ANY, how=st.sampled_from(["won", "lost", "escalate"]))
    def bank_decides(self, any_: int, how: str) -> None:
        self.actor, found = pick(self.at_stripe("dispute", "needs_response", "warning_needs_response"), any_)
        if found["status"] == "needs_response":
            how = "won" if how == "escalate" else how
        elif how != "escalate":
            how = "warning_closed"
        self.note(how if how == "escalate" else f"dispute: {how}")
        if how == "escalate":
            self.stage.simulator.escalate_dispute(found["id"])
        else:
            self.stage.simulator.settle_dispute(found["id"], how)

    # -- the account's owner, in Stripe's dashboard

    @precondition(lambda self: self.at_stripe("payment_intent", "succeeded"))
    @rule(any_=ANY, amount=PART)
    def refund_at_stripe(self, any_: int, amount: int | None) -> None:
        self.note("refund at Stripe")
        self.actor, intent = pick(self.at_stripe("payment_intent", "succeeded"), any_)
        params: Any = {"payment_intent": intent["id"], **({} if amount is None else {"amount": amount})}
        client = self.actor.client
        self.stage.at_stripe(lambda: client.v1.refunds.create(params))

    @precondition(lambda self: self.at_stripe("payment_intent", "requires_capture"))
    @rule(any_=ANY, amount=PART, is_taken=st.booleans())
    def end_a_hold_at_stripe(self, any_: int, amount: int | None, is_taken: bool) -> None:
        self.note("capture at Stripe" if is_taken else "cancel at Stripe")
        self.actor, intent = pick(self.at_stripe("payment_intent", "requires_capture"), any_)
        params: Any = {} if amount is None else {"amount_to_capture": amount}
        service = self.actor.client.v1.payment_intents
        self.stage.at_stripe(
            lambda: service.capture(intent["id"], params) if is_taken else service.cancel(intent["id"])
        )

    # -- webhooks, and time

    @rule(hotel=HOTEL, picks=st.lists(ANY, min_size=1, max_size=5))
    def deliver(self, hotel: str, picks: list[int]) -> None:
        """Some of what Stripe has to tell, in any order; what is left may come later."""
        self.actor = self.stage.hotels[hotel]
        for any_ in picks:
            if waiting := self.actor.waiting():
                self.note("deliver")
                self.stage.deliver(self.actor, pick(waiting, any_))

    @rule(hotel=HOTEL, any_=ANY)
    def deliver_again(self, hotel: str, any_: int) -> None:
        self.note("deliver again")
        self.actor = self.stage.hotels[hotel]
        self.stage.deliver(self.actor, pick(self.stage.simulator.events_of(self.actor.desk.account), any_))

    @rule(pause=st.sampled_from(WAITS))
    def wait(self, pause: timedelta) -> None:
        self.note("wait")
        self.stage.go_on(pause)

    @precondition(lambda self: self.moved >= BUSY)
    @rule(any_=ANY)
    def rest(self, any_: int) -> None:
        """Nothing fails any more: what is unknown is found out, what was lost is delivered, and Stripe is asked."""
        self.note("rest")
        self.find_out()
        for hotel in self.stage.hotels.values():
            while waiting := hotel.waiting():
                self.stage.deliver(hotel, pick(waiting, any_))
        self.look()
        for payment in self.payments():
            self.stage.sync(self.hotel_of(payment), payment)
        self.actor, self.moved = None, 0
        self.books.check_at_rest(self.books.ours())

    def find_out(self) -> None:
        """Finish every call; what Stripe has saved as a server error only shows when it has forgotten that."""
        for pause in (timedelta(), A_DAY):
            if self.books.ours().open_operations():
                self.stage.go_on(pause)
            for operation in self.books.ours().open_operations():
                self.note(f"finish: {self.stage.finish(operation.id)}")
        for payment in self.payments():
            if payment.id in self.to_cancel:
                assert self.cancel_one(payment, None) == "done"
        self.actor = None

    def teardown(self) -> None:
        self.rest(0)
        self.look()

    # -- what there must be after each act

    @invariant()
    def look(self) -> None:
        ours, before = self.books.ours(), self.seen
        self.books.check_always(ours)
        for key, payment in before.payments.items():
            assert payment.status not in WITH_MONEY or ours.payments[key].status in WITH_MONEY, "paid, and then not"
        for hotel in self.stage.hotels.values():
            others = self.actor is not None and hotel is not self.actor
            tenant = hotel.desk.tenant.id
            assert not others or ours.of(tenant) == before.of(tenant), "another tenant's act"
        self.seen, self.actor = ours, None


@pytest.mark.on("postgresql")
@pytest.mark.slow("plays stories of payments to their end")
def test_whatever_happens_our_rows_and_stripes_ledger_agree_to_the_last_cent(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = sizes.size("MONEY_EXAMPLES", middle=25, full=2_000)
    steps, seed = sizes.size("MONEY_STEPS", small=25, middle=25, full=40), sizes.seed()
    name = database_url.partition(":")[0]
    sizes.tell(capsys, f"{examples} stories of {steps} acts with money on {name}, SEED={seed}")
    ran, began = Counter[str](), time.perf_counter()

    for done in range(0, examples, ROUND):
        with make_money_stage(database_url, monkeypatch) as stage:
            sized: Any = {"examples": min(ROUND, examples - done), "steps": steps, "seed": seed + done}
            tell(lambda stage=stage: Story(stage, ran), "MONEY_EXAMPLES={examples} MONEY_STEPS={steps}.", **sized)

    acts = ", ".join(f"{act} {number}" for act, number in sorted(ran.items()))
    sizes.tell(capsys, f"{examples * steps / (time.perf_counter() - began):.0f} acts a second: {acts}")
    if examples * steps >= 200 * 40:
        assert [act for act in " ".join(WANTED.split()).split(", ") if not ran[act]] == []
