"""`make demo` as a visitor meets it: it says where the desk is, the desk answers, and Ctrl-C ends it all."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.timing import seconds

PROJECT = Path(__file__).resolve().parent.parent
PARTS = ("flask_valetpro_stripe", "sample_app", "migrations", "tools")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The running demo, of a copy, where the desk has been used before: by itself, and in a demo."""
    for name in PARTS:
        shutil.copytree(PROJECT / name, tmp_path / name)
    instance = tmp_path / "instance"
    instance.mkdir()
    for database in ("desk.sqlite3", "demo.sqlite3"):
        (instance / database).write_text("yesterday's")
    # What one process has compiled, the next ones take, whatever our environment says.
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    running = subprocess.Popen(
        [sys.executable, "tools/demo.py"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True
    )
    yield running
    running.terminate()
    running.communicate(timeout=seconds(30))


def welcome(demo: subprocess.Popen[str]) -> str:
    """Return all that the demo prints until it is ready; it ends by itself if it can't be."""
    assert demo.stdout
    printed = ""
    for line in demo.stdout:
        printed += line
        if "Ctrl-C" in line:
            return printed
    pytest.fail(f"The demo ended with {demo.wait()} before it was ready. It said:\n{printed}")


def address(printed: str, which: str) -> str:
    found = re.search(rf"{which}.*(http://127\.0\.0\.1:\d+)", printed)
    assert found, printed
    return found[1]


def operator(printed: str, folder: Path, environ: dict[str, str]) -> list[str]:
    """Type the command that the demo prints for another terminal, and return what it answers."""
    (line,) = re.findall(r"in another terminal: +(.*)", printed)
    done = subprocess.run(
        ["sh", "-e", "-c", line], cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow("starts the desk, the simulator and a command, each in a process of its own")
def test_the_demo_names_its_address_and_sign_ins_answers_and_ends_with_ctrl_c(
    demo: subprocess.Popen[str], tmp_path: Path
) -> None:
    printed = welcome(demo)
    for email in ("admin@plaza.example", "staff@plaza.example", "admin@seaside.example"):
        assert email in printed
    desk, stripe = address(printed, "desk is open"), address(printed, "simulator is at")
    with urlopen(desk) as answer:
        assert "Sign in" in answer.read().decode()

    # The terminal was set up for a real account; the line that the demo prints leads to the demo all the same.
    elsewhere = {"VALETPRO_STRIPE_LIVE_SECRET_KEY": "sk_live_x", "DATABASE_URL": "sqlite:///elsewhere.sqlite3"}
    assert operator(printed, tmp_path, elsewhere) == [
        "1  active mode: test  Plaza Hotel",
        "2  active mode: test  Seaside Resort",
    ]

    # The desk's own database may be connected to real accounts; only the demo's is made anew.
    assert (tmp_path / "instance/desk.sqlite3").read_text() == "yesterday's"
    assert (tmp_path / "instance/demo.sqlite3").read_bytes().startswith(b"SQLite format 3")

    demo.send_signal(signal.SIGINT)

    assert demo.wait(seconds(30)) == 0
    for ended in (desk, stripe):
        with pytest.raises(URLError):
            urlopen(ended)
