"""docs/9-operating.md names what there is: every metric, every verdict, and views that can be mounted as printed."""

from __future__ import annotations

import re
from typing import get_args

from flask_valetpro_stripe import monitoring
from flask_valetpro_stripe.counts import Outcome, Reason
from flask_valetpro_stripe.webhooks.health import Verdict
from tests.documents import blocks_of, run, text_of
from tests.webhooks.stage import Stage

PAGE = "docs/9-operating.md"


def test_the_views_are_mounted_as_the_page_has_it(light_stage: Stage) -> None:
    run(blocks_of(PAGE, "run"), {"app": light_stage.host.app})

    client = light_stage.host.app.test_client()
    assert client.get("/internal/stripe/health").status_code == 200
    assert client.get("/internal/stripe/metrics").status_code == 200
    assert {"health", "metrics"} == set(monitoring.__all__)


def test_every_metric_is_in_the_table_with_its_labels(light_stage: Stage) -> None:
    (table,) = re.findall(r"<!-- metrics -->\n((?:\|.*\n)+)", text_of(PAGE))
    told = {
        name: set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"(?m)^\| `(valetpro_stripe_\w+)` \|([^|]*)\|", table)
    }
    run(blocks_of(PAGE, "run"), {"app": light_stage.host.app})
    text = light_stage.host.app.test_client().get("/internal/stripe/metrics").text
    there = {name: set[str]() for name in re.findall(r"(?m)^# TYPE (\w+)", text)}
    for name, labels in re.findall(r"(?m)^(\w+)\{(.*)\} ", text):
        there[name] = set(re.findall(r'(\w+)="', labels))

    # Of a vault's errors there is a line only once there was one.
    assert told == there | {"valetpro_stripe_vault_errors_total": {"store"}}
    for words in (get_args(Outcome), get_args(Reason)):
        assert all(f"`{word}`" in table for word in words)


def test_every_verdict_is_explained() -> None:
    (table,) = re.findall(r"\| verdict \|.*\n\|---.*\n((?:\|.*\n)+)", text_of(PAGE))

    assert set(re.findall(r"(?m)^\| `(\w+)` \|", table)) == set(Verdict)
