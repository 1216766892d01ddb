"""Looks: theme, width, script and htmx. A few hold every pair of values; each page is seen in all of these."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from _pytest.mark import ParameterSet

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}


@dataclass(frozen=True)
class Look:
    """How a page is seen: by which browser, and in whose layout, which brings its htmx."""

    theme: Literal["light", "dark"]
    width: Literal["phone", "desktop"]
    script: bool
    layout: Literal["ours, htmx 4", "the host's, htmx 2"]

    def __str__(self) -> str:
        return f"{self.theme} {self.width}, {'' if self.script else 'no '}script, {self.layout}"

    @property
    def context(self) -> dict[str, Any]:
        """Return the options of Playwright's browser context."""
        size = PHONE if self.width == "phone" else DESKTOP
        return {**size, "color_scheme": self.theme, "java_script_enabled": self.script}


OURS = Look("light", "desktop", True, "ours, htmx 4")
OURS_DARK_PHONE = Look("dark", "phone", True, "ours, htmx 4")
HOSTS = Look("dark", "desktop", True, "the host's, htmx 2")
NO_SCRIPT = Look("dark", "desktop", False, "ours, htmx 4")
HOSTS_PHONE_NO_SCRIPT = Look("light", "phone", False, "the host's, htmx 2")
LOOKS = [OURS, OURS_DARK_PHONE, HOSTS, NO_SCRIPT, HOSTS_PHONE_NO_SCRIPT]


_OTHERS = pytest.mark.thorough("the page's other tests hold every pair of what makes a look")


def seen_in(*chosen: Look, needs_script: bool = True) -> pytest.MarkDecorator:
    """Run a test in these looks, and with ``--all`` in every other one.

    :param needs_script: the page does by script what the test is about.
    """
    return pytest.mark.parametrize("look", [_param(look, chosen) for look in _possible(needs_script)])


def each_seen_in(name: str, chosen: Mapping[str, Sequence[Look]], *, needs_script: bool = True) -> pytest.MarkDecorator:
    """Run a test with each value of a parameter in the looks chosen for it, and with ``--all`` in every other one."""
    looks = _possible(needs_script)
    params = [_param(look, those, value) for value, those in chosen.items() for look in looks]
    return pytest.mark.parametrize((name, "look"), params)


def by_turns(values: Iterable[str], *looks: Look) -> dict[str, list[Look]]:
    """Choose one look for each value, by turns."""
    return {value: [look] for value, look in zip(values, itertools.cycle(looks), strict=False)}


def looks_of(tests: Iterable[Callable[..., Any]]) -> set[Look]:
    """Return the looks in which these tests run without ``--all``."""
    marks = [mark for test in tests for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    params = [param for mark in marks if "look" in mark.args[0] for param in mark.args[1]]
    return {param.values[-1] for param in params if not param.marks}


def _possible(needs_script: bool) -> list[Look]:
    return [look for look in LOOKS if look.script or not needs_script]


def _param(look: Look, chosen: Sequence[Look], *values: str) -> ParameterSet:
    marks = [] if look in chosen else [_OTHERS]
    return pytest.param(*values, look, id="; ".join([*values, str(look)]), marks=marks)
