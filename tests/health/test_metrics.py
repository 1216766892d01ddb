"""What is counted in a process and what the database holds, in Prometheus' format, each app's by itself."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from flask_valetpro_stripe import Mode, monitoring
from flask_valetpro_stripe.counts import Reason
from flask_valetpro_stripe.enums import OperationState
from flask_valetpro_stripe.testing import sign
from flask_valetpro_stripe.webhooks import tenants, verify
from tests.children import Conversation, conversation, run_program
from tests.health.forging import WRONG, forged
from tests.health.troubles import give_up
from tests.hosts import ENCRYPTION_KEY, make_host
from tests.raw_keys.owner import Owner, Shelf
from tests.servers import PostgreSQL, refuse
from tests.webhooks.stage import URL, Stage, make_stage, ping

from .ward import Handler, change, let_pass

PROJECT = Path(__file__).resolve().parents[2]


def mount(app: Flask) -> None:
    app.add_url_rule("/internal/stripe/metrics", endpoint="stripe_metrics", view_func=monitoring.metrics)


def scrape(app: Flask) -> dict[str, float]:
    """What Prometheus reads, as it writes it: ``name{label="value"}``, without what the names begin with."""
    answer = app.test_client().get("/internal/stripe/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=")
    assert answer.headers["Cache-Control"] == "no-store"
    return parsed(answer.text)


def parsed(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            name = sample.name.removeprefix("valetpro_stripe_")
            found[f"{name}{{{labels}}}" if labels else name] = sample.value
    return found


def some(found: dict[str, float]) -> dict[str, float]:
    """What is not 0, of what processes count."""
    counted = ("deliveries", "rejected", "vault_errors")
    return {name: value for name, value in found.items() if value and name.startswith(counted)}


@pytest.fixture
def watched(light_stage: Stage) -> Stage:
    mount(light_stage.host.app)
    return light_stage


# -- counters


def test_deliveries_are_counted_by_what_became_of_them(watched: Stage) -> None:
    handler, event, bad = Handler.of(watched.host), ping(), ping()
    watched.deliver(event)
    watched.deliver(event)
    watched.deliver(ping(account="acct_nobodys"))
    handler.raises = ValueError("poison")
    watched.deliver(bad)
    handler.raises = None
    watched.deliver(bad)

    assert some(scrape(watched.host.app)) == {
        "deliveries_total{outcome=taken}": 2,
        "deliveries_total{outcome=duplicate}": 1,
        "deliveries_total{outcome=parked}": 1,
        "deliveries_total{outcome=failed}": 1,
    }


def test_with_celery_what_is_stored_counts_and_what_is_fetched_is_no_delivery(celery_stage: Stage) -> None:
    mount(celery_stage.host.app)
    event = ping()
    for each in (event, event, ping(account=None), ping(account="acct_nobodys")):
        celery_stage.deliver(each)

    assert some(scrape(celery_stage.host.app)) == {
        "deliveries_total{outcome=taken}": 2,
        "deliveries_total{outcome=duplicate}": 1,
        "deliveries_total{outcome=parked}": 1,
    }


def test_what_is_never_counted_is_there_as_0(watched: Stage) -> None:
    found = scrape(watched.host.app)

    assert some(found) == {}
    assert {name for name in found if name.startswith("rejected")} == {
        f"rejected_total{{reason={reason}}}" for reason in get_args(Reason)
    }


def test_rejections_are_counted_by_reason_and_nothing_that_was_sent_is_a_label(watched: Stage) -> None:
    for request in forged(watched):
        request()
    odd = b'{"object": "' + b"z" * 50 + b'"}'
    watched.post(odd, sign(odd, watched.secret(connect=True)))

    found = scrape(watched.host.app)

    assert some(found) == {
        "rejected_total{reason=signature}": 2,
        "rejected_total{reason=header}": 2,
        "rejected_total{reason=timestamp}": 1,
        "rejected_total{reason=shape}": 2,
        "rejected_total{reason=json}": 1,
        "rejected_total{reason=too_large}": 1,
    }
    assert not [name for name in found if "zzz" in name]


def test_a_hotel_that_names_anothers_account_is_counted_as_that(watched: Stage) -> None:
    riviera = Owner.of(watched.host, "Hotel Riviera")
    riviera.connect()
    riviera.deliver(ping(account="acct_plaza"))

    assert some(scrape(watched.host.app)) == {"rejected_total{reason=account}": 1}


def test_addresses_that_were_not_looked_up_are_counted_as_that(watched: Stage) -> None:
    watched.host.state.tenant_endpoints._clock = lambda: 1000.0
    for number in range(tenants.MOST_UNKNOWN + 2):
        watched.post(b"{}", sign(b"{}", "whsec_nobodys"), url=f"{URL}/{number:043}")

    assert some(scrape(watched.host.app)) == {
        "rejected_total{reason=signature}": tenants.MOST_UNKNOWN,
        "rejected_total{reason=rate}": 2,
    }


def test_every_reason_that_is_given_is_counted() -> None:
    trees = [ast.parse(Path(module.__file__).read_text(encoding="utf-8")) for module in (verify, tenants)]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    given = {ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) == "RefusedError"}

    assert len(given) > 5
    assert given | {"too_large", "cut_off"} == set(get_args(Reason))


def test_a_delivery_that_cannot_be_taken_is_counted_and_no_gauge_is_made_up(postgresql: PostgreSQL) -> None:
    with postgresql.database() as url, make_stage(url) as stage:
        mount(stage.host.app)
        assert scrape(stage.host.app)["database_up"] == 1
        refuse(postgresql, url, True)
        assert stage.deliver(ping()).status_code == 503

        found = scrape(stage.host.app)

        refuse(postgresql, url, False)
        assert some(found) == {"deliveries_total{outcome=unavailable}": 1}
        assert found["database_up"] == 0
        assert not [name for name in found if name.startswith(("events", "tenants", "lag"))]


def test_errors_of_a_vault_are_counted_by_its_name(sqlite_url: str, simulator: Any) -> None:
    shelf = Shelf()
    with make_host(sqlite_url, simulator=simulator, config={"VALETPRO_STRIPE_SECRET_STORE": shelf}) as host:
        mount(host.app)
        plaza = Owner.of(host, "Hotel Plaza")
        plaza.connect()
        assert some(scrape(host.app)) == {}

        def away(step: str) -> None:
            raise ConnectionError("nobody is there")

        shelf.meanwhile = away
        # Another process of the app, which remembers nothing.
        app = host.add_app(sqlite_url, config={"VALETPRO_STRIPE_SECRET_STORE": shelf})
        mount(app)
        assert app.test_client().post(plaza.path(), data=b"{}", headers={"Stripe-Signature": sign(b"{}", WRONG)})

        assert some(scrape(app)) == {"vault_errors_total{store=shelf}": 1, "deliveries_total{outcome=unavailable}": 1}
        assert some(scrape(host.app)) == {}


# -- gauges


@pytest.mark.both
def test_gauges_say_what_is_in_the_database(stage: Stage) -> None:
    mount(stage.host.app)
    Handler.of(stage.host, ValueError("poison"))
    stage.deliver(ping())
    give_up(stage)
    stage.deliver(ping())
    stage.deliver(ping(account="acct_nobodys"))
    let_pass(stage.host, minutes=10)

    found = scrape(stage.host.app)

    assert found["events_waiting{mode=test}"] == 1
    assert found["events_dead{mode=test}"] == 1
    assert found["events_parked{mode=test}"] == 1
    assert found["events_missed{mode=test}"] == 0
    assert 600 <= found["lag_seconds{mode=test}"] < 700
    assert found["tenants{mode=test,verdict=failing}"] == 1
    assert found["tenants{mode=test,verdict=idle}"] == 1
    assert found["need_person{mode=test}"] == 1
    assert found["database_up"] == 1
    assert {value for name, value in found.items() if "mode=live" in name} == {0}


@pytest.mark.both
def test_calls_whose_outcome_is_unknown_and_keys_in_use_are_gauges_too(stage: Stage) -> None:
    mount(stage.host.app)
    riviera = Owner.of(stage.host, "Hotel Riviera")
    riviera.connect()
    stage.make_payment(stage.plaza)
    change(stage.host, "Operation", sa.true(), state=OperationState.unknown)
    assert scrape(stage.host.app)["operations_unknown{mode=test}"] == 0
    let_pass(stage.host, minutes=2)

    found = scrape(stage.host.app)

    assert found["operations_unknown{mode=test}"] == 1
    keys = {name: value for name, value in found.items() if name.startswith("secrets")}
    assert list(keys.values()) == [2]
    assert re.fullmatch(r"secrets\{key=[0-9a-f]{16}\}", next(iter(keys)))
    assert ENCRYPTION_KEY[:8] not in str(keys)


def test_a_thousand_hotels_make_no_series_more(light_stage: Stage) -> None:
    mount(light_stage.host.app)
    light_stage.deliver(ping())
    before = set(scrape(light_stage.host.app))
    for number in range(20):
        tenant = light_stage.host.make_tenant(f"Hotel {number}")
        light_stage.host.connect(tenant, f"acct_{number}", Mode.live)
        light_stage.deliver(ping(account=f"acct_{number}", livemode=True))

    assert set(scrape(light_stage.host.app)) == before
    assert scrape(light_stage.host.app)["tenants{mode=live,verdict=healthy}"] == 20


# -- whose counts they are


def test_two_apps_of_one_process_never_mix(watched: Stage, postgres_url: str) -> None:
    other = watched.host.add_app(postgres_url)
    mount(other)
    watched.deliver(ping())
    other.test_client().post(URL, data=b"{}")

    assert some(scrape(watched.host.app)) == {"deliveries_total{outcome=taken}": 1}
    assert some(scrape(other)) == {"rejected_total{reason=header}": 1}
    assert scrape(other)["tenants{mode=test,verdict=healthy}"] == 0


@contextmanager
def counting(url: str, public_url: str, forged: int, directory: Path) -> Iterator[Conversation]:
    """Run a process that has counted so many forged requests."""
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    with conversation("tests.health.counting_process", url, public_url, str(forged), env=environ) as process:
        assert process.read() == "counted"
        yield process


def asked(process: Conversation) -> dict[str, float]:
    first = process.ask("metrics")
    return parsed("\n".join([first, *iter(process.read, "")]) if first else "")


@pytest.mark.slow("starts processes that import the app")
def test_processes_that_share_a_directory_count_together_and_other_apps_by_themselves(tmp_path: Path) -> None:
    here, there = "https://desk.example", "https://other.example"
    directory = tmp_path / "counts"
    directory.mkdir()
    with ExitStack() as stack:
        running = [
            stack.enter_context(counting(f"sqlite:///{tmp_path}/{number}.sqlite3", address, forged, directory))
            for number, (address, forged) in enumerate([(here, 3), (here, 5), (there, 7)])
        ]
        found = [asked(process) for process in running]

    assert [some(each) for each in found] == [
        {"rejected_total{reason=header}": 8},
        {"rejected_total{reason=header}": 8},
        {"rejected_total{reason=header}": 7},
    ]
    assert not [name for each in found for name in each if "shop" in name or "app=" in name]
    assert len(list(directory.glob("counter_*.db"))) == 3


def test_a_process_that_counts_nothing_leaves_nothing_in_the_directory(tmp_path: Path) -> None:
    with counting(f"sqlite:///{tmp_path}/1.sqlite3", "https://desk.example", 0, tmp_path) as process:
        assert some(asked(process)) == {}

    # The host's own counter is in it, and nothing of ours.
    (left,) = tmp_path.glob("counter_*.db")
    assert b"valetpro" not in left.read_bytes()


def test_a_directory_that_is_not_there_costs_counts_and_no_event(tmp_path: Path) -> None:
    # Each of the three was answered as it should be.
    with counting(f"sqlite:///{tmp_path}/1.sqlite3", "https://desk.example", 3, tmp_path / "nowhere"):
        pass


WITHOUT = """
import sys
sys.modules["prometheus_client"] = None
from tests.webhooks.stage import make_stage, ping
from flask_valetpro_stripe import monitoring
from flask_valetpro_stripe.counts import count_nothing
with make_stage(sys.argv[1]) as stage:
    stage.host.app.add_url_rule("/metrics", view_func=monitoring.metrics)
    stage.host.app.add_url_rule("/health", view_func=monitoring.health)
    assert stage.deliver(ping()).status_code == 200
    assert stage.post(b"{}", None).status_code == 400
    assert stage.host.state.count is count_nothing
    answers = [stage.host.app.test_client().get(path) for path in ("/metrics", "/health")]
    print([answer.status_code for answer in answers], answers[0].text, end="")
"""


def test_without_the_extra_nothing_is_counted_and_the_view_says_what_is_missing(sqlite_url: str) -> None:
    done = run_program([sys.executable, "-c", WITHOUT, sqlite_url])

    assert done.stdout == (
        "[501, 200] There are no metrics without prometheus-client: pip install 'flask-valetpro-stripe[metrics]'.\n"
    )
