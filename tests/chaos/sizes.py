"""How much of it: a little in every run, all of it by ``make chaos``, and any other number by the environment."""

from __future__ import annotations

import os
import random
from contextlib import nullcontext
from typing import Final

import pytest

IS_FULL: Final = os.environ.get("CHAOS") == "full"


def size(name: str, small: int, full: int) -> int:
    """Return how many: ``small`` in every run, ``full`` by ``make chaos``, or what the environment says by ``name``."""
    return int(os.environ.get(name, full if IS_FULL else small))


def seed() -> int:
    """Return the seed of a run: a new one each time, or the environment's ``SEED``, by which a run is repeated."""
    return int(os.environ.get("SEED", random.SystemRandom().getrandbits(32)))


def tell(capsys: pytest.CaptureFixture[str], figures: str) -> None:
    """Print what was seen, also where pytest keeps what tests print; but a worker of pytest-xdist has no terminal."""
    with nullcontext() if "PYTEST_XDIST_WORKER" in os.environ else capsys.disabled():
        print(f"\n{figures}")  # noqa: T201
