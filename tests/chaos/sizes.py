"""Sizes of the chaos tests: small by default, ``CHAOS=middle`` or ``CHAOS=full``, and each number by its own name.

``make test`` runs the small sizes, ``make test-all`` the middle ones, ``make chaos`` the full ones.
"""

from __future__ import annotations

import os
import random
from contextlib import nullcontext
from typing import Final

import pytest

SCALE: Final = os.environ.get("CHAOS", "small")


def size(name: str, *, middle: int, full: int, small: int | None = None) -> int:
    """Return the size for ``CHAOS``, unless the environment sets ``name``.

    :param small: a quarter of ``middle`` unless given.
    """
    sizes = {"small": max(1, middle // 4) if small is None else small, "middle": middle, "full": full}
    return int(os.environ.get(name, sizes[SCALE]))


def seed() -> int:
    """Return the seed of a run: a new one each time, or the environment's ``SEED``, by which a run is repeated."""
    return int(os.environ.get("SEED", random.SystemRandom().getrandbits(32)))


def tell(capsys: pytest.CaptureFixture[str], figures: str) -> None:
    """Print what was seen, also where pytest keeps what tests print; but a worker of pytest-xdist has no terminal."""
    with nullcontext() if "PYTEST_XDIST_WORKER" in os.environ else capsys.disabled():
        print(f"\n{figures}")  # noqa: T201
