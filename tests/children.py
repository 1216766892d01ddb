"""Child processes whose failures reach the test: the child's traceback, or its exit code and what it wrote."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Any

from tests.timing import seconds

PROJECT = Path(__file__).resolve().parent.parent
LIMIT = 60.0

_context = multiprocessing.get_context("spawn")


class ChildFailedError(AssertionError):
    """A child process raised an exception, ended without an answer, or did not end in time."""


def _run(act: Callable[..., Any], arguments: tuple[Any, ...], errors: int) -> bytes:
    """Return the pickled outcome of an act in a child; what the child writes to stderr goes to ``errors``."""
    os.dup2(errors, 2)
    try:
        return pickle.dumps(("returned", act(*arguments)))
    except BaseException:
        return pickle.dumps(("raised", traceback.format_exc()))


def _outcome(said: bytes, code: int | None, errors: Path) -> Any:
    """Return what the child's act returned.

    :raises ChildFailedError: if it raised, or ended without an outcome.
    """
    if not said:
        written = errors.read_text(errors="replace")[-4000:] if errors.exists() else ""
        raise ChildFailedError(f"A child ended silently with exit code {code}. It wrote:\n{written}")
    kind, value = pickle.loads(said)
    if kind == "raised":
        raise ChildFailedError(f"A child failed:\n{value}")
    return value


# -- forked


def run_forked(act: Callable[[], Any]) -> Any:
    """Return what ``act`` returns in a forked copy of this process.

    :raises ChildFailedError: with the child's traceback, or with its exit code and stderr.
    """
    reader, writer = os.pipe()
    with tempfile.NamedTemporaryFile() as errors:
        with warnings.catch_warnings():
            # Python warns of forking with threads, which is what servers do that load the app first.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            try:
                os.close(reader)
                with os.fdopen(writer, "wb") as answer:
                    answer.write(_run(act, (), errors.fileno()))
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as answer:
            if not wait([answer], seconds(LIMIT)):
                os.kill(child, 9)
            said = answer.read()
        _, status = os.waitpid(child, 0)
        return _outcome(said, os.waitstatus_to_exitcode(status), Path(errors.name))


# -- spawned


class Child:
    """A function in a process of its own, started at once."""

    def __init__(self, act: Callable[..., Any], *arguments: Any) -> None:
        handle, name = tempfile.mkstemp(prefix="valetpro-child-")
        os.close(handle)
        self._errors = Path(name)
        self._answer, theirs = _context.Pipe(duplex=False)
        self._said: bytes | None = None
        self.process = _context.Process(target=_be_child, args=(theirs, name, act, arguments))
        self.process.start()
        theirs.close()

    def check(self) -> None:
        """Raise what :meth:`result` would, if the function has failed by now."""
        if not self.process.is_alive():
            self.result()

    def result(self, limit: float = LIMIT) -> Any:
        """Return what the function returned, once its process has ended.

        :raises ChildFailedError: with the child's traceback, or with its exit code and stderr.
        """
        try:
            said = self._wait(limit)
            return _outcome(said, self.process.exitcode, self._errors)
        finally:
            self._close()

    def exit_code(self, limit: float = LIMIT) -> int | None:
        """Return the exit code of a child that is meant to die; a traceback of it is raised as by :meth:`result`."""
        try:
            if said := self._wait(limit):
                _outcome(said, None, self._errors)
            return self.process.exitcode
        finally:
            self._close()

    def _wait(self, limit: float) -> bytes:
        if self._said is None:
            # A child that dies closes its end, which ends the wait as well.
            if not self._answer.poll(seconds(limit)):
                written = self._errors.read_text(errors="replace")[-4000:]
                raise ChildFailedError(f"A child did not end within {seconds(limit):.0f} s. It wrote:\n{written}")
            try:
                self._said = self._answer.recv_bytes()
            except EOFError:
                self._said = b""
            self.process.join(seconds(limit))
        return self._said

    def _close(self) -> None:
        self.process.kill()
        self.process.join()
        self._answer.close()
        self._errors.unlink(missing_ok=True)


def _be_child(answer: Connection, errors: str, act: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with open(errors, "ab") as written:
        answer.send_bytes(_run(act, arguments, written.fileno()))


def run_children(count: int, act: Callable[..., Any], *arguments: Any, limit: float = LIMIT) -> list[Any]:
    """Return what ``count`` processes that run the same function at the same time returned."""
    children = [Child(act, *arguments) for _ in range(count)]
    return [child.result(limit) for child in children]


# -- programs


def run_program(
    command: Sequence[str], *, limit: float = LIMIT, check: bool = True, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in the project's folder; if ``check``, one that fails is a failure with its code and stderr."""
    done = subprocess.run(
        command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=seconds(limit), check=False
    )
    if check and done.returncode:
        written = done.stderr[-4000:]
        raise ChildFailedError(f"{command[:3]} ended with exit code {done.returncode}. It wrote:\n{written}")
    return done


class Conversation:
    """A running program that answers on stdout what it is asked on stdin, line by line."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self.process, self._errors = process, errors

    def ask(self, line: str) -> str:
        """Send a line and return the next line of the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.read()

    def read(self) -> str:
        """Return the next line.

        :raises ChildFailedError: with the exit code and stderr, if the program has ended instead.
        """
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return line.removesuffix("\n")
        code = self.process.wait(seconds(LIMIT))
        self._errors.seek(0)
        raise ChildFailedError(f"A program ended with exit code {code}. It wrote:\n{self._errors.read()[-4000:]}")


@contextmanager
def conversation(module: str, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Conversation]:
    """Run a module of the tests as a program, which ends when its input does."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=PROJECT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Conversation(process, errors)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(seconds(LIMIT))
        finally:
            process.kill()
