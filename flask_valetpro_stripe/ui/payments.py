"""A tenant's payments, newest first, and the way to give them back."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from flask import Response, request
from sqlalchemy.orm import selectinload
from werkzeug.wrappers import Response as BaseResponse

from .. import audit
from .. import payments as acts
from ..context import get_tenant
from ..credentials import acting_for
from ..enums import Mode, OperationState, PaymentStatus
from ..errors import ConnectionRevokedError, OutcomeUnknownError, ValetProStripeError
from ..models import Dispute, StripePaymentMixin, key_of
from ..money import format_amount, parse_amount
from ..payments.disputes import ENDED_WELL
from ..payments.operations import CREATE_REFUND
from ..payments.operations import find as find_operation
from ..payments.refunded import left_of_each
from ..payments.refunds import KeyUsedError
from ..state import get_state
from .access import is_fragment, user_id
from .answers import go_back, render, shown_mode, take_done

#: How many payments a page shows.
PAGE: Final = 50
_LAST_PAGE: Final = 10_000
_LONGEST_KEY: Final = 64
_S = PaymentStatus
STATUSES: Final[Mapping[PaymentStatus, str]] = {
    _S.PENDING: "Not paid yet",
    _S.PROCESSING: "On its way",
    _S.COMPLETED: "Paid",
    _S.FAILED: "Failed",
    _S.CANCELED: "Canceled",
    _S.PARTIALLY_REFUNDED: "Partly refunded",
    _S.REFUNDED: "Refunded",
    _S.DISPUTED: "Disputed",
}
#: By Stripe's words for those that stand.
_DISPUTES: Final[Mapping[str, str]] = {
    "warning_needs_response": "The guest's bank asks about {amount}",
    "warning_under_review": "The guest's bank reads the answer about {amount}",
    "needs_response": "The guest's bank wants {amount} back",
    "under_review": "The guest's bank wants {amount} back, and reads the answer",
    "lost": "The guest's bank took {amount} back",
}
_REFUNDABLE: Final = frozenset({_S.COMPLETED, _S.PARTIALLY_REFUNDED})
#: What Stripe may be told (Stripe API reference, "Create a refund").
REASONS: Final[Mapping[str, str]] = {
    "requested_by_customer": "The guest asked for it",
    "duplicate": "Charged twice",
    "fraudulent": "Fraud",
}


@dataclass(frozen=True)
class View:
    """Which payments are looked at: the address of the page says it, and each form repeats it."""

    mode: Mode
    page: int = 1

    @classmethod
    def asked(cls, given: Mapping[str, str]) -> View:
        """Return what an address or a form asks for; what makes no sense is as if it were not there."""
        number = given.get("page", "")
        is_number = number.isascii() and number.isdigit() and len(number) < 6
        return cls(shown_mode(given), min(max(int(number), 1), _LAST_PAGE) if is_number else 1)


@dataclass(frozen=True)
class Line:
    """One payment, and what may be given back of it."""

    payment: Any
    #: Minor units that a refund may still have; 0 where there is nothing to give back.
    left: int
    #: What the refund's form is sent once with: a second click is the same refund.
    once: str
    #: What was sent, where it came back.
    sent: Mapping[str, str] = field(default_factory=dict)
    #: Nobody can reach the account that took it any more.
    is_cut_off: bool = False

    @property
    def key(self) -> str:
        """Return the payment's key, as the address of its refund has it."""
        return str(key_of(self.payment))

    @property
    def status(self) -> str:
        """Return where it stands, in words."""
        return "Held on the card" if self.payment.amount_capturable else STATUSES[self.payment.status]

    @property
    def amount(self) -> str:
        """Return what the guest pays, or was charged."""
        return self.shown(self.payment.amount_taken)

    @property
    def given_back(self) -> str | None:
        """Return what was given back, or None."""
        return self.shown(self.payment.amount_refunded) if self.payment.amount_refunded else None

    @property
    def rest(self) -> str:
        """Return what a refund may still have."""
        return self.shown(self.left)

    @property
    def dispute(self) -> Dispute | None:
        """Return the dispute that stands, the newest if there are several."""
        return next((each for each in self.payment.stripe_disputes if each.status not in ENDED_WELL), None)

    @property
    def dispute_words(self) -> str:
        """Return what the guest's bank wants, without a full stop; "" if it wants nothing."""
        return _DISPUTES[self.dispute.status].format(amount=self.shown(self.dispute.amount)) if self.dispute else ""

    @property
    def answer_by(self) -> datetime | None:
        """Return until when the bank can be answered."""
        return self.dispute.due_by if self.dispute else None

    def shown(self, amount: int) -> str:
        """Return an amount as a person reads it."""
        return format_amount(amount, self.payment.currency)


def show() -> Response:
    """Show the newest payments, or a later page of them."""
    return _page(View.asked(request.args), done=take_done())


def refund(key: str) -> BaseResponse:
    """Give one of the tenant's payments back, all that is left of it or a part."""
    view, once = View.asked(request.form), _once()
    try:
        payment = _find(key)
        amount = _asked_amount(payment)
        _record(payment, amount, once)
        acts.refund(payment, amount=amount, reason=_asked_reason(), idempotency_key=once)
    except OutcomeUnknownError as error:
        get_state().session.rollback()
        error.hint = "Send the same form once more: it makes the refund once."
        return _page(view, error=error, code=422, kept=key, once=request.form.get("once"))
    except ValetProStripeError as error:
        get_state().session.rollback()
        return _page(view, error=error, code=422, kept=key)
    except KeyUsedError:
        get_state().session.rollback()
        return _used(view, key, once)
    except ValueError as error:
        get_state().session.rollback()
        return _page(view, error=ValetProStripeError(str(error), code="refund_form"), code=422, kept=key)
    return go_back("refunded", "payments", mode=view.mode, page=view.page)


def _used(view: View, key: str, once: str | None) -> Response:
    """Say what a form has asked for already, before its fields were changed."""
    payment = _find(key)
    operation = find_operation(get_state(), key_of(get_tenant()), payment.mode, CREATE_REFUND, str(once))
    asked = operation.params["asked"]["amount"] if operation else None
    amount = "all that was left" if asked is None else format_amount(asked, payment.currency)
    said = f"This form has asked for a refund before: {amount}."
    is_open = operation is not None and operation.state in (OperationState.new, OperationState.unknown)
    hint = (
        "Stripe has not answered yet whether it is made. Send it once more as it was, which makes it once."
        if is_open
        else "Look at what was given back. If more is to be, send the form again."
    )
    error = ValetProStripeError(said, code="refund_form", hint=hint)
    return _page(view, error=error, code=422, kept=key, once=request.form.get("once") if is_open else None)


def _find(key: str) -> StripePaymentMixin:
    """Return the tenant's payment with this key.

    :raises ValueError: if it has none.
    """
    state = get_state()
    model: Any = state.models.Payment
    column = sa.inspect(model).primary_key[0]
    wanted, found = _as_key(column.type, key), None
    if wanted is not None:
        try:
            found = state.session.scalar(sa.select(model).where(_own(), column == wanted))
        except sa.exc.StatementError:
            # A key of the host's own type that this text is none of.
            state.session.rollback()
    if found is None:
        raise ValueError("There is no such payment.")
    payment: StripePaymentMixin = found
    return payment


def _as_key(kind: sa.types.TypeEngine[Any], text: str) -> Any:
    """Return what an address names as a key of the host's type, or None if it is none."""
    if not 0 < len(text) <= _LONGEST_KEY or not text.isprintable():
        return None
    try:
        key = kind.python_type(text)
    except NotImplementedError:
        return text
    except (ValueError, OverflowError):
        return None
    most = 63 if isinstance(kind, sa.BigInteger) else 31
    return None if isinstance(key, int) and key.bit_length() > most else key


def _own() -> sa.ColumnElement[bool]:
    state = get_state()
    own: sa.ColumnElement[bool] = getattr(state.models.Payment, state.models.payment_tenant) == key_of(get_tenant())
    return own


def _asked_amount(payment: StripePaymentMixin) -> int | None:
    typed = request.form.get("amount", "").strip()
    return parse_amount(typed, payment.currency) if typed else None


def _asked_reason() -> str | None:
    reason = request.form.get("reason")
    return reason if reason in REASONS else None


def _once() -> str | None:
    """Return the key that the form was shown with, bound to who sends it: nobody can spoil another's."""
    once = request.form.get("once", "")
    fits = 0 < len(once) <= _LONGEST_KEY and once.isprintable()
    return f"settings-{user_id()}-{once}"[:255] if fits else None


def _record(payment: StripePaymentMixin, amount: int | None, once: str | None) -> None:
    """Commit who asks for a refund, before anything can be made of it; of one form once, however often it is sent."""
    state = get_state()
    tenant_id = key_of(get_tenant())
    if once is not None and find_operation(state, tenant_id, payment.mode, CREATE_REFUND, once):
        return
    told = {"payment": str(key_of(payment)), "amount": amount, "currency": payment.currency}
    connection = state.session.get_one(state.models.Connection, payment.connection_id)
    audit.record_about(state, connection, actor=user_id(), action="refund_asked", **told)
    state.session.commit()


def _page(
    view: View, *, code: int = 200, kept: str | None = None, once: str | None = None, **told: object
) -> Response:
    """Return the page.

    :param kept: the key of the payment whose form was sent, and is shown as it was.
    :param once: what that form is sent once with, where another one would be another refund.
    """
    state = get_state()
    model: Any = state.models.Payment
    newest = (
        sa.select(model)
        .where(_own(), model.mode == view.mode)
        .order_by(model.created_at.desc(), sa.inspect(model).primary_key[0].desc())
        .offset((view.page - 1) * PAGE)
        # One more than a page shows, if there are: whether the page has an end.
        .limit(PAGE + 1)
        .options(selectinload(model.stripe_disputes))
    )
    found = list(state.session.scalars(newest))
    return render(
        "_payments.html" if is_fragment() else "payments.html",
        code=code,
        tenant=get_tenant(),
        view=view,
        lines=_lines(found[:PAGE], kept, once),
        has_more=len(found) > PAGE,
        reasons=REASONS,
        **told,
    )


def _lines(payments: Sequence[Any], kept: str | None, once: str | None) -> list[Line]:
    with_money = [payment for payment in payments if payment.status in _REFUNDABLE]
    cut_off = _cut_off({payment.connection_id for payment in with_money})
    refundable = [payment for payment in with_money if payment.connection_id not in cut_off]
    left = dict(zip(map(key_of, refundable), left_of_each(refundable), strict=True))
    lines = []
    for payment in payments:
        is_kept, rest = str(key_of(payment)) == kept, left.get(key_of(payment), 0)
        sent = request.form if is_kept and (rest > 0 or once) else {}
        once_now = (once if is_kept else None) or secrets.token_urlsafe(12)
        is_cut_off = payment.status in _REFUNDABLE and payment.connection_id in cut_off
        lines.append(Line(payment, rest, once_now, sent, is_cut_off))
    return lines


def _cut_off(connection_ids: Iterable[int]) -> set[int]:
    """Return those of some connections that have ended, and that nothing of the tenant's came after."""
    state, found = get_state(), set()
    model = state.models.Connection
    ended = sa.select(model).where(model.id.in_(connection_ids), model.ended_at.is_not(None))
    for connection in state.session.scalars(ended).all():
        try:
            acting_for(state, connection)
        except ConnectionRevokedError:
            found.add(connection.id)
    return found
