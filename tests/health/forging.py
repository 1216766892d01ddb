"""Requests that Stripe did not send."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from flask_valetpro_stripe.testing import sign
from tests.webhooks.stage import URL, Stage, ping

WRONG = "whsec_" + "forged00" * 4


def forged(stage: Stage) -> list[Callable[[], Any]]:
    """Return requests of every kind that is refused."""
    body, right = json.dumps(ping()).encode(), stage.secret(connect=True)
    shapeless = b'{"object": "event"}'
    return [
        lambda: stage.post(body, sign(body, WRONG)),
        lambda: stage.post(body, None),
        lambda: stage.post(body, "t=1,v1=é"),
        lambda: stage.post(body, sign(body, right, timestamp=int(time.time()) - 301)),
        lambda: stage.post(shapeless, sign(shapeless, right)),
        lambda: stage.post(b"[", sign(b"[", right)),
        lambda: stage.post(b"x" * 300_000, sign(body, WRONG)),
        lambda: stage.post(body, sign(body, right), url=f"{URL}/{'a' * 43}"),
    ]
