"""What guests and their banks do, for a test to call."""

from . import checkout, disputing, refunding
from .cards import from_number
from .errors import ApiError, CardDeclined
from .ledger import Json, Ledger, Record, snapshot
from .methods import make_method
from .pages import find_link


class GuestsAndBanks:
    """The part of a simulator that nobody reaches through the API."""

    _ledger: Ledger

    def pay(
        self,
        link_or_session: str,
        *,
        card: str = "4242424242424242",
        email: str = "guest@example.com",
        authenticate: bool = True,
    ) -> Json:
        """Pay as a guest does on the hosted page, for a URL or an id, and return the session.

        ``card`` is a test card's number, a test IBAN, "bank_debit" (settles later) or "bank_debit_fails".
        ``authenticate`` says how a 3-D Secure challenge ends.

        :raises CardDeclined: the card was refused; the session stays open.
        :raises LinkInactive: the page takes no payment (any more).
        """
        with self._ledger.lock:
            session = self._session_for(link_or_session)
            scope = self._ledger.scope_of(session)
            checkout.require_payable(scope, session)
            method = make_method(scope, from_number(card), billing={"email": email})
            try:
                checkout.pay(scope, session, method, email=email)
                if session.data["status"] == "open":
                    checkout.authenticate(scope, session, passed=authenticate)
            except ApiError as error:
                raise CardDeclined(snapshot(error.error), snapshot(session.data)) from None
            return snapshot(session.data)

    def _session_for(self, link_or_session: str) -> Record:
        name = link_or_session.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
        record = self._ledger.records.get(name) or find_link(self._ledger, name)
        if record is not None and record.kind == "payment_link":
            return checkout.visit(self._ledger.scope_of(record), record)
        if record is None or record.kind != "checkout.session":
            raise LookupError(f"The simulator has no payment link or checkout session {link_or_session!r}.")
        return record

    def settle(self, session_or_intent: str, *, succeeded: bool = True) -> None:
        """End a delayed payment, or a refund, given by its id (or that of its session)."""
        with self._ledger.lock:
            record = self._ledger.records[session_or_intent]
            if record.kind == "refund":
                refunding.settle_refund(self._ledger.scope_of(record), record, succeeded=succeeded)
                return
            intent_id = record.data["payment_intent"] if record.kind == "checkout.session" else session_or_intent
            if intent_id is None:
                raise LookupError(f"Nobody has paid {session_or_intent!r} yet: there is nothing to settle.")
            checkout.settle_any(self._ledger, self._ledger.records[intent_id], succeeded=succeeded)

    def dispute(
        self,
        charge: str,
        *,
        status: str = "needs_response",
        reason: str = "fraudulent",
        amount: int | None = None,
        due_by: int | None = None,
    ) -> str:
        """Dispute a charge, given by its id or that of its intent or session, and return the dispute's id.

        ``status`` "warning_needs_response" opens an inquiry, which takes no money. ``amount`` is what is left of the
        charge, and ``due_by`` (a timestamp) the end of the eighth day, unless you say otherwise.
        """
        if status not in disputing.STATUSES:
            raise ValueError(f"A dispute can't begin as {status!r}, but as one of {', '.join(disputing.STATUSES)}.")
        with self._ledger.lock:
            found = self._charge_for(charge)
            scope = self._ledger.scope_of(found)
            made = disputing.open_dispute(
                scope, found, status=status, reason=reason, amount=amount, due_by=due_by
            )
            return str(made.data["id"])

    def _charge_for(self, id: str) -> Record:
        record: Record | None = self._ledger.records.get(id)
        for name in ("payment_intent", "latest_charge"):
            if record is not None and record.kind != "charge" and name in record.data:
                record = self._ledger.records.get(str(record.data[name]))
        if record is None or record.kind != "charge" or not record.data["amount_captured"]:
            raise LookupError(f"No money was taken for {id!r}: there is nothing to dispute.")
        return record

    def escalate_dispute(self, dispute_id: str) -> None:
        """Make a chargeback of an inquiry, as its bank does when the answer doesn't convince it."""
        with self._ledger.lock:
            dispute = self._ledger.records[dispute_id]
            disputing.escalate(self._ledger.scope_of(dispute), dispute)

    def settle_dispute(self, dispute_id: str, outcome: str) -> None:
        """Decide a dispute: "won" or "lost", or for an inquiry "warning_closed"."""
        with self._ledger.lock:
            dispute = self._ledger.records[dispute_id]
            disputing.decide(self._ledger.scope_of(dispute), dispute, outcome)
