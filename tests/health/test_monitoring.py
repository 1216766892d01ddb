"""The view for monitors: JSON without guests in it, 503 when a person is needed, and nobody else's app."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from flask_valetpro_stripe import monitoring
from flask_valetpro_stripe.models.types import utcnow
from tests.health.troubles import give_up
from tests.servers import PostgreSQL, refuse
from tests.webhooks.stage import Stage, make_stage, ping

from .ward import Handler, let_pass

URL = "/internal/stripe/health"


def mount(app: Flask) -> None:
    app.add_url_rule(URL, endpoint="stripe_health", view_func=monitoring.health)


@pytest.fixture
def watched(stage: Stage) -> Stage:
    mount(stage.host.app)
    return stage


def ask(stage: Stage, app: Flask | None = None) -> Any:
    return (app or stage.host.app).test_client().get(URL)


def test_while_all_is_well_the_answer_is_200(watched: Stage) -> None:
    watched.deliver(ping())

    answer = ask(watched)

    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["needs_person"] is False
    assert answer.json["verdicts"] == {"broken": 0, "failing": 0, "late": 0, "idle": 1, "healthy": 1}
    plaza = answer.json["tenants"][0]
    assert set(plaza) == {
        *("tenant", "mode", "verdict", "says", "remedy", "needs_person", "last_received_at", "last_processed_at"),
        *("last_failure", "lag_seconds", "waiting", "failed", "dead", "missed", "endpoint"),
    }
    assert (plaza["tenant"], plaza["mode"], plaza["verdict"]) == (str(watched.plaza.id), "test", "healthy")
    told = datetime.fromisoformat(plaza["last_received_at"])
    assert told.utcoffset() == timedelta()
    assert abs(utcnow() - told) < timedelta(minutes=5)


def test_when_a_person_is_needed_it_is_503_and_says_for_which_event(watched: Stage) -> None:
    event = ping()
    Handler.of(watched.host, ValueError("Ms Okafor's car is gone"))
    watched.deliver(event)
    assert ask(watched).status_code == 200
    give_up(watched, "ValueError: Ms Okafor's car is gone")

    answer = ask(watched)

    assert answer.status_code == 503
    (plaza,) = [each for each in answer.json["tenants"] if each["needs_person"]]
    failure = plaza["last_failure"]
    assert (failure["event_id"], failure["is_dead"], failure["attempts"]) == (event["id"], True, 16)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", failure["received_at"])
    # Whatever an error, a payload or a tenant's name says.
    assert not re.search("Okafor|cus_1|Plaza|Seaside", answer.text)


def test_what_fails_for_long_is_503(watched: Stage) -> None:
    Handler.of(watched.host, ValueError("poison"))
    watched.deliver(ping())
    let_pass(watched.host, hours=2)

    assert ask(watched).status_code == 503


def test_two_apps_tell_of_their_own_hotels_only(watched: Stage, postgresql: PostgreSQL) -> None:
    with postgresql.database() as url:
        other = watched.host.add_app(url)
        mount(other)
        Handler.of(watched.host, ValueError("poison"))
        watched.deliver(ping())
        give_up(watched)

        assert ask(watched).status_code == 503
        calm = ask(watched, other)
        assert (calm.status_code, calm.json["tenants"]) == (200, [])


def test_a_database_that_is_away_needs_a_person(postgresql: PostgreSQL) -> None:
    with postgresql.database() as url, make_stage(url) as stage:
        mount(stage.host.app)
        assert ask(stage).status_code == 200
        refuse(postgresql, url, True)

        away = ask(stage)

        refuse(postgresql, url, False)
        assert (away.status_code, away.headers["Cache-Control"]) == (503, "no-store")
        assert (away.json["needs_person"], away.json["says"]) == (True, "The database cannot be asked now.")
        assert ask(stage).status_code == 200
