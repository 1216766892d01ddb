"""How long a store waits for its vault: in most tests far longer than in production, as the machine may be busy."""

from __future__ import annotations

import inspect
from typing import Final

import pytest

from flask_valetpro_stripe.secrets import options
from flask_valetpro_stripe.secrets.aws import AwsStore
from flask_valetpro_stripe.secrets.gcp import GcpStore
from flask_valetpro_stripe.secrets.vault import VaultStore
from tests.timing import seconds

REAL: Final = {name: getattr(options, name) for name in ("CONNECT_TIMEOUT", "READ_TIMEOUT", "LONGEST")}
#: So many times the real limits, scaled: only a vault that is not there at all takes as long.
PATIENT: Final = seconds(5)


def limit_stores(patch: pytest.MonkeyPatch, times: float) -> None:
    """Multiply the limits of the stores that are made from now on, and what their options may ask for at most."""
    limits = {name: value * times for name, value in REAL.items()}
    for name, value in limits.items():
        patch.setattr(options, name, value)
    for store in (AwsStore, GcpStore, VaultStore):
        given = [each for each in inspect.signature(store).parameters.values() if each.default is not each.empty]
        defaults = tuple(limits.get(each.name.upper(), each.default) for each in given)
        patch.setattr(store.__init__, "__defaults__", defaults)
