"""One worker process from its start to its end: a span of its own."""

from __future__ import annotations

import logging
import os

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from otelfork import forks
from otelfork.version import __version__

SCOPE = "otelfork"
STARTED, STOPPED = "worker.start", "worker.shutdown"
_logger = logging.getLogger("otelfork")


class _Worker:
    """What is known of this process as a worker; one per process."""

    __slots__ = ("ended", "pid", "server", "span")

    def __init__(self, server: str, span: Span) -> None:
        self.pid = os.getpid()
        self.server = server
        self.span = span
        self.ended = False


_worker: _Worker | None = None


def begin(server: str) -> None:
    """Note that this process is a worker of `server` ("gunicorn", "uwsgi"), right after its start: a first use.

    Opens the span `{server}.worker`. The first call in a process counts. Never raises.
    """
    global _worker
    try:
        if _worker is not None and _worker.pid == os.getpid():
            return
        board = getattr(forks.ensure(), "board", None)
        attributes = {"worker.pid": os.getpid(), **({} if board is None else {"worker.id": board.slot})}
        tracer = trace.get_tracer(SCOPE, __version__)
        span = tracer.start_span(f"{server}.worker", context=Context(), attributes=attributes)
        span.add_event(STARTED)
        _worker = _Worker(server, span)
    except Exception:
        _logger.exception("the worker's own telemetry could not begin")


def ready() -> None:
    """Note that this worker could answer requests from now on: its boot is over. Never raises."""


def end(reason: str | None = None) -> None:
    """Note that this worker ends cleanly; before the process's last flush. The first call counts. Never raises.

    Args:
        reason: why, where the server knows: "recycled" (it left by itself and a successor comes), "stopped" (it was told to).
    """
    worker = _worker
    if worker is None or worker.pid != os.getpid() or worker.ended:
        return
    worker.ended = True
    try:
        worker.span.add_event(STOPPED, {"worker.end": reason} if reason else None)
        worker.span.end()
    except Exception:
        _logger.exception("the worker's span could not be ended")
