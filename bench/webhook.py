"""What taking in a webhook costs, beside the ordinary ORM view that a Flask developer would write by hand.

    .venv/bin/python bench/webhook.py [--reference ../shared/bench] [--rounds 16] [--sqlite] [--statements]

Each app is one process, driven through its WSGI callable. Short bursts alternate with bursts of the ORM view, ``c``
(c X c Y c ...), so that a machine whose speed drifts changes both alike; a ratio is a burst's CPU against its two
neighbours. The reference's files (``events.py``, ``apps/bare_app.py``) are not part of this project: without them
there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from tests.servers import running_postgresql  # noqa: E402
from tools.system_parts import PARTS  # noqa: E402

WEBHOOK = "/api/webhooks/stripe"
BASE = "c"
WARM_UP = 100


@dataclass(frozen=True)
class Variant:
    """What is measured: a process, what is sent to it, and how many make one burst."""

    process: str
    path: str
    burst: int
    kind: str = "genuine"
    status: str = "200"
    says: str = ""


VARIANTS = {
    "c": Variant("reference", "/c", 30, says="the ordinary ORM view"),
    "a": Variant("reference", "/a", 200, says="200 after the body is read"),
    "b": Variant("reference", "/b", 60, says="stripe.Webhook.construct_event"),
    "c_core": Variant("reference", "/c_core", 50, says="c in Core, without an event tree"),
    "c_pre": Variant("reference", "/c_pre", 60, says="c_core, prebuilt"),
    "c_pre2": Variant("reference", "/c_pre2", 70, says="two prebuilt statements"),
    "inline": Variant("inline", WEBHOOK, 50, says="this project, handlers run"),
    "again": Variant("inline", WEBHOOK, 70, "again", says="a repeat of it"),
    "forged": Variant("inline", WEBHOOK, 200, "forged", "400", says="a wrong signature"),
    "floor": Variant("inline", "/floor", 300, "forged", says="Flask's own 200, in the same app"),
    "c_fast": Variant("reference", "/c_fast", 120, says="all in one statement of PostgreSQL's"),
    "stored": Variant("stored", WEBHOOK, 70, says="this project, stored for a worker"),
}


@dataclass
class Seen:
    """The bursts of one variant."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


class Process:
    """One app in one process."""

    def __init__(self, app: str, reference: Path, url: str, **more: str) -> None:
        paths = [str(path) for path in (HERE, ROOT, reference, reference / "apps")]
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), app],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "DATABASE_URL": url, **more},
        )

    def ask(self, *words: object) -> dict[str, Any]:
        """Return what the process answers to one line."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End the process and wait until it is gone."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(20)


@contextlib.contextmanager
def databases(*, sqlite: bool) -> Iterator[list[str]]:
    """Give the URLs of three empty databases."""
    if sqlite:
        with tempfile.TemporaryDirectory() as folder:
            yield [f"sqlite:///{folder}/{name}.sqlite3" for name in ("reference", "inline", "stored")]
        return
    programs = PARTS["postgresql"].find()
    if programs is None:
        sys.exit(f"PostgreSQL is missing. Install it with: {PARTS['postgresql'].command()}, or measure with --sqlite.")
    with running_postgresql(programs) as server, contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.database()) for _ in range(3)]


def populate(module: str, reference: Path, url: str) -> None:
    """Fill a database with 1,000 tenants and 20,000 payments, in a process of its own."""
    paths = [str(path) for path in (HERE, ROOT, reference, reference / "apps")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "DATABASE_URL": url}
    code = f"import {module}; {module}.populate()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@contextlib.contextmanager
def processes(reference: Path, urls: list[str]) -> Iterator[dict[str, Process]]:
    """Give the three apps, each on a full database of its own."""
    for module, url in zip(("bare_app", "host", "host"), urls, strict=True):
        populate(module, reference, url)
    started = {
        "reference": Process("bare_app:app", reference, urls[0]),
        "inline": Process("host:app", reference, urls[1]),
        "stored": Process("host:app", reference, urls[2], BENCH_PROCESSING="stored"),
    }
    try:
        yield started
    finally:
        for process in started.values():
            process.close()


def burst(running: dict[str, Process], name: str, count: int | None = None) -> dict[str, Any]:
    """Return what each delivery of one burst cost.

    :raises SystemExit: if one was not answered as it should be: a failure is cheap, and would look like speed.
    """
    variant = VARIANTS[name]
    found = running[variant.process].ask(variant.path, variant.kind, count or variant.burst)
    if found["statuses"] != [variant.status]:
        sys.exit(f"{name} answered {found['statuses']}, not {variant.status}.")
    return found


def measure(running: dict[str, Process], names: list[str], rounds: int) -> dict[str, Seen]:
    """Return the bursts of every variant, each between two of the base; each second round backwards."""
    seen = {name: Seen() for name in [BASE, *names]}
    for name in [BASE, *names]:
        burst(running, name, WARM_UP)
    for number in range(rounds):
        before = _note(seen[BASE], burst(running, BASE))
        for name in names if number % 2 else names[::-1]:
            this = _note(seen[name], burst(running, name))
            after = _note(seen[BASE], burst(running, BASE))
            seen[name].ratios.append(2 * this / (before + after))
            before = after
    return seen


def _note(seen: Seen, found: dict[str, Any]) -> float:
    seen.cpu.append(found["cpu"])
    seen.wall.append(found["wall"])
    return float(found["cpu"])


def report(running: dict[str, Process], seen: dict[str, Seen], *, statements: bool) -> None:
    """Print the table: medians, and the quartiles of the ratios."""
    print(f"{'variant':8} {'CPU µs':>7} {'wall µs':>8} {'CPU to c':>9} {'quartiles':>13} {'n':>4} {'SQL':>4}")
    listed: list[str] = []
    for name, of in seen.items():
        ratios = of.ratios or [1.0, 1.0]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        ran = running[VARIANTS[name].process].ask(VARIANTS[name].path, "count", VARIANTS[name].kind)["statements"]
        print(
            f"{name:8} {statistics.median(of.cpu):7.0f} {statistics.median(of.wall):8.0f} {middle:9.3f} "
            f"{low:.3f}-{high:.3f} {len(of.ratios):4d} {len(ran):4d}   {VARIANTS[name].says}"
        )
        listed += [f"  {name}: {statement}" for statement in ran]
    if {"forged", "floor", "a"} <= set(seen):
        forged, floor, a = (statistics.median(seen[name].cpu) for name in ("forged", "floor", "a"))
        print(f"forged / Flask's own 200: {forged / floor:.2f}, or {forged / a:.2f} where that reads the body")
    if statements:
        print("Statements of one delivery (BEGIN, COMMIT and ROLLBACK are not counted):", *listed, sep="\n")


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description="What taking in a webhook costs.")
    default = os.environ.get("BENCH_REFERENCE", str(ROOT.parent / "shared" / "bench"))
    parser.add_argument("--reference", type=Path, default=Path(default), help="the folder of the reference views")
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--sqlite", action="store_true", help="measure on SQLite files, not on PostgreSQL")
    parser.add_argument("--statements", action="store_true", help="list the statements of one delivery")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    asked = arguments()
    if not (asked.reference / "apps" / "bare_app.py").is_file():
        sys.exit(
            f"There is no apps/bare_app.py in {asked.reference}, so there is nothing to compare with. "
            "Name the folder of the reference views with --reference, or with BENCH_REFERENCE in the environment."
        )
    names = [name for name in asked.variants.split(",") if name != BASE]
    with databases(sqlite=asked.sqlite) as urls, processes(asked.reference.resolve(), urls) as running:
        report(running, measure(running, names, asked.rounds), statements=asked.statements)


if __name__ == "__main__":
    main()
