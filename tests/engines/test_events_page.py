"""The tenant's inbox on the settings pages: its own events in words, page by page, and a button for what went wrong."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from flask_valetpro_stripe import Mode
from flask_valetpro_stripe.enums import EventStatus
from flask_valetpro_stripe.handlers import HANDLERS
from flask_valetpro_stripe.models.types import utcnow
from flask_valetpro_stripe.testing import make_event
from flask_valetpro_stripe.ui import events as events_page
from flask_valetpro_stripe.ui.event_words import STATUSES, TYPES
from flask_valetpro_stripe.webhooks import replay
from tests.connections.admin import PAGE, Admin, query_of, text_of
from tests.engines.box import Box, fail
from tests.timing import seconds
from tests.webhooks.stage import PLAZA, SEASIDE, make_stage, ping

HTMX = {"HX-Request": "true"}
NOT_THERE = "There is no such event."


class Desk(Box):
    """The inbox of two hotels, and the browsers of their admins."""

    def admin(self, tenant: Any = None, **who: Any) -> Admin:
        return Admin.of(self.stage.host, tenant or self.stage.plaza, **who)

    def fill(self, count: int, tenant: Any = None, **columns: Any) -> list[int]:
        """Put many events in an inbox at once, each a second older than the one before; return their keys."""
        tenant = tenant or self.stage.plaza
        with self.state() as state:
            known = {"scope": "platform:test:connect", "type": "charge.succeeded", "mode": Mode.test, "body": "{}"}
            known |= {"status": EventStatus.processed, "tenant_id": tenant.id, **columns}
            times = [utcnow() - timedelta(seconds=number + 1) for number in range(count)]
            rows = [
                state.models.WebhookEvent(**{"event_id": f"evt_{tenant.name}_{i}", "received_at": at, **known})
                for i, at in enumerate(times)
            ]
            state.session.add_all(rows)
            state.session.commit()
            return [row.id for row in rows]


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    with make_stage(database_url, app={"WTF_CSRF_ENABLED": False}) as stage:
        yield Desk(stage)


@pytest.fixture
def light_desk(sqlite_url: str) -> Iterator[Desk]:
    """The same on SQLite only, for what is no matter of the database."""
    with make_stage(sqlite_url, app={"WTF_CSRF_ENABLED": False}) as stage:
        yield Desk(stage)


def see(admin: Admin, query: str = "", **headers: str) -> str:
    answer = admin.browser.get(f"{PAGE}/events{query}", headers=headers)
    assert answer.status_code == 200, text_of(answer)
    return answer.text


def words(markup: str) -> str:
    """Return what a person reads."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def lines_of(page: str) -> list[str]:
    """Return the events of a page, each as a line of its words."""
    return [words(row) for row in re.findall(r"<tr role=\"row\">.*?</tr>", page, re.DOTALL)[1:]]


def ids_of(page: str) -> list[str]:
    return re.findall(r"vp-copy\"[^>]*>(evt_\w+)<", page)


def notice_of(answer: TestResponse | str) -> str:
    page = answer if isinstance(answer, str) else answer.text
    found = re.search(r'<div class="vp-notice.*?<nav', page, re.DOTALL)
    return words(found[0]).removesuffix(" <nav") if found else ""


def press(admin: Admin, row_id: Any, *, headers: Any = None, **fields: str) -> TestResponse:
    """Press an event's button."""
    return admin.browser.post(f"{PAGE}/events/{row_id}/replay", data=fields, headers=headers)


def press_and_follow(admin: Admin, row_id: Any, **fields: str) -> str:
    answer = press(admin, row_id, **fields)
    assert answer.status_code == 303, text_of(answer)
    return see(admin, str(answer.location).removeprefix(f"{PAGE}/events"))


def older_than(page: str) -> str | None:
    found = re.search(r'href="([^"]*)"[^>]*>Older<', page)
    return html.unescape(found[1]).removeprefix(f"{PAGE}/events") if found else None


# -- what is seen


def test_each_hotel_sees_what_stripe_sent_about_it_and_nothing_else(desk: Desk) -> None:
    desk.on()
    plazas, seasides = ping(), ping("payout.paid", account=SEASIDE)
    for event in (plazas, seasides):
        assert desk.stage.deliver(event).status_code == 200

    (line,) = lines_of(see(desk.admin()))
    assert re.fullmatch(
        rf"\d seconds? ago test A customer was added customer.created Stripe's id: {plazas['id']} Done 1 try", line
    )
    (line,) = lines_of(see(desk.admin(desk.stage.seaside)))
    assert f"A payout was paid payout.paid Stripe's id: {seasides['id']} Done" in line


def test_the_exact_time_is_there_for_whoever_points_at_it(light_desk: Desk) -> None:
    at = utcnow().replace(year=2025, month=9, day=3, hour=7, minute=5, second=9, microsecond=1)
    light_desk.fill(1, received_at=at)

    assert 'datetime="2025-09-03T07:05:09.000001+00:00" title="3 September 2025, 07:05:09 UTC"' in see(
        light_desk.admin()
    )


STANDS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "done": ({"status": EventStatus.processed}, "Done 1 try", False),
    "done, not applied": (
        {"status": EventStatus.processed, "error": "The amount differs."},
        "Done 1 try Not applied: The amount differs.",
        False,
    ),
    "waiting": ({"status": EventStatus.received, "attempts": 0}, "Waiting", False),
    "being handled": ({"status": EventStatus.processing}, "Being handled 1 try", False),
    "failed": (
        {"status": EventStatus.failed, "attempts": 3, "error": "KeyError: 1", "due_at": timedelta(minutes=5)},
        "Failed 3 tries Tried again when Stripe delivers it again. "
        "The app could not handle it: KeyError: 1 Handle again",
        True,
    ),
    "dead": (
        {"status": EventStatus.dead, "attempts": 16, "error": "KeyError: 1"},
        "Given up 16 tries The app could not handle it: KeyError: 1 Handle again",
        True,
    ),
    "parked": (
        {"status": EventStatus.parked, "error": "Nobody's."},
        "Kept without action Nobody's. Handle again",
        True,
    ),
    "parked, pruned": (
        {"status": EventStatus.parked, "error": "Nobody's.", "body": None},
        "Kept without action Nobody's. What it said was deleted after 30 days, so it cannot be handled again.",
        False,
    ),
    "done, pruned": ({"status": EventStatus.processed, "body": None}, "Done 1 try", False),
}


@pytest.mark.parametrize("case", STANDS)
def test_where_an_event_stands_is_said_in_words_and_what_may_be_done(light_desk: Desk, case: str) -> None:
    columns, said, has_button = STANDS[case]
    due_at = {"due_at": utcnow() + columns["due_at"]} if "due_at" in columns else {}
    light_desk.fill(1, **{**columns, **due_at})
    page = see(light_desk.admin())

    (line,) = lines_of(page)
    assert line.partition("evt_Plaza_0 ")[2].replace(" evt_Plaza_0", "") == said
    assert ("Handle again" in page) is has_button


@pytest.mark.parametrize(("due", "said"), [(5, "in 5 minutes ."), (-5, "as soon as its turn comes.")])
def test_where_workers_handle_events_a_failed_one_says_when(light_desk: Desk, due: int, said: str) -> None:
    state = light_desk.stage.host.state
    state.config = replace(state.config, processing="celery")
    due_at = utcnow() + timedelta(minutes=due)
    light_desk.fill(1, status=EventStatus.failed, error="KeyError: 1", due_at=due_at)

    (line,) = lines_of(see(light_desk.admin()))
    assert f"Failed 1 try Tried again {said} The app could not handle it" in line


def test_there_are_words_for_everything_that_we_handle_and_each_status() -> None:
    assert set(HANDLERS) - set(TYPES) == set()
    assert set(STATUSES) == set(EventStatus)


HOSTILE = """<img src=x onerror=alert(1)>" hx-get="/x" hx-trigger="load' <b>bold</b>"""


def test_what_an_error_or_an_event_says_is_text_and_nothing_else(light_desk: Desk) -> None:
    light_desk.fill(1, status=EventStatus.failed, error=f"ValueError: {HOSTILE}", type=HOSTILE, event_id=HOSTILE)
    page = see(light_desk.admin())

    assert "<img" not in page
    assert "<b>" not in page
    assert 'hx-get="/x"' not in page
    assert f">ValueError: {HOSTILE}<" in html.unescape(page)
    foreign = re.findall(r"<[^>]*>(?=[^<]*&lt;img)", page)
    assert ["hx-disable hx-ignore" in tag for tag in foreign] == [True] * 4


def test_nothing_of_what_an_event_carries_is_shown(light_desk: Desk) -> None:
    guest = {"object": "charge", "billing_details": {"name": "Jo Guest"}, "receipt_email": "jo@guest.example"}
    event = make_event("charge.failed", {**guest, "id": "ch_guest"}, account=PLAZA)
    light_desk.put(event)

    page = see(light_desk.admin())
    assert event["id"] in page
    assert [word for word in ("Jo Guest", "jo@guest", "ch_guest", "whsec") if word in page] == []


def test_no_events_at_all_are_words_too(light_desk: Desk) -> None:
    admin = light_desk.admin()
    assert "No event has come in test mode yet." in see(admin)
    assert "No event has come in live mode yet." in see(admin, "?mode=live")
    assert "Nothing needs attention in test mode." in see(admin, "?show=attention")
    assert "There is nothing older." in see(admin, "?before=1-1")


# -- whose payment it is about


def session_of(payment: Any, **more: Any) -> dict[str, Any]:
    return {"object": "checkout.session", "id": "cs_1", "payment_link": payment.stripe_payment_link_id, **more}


def test_the_hosts_payment_is_named_by_its_amount_and_its_reference(desk: Desk) -> None:
    payment = desk.stage.make_payment(desk.stage.plaza, amount=450000)
    with desk.state() as state:
        state.session.execute(sa.update(desk.stage.host.Payment).values(reference="Ticket <4711>"))
        operation = state.session.scalar(sa.select(state.models.Operation.id))
        state.session.commit()
    by_operation = {"object": "payment_intent", "id": "pi_1", "metadata": {"valetpro_operation": operation}}
    for object_ in (session_of(payment), by_operation, {"object": "charge", "id": "ch_unknown"}):
        desk.put(make_event("charge.updated", object_, account=PLAZA))

    about = [line.partition("Waiting")[0].rpartition("evt_")[2].split(" ", 1)[1] for line in newest(desk, 3)]
    assert about == ["", "€4,500.00 Ticket <4711> ", "€4,500.00 Ticket <4711> "]


def newest(desk: Desk, count: int) -> list[str]:
    """Return the lines of Hotel Plaza's events, the newest first."""
    return lines_of(see(desk.admin()))[:count]


@pytest.mark.parametrize("account", [PLAZA, SEASIDE], ids=["by an account that both have", "by its own account"])
def test_an_event_that_names_another_hotels_payment_is_about_nothing(desk: Desk, account: str) -> None:
    """Whoever owns an account writes what it likes into its objects."""
    payment = desk.stage.make_payment(desk.stage.plaza, amount=450000)
    with desk.state() as state:
        operation = state.session.scalar(sa.select(state.models.Operation.id))
    object_ = session_of(payment, metadata={"valetpro_operation": operation})
    body = json.dumps({"data": {"object": object_}})
    desk.fill(1, desk.stage.seaside, body=body, account_id=account)
    desk.fill(1, body=body, account_id=PLAZA)

    assert "4,500" not in see(desk.admin(desk.stage.seaside))
    assert "4,500" in see(desk.admin())


def test_a_payment_of_another_account_or_mode_is_not_meant(light_desk: Desk) -> None:
    payment = light_desk.stage.make_payment(light_desk.stage.plaza, amount=450000)
    body = json.dumps({"data": {"object": session_of(payment)}})
    light_desk.fill(1, body=body, account_id="acct_other")
    light_desk.fill(1, body=body, account_id=PLAZA, mode=Mode.live, event_id="evt_live")

    admin = light_desk.admin()
    assert "4,500" not in see(admin) + see(admin, "?mode=live")


ODD_BODIES = ['{"data": []}', '{"data": {"object": 7}}', '{"data": {"object": {"object": ["charge"], "id": {}}}}', "{}"]


def test_bodies_of_any_shape_are_shown(light_desk: Desk) -> None:
    for number, body in enumerate(ODD_BODIES):
        light_desk.fill(1, body=body, event_id=f"evt_{number}")

    assert len(lines_of(see(light_desk.admin()))) == len(ODD_BODIES)


# -- page by page


@pytest.mark.both
def test_a_page_costs_the_same_whatever_is_on_it(desk: Desk) -> None:
    payment = desk.stage.make_payment(desk.stage.plaza)
    with desk.state() as state:
        operation = state.session.scalar(sa.select(state.models.Operation.id))
    object_ = session_of(payment, metadata={"valetpro_operation": operation})
    body = json.dumps({"data": {"object": object_}})
    desk.fill(1, body=body, account_id=PLAZA, event_id="evt_first")
    admin, counts = desk.admin(), {}
    for more in (0, 5, 60):
        desk.fill(more, body=body, account_id=PLAZA, status=EventStatus.failed, scope=f"{more} more")
        with desk.stage.statements() as statements:
            lines = lines_of(see(admin))
        counts[len(lines)] = len(statements)

    # The user and the tenant, the events, the operations and the payments that they are about.
    assert counts == {1: 5, 6: 5, 50: 5}


@pytest.mark.both
def test_every_event_is_on_one_page_even_those_of_one_moment(desk: Desk) -> None:
    # Dead ones, since their buttons name their keys.
    dead = {"status": EventStatus.dead}
    same = desk.fill(120, received_at=utcnow() - timedelta(days=1), scope="one moment", **dead)
    later = desk.fill(30, **dead)
    desk.fill(3, desk.stage.seaside)
    admin = desk.admin()
    page = see(admin)
    assert ">Newest</a>" not in page
    seen = keys_of(page)
    while query := older_than(page):
        page = see(admin, query)
        assert ">Newest</a>" in page
        seen += keys_of(page)

    assert seen == later + sorted(same, reverse=True)
    assert len(ids_of(see(desk.admin(desk.stage.seaside)))) == 3


def keys_of(page: str) -> list[int]:
    """Return the keys of the events that have a button."""
    return [int(key) for key in re.findall(r"/events/(\d+)/replay", page)]


def test_a_full_last_page_leads_no_further(desk: Desk) -> None:
    desk.fill(events_page.PAGE * 2)
    query = older_than(see(desk.admin()))
    assert query is not None

    page = see(desk.admin(), query)
    assert len(lines_of(page)) == events_page.PAGE
    assert older_than(page) is None


@pytest.mark.both
def test_the_next_page_begins_where_it_would_have_though_its_neighbours_are_deleted(desk: Desk) -> None:
    keys = desk.fill(60)
    query = older_than(see(desk.admin()))
    assert query is not None
    with desk.state() as state:
        model = state.models.WebhookEvent
        state.session.execute(sa.delete(model).where(model.id.in_(keys[45:52])))
        state.session.commit()

    assert ids_of(see(desk.admin(), query)) == [f"evt_Plaza_{number}" for number in range(52, 60)]


@pytest.mark.both
def test_events_that_come_meanwhile_move_nothing(desk: Desk) -> None:
    desk.fill(60)
    query = older_than(see(desk.admin()))
    desk.fill(10, received_at=utcnow(), scope="new")

    assert query is not None
    assert ids_of(see(desk.admin(), query)) == [f"evt_Plaza_{number}" for number in range(50, 60)]


def test_one_mode_is_looked_at_the_active_one_first(desk: Desk) -> None:
    desk.fill(1, event_id="evt_test")
    desk.fill(1, event_id="evt_live", mode=Mode.live)
    admin = desk.admin()

    assert ids_of(see(admin)) == ids_of(see(admin, "?mode=test")) == ids_of(see(admin, "?mode=odd")) == ["evt_test"]
    assert ids_of(see(admin, "?mode=live")) == ["evt_live"]
    with desk.state() as state:
        desk.stage.host.tenant(desk.stage.plaza.id).stripe_mode = Mode.live
        state.session.commit()
    assert ids_of(see(admin)) == ["evt_live"]


@pytest.mark.both
def test_only_what_failed_or_is_dead_needs_attention(desk: Desk) -> None:
    for status in EventStatus:
        desk.fill(30, status=status, type=f"it.is.{status}", scope=status)
    admin, page = desk.admin(), see(desk.admin(), "?show=attention")
    query = older_than(page)
    assert query is not None
    types = re.findall(r"it\.is\.(\w+)", page + see(admin, query))

    assert sorted(set(types)) == ["dead", "failed"]
    assert len(types) == 60


ODD = ["before=", "before=x", "before=-1", "before=1", "before=0-0", "before=99999999999999999-999999999999999999"]
ODD += [f"before={'9' * 400}-1", "before=1-" + "9" * 30, "before=1.5-2", "before=\0", "before=%00", "before=١-١"]
ODD += ["mode=%00", "show=%00", "done=replay_failed&event=1", f"done=replay_failed&event={'9' * 99}"]


@pytest.mark.parametrize("query", ODD)
def test_an_address_that_makes_no_sense_shows_a_page_all_the_same(desk: Desk, query: str) -> None:
    desk.fill(1)
    page = see(desk.admin(), f"?{query}")

    assert notice_of(page) == ""
    assert ids_of(page) == ([] if query == "before=0-0" else ["evt_Plaza_0"])


def test_the_page_is_a_fragment_for_htmx(light_desk: Desk) -> None:
    admin = light_desk.admin()
    assert "<html" in see(admin)
    assert "<html" not in see(admin, **HTMX)
    assert "<html" in see(admin, **HTMX, **{"HX-Boosted": "true"})


@pytest.mark.both
def test_a_page_is_read_along_an_index_however_many_events_there_are(desk: Desk) -> None:
    fill_with_100_000(desk)
    half_way = int((utcnow() - timedelta(seconds=50_000)).timestamp() * 1_000_000)
    newest, older, attention = plans_of(desk, "", f"?before={half_way}-1", "?show=attention")

    for plan in (newest, older, attention):
        # Not read as a whole, nor sorted as a whole.
        assert re.search(r"Seq Scan|SCAN stripe_webhook_event|(?<!Incremental )Sort  \(", plan) is None, plan
        assert "ix_stripe_webhook_event_" in plan
    if dialect_of(desk) == "postgresql":
        # SQLite sees no difference between this index and the one of all events.
        assert "ix_stripe_webhook_event_attention" in attention


def fill_with_100_000(desk: Desk) -> None:
    """Fill both inboxes, where one event of 10,000 is dead."""
    series, at = {
        "postgresql": ("SELECT i FROM generate_series(1, 100000) AS n(i)", "now() - i * interval '1 second'"),
        "sqlite": (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i FROM n",
            "datetime('now', '-' || i || ' seconds')",
        ),
    }[dialect_of(desk)]
    owner = f"CASE WHEN i % 2 = 0 THEN {desk.stage.plaza.id} ELSE {desk.stage.seaside.id} END"
    status = "CASE WHEN i % 20000 < 2 THEN 'dead' ELSE 'processed' END"
    with desk.state() as state:
        for statement in (
            "INSERT INTO stripe_webhook_event (scope, event_id, type, mode, status, attempts, generation, tenant_id, "
            f"received_at) SELECT 'x', i, 'x', 'test', {status}, 1, 0, {owner}, {at} FROM ({series}) AS numbers",
            "ANALYZE",
        ):
            state.session.execute(sa.text(statement))
            state.session.commit()


def dialect_of(desk: Desk) -> str:
    with desk.state() as state:
        return state.db.engine.dialect.name


def plans_of(desk: Desk, *queries: str) -> list[str]:
    """Return how the database finds the events of each page."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM stripe_webhook_event" in statement:
            asked.append((statement, parameters))

    with desk.state() as state:
        engine = state.db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    for query in queries:
        see(desk.admin(), query)
    sa.event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        return [
            "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))
            for statement, parameters in asked
        ]


# -- once more


@pytest.fixture
def mistakes(desk: Desk) -> list[str]:
    """What the host's handler says as it fails, if anything."""
    found = ["poison"]
    desk.on(lambda event: fail(event) if found else None)
    return found


def failed(desk: Desk, account: str = PLAZA) -> int:
    """Return the key of an event that failed."""
    row_id = desk.put(account=account)
    desk.work(desk.must_claim(row_id))
    assert desk.row(row_id).status == "failed"
    return row_id


def entries(desk: Desk) -> list[tuple[str, Any]]:
    return [(e.actor, e.tenant_id) for e in desk.stage.rows("AuditEntry") if e.action == "event_replayed"]


def test_what_failed_is_handled_again_and_the_page_says_so_once(desk: Desk, mistakes: list[str]) -> None:
    row_id = failed(desk)
    mistakes.clear()
    admin = desk.admin()
    answer = press(admin, row_id, mode="test")

    assert answer.status_code == 303
    assert urlsplit(answer.location).path == f"{PAGE}/events"
    page = see(admin, str(answer.location).removeprefix(f"{PAGE}/events"))
    event_id = desk.row(row_id).event_id
    assert notice_of(page) == f"The event is handled now. A customer was added: {event_id}"
    assert "Done 1 try" in lines_of(page)[0]
    assert desk.name_of(desk.stage.plaza) == "Plaza!"
    assert entries(desk) == [(str(admin.user.id), desk.stage.plaza.id)]
    # A reload, or somebody else's link to the same address, says nothing.
    assert notice_of(see(admin, str(answer.location).removeprefix(f"{PAGE}/events"))) == ""
    assert f"Had an event handled again: {event_id}" in admin.browser.get(f"{PAGE}/history").text


def test_htmx_is_sent_to_the_page_as_a_whole(desk: Desk, mistakes: list[str]) -> None:
    row_id = failed(desk)
    mistakes.clear()
    answer = press(desk.admin(), row_id, headers=HTMX, mode="test")

    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["HX-Redirect"].startswith(f"{PAGE}/events?done=replay_processed&")
    assert desk.row(row_id).status == "processed"


def test_what_fails_again_is_told_with_its_reason(desk: Desk, mistakes: list[str]) -> None:
    row_id = failed(desk)
    desk.set(row_id, status=EventStatus.dead, attempts=16, error="KeyError: <b>1</b>", due_at=None)
    page = press_and_follow(desk.admin(), row_id)

    event_id = desk.row(row_id).event_id
    assert notice_of(page) == (
        f"The event failed again. A customer was added: {event_id} The app could not handle it: ValueError: poison"
    )
    assert "Failed 1 try Tried again when Stripe" in lines_of(page)[0]
    assert desk.name_of(desk.stage.plaza) == "Plaza"


def test_what_nobody_may_act_on_yet_stays_as_it_is_and_its_reason_is_told(desk: Desk) -> None:
    (row_id,) = desk.fill(
        1, status=EventStatus.parked, error="It came <too> early.", body=json.dumps(ping()), account_id="acct_gone"
    )
    with desk.state() as state:
        state.session.execute(sa.update(state.models.Connection).values(ended_at=utcnow()))
        state.session.commit()
    page = press_and_follow(desk.admin(), row_id)

    assert notice_of(page) == (
        "The event is still kept without action. A charge succeeded: evt_Plaza_0 It came <too> early."
    )
    assert desk.row(row_id).status == "parked"


def test_what_was_kept_for_an_account_that_is_connected_by_now_is_done(desk: Desk) -> None:
    desk.on()
    (row_id,) = desk.fill(
        1, status=EventStatus.parked, error="Too early.", body=json.dumps(ping()), type="customer.created"
    )

    assert notice_of(press_and_follow(desk.admin(), row_id)).startswith("The event is handled now.")
    assert desk.name_of(desk.stage.plaza) == "Plaza!"


@pytest.mark.both
def test_an_event_that_a_worker_was_faster_with_is_left_to_it(desk: Desk, mistakes: list[str]) -> None:
    row_id, taken = failed(desk), list[bool]()

    def take(_session: Any) -> None:
        if not taken:
            taken.append(True)
            with ThreadPoolExecutor(1) as worker:
                taken.append(worker.submit(desk.claim, row_id).result(seconds(30)) is not None)

    admin, session = desk.admin(), desk.stage.host.db.session
    sa.event.listen(session, "after_commit", take)
    page = press_and_follow(admin, row_id)
    sa.event.remove(session, "after_commit", take)

    assert taken == [True, True]
    assert notice_of(page).startswith("The event is being handled. Load the page again in a minute.")
    assert "Being handled 1 try" in lines_of(page)[0]
    assert len(desk.calls) == 1


def test_the_way_back_leads_to_the_same_part_of_the_inbox(desk: Desk, mistakes: list[str]) -> None:
    row_id = failed(desk)
    place = {"mode": "live", "show": "attention", "before": "1700000000000000-17"}
    address = str(press(desk.admin(), row_id, **place).location)
    assert {name: query_of(address).get(name) for name in place} == place

    odd = str(press(desk.admin(), row_id, mode="x", show="<b>", before="//evil.example").location)
    assert query_of(odd) == {"done": "replay_failed", "mode": "test", "event": str(row_id)}


# -- what is refused


def refused(answer: TestResponse) -> str:
    assert answer.status_code == 422, answer.status
    assert 'role="alert"' in answer.text
    return notice_of(answer)


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "fragment"])
def test_another_hotels_event_is_refused_just_as_one_that_is_not_there(
    desk: Desk, mistakes: list[str], headers: dict[str, str]
) -> None:
    theirs = failed(desk, SEASIDE)
    before, answers = desk.row(theirs), []
    admin = desk.admin()
    for row_id in (theirs, 4711, 0, -1, 10**18, "9" * 400, "x", "1.5", "%00", "١", "' OR 1=1"):
        answer = press(admin, row_id, headers=headers)
        assert refused(answer) == f"{NOT_THERE} Load the page again: the event may have been deleted."
        assert ("<html" in answer.text) is (not headers)
        answers.append(answer.text)

    assert len(set(answers)) == 1
    assert ("<title>Error: Events from Stripe</title>" in answers[0]) is (not headers)
    after = desk.row(theirs)
    assert (after.status, after.generation, after.attempts) == (before.status, before.generation, before.attempts)
    assert entries(desk) == []
    assert len(desk.calls) == 1


def test_what_is_done_pruned_or_in_somebodys_hands_is_refused_with_a_sentence(desk: Desk, mistakes: list[str]) -> None:
    admin, event_id = desk.admin(), "evt_Plaza_0"
    sentences = {
        "status": (EventStatus.processed, f"The event {event_id} was handled already, so there is nothing to do."),
        "body": (None, f"What the event {event_id} said was deleted, as for every event after 30 days, so it"),
        "due_at": (utcnow() + timedelta(minutes=5), f"The event {event_id} is being handled in this moment."),
    }
    (row_id,) = desk.fill(1)
    for name, (value, sentence) in sentences.items():
        desk.set(row_id, **{"status": EventStatus.processing, "body": "{}", "due_at": None, name: value})
        assert sentence in refused(press(admin, row_id))
    assert entries(desk) == []


def test_the_21st_in_ten_minutes_is_refused_and_the_other_hotel_goes_on(light_desk: Desk) -> None:
    desk, found = light_desk, ["poison"]
    desk.on(lambda event: fail(event) if found else None)
    row_id, theirs, admin = failed(desk), failed(desk, SEASIDE), desk.admin()
    for _ in range(replay.MOST):
        assert press(admin, row_id).status_code == 303
    found.clear()

    assert refused(press(admin, row_id)) == "20 events were replayed in the last minutes. Try again in ten minutes."
    assert desk.row(row_id).status == "failed"
    assert press(desk.admin(desk.stage.seaside), theirs).status_code == 303
    assert desk.row(theirs).status == "processed"


def test_a_refusal_shows_the_part_of_the_inbox_that_one_was_in(light_desk: Desk) -> None:
    light_desk.fill(1, event_id="evt_dead", status=EventStatus.dead, mode=Mode.live)
    light_desk.fill(1, event_id="evt_done", mode=Mode.live)

    answer = press(light_desk.admin(), 4711, mode="live", show="attention")
    assert refused(answer)
    assert ids_of(answer.text) == ["evt_dead"]


def test_a_page_that_was_shown_for_another_hotel_does_nothing(light_desk: Desk) -> None:
    (row_id,) = light_desk.fill(1, status=EventStatus.dead)
    answer = press(light_desk.admin(), row_id, for_tenant=str(light_desk.stage.seaside.id))

    assert answer.status_code == 409
    assert "This form belongs to another tenant" in text_of(answer)
    assert light_desk.row(row_id).status == "dead"


def test_members_and_strangers_see_and_do_nothing(light_desk: Desk) -> None:
    (row_id,) = light_desk.fill(1, status=EventStatus.dead)
    member, nobody = light_desk.admin(role="member").browser, light_desk.stage.host.client_as()

    assert member.get(f"{PAGE}/events").status_code == 403
    assert member.post(f"{PAGE}/events/{row_id}/replay").status_code == 403
    assert nobody.get(f"{PAGE}/events").location.startswith("/sign-in")
    ended = nobody.post(f"{PAGE}/events/{row_id}/replay", headers=HTMX)
    assert (ended.status_code, ended.text, ended.headers["HX-Redirect"]) == (401, "", f"{PAGE}/")
    assert light_desk.row(row_id).status == "dead"


@pytest.mark.parametrize("verb", ["GET", "PUT", "PATCH", "DELETE"])
def test_events_are_handled_again_by_post_alone(light_desk: Desk, verb: str) -> None:
    (row_id,) = light_desk.fill(1, status=EventStatus.dead)
    admin = light_desk.admin().browser

    assert admin.open(f"{PAGE}/events/{row_id}/replay", method=verb).status_code == 405
    assert admin.open(f"{PAGE}/events", method="POST").status_code == 405
    assert light_desk.row(row_id).status == "dead"
