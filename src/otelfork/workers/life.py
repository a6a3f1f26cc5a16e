"""One worker process from its start to its end: a span of its own, noted on the scoreboard, where it survives a kill."""

from __future__ import annotations

import logging
import os
import time
from typing import Any, Protocol, final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from otelfork import exits, forks, semconv
from otelfork.run import runs
from otelfork.run.boardfile import Enlisted
from otelfork.settings import SettingsError
from otelfork.settings.workers import WorkerSettings
from otelfork.version import __version__
from otelfork.workers import gauges, masters, names

SCOPE = "otelfork"
_logger = logging.getLogger("otelfork")


class Board(Protocol):
    """Where workers are noted (see `run.scoreboard.Scoreboard`)."""

    slot: int
    generation: int

    def enlist(self, worker: Enlisted) -> None:
        """Note a worker and its span."""

    def booted(self, seconds: float) -> None:
        """Count how long a worker's start took."""

    def retire(self, ended: str) -> None:
        """Note a clean end."""


@final
class Worker:
    """What is known of this process as a worker; one per process."""

    __slots__ = ("board", "booted", "ended", "pid", "server", "span")

    def __init__(self, server: str, span: Span, board: Board | None) -> None:
        self.pid = os.getpid()
        self.server = server
        self.span = span
        self.board = board
        self.booted = False
        self.ended = False


_worker: Worker | None = None
_refused = 0
"""The process that was told to leave its life alone."""


def current() -> Worker | None:
    """Return this process as a worker; None where it is none."""
    return _worker if _worker is not None and _worker.pid == os.getpid() else None


def begin(server: str, *, limit: float = 0, lifespan: bool = False, own_id: int | None = None) -> None:
    """Note that this process is a worker of `server` ("gunicorn", "uwsgi"), right after its start: a first use.

    Opens the span `{server}.worker`, unless OTELFORK_WORKERS=false. The first call in a process counts. Never raises.

    Args:
        server: a short name in lower case, the prefix of what is recorded.
        limit: seconds after which the server kills a worker for the request that it is busy with (uWSGI's harakiri), where nobody
            but the server will know: a death past it is told as a timeout.
        lifespan: whether the end of the ASGI lifespan is the last that this process will see of itself (uvicorn).
        own_id: the number that the server itself gives the worker.
    """
    global _worker, _refused
    pid = os.getpid()
    if current() is not None or _refused == pid:
        return
    try:
        generation: Any = forks.ensure()
        wanted = settings()
        if generation is None or wanted.wanted is False:
            _refused = pid
            return
        _worker = _born(server, getattr(generation, "board", None), round(limit), own_id)
        exits.before_last_flush(end, lifespan=lifespan)
        if wanted.gauges:
            gauges.start(server, _identity(_worker.board))
    except Exception:
        _logger.exception("the worker's own telemetry could not begin")


def ready() -> None:
    """Note that this worker could answer requests from now on: its boot is over. The first call counts. Never raises."""
    worker = current()
    if worker is None or worker.booted:
        return
    worker.booted = True
    try:
        seconds = _age()
        if seconds is not None and worker.board is not None:
            worker.board.booted(seconds)
    except Exception:
        _logger.exception("the worker's boot could not be noted")


def end(reason: str | None = None) -> None:
    """Note that this worker ends cleanly; before the process's last flush. The first call counts. Never raises.

    Args:
        reason: why, where the server knows: "recycled" (it left by itself and a successor comes), "stopped" (it was told to),
            "timeout". Else "stopped" if this process saw the signal, and "exited".
    """
    worker = current()
    if worker is None or worker.ended:
        return
    worker.ended = True
    told = reason or exits.cause() or (names.STOPPED_BY_SERVER if exits.draining() else names.LEFT)
    try:
        worker.span.set_attribute(names.REASON, told)
        worker.span.add_event(names.STOPPED, {names.REASON: told})
        if told in names.FAILURES:
            worker.span.set_attribute(semconv.ERROR_TYPE, told)
            worker.span.set_status(Status(StatusCode.ERROR, f"the worker ended by {told}"))
        worker.span.end()
        if worker.board is not None:
            worker.board.retire(told)
    except Exception:
        _logger.exception("the worker's end could not be noted")


def resign() -> None:
    """Tell nothing more of this process as a worker, though it goes on: for what takes itself off a server. Never raises."""
    if current() is not None:
        end(names.RESIGNED)
        gauges.stop()


def settings() -> WorkerSettings:
    try:
        return WorkerSettings.read()
    except SettingsError as error:
        _logger.error("%s; the life of workers is recorded as if it were not set", error)
        return WorkerSettings()


def _born(server: str, board: Board | None, limit: int, own_id: int | None) -> Worker:
    start = time.time_ns()
    attributes = _identity(board)
    if board is not None:
        attributes[names.GENERATION] = board.generation
    if own_id is not None:
        attributes[names.own_id(server)] = own_id
    span = trace.get_tracer(SCOPE, __version__, schema_url=semconv.SCHEMA_URL).start_span(
        f"{server}.worker", context=Context(), attributes=attributes, start_time=start
    )
    span.add_event(names.STARTED, timestamp=start)
    if board is not None:
        seen = span.get_span_context()
        ids = seen.trace_id, seen.span_id, seen.trace_flags
        board.enlist(Enlisted(server, *ids, start, masters.supervisor(), limit, own_id))
    return Worker(server, span, board)


def _identity(board: Board | None) -> dict[str, int]:
    """Return pid and slot; a process without a place on a scoreboard has no slot."""
    return {names.PID: os.getpid(), **({} if board is None else {names.ID: board.slot})}


def _age() -> float | None:
    """Return the seconds since this process was forked or spawned; None where the system does not tell."""
    ticks = runs.start_time(os.getpid())
    if not ticks or not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
