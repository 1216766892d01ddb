"""Processes that are forked from one that has imported the app already, which is most of what starting one costs."""

from __future__ import annotations

import multiprocessing
from typing import Final

#: Of all that the chaos tests run in processes of their own: one server forks for every test of a session.
_IMPORTED: Final = ["tests.chaos.draining", "tests.chaos.nursery", "tests.integration.delivering"]

copies = multiprocessing.get_context("forkserver")
copies.set_forkserver_preload(_IMPORTED)
