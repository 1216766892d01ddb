"""``flask stripe health``: a table for people, JSON for programs, and an exit code for both."""

from __future__ import annotations

import json

import pytest

from tests.health.troubles import give_up
from tests.hosts import make_host
from tests.webhooks.stage import Stage, ping

from .ward import Handler, let_pass, run


@pytest.mark.both
def test_the_table_has_a_line_for_each_hotel_and_mode_and_a_sentence_for_trouble(stage: Stage) -> None:
    Handler.of(stage.host, ValueError("poison"))
    stage.host.connect(stage.seaside, "acct_live", stage.host.state.platform_endpoints[1].mode)
    stage.deliver(ping(id="evt_1", account="acct_plaza"))
    give_up(stage)

    result = run(stage.host, "health")

    assert result.exit_code == 1
    table, advice = result.output.splitlines()[:4], result.output.splitlines()[4:]
    assert [line.split()[:3] for line in table] == [
        ["tenant", "mode", "verdict"],
        ["1", "test", "failing"],
        ["2", "live", "idle"],
        ["2", "test", "idle"],
    ]
    assert len({line.index(word) for line, word in zip(table, ("mode", "test", "live", "test"), strict=True)}) == 1
    assert advice == [
        "- 1, test: One event was given up after 16 tries. The last one is evt_1: This app's own code failed over "
        "it, with ValueError. A developer looks for the event's id in the app's log. Once that is mended, have it "
        "handled again: on the tenant's page of events, or by 'flask stripe replay evt_1'."
    ]


def test_while_nobody_has_to_do_anything_it_exits_with_0(light_stage: Stage) -> None:
    Handler.of(light_stage.host, ValueError("poison"))
    light_stage.deliver(ping())

    result = run(light_stage.host, "health")

    assert result.exit_code == 0
    assert result.output.splitlines()[-1].startswith("- 1, test: One event has failed")
    let_pass(light_stage.host, hours=2)
    assert run(light_stage.host, "health").exit_code == 1


def test_one_hotel_or_mode_alone_is_asked_about(light_stage: Stage) -> None:
    Handler.of(light_stage.host, ValueError("poison"))
    light_stage.deliver(ping())
    let_pass(light_stage.host, hours=2)

    seaside = run(light_stage.host, "health", "--tenant", light_stage.seaside.id)
    assert seaside.exit_code == 0
    assert [line.split()[:3] for line in seaside.output.splitlines()[1:]] == [
        ["2", "test", "idle"],
        ["2", "live", "idle"],
    ]
    assert run(light_stage.host, "health", "--tenant", light_stage.plaza.id, "--mode", "test").exit_code == 1
    assert run(light_stage.host, "health", "--mode", "live").output == "No tenant has a connection or an event.\n"
    missing = run(light_stage.host, "health", "--tenant", "77")
    assert (missing.exit_code, missing.output) == (
        1,
        "Error: There is no tenant 77. 'flask stripe tenants' lists them.\n",
    )


def test_programs_get_json_and_the_same_exit_code(light_stage: Stage) -> None:
    light_stage.deliver(ping())
    fine = run(light_stage.host, "health", "--json")
    assert fine.exit_code == 0
    assert {each["tenant"]: each["verdict"] for each in json.loads(fine.output)["tenants"]} == {
        "1": "healthy",
        "2": "idle",
    }

    Handler.of(light_stage.host, ValueError("poison"))
    light_stage.deliver(ping())
    give_up(light_stage)
    bad = run(light_stage.host, "health", "--json", "--tenant", light_stage.plaza.id, "--mode", "test")
    assert bad.exit_code == 1
    assert [each["verdict"] for each in json.loads(bad.output)["tenants"]] == ["failing"]


def test_without_tenants_there_is_nothing_to_say(sqlite_url: str) -> None:
    with make_host(sqlite_url) as host:
        result = run(host, "health")

    assert (result.exit_code, result.output) == (0, "No tenant has a connection or an event.\n")
