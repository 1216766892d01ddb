"""Runs the official Stripe CLI, from node_modules, against a server on this machine."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.timing import seconds

PROJECT = Path(__file__).parents[2]
SECONDS = seconds(20)


def find_stripe_cli() -> Path | None:
    """Return the CLI that npm installed for this system."""
    return next(iter(sorted((PROJECT / "node_modules" / "@stripe").glob("cli-*/bin/stripe"))), None)


@dataclass(frozen=True)
class StripeCli:
    """The CLI with a home of its own, bound to one server and key."""

    program: Path
    home: Path
    api_base: str
    api_key: str

    def trigger(self, event: str, *, api_version: str, account: str | None = None) -> subprocess.CompletedProcess[str]:
        """Have the CLI cause an event, and return how that ended."""
        options = ["--api-base", self.api_base, "--api-key", self.api_key, "--api-version", api_version]
        if account is not None:
            options += ["--stripe-account", account]
        return subprocess.run(
            [str(self.program), "trigger", event, "--color", "off", *options],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        # Nothing listens there, so that its look for a newer version ends on this machine; loopback needs no proxy.
        nowhere = "http://127.0.0.1:9"
        return {
            "HOME": str(self.home),
            "STRIPE_CLI_TELEMETRY_OPTOUT": "1",
            "HTTPS_PROXY": nowhere,
            "HTTP_PROXY": nowhere,
        }
