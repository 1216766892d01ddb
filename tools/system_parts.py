"""What the tests need from the system and cannot get by pip or npm: find it, install it, or name it.

Runs on the plain Python of the machine, before the virtual environment exists.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ON_MACOS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def find_chromium() -> str | None:
    """Return the path of a Chromium or Chrome; the environment variable CHROMIUM goes first."""
    candidates = [os.environ.get("CHROMIUM", ""), *CHROMIUM_NAMES, *CHROMIUM_ON_MACOS]
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


def find_postgresql() -> str | None:
    """Return the folder of PostgreSQL's server programs, the newest that is installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: _version(path.parts[4]))
    homebrew = sorted(Path("/opt/homebrew/opt").glob("postgresql@*/bin/initdb"))
    on_path = [Path(found)] if (found := shutil.which("initdb")) else []
    found_here = [path for path in (*on_path, *homebrew, *debian) if (path.parent / "postgres").exists()]
    return str(found_here[-1].parent) if found_here else None


def _version(folder: str) -> tuple[int, ...]:
    return tuple(int(number) for number in folder.split(".") if number.isdigit())


def find_redis() -> str | None:
    """Return the path of Redis's server."""
    return shutil.which("redis-server")


def find_venv() -> str | None:
    """Return a word if this Python can make virtual environments; Debian packages that part apart."""
    return "ensurepip" if importlib.util.find_spec("ensurepip") else None


@dataclass(frozen=True)
class Part:
    """One thing of the system: how to see it, and what brings it."""

    title: str
    find: Callable[[], str | None]
    debian: str
    macos: str

    def command(self) -> str:
        """Return the one command that installs this part here."""
        if sys.platform == "darwin":
            return self.macos
        return f"sudo apt-get install -y --no-install-recommends {self.debian}"


PARTS = {
    "venv": Part("Python's venv", find_venv, "python3-venv", "brew install python"),
    "chromium": Part("Chromium", find_chromium, "chromium", "brew install --cask chromium"),
    "postgresql": Part("PostgreSQL's server", find_postgresql, "postgresql", "brew install postgresql@15"),
    "redis": Part("Redis's server", find_redis, "redis-server", "brew install redis"),
}


def missing(names: list[str]) -> list[Part]:
    """Return the named parts that this machine lacks."""
    return [PARTS[name] for name in names if not PARTS[name].find()]


def may_install() -> bool:
    """Say whether we are root on a Debian-like system, where installing needs no question."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(parts: list[Part]) -> None:
    """Install the parts by apt-get; what fails to install is told by the caller's second look."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    packages = [part.debian for part in parts]
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], env=environment, check=False
    )


def main(names: list[str]) -> int:
    """Bring the named parts (all of them without names) or tell how; 1 if one is missing where that matters."""
    names = names or list(PARTS)
    if (lacking := missing(names)) and may_install():
        print(f"Installing {', '.join(part.title for part in lacking)} by apt-get.", flush=True)
        install(lacking)
    lacking = missing(names)
    for part in lacking:
        print(f"{part.title} is missing. Install it with:\n\n    {part.command()}\n", file=sys.stderr)
    if lacking and os.environ.get("CI") != "true":
        print("The tests that need it will be skipped, and the summary will say so.", file=sys.stderr)
    return 1 if lacking and os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
