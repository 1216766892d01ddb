"""Eight threads, twenty tenants, 250 calls of each: no request carries another tenant's account or key."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from flask_valetpro_stripe import AccountType, Mode, current_stripe, current_tenant, tenant_context
from flask_valetpro_stripe.testing import Simulator
from tests import timing
from tests.hosts import Host, make_host

THREADS, TENANTS = 8, 20
#: Of each tenant, shared out among the threads; with CALLS=2000 each thread makes 250 for each tenant.
CALLS = int(os.environ.get("CALLS", "250"))
#: Only so that it cannot hang: idle, 250 calls take some 15 seconds.
SECONDS = timing.seconds(0.5 * CALLS)
SEED = 20_261_122


@dataclass(frozen=True)
class Expected:
    """What every request of one tenant must carry."""

    api_key: str
    stripe_account: str | None


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let threads take turns a hundred times as often as they do by themselves."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 100)
    yield
    sys.setswitchinterval(usual)


def make_tenants(host: Host, simulator: Simulator) -> dict[Any, Expected]:
    """Return twenty tenants: most with an account of their own, in test or live mode, some on the platform's."""
    expected = {}
    for number in range(TENANTS):
        mode = Mode.live if number % 2 else Mode.test
        tenant = host.make_tenant(f"Hotel {number}", stripe_mode=mode)
        account = None
        if number % 5:
            account = simulator.create_account(tenant.name).id
            simulator.connect(account, livemode=mode.livemode)
        kind = AccountType.CONNECT_STANDARD if account else AccountType.PLATFORM
        host.connect(tenant, account, mode, account_type=kind)
        platform = simulator.platform
        expected[tenant.id] = Expected(platform.live_secret_key if mode.livemode else platform.test_secret_key, account)
    return expected


def call_as(host: Host, key: Any) -> None:
    """Make one call of the tenant with this key; its parameter says whose it was meant to be."""
    with host.app.app_context(), tenant_context(host.tenant(key)):
        # A query: other threads get their turn between the context's begin and the call, as in real code.
        host.db.session.execute(sa.text("SELECT 1"))
        current_stripe.client.v1.customers.list({"email": f"{key}@hotel.example"})
        assert current_tenant.id == key


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.slow("makes 5,000 calls")
def test_no_call_is_made_with_another_tenants_account_or_key(
    sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator = Simulator()
    with make_host(sqlite_url, simulator=simulator) as host:
        expected = make_tenants(host, simulator)
        jobs = list(expected) * CALLS
        random.Random(SEED).shuffle(jobs)
        start = Barrier(THREADS)
        deadline = time.monotonic() + SECONDS

        def work(share: list[Any]) -> None:
            start.wait(SECONDS)
            for key in share:
                assert time.monotonic() < deadline, f"The calls did not end within {SECONDS:.0f} s."
                call_as(host, key)

        began = time.monotonic()
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(work, [jobs[number::THREADS] for number in range(THREADS)]))
        seconds = time.monotonic() - began

    mixed_up = Counter[str]()
    made = Counter[Any]()
    for request in simulator.requests:
        key = type(jobs[0])(request.params["email"].removesuffix("@hotel.example"))
        made[key] += 1
        mixed_up["account"] += request.stripe_account != expected[key].stripe_account
        mixed_up["key"] += request.api_key != expected[key].api_key
        mixed_up["refused"] += request.status != 200
    with capsys.disabled():
        sys.stdout.write(
            f"\n{THREADS} threads, {TENANTS} tenants, {len(simulator.requests)} calls "
            f"in {seconds:.1f} s: {mixed_up['account']} foreign accounts, {mixed_up['key']} foreign keys "
            f"(seed {SEED})\n"
        )
    assert made == dict.fromkeys(expected, CALLS)
    assert mixed_up.total() == 0
