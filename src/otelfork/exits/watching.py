"""Servers that leave without running any exit code of ours: SIGTERM is handled in their workers, and in nobody else's.

Each of them is told from the modules that are loaded; none is imported.
"""

from __future__ import annotations

import signal
import sys

from otelfork.exits import first_watch, handle_sigterm


def lifespanless() -> None:
    """Note a request of an ASGI application without lifespan: its server will run no exit code of ours.

    uvicorn re-raises SIGTERM with the default handler after it has served, so `atexit` never runs. From SIGTERM on every
    request that finishes is flushed at once.
    """
    if first_watch():
        handle_sigterm()


def uvicorn() -> None:
    """Note a WSGI application that uvicorn imports (`--interface wsgi`): no lifespan, no `atexit`, requests in other threads.

    A worker of several has uvicorn's handler by then, and ours goes over it. A single process has the default action; uvicorn
    puts back what it finds, and raises SIGTERM once more when it has served.
    """
    if "uvicorn" not in sys.modules:
        return
    found = signal.getsignal(signal.SIGTERM)
    server = type(getattr(found, "__self__", None)).__module__.partition(".")[0]
    if found is signal.SIG_DFL or server == "uvicorn":
        handle_sigterm()


def hypercorn() -> None:
    """Note an application that a worker of hypercorn imports: it leaves SIGTERM at the default action.

    Where one worker ends, of a crash or because it was faster, hypercorn sends the others SIGTERM at once.
    """
    found = sys.modules.get("multiprocessing.process")
    child = found is not None and found.parent_process() is not None
    if "hypercorn" in sys.modules and child and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        handle_sigterm()
