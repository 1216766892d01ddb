"""All the ways in which a payment can be paid, by the kind of the operation that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .create import Way
from .intents import INTENT
from .links import LINK
from .sessions import SESSION

WAYS: Final[Mapping[str, Way]] = {way.kind: way for way in (LINK, SESSION, INTENT)}
