"""The chosen looks hold every pair of values, and each page is seen in all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import astuple, fields
from importlib import import_module

import pytest

from tests.browser.looks import LOOKS, Look, looks_of

Pair = tuple[tuple[str, object], tuple[str, object]]


def pairs(looks: Iterable[Look]) -> set[Pair]:
    names = [field.name for field in fields(Look)]
    return {pair for look in looks for pair in itertools.combinations(zip(names, astuple(look), strict=True), 2)}


def test_the_looks_hold_every_pair_of_values() -> None:
    values = [sorted({astuple(look)[place] for look in LOOKS}) for place in range(len(fields(Look)))]

    assert [len(each) for each in values] == [2, 2, 2, 2]
    assert pairs(LOOKS) == pairs(Look(*each) for each in itertools.product(*values))


@pytest.mark.parametrize(
    "file", ["events_look", "keys_and_onboarding_look", "no_secret_in_the_browser", "settings_look"]
)
def test_a_page_is_seen_in_every_look(file: str) -> None:
    module = import_module(f"tests.browser.test_{file}")
    tests = [each for name, each in vars(module).items() if name.startswith("test_")]

    assert looks_of(tests) == set(LOOKS)
