"""One question to a vault: bounded in time whatever the vault does, its SDK's errors and log lines left behind."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Final, Generic, NoReturn, TypeVar

from ..errors import SecretUnavailableError
from .store import down, unavailable, without_frames

#: Questions that may wait at once in one process; with more, the vault is taken to be down.
MOST_WAITING: Final = 64
T = TypeVar("T")

_is_ours: Final[ContextVar[bool]] = ContextVar("flask_valetpro_stripe_asks_a_vault", default=False)


class OncePerProcess(Generic[T]):
    """Something made on first use in each process, once: forked workers never share its sockets or its lock."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._locks: dict[int, threading.Lock] = {}
        self._made: dict[int, T] = {}

    def get(self) -> T:
        """Return it, made now if this process has none yet."""
        pid = os.getpid()
        if pid not in self._made:
            with self._locks.setdefault(pid, threading.Lock()):
                if pid not in self._made:
                    self._made[pid] = self._make()
        return self._made[pid]


_waiting: Final = OncePerProcess(lambda: threading.BoundedSemaphore(MOST_WAITING))


def ask(
    store: str, question: Callable[[], T], explain: Callable[[Exception], SecretUnavailableError], longest: float
) -> T:
    """Return the answer to ``question``, which runs in a thread of its own, so that nothing of it travels up.

    :param explain: what an SDK's exception means. The exception itself stays behind: its arguments, its frames and the
        errors that it came from may hold the secret, or what opens the vault.
    :raises SecretUnavailableError: as ``explain`` said, or because ``longest`` seconds went by.
    """
    slots = _waiting.get()
    if not slots.acquire(blocking=False):
        raise down(store, "too many questions wait for its answer")
    outcome: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put(_outcome_of(question, explain))
        finally:
            slots.release()

    try:
        threading.Thread(target=copy_context().run, args=(work,), name=f"valetpro-{store}", daemon=True).start()
    except RuntimeError:
        # The system gives us no more threads.
        slots.release()
        outcome.put(_raising(unavailable(store, "nobody is free to ask it")))
    return _wait_for(store, outcome, longest)()


def _outcome_of(question: Callable[[], T], explain: Callable[[Exception], SecretUnavailableError]) -> Callable[[], T]:
    _is_ours.set(True)
    try:
        found = question()
    except SecretUnavailableError as error:
        return _raising(without_frames(error))
    except Exception as error:
        return _raising(explain(error))
    return lambda: found


def _wait_for(store: str, outcome: queue.SimpleQueue[Callable[[], T]], longest: float) -> Callable[[], T]:
    try:
        return outcome.get(timeout=longest)
    except queue.Empty:
        return _raising(down(store, "it did not answer in time"))


def _raising(error: SecretUnavailableError) -> Callable[[], NoReturn]:
    def give() -> NoReturn:
        raise error

    return give


def keep_out_of_logs(*loggers: str) -> None:
    """Drop what these loggers say at DEBUG about our questions: SDKs write whole requests and answers there."""
    for name in loggers:
        # A filter that is there already is not added again.
        logging.getLogger(name).addFilter(_is_not_about_a_secret)


def _is_not_about_a_secret(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG or not _is_ours.get()
