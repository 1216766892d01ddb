"""The demo: a fresh valet desk and the Stripe simulator, side by side on 127.0.0.1, until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).resolve().parent.parent
INSTANCE = PROJECT / "instance"
# Not the desk's own desk.sqlite3, which somebody may have connected to real accounts.
DATABASE = INSTANCE / "demo.sqlite3"
#: What another terminal needs to run commands against the demo that is open.
TERMINAL = INSTANCE / "demo.env"
#: What a variable of these names may lead to is real.
FOREIGN = ("VALETPRO_STRIPE_", "TWILIO_", "FLASK_")
HOST = "127.0.0.1"
START_SECONDS = 60.0
LOG_LINES = 20

WELCOME = """
  The desk is open:  {desk}

    admin@plaza.example      Plaza Hotel, its admin
    staff@plaza.example      Plaza Hotel, at the desk
    admin@seaside.example    Seaside Resort, its admin
    (the password of all three is: demo)

  1. Sign in as admin@plaza.example, open Payments and connect Stripe. The page that answers is the simulator.
  2. Open Tickets, fill in New ticket and press Open and text the guest. The ticket's page shows the text.
  3. Follow the link in the text as the guest, and pay with 4242 4242 4242 4242.
  4. Watch the ticket turn paid at the desk, by itself.

  The operator's commands, in another terminal:  . instance/demo.env && flask stripe tenants
  Each start begins anew: what an earlier demo had in its database is gone. The desk's own database is left alone.

  No real Stripe and no real money: the simulator is at {stripe}. Logs are in instance/. Ctrl-C ends both.
"""


def main() -> int:
    """Prepare, serve and wait; 0 after Ctrl-C, 1 if a server ended by itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    desk, stripe = f"http://{HOST}:{free_port_from(5000)}", f"http://{HOST}:{free_port_from(4242)}"
    settings = demo_settings(desk, stripe)
    environment = clean_environment() | settings
    prepare(environment)
    write_terminal(settings)
    with ExitStack() as servers:
        try:
            running = {
                "sandbox": start("sandbox", ["stripe", "sandbox", "--port", port_of(stripe)], environment, servers),
                "desk": start("desk", ["run", "--host", HOST, "--port", port_of(desk)], environment, servers),
            }
            if not all(answers(int(port_of(url)), running) for url in (stripe, desk)):
                return explain(running)
            print(WELCOME.format(desk=desk, stripe=stripe), flush=True)
            while all(server.poll() is None for server in running.values()):
                time.sleep(0.2)
            return explain(running)
        except KeyboardInterrupt:
            print("\n  Closed.", flush=True)
            return 0


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def free_port_from(first: int) -> int:
    """Return the first port from this one on that nobody uses."""
    return next(port for port in range(first, first + 100) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # macOS lets us bind beside its own service on port 5000, so ask whether somebody answers, too.
        if probe.connect_ex((HOST, port)) == 0:
            return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def port_of(url: str) -> str:
    """Return the port of one of our own URLs."""
    return url.rpartition(":")[2]


def clean_environment() -> dict[str, str]:
    """Return this environment without what could lead to a real account or database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"PYTHONUNBUFFERED": "1"}


def demo_settings(desk: str, stripe: str) -> dict[str, str]:
    """Return what the environment of the demo's processes says of its desk."""
    return {
        "DATABASE_URL": f"sqlite:///{DATABASE}",
        "FLASK_APP": "sample_app",
        "VALETPRO_STRIPE_PUBLIC_URL": desk,
        "VALETPRO_STRIPE_API_BASE": stripe,
        "VALETPRO_STRIPE_CONNECT_BASE": stripe,
    }


def write_terminal(settings: dict[str, str]) -> None:
    """Write what lets ``flask …`` in a terminal speak to this demo, and to nothing that the terminal was set up for."""
    programs = f"{shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    foreign = "|".join(FOREIGN)
    lines = [
        "# For a terminal beside the demo: . instance/demo.env",
        f"for name in $(env | sed -nE 's/^(({foreign})[A-Z_]*)=.*/\\1/p'); do unset \"$name\"; done; unset name",
        f"export PATH={programs}",
        *(f"export {name}={shlex.quote(value)}" for name, value in settings.items()),
    ]
    TERMINAL.write_text("\n".join(lines) + "\n")


def flask(*arguments: str) -> list[str]:
    """Return the command line of one of the sample app's commands."""
    return [sys.executable, "-m", "flask", *arguments]


def prepare(environment: dict[str, str]) -> None:
    """Make the database anew: the simulator forgets its accounts when it ends, and yesterday's would be unknown."""
    INSTANCE.mkdir(exist_ok=True)
    for file in INSTANCE.glob(f"{DATABASE.name}*"):
        file.unlink()
    for command in (["db", "upgrade"], ["seed"]):
        done = subprocess.run(flask(*command), cwd=PROJECT, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"flask {' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def start(name: str, arguments: list[str], environment: dict[str, str], stack: ExitStack) -> subprocess.Popen[bytes]:
    """Start a server that ends with the stack. Its log goes to a file; the guests' texts stay on the screen."""
    log = stack.enter_context((INSTANCE / f"{name}.log").open("wb"))
    screen = None if name == "desk" else log
    server = subprocess.Popen(flask(*arguments), cwd=PROJECT, env=environment, stdout=screen, stderr=log)
    stack.callback(end, server)
    return server


def end(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, and insist after some seconds."""
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def answers(port: int, running: dict[str, subprocess.Popen[bytes]]) -> bool:
    """Wait until somebody listens there; False if a server ended meanwhile or time is up."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and all(server.poll() is None for server in running.values()):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return True
        time.sleep(0.1)
    return False


def explain(running: dict[str, subprocess.Popen[bytes]]) -> int:
    """Show why the demo ended: the last lines of the server that isn't there any more."""
    ended = [name for name, server in running.items() if server.poll() is not None] or list(running)
    for name in ended:
        lines = (INSTANCE / f"{name}.log").read_text(errors="replace").splitlines()[-LOG_LINES:]
        print(f"The {name} does not run. The end of instance/{name}.log:", *lines, sep="\n  ", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
