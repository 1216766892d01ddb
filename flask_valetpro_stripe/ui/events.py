"""What Stripe sent about a tenant, what became of it, and the way to have it handled once more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa
from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from ..context import get_tenant
from ..enums import EventStatus, Mode
from ..errors import ValetProStripeError
from ..handlers import FETCHERS
from ..models import WebhookEvent, key_of
from ..models.types import utcnow
from ..payments.mentioned import Mentioned, find_mentioned
from ..state import get_state
from ..webhooks.replay import replay_own
from .access import is_fragment, user_id
from .answers import go_back, render, shown_mode, take_done
from .event_words import STATUSES, TYPES

#: How many events a page shows.
PAGE: Final = 50
ATTENTION: Final = "attention"
_REPLAYABLE: Final = frozenset({EventStatus.failed, EventStatus.dead, EventStatus.parked})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: Digits enough for every key and every time, and few enough for every database.
_ID: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_PLACE: Final = re.compile(r"([0-9]{1,17})-([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True)
class View:
    """Which part of the inbox is looked at: the address of the page says it, and each form repeats it."""

    mode: Mode
    show: str | None = None
    #: The event that the page begins after, by time and key. It need not be there any more.
    before: str | None = None

    @classmethod
    def asked(cls, given: Mapping[str, str]) -> View:
        """Return what an address or a form asks for; what makes no sense is as if it were not there."""
        show = ATTENTION if given.get("show") == ATTENTION else None
        before = given.get("before", "")
        return cls(shown_mode(given), show, before if _PLACE.fullmatch(before) else None)

    @property
    def place(self) -> tuple[datetime, int] | None:
        """Return the time and the key of the event that the page begins after."""
        found = _PLACE.fullmatch(self.before or "")
        return (_EPOCH + int(found[1]) * _MICROSECOND, int(found[2])) if found else None


@dataclass(frozen=True)
class Line:
    """One event, and what is said of it."""

    event: WebhookEvent
    #: The host's payment that it is about.
    payment: Mentioned | None = None

    @property
    def what(self) -> str | None:
        """Return Stripe's type in words, where we have any."""
        return TYPES.get(self.event.type)

    @property
    def status(self) -> str:
        """Return where it stands, in words."""
        return STATUSES[self.event.status]

    @property
    def tries(self) -> int:
        """Return how often handlers were tried: of what is kept without action, none ever were."""
        return 0 if self.event.status is EventStatus.parked else self.event.attempts

    @property
    def next_try(self) -> datetime | None:
        """Return when it is tried again; None if that is anybody's to do by now, or nobody's."""
        due_at = self.event.due_at
        return due_at if due_at is not None and due_at > utcnow() else None

    @property
    def is_left_to_stripe(self) -> bool:
        """Return whether it is tried again when Stripe delivers it again, and not by a worker."""
        return get_state().config.processing == "inline"

    @property
    def is_replayable(self) -> bool:
        """Return whether its admin may have it handled again."""
        return self.event.status in _REPLAYABLE and self.event.body is not None

    @property
    def is_lost(self) -> bool:
        """Return whether it might be handled again, if it still said anything."""
        return self.event.status in _REPLAYABLE and self.event.body is None

    @property
    def place(self) -> str:
        """Return where the page after this line begins."""
        return f"{(self.event.received_at - _EPOCH) // _MICROSECOND}-{self.event.id}"


def show() -> Response:
    """Show the newest events, or those after the one that the address names."""
    done = take_done()
    return _page(View.asked(request.args), done=done, about=_find_own(request.args.get("event")) if done else None)


def replay(row_id: str) -> BaseResponse:
    """Handle one of the tenant's events once more, and say what became of it."""
    view = View.asked(request.form)
    try:
        key = int(row_id) if _ID.fullmatch(row_id) else 0
        status = replay_own(get_state(), get_tenant(), key, FETCHERS, actor=user_id())
    except ValetProStripeError as error:
        get_state().session.rollback()
        return _page(view, error=error, code=422)
    return go_back(f"replay_{status}", "events", mode=view.mode, show=view.show, before=view.before, event=key)


def _page(view: View, *, code: int = 200, **told: object) -> Response:
    # One more than a page shows, if there are: whether the page has an end.
    found = _find(view)
    lines = _lines(view.mode, found[:PAGE])
    return render(
        "_events.html" if is_fragment() else "events.html",
        code=code,
        tenant=get_tenant(),
        view=view,
        lines=lines,
        older=lines[-1].place if len(found) > PAGE else None,
        days=get_state().config.retention_days,
        **told,
    )


def _find(view: View) -> list[WebhookEvent]:
    """Return the tenant's events of one mode, newest first: read along an index, however many there are."""
    state = get_state()
    model = state.models.WebhookEvent
    own = sa.select(model).where(model.tenant_id == key_of(get_tenant()), model.mode == view.mode)
    if view.show == ATTENTION:
        own = own.where(model.needs_attention())
    if view.place is not None:
        time, key = view.place
        own = own.where(model.received_at <= time, sa.or_(model.received_at < time, model.id < key))
    newest = own.order_by(model.received_at.desc(), model.id.desc()).limit(PAGE + 1)
    return list(state.session.scalars(newest))


def _find_own(row_id: str | None) -> Line | None:
    """Return the tenant's event that an address names, or None."""
    if row_id is None or not _ID.fullmatch(row_id):
        return None
    state = get_state()
    model = state.models.WebhookEvent
    own = sa.select(model).where(model.tenant_id == key_of(get_tenant()), model.id == int(row_id))
    found = state.session.scalar(own)
    return Line(found) if found else None


def _lines(mode: Mode, events: list[WebhookEvent]) -> list[Line]:
    about = [(event.account_id, event.object) for event in events]
    payments = find_mentioned(get_state(), get_tenant(), mode, about)
    return [Line(*each) for each in zip(events, payments, strict=True)]
