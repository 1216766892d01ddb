"""Both books of two hotels: Stripe's ledger, our rows, and what the first says that the second must be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from tests.hosts import Host
from tests.payments.desk import Desk

#: What each of our operations makes at Stripe.
MADE: Final = {
    "payment_link.create": "payment_link",
    "checkout_session.create": "checkout.session",
    "payment_intent.create": "payment_intent",
    "refund.create": "refund",
}
WITH_MONEY: Final = frozenset({"COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED", "DISPUTED"})
FREED: Final = frozenset({"failed", "canceled"})
#: Disputes that end with the money where it was.
ENDED_WELL: Final = frozenset({"won", "warning_closed"})
Json = dict[str, Any]


class Ours:
    """Our rows of both hotels at one moment, by table and key, each with all its columns but when it was touched."""

    def __init__(self, tables: Mapping[str, Mapping[Any, Any]]) -> None:
        self.payments, self.refunds = tables["payments"], tables["refunds"]
        self.disputes, self.operations = tables["disputes"], tables["operations"]

    def of(self, tenant_id: Any) -> list[Any]:
        """Return all that is one tenant's."""
        tables = (self.payments, self.refunds, self.disputes, self.operations)
        return [row for table in tables for row in table.values() if row.tenant_id == tenant_id]

    def open_operations(self) -> list[Any]:
        return [row for row in self.operations.values() if row.state in ("new", "unknown")]


class Stripes:
    """What one account has at Stripe, in test mode."""

    def __init__(self, desk: Desk) -> None:
        self._ledger, self._account = desk.simulator._ledger, str(desk.account)

    def of_kind(self, kind: str) -> Iterator[Json]:
        return (record.data for record in self._ledger.of_kind(kind, self._account, False))

    def of_operation(self, kind: str, operation_id: str) -> list[Json]:
        """Return the objects of a kind that carry one operation's id; all that comes of a link or a page does."""
        return [each for each in self.of_kind(kind) if each["metadata"].get("valetpro_operation") == operation_id]

    def charge_of(self, intent: Json) -> Json:
        found: Json = self._ledger.records[intent["latest_charge"]].data
        return found

    def about(self, kind: str, intent: Json) -> list[Json]:
        """Return the refunds, or the disputes, of one intent."""
        return [each for each in self.of_kind(kind) if each["payment_intent"] == intent["id"]]


@dataclass(frozen=True)
class Standing:
    """How a payment stands, to the last minor unit: what Stripe's ledger says, or what our rows say."""

    status: str
    taken: int
    capturable: int
    refunded: int
    fee: int
    refunds: frozenset[tuple[str, int, str]]
    disputes: frozenset[tuple[str, int, str]]


class Books:
    """The books of the hotels of one story."""

    def __init__(self, host: Host, desks: Mapping[str, Desk]) -> None:
        self.desks = desks
        models = host.valetpro.models
        self._tenants = [desk.tenant.id for desk in desks.values()]
        tables = {
            "payments": host.Payment,
            "refunds": models.Refund,
            "disputes": models.Dispute,
            "operations": models.Operation,
        }
        self._looks = {name: self._look(model.__table__) for name, model in tables.items()}
        with host.app.app_context():
            self._engine = host.db.engine
        #: Payments that a call of cancel has returned as cancelled.
        self.cancelled: set[Any] = set()

    def _look(self, table: sa.Table) -> sa.Select[Any]:
        wanted = [column for column in table.c if column.name not in ("updated_at", "stripe_object", "params")]
        return sa.select(*wanted).where(table.c.tenant_id.in_(self._tenants)).order_by(table.c.id)

    def ours(self) -> Ours:
        """Return our rows as the database has them now."""
        with self._engine.connect() as database:
            found = {name: database.execute(look).all() for name, look in self._looks.items()}
        return Ours({name: {row.id: row for row in rows} for name, rows in found.items()})

    # -- what holds at any time

    def check_always(self, ours: Ours) -> None:
        """Nothing more is given back than was taken, here or at Stripe; and nothing is made twice."""
        for desk in self.desks.values():
            stripes = Stripes(desk)
            known = {row.id: row for row in ours.operations.values() if row.tenant_id == desk.tenant.id}
            for kind, object_ in MADE.items():
                self._check_made(stripes, known, kind, object_)
            for intent in stripes.of_kind("payment_intent"):
                refunded = sum(r["amount"] for r in stripes.about("refund", intent) if r["status"] not in FREED)
                assert refunded <= intent["amount_received"]
        given_back: dict[Any, int] = defaultdict(int)
        for refund in ours.refunds.values():
            # What is reserved is not given back: whoever was quicker in the dashboard leaves nothing for it at Stripe.
            is_made = refund.stripe_refund_id is not None and refund.status not in FREED
            given_back[refund.payment_id] += refund.amount if is_made else 0
        for key, payment in ours.payments.items():
            taken = payment.amount if payment.amount_captured is None else payment.amount_captured
            assert given_back[key] <= taken, ("more given back than taken", payment)
            assert 0 <= payment.amount_refunded <= taken
            assert 0 <= payment.amount_capturable <= payment.amount

    def _check_made(self, stripes: Stripes, known: Mapping[Any, Any], kind: str, object_: str) -> None:
        """Each object that our calls made is of one known operation, and each operation made one at most."""
        made: dict[str, int] = defaultdict(int)
        for each in stripes.of_kind(object_):
            operation = each["metadata"].get("valetpro_operation")
            if operation is not None:
                assert operation in known, (object_, each["id"], "is nobody's")
                made[operation] += known[operation].kind == kind
        assert max(made.values(), default=0) <= 1, (object_, made)

    # -- what holds when everything is said and done

    def check_at_rest(self, ours: Ours) -> None:
        """Every payment stands here as it does at Stripe, and every call has come to its end, with what it made."""
        assert ours.open_operations() == []
        for desk in self.desks.values():
            stripes = Stripes(desk)
            for operation in ours.operations.values():
                if operation.tenant_id == desk.tenant.id and operation.kind in MADE:
                    made = stripes.of_operation(MADE[operation.kind], operation.id)
                    made = [each for each in made if not each.get("payment_link")]
                    assert len(made) == (operation.state == "done"), (operation, made)
            for payment in ours.payments.values():
                if payment.tenant_id == desk.tenant.id:
                    self._check_payment(stripes, ours, payment)

    def _check_payment(self, stripes: Stripes, ours: Ours, payment: Any) -> None:
        (operation,) = [
            row
            for row in ours.operations.values()
            if row.payment_id == payment.id and row.kind in MADE and row.kind != "refund.create"
        ]
        here, there = standing_here(ours, payment), self._standing_there(stripes, payment, operation)
        assert here == there, f"\nhere:  {here}\nthere: {there}\n{payment}"

    def _standing_there(self, stripes: Stripes, payment: Any, operation: Any) -> Standing:
        intents = stripes.of_operation("payment_intent", operation.id)
        paid = [each for each in intents if each["status"] == "succeeded"]
        if not paid:
            held = sum(each["amount_capturable"] for each in intents)
            status = self._unpaid_status(stripes, payment, operation, intents)
            none: frozenset[Any] = frozenset()
            # What is not taken has a fee that is only meant, and a deposit's amount is not taken yet.
            return Standing(status, payment.amount, held, 0, payment.application_fee_amount or 0, none, none)
        (intent,) = paid
        refunds, disputes = stripes.about("refund", intent), stripes.about("dispute", intent)
        refunded = sum(each["amount"] for each in refunds if each["status"] not in FREED)
        return Standing(
            status=_paid_status(intent["amount_received"], refunded, disputes),
            taken=intent["amount_received"],
            capturable=0,
            refunded=refunded,
            fee=stripes.charge_of(intent)["application_fee_amount"] or 0,
            refunds=frozenset((each["id"], each["amount"], each["status"]) for each in refunds),
            disputes=frozenset((each["id"], each["amount"], each["status"]) for each in disputes),
        )

    def _unpaid_status(self, stripes: Stripes, payment: Any, operation: Any, intents: list[Json]) -> str:
        states = {each["status"] for each in intents}
        if states & {"requires_capture", "processing"}:
            return "PROCESSING"
        if payment.id in self.cancelled or "canceled" in states:
            return "CANCELED"
        if operation.state != "done":
            return "FAILED"
        (made,) = [
            each
            for each in stripes.of_operation(MADE[operation.kind], operation.id)
            if not each.get("payment_link")
        ]
        if made["object"] == "checkout.session" and made["status"] == "expired":
            return "CANCELED"
        return "FAILED" if any(each["last_payment_error"] for each in intents) else "PENDING"


def standing_here(ours: Ours, payment: Any) -> Standing:
    """Return what our rows say of a payment. What was reserved and came to nothing is nothing at Stripe."""
    refunds = [row for row in ours.refunds.values() if row.payment_id == payment.id]
    assert not [row for row in refunds if row.stripe_refund_id is None and row.status not in FREED]
    return Standing(
        status=str(payment.status),
        taken=payment.amount if payment.amount_captured is None else payment.amount_captured,
        capturable=payment.amount_capturable,
        refunded=payment.amount_refunded,
        fee=payment.application_fee_amount or 0,
        refunds=frozenset((row.stripe_refund_id, row.amount, row.status) for row in refunds if row.stripe_refund_id),
        disputes=frozenset(
            (row.stripe_dispute_id, row.amount, row.status)
            for row in ours.disputes.values()
            if row.payment_id == payment.id
        ),
    )


def _paid_status(taken: int, refunded: int, disputes: list[Json]) -> str:
    if any(each["status"] not in ENDED_WELL for each in disputes):
        return "DISPUTED"
    if refunded >= taken:
        return "REFUNDED"
    return "PARTIALLY_REFUNDED" if refunded else "COMPLETED"
