"""The settings page tells an admin what has to be done so that events come and are handled, and nothing otherwise."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from tests.health.troubles import OWN_CODE, give_up
from tests.webhooks.stage import PLAZA, Stage, ping

from .ward import Handler, let_pass, pay, sync

TITLES = ("Stripe's events do not arrive", "Events cannot be handled", "Events wait too long")


def box(html: str, mode: str = "test") -> str:
    """Return what the page says about one mode's events, its tag included."""
    (found,) = re.findall(rf'<div class="vp-box[^>]* id="vp-health-{mode}".*?</div>', html, re.DOTALL)
    return str(found)


def page_of(stage: Stage, tenant: Any, address: str = "") -> str:
    client = stage.host.client_as(stage.host.make_user(tenant))
    answer = client.get(f"/settings/payments/{address}")
    assert answer.status_code == 200
    return str(answer.text)


def test_a_hotel_whose_events_were_given_up_reads_what_to_do_and_its_neighbour_does_not(stage: Stage) -> None:
    handler = Handler.of(stage.host, raises=ValueError("poison"))
    stage.deliver(ping(account=PLAZA))
    give_up(stage)

    plaza, seaside = page_of(stage, stage.plaza), page_of(stage, stage.seaside)

    assert handler
    assert 'data-verdict="failing"' in box(plaza)
    assert "Events cannot be handled" in box(plaza)
    assert OWN_CODE.replace("'", "&#39;") in box(plaza)
    assert "have it handled again" in box(plaza)
    assert "hidden" in box(plaza, "live").split(">")[0]
    assert 'data-verdict="idle"' in box(seaside)
    assert not any(title in unescape(seaside) for title in TITLES)
    # Whoever has the page open is told.
    assert "Events cannot be handled" in box(page_of(stage, stage.plaza, "status"))


def test_a_paid_payment_without_any_event_is_said_and_a_first_event_takes_it_back(light_stage: Stage) -> None:
    stage = light_stage
    payment = stage.make_payment(stage.plaza)
    pay(stage, payment)
    sync(stage.host, stage.plaza, payment)
    let_pass(stage.host, hours=3)

    before = box(page_of(stage, stage.plaza))
    stage.deliver(ping(account=PLAZA))
    after = box(page_of(stage, stage.plaza))

    assert TITLES[0] in unescape(before)
    assert 'data-verdict="healthy"' in after


def test_forged_requests_never_show_on_a_page(light_stage: Stage) -> None:
    stage = light_stage
    for _ in range(20):
        stage.post(b'{"object": "event"}', "t=1,v1=00")

    page = page_of(stage, stage.plaza)

    assert 'data-verdict="idle"' in box(page)
    assert not any(title in unescape(page) for title in TITLES)
