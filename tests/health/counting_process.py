"""One process of an app that counts into a directory which it shares with others.

It is told how many forged requests to take, says when it has, and gives its app's metrics when it is asked for them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prometheus_client import Counter

from flask_valetpro_stripe import monitoring
from flask_valetpro_stripe.testing import Simulator
from tests.hosts import make_host


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    url, public_url, forged = sys.argv[1:]
    with make_host(url, simulator=Simulator(), config={"VALETPRO_STRIPE_PUBLIC_URL": public_url}) as host:
        host.app.add_url_rule("/metrics", view_func=monitoring.metrics)
        if Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).is_dir():
            # What the host itself counts there is no business of ours.
            Counter("shop_orders", "The host's own.").inc()
        client = host.app.test_client()
        for _ in range(int(forged)):
            assert client.post("/api/webhooks/stripe", data=b"{}").status_code == 400
        say("counted\n")
        for _ in sys.stdin:
            say(client.get("/metrics").text + "\n")
