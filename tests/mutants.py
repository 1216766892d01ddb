"""Break the package in ten ways, one at a time, and see that the tests notice: ``python -m tests.mutants [FILE …]``.

Each mutant runs in a copy of the checkout, against tests that are part of ``make test``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PACKAGE = "flask_valetpro_stripe"


@dataclass(frozen=True)
class Mutant:
    """One mistake: a passage of a file, and what stands there instead."""

    name: str
    file: str
    passage: str
    instead: str
    tests: str


MUTANTS = [
    Mutant(
        "an event is committed as processed before its handlers ran",
        "webhooks/ahead.py",
        "        found.take_back()",
        "        pass",
        "tests/webhooks",
    ),
    Mutant(
        "a tenant is forgotten in a condition",
        "payments/find.py",
        ".where(_owned_by(state, tenant), sa.inspect(model).primary_key[0] == key_of(payment))\n        .execution",
        ".where(sa.inspect(model).primary_key[0] == key_of(payment))\n        .execution",
        "tests/payments",
    ),
    Mutant(
        "an amount is not compared with the payment's",
        "payments/agree.py",
        "if (amount, currency) != (payment.amount, payment.currency):",
        "if currency != payment.currency:",
        "tests/webhooks",
    ),
    Mutant(
        "a refunded payment goes back to paid",
        "payments/agree.py",
        "{_S.PENDING, _S.PROCESSING, _S.FAILED, _S.CANCELED}",
        "{_S.PENDING, _S.PROCESSING, _S.FAILED, _S.CANCELED, _S.REFUNDED}",
        "tests/webhooks",
    ),
    Mutant(
        "an API key is logged",
        "crypto.py",
        "        nonce = os.urandom(_NONCE_SIZE)\n",
        "        nonce = os.urandom(_NONCE_SIZE)\n"
        "        __import__('logging').getLogger(__name__).warning('encrypting %s', secret.reveal())\n",
        "tests/raw_keys/test_secrecy.py tests/secrets/test_canary.py",
    ),
    Mutant(
        "an old signature is accepted",
        "webhooks/verify.py",
        "abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE",
        "int(timestamp) - (time.time() if now is None else now) > TOLERANCE",
        "tests/webhooks/test_signature.py",
    ),
    Mutant(
        "refunds may exceed what was paid",
        "payments/refunds.py",
        "if amount is not None and amount > left:",
        "if amount is not None and amount > payment.amount:",
        "tests/payments/test_refunds.py",
    ),
    Mutant(
        "a ciphertext is not bound to its tenant",
        "secrets/store.py",
        "parts = [self.tenant, str(self.connection)",
        "parts = [str(self.connection)",
        "tests/secrets/test_crypto.py tests/secrets/test_contract.py",
    ),
    Mutant(
        "an OAuth state works in another user's session",
        "onboarding/oauth.py",
        "            model.session_hash == _hash(session_token),\n",
        "",
        "tests/connections/test_oauth.py",
    ),
    Mutant(
        "a repeated call gets another idempotency key",
        "payments/operations.py",
        '{"idempotency_key": operation.stripe_idempotency_key}',
        '{"idempotency_key": f"{operation.stripe_idempotency_key}-{utcnow():%f}"}',
        "tests/payments/test_idempotency.py",
    ),
]


def copy_to(folder: Path) -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True, text=True).stdout
    for name in [*files.split("\0")[:-1], f"{PACKAGE}/static/valetpro_stripe/htmx.min.js"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / name, folder / name)


def failures_of(mutant: Mutant) -> str:
    """Return which tests failed on the mutant, in a line; "" if none did."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        copy_to(folder)
        file = folder / PACKAGE / mutant.file
        source = file.read_text(encoding="utf-8")
        assert source.count(mutant.passage) == 1, f"{mutant.file} has changed: mend the mutant {mutant.name!r}."
        file.write_text(source.replace(mutant.passage, mutant.instead), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--maxfail", "3", *mutant.tests.split()]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 1, 2), ran.stdout + ran.stderr
    return ", ".join(re.findall(r"(?m)^FAILED (?:tests/)?(\S+)", ran.stdout))


def main() -> int:
    survived = 0
    for mutant in [each for each in MUTANTS if not sys.argv[1:] or each.file in sys.argv[1:]]:
        failures = failures_of(mutant)
        survived += not failures
        print(f"{'caught' if failures else 'SURVIVED'}: {mutant.name}\n    {failures}", flush=True)
    return survived


if __name__ == "__main__":
    sys.exit(main())
