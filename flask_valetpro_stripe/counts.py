"""What each process counts, and the few words that tell its counts apart: none of them comes from a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

#: What became of a delivery with a genuine signature: handled or stored for the first time, here before, kept without
#: a handler's work, its handler raised, or not taken now.
Outcome = Literal["taken", "duplicate", "parked", "failed", "unavailable"]
#: Why a request to the webhook is no genuine delivery.
Reason = Literal["header", "timestamp", "signature", "rate", "json", "shape", "account", "too_large", "cut_off"]
#: What is counted; a vault's errors are told apart by the vault's name.
Counted = Literal["deliveries", "rejected", "vault_errors"]
#: Is called each time that something happens which is counted, with which of it.
Count = Callable[[Counted, str], object]


def count_nothing(what: Counted, which: str) -> None:
    """Count nothing: where no prometheus-client is installed, nobody could read it."""
