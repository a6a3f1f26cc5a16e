"""Every way out of a process leads here, and ends in one flush with one deadline.

Servers leave in different ways: some run `atexit`, some only `multiprocessing`'s finalizers, some only a framework's own
signal, some nothing but the ASGI lifespan. Each process registers itself for all that exist, and the flush may run more
than once. It knows nothing of OpenTelemetry.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from otelfork import forks
from otelfork.exits import lookups
from otelfork.run import runs

TIMEOUT = "timeout"
"""The cause of an end by SIGABRT from gunicorn's arbiter: the worker has not reported for too long."""
ABORT_SECONDS = 0.7
"""What a flush may take after that SIGABRT: a second later comes SIGKILL."""

_logger = logging.getLogger("otelfork")


class _Exit:
    """How far this process has come on its way out."""

    __slots__ = ("cause", "draining", "pid", "spent", "watching")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.spent = 0.0
        """Seconds that unsuccessful flushes took. Not the time since the first: between SIGTERM and the end a job may finish."""
        self.draining = False
        self.cause: str | None = None
        self.watching = False


going = False
"""Whether this process, or one that it was forked from, was told to end: `finish_request` is due after each request then."""
_timeout = 3.0
_exit = _Exit()
_signals_allowed = True
_last_will: Callable[[], object] | None = None
_last_words: list[tuple[int, bool, Callable[[], object]]] = []


def configure(*, timeout: float, signals: bool, last_will: Callable[[], object] | None = None) -> None:
    """Set what a process does when it leaves.

    Args:
        timeout: seconds it may spend on its telemetry.
        signals: whether signals may be handled.
        last_will: called at the end of a process that has recorded nothing itself, such as a server's master: what its
            workers left undone is its to do if nobody else is there.
    """
    global _timeout, _signals_allowed, _last_will
    _timeout, _signals_allowed, _last_will = timeout, signals, last_will


def before_last_flush(speak: Callable[[], object], *, lifespan: bool = False) -> None:
    """Have something recorded before this process's last flush, or its ASGI lifespan's. It may be called twice; it never raises."""
    _last_words.append((os.getpid(), lifespan, speak))


def leave(*, lifespan: bool = False) -> bool:
    """Flush as the last thing in this process, or in its ASGI lifespan (see `flush`)."""
    for pid, in_lifespan, speak in _last_words:
        if pid == os.getpid() and (in_lifespan or not lifespan):
            speak()
    return flush()


def _here() -> _Exit:
    global _exit
    if _exit.pid != os.getpid():
        _exit = _Exit()
    return _exit


def first_watch() -> bool:
    """Tell whether this process asks for the first time (see `watching.lifespanless`)."""
    leaving = _here()
    first, leaving.watching = not leaving.watching, True
    return first


def flush() -> bool:
    """Flush within what is left of the exit's time: one for all signals and all ways out.

    Never raises; tells whether all was handed over.
    """
    leaving = _here()
    began = time.monotonic()
    budget = _timeout if leaving.cause is None else min(_timeout, ABORT_SECONDS)
    try:
        done = forks.flush(max(0.0, budget - leaving.spent))
    except Exception:
        _logger.exception("telemetry could not be flushed at the exit")
        done = False
    # After a success the next way out starts anew: a lifespan may end long before its process does (a test client's, for one).
    leaving.spent = 0.0 if done else leaving.spent + time.monotonic() - began
    return done


def _drain() -> _Exit:
    global going
    leaving = _here()
    leaving.draining = going = True
    return leaving


def draining() -> bool:
    """Tell whether this process was told to end and may be gone after the request that finishes now."""
    return _exit.draining and _exit.pid == os.getpid()


def cause() -> str | None:
    """Return why this process is being ended against its will (`TIMEOUT`), or None."""
    return _exit.cause if _exit.pid == os.getpid() else None


def finish_request() -> None:
    """Flush at the end of a request while draining, if `going`: nobody will run our exit code after the last one."""
    leaving = _here()
    if leaving.draining:
        if leaving.cause is None:
            # Requests that finish late in a long graceful stop must not find the time used up by the signal's own flush.
            leaving.spent = 0.0
        flush()


def register() -> None:
    """Register this process for the ways out that its server has. Called once per generation, when it is built.

    Sources: Python `multiprocessing.util.Finalize` (children leave through `os._exit`, without `atexit`), celery's
    `worker_process_shutdown` signal, uWSGI's `uwsgi.atexit`.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # A low priority: after the application's own finalizers, whose records still have to leave.
        util.Finalize(None, leave, exitpriority=-100)
    _register_celery()
    _register_uwsgi()
    _register_gunicorn()


def _register_celery() -> None:
    signals = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_process_shutdown.connect(_on_celery_shutdown, weak=False, dispatch_uid="otelfork")


def _on_celery_shutdown(**_: Any) -> None:
    leave()


def _register_uwsgi() -> None:
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is None or not hasattr(uwsgi, "worker_id"):
        return
    previous = getattr(uwsgi, "atexit", None)
    if getattr(previous, "__name__", "") == _uwsgi_exit.__name__:
        return
    _uwsgi_exit.previous = previous  # type: ignore[attr-defined]
    uwsgi.atexit = _uwsgi_exit


def _uwsgi_exit() -> None:
    previous = getattr(_uwsgi_exit, "previous", None)
    if callable(previous):
        previous()
    leave()


def _register_gunicorn() -> None:
    """See the SIGABRT by which gunicorn's arbiter ends a worker that timed out. The worker's own set-up is over by its first use.

    A sync worker's handler raises SystemExit in the request that hangs; uvicorn's class leaves the default action, and the asgi
    worker's handler waits for the loop that is blocked.
    """
    if "gunicorn.arbiter" in sys.modules and runs.in_gunicorn_worker():
        _handle(signal.SIGABRT, _Abort)


def handle_signals() -> None:
    """Flush at SIGTERM and SIGINT, where nothing else of ours would run (see `handle_sigterm`).

    SIGINT is left to Python where it raises KeyboardInterrupt: `atexit` runs then, and asyncio looks for just that handler.
    """
    handle_sigterm()
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        _handle(signal.SIGINT, _Interrupt)


def handle_sigterm() -> bool:
    """Flush at SIGTERM, then do what would have been done. Only on the main thread, over the default or a handler.

    Returns:
        Whether the handler is in place. It is not where SIGTERM is ignored, where a handler was set in C, where
        `OTELFORK_SIGNALS=0`, or outside the main thread (`signal.signal` raises ValueError there).
    """
    return _handle(signal.SIGTERM, _Handler)


def _handle(number: int, made: type[_Handler]) -> bool:
    if not _signals_allowed or threading.current_thread() is not threading.main_thread():
        return False
    previous = signal.getsignal(number)
    if isinstance(previous, _Handler):
        return True
    if previous is None or previous is signal.SIG_IGN:
        return False
    try:
        signal.signal(number, made(previous))
    except ValueError:  # a subinterpreter: its main thread is not the process's
        return False
    return True


class _Handler:
    """Our SIGTERM handler over the one that was there."""

    __slots__ = ("previous",)

    def __init__(self, previous: Any) -> None:
        self.previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Mark the process as leaving, flush, and go on to the handler that was there."""
        _drain()
        (flush if callable(self.previous) else leave)()
        self.go_on(number, frame)

    def go_on(self, number: int, frame: FrameType | None) -> None:
        """Do what would have been done without us."""
        if callable(self.previous):
            self.previous(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


class _Interrupt(_Handler):
    """Our SIGINT handler: the program may well go on after its own, so it is not taken for the end."""

    __slots__ = ()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Flush, and go on to the handler that was there."""
        flush()
        self.go_on(number, frame)


class _Abort(_Handler):
    """Our SIGABRT handler in a gunicorn worker, which has a second left to live."""

    __slots__ = ()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note on the scoreboard how this process ends, before anything that may take time, and flush last."""
        _drain().cause = TIMEOUT
        forks.mark(TIMEOUT)
        if not callable(self.previous):
            leave()
        # A sync worker's handler raises SystemExit here: the request ends with its stack, then comes the flush.
        self.go_on(number, frame)
        flush()


def _at_exit() -> None:
    try:
        lookups.do_without_threads()
        if _last_will is not None and forks.current() is None:
            _last_will()
    except Exception:
        _logger.exception("what the workers left could not be reported")
    leave()


atexit.register(_at_exit)
