"""A second process of a host's app: makes a payment for a tenant on each line it reads, and says what came of it."""

from __future__ import annotations

import json
import sys

import pytest

from flask_valetpro_stripe import payments, tenant_context
from flask_valetpro_stripe.errors import ValetProStripeError
from tests.hosts import make_host
from tests.secrets.limits import PATIENT, limit_stores


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    limit_stores(pytest.MonkeyPatch(), PATIENT)
    database_url, config = json.loads(sys.argv[1])
    with make_host(database_url, config=config) as host:
        say("ready")
        for line in sys.stdin:
            # An app context of its own, as each request has.
            with host.app.app_context(), tenant_context(host.tenant(int(line))):
                try:
                    payments.create_payment_link(amount=2500, currency="eur", description="Valet parking")
                    say("made")
                except ValetProStripeError as error:
                    say(type(error).__name__)


if __name__ == "__main__":
    main()
