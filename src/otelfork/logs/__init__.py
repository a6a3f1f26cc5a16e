"""Python's logging as telemetry: each record once, from the process that made it, whatever configures logging and when.

Handlers on loggers do not last: `dictConfig`, `fileConfig`, `basicConfig(force=True)` and gunicorn's set-up remove them, and one
on the root logger makes `basicConfig()` do nothing. So records are taken where `Logger` hands them to its handlers
(`Logger.callHandlers`: public by name, the same in every Python since 2.3), after all levels and filters have spoken. Trace
and span ids come in through the record factory.

A process whose first use is still to come (a preloading master above all) shall not get a thread because it writes a log line:
such records are held, and leave with the first use or, synchronously, when the process ends.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections import deque
from typing import Any

from opentelemetry._logs import LogRecord
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

from otelfork import forks
from otelfork.logs import afterwards
from otelfork.logs import records as logrecords
from otelfork.proxies.logs import ProxyLogger
from otelfork.request import hooks
from otelfork.request.origin import suppressed
from otelfork.settings.logging import LogSettings

HELD = 2048
"""How many records of a process wait for its first use; past it the oldest go."""

_OURS = ("otelfork", "opentelemetry")
_SERVERS = ("gunicorn", "uvicorn", "hypercorn", "granian", "_granian")


class _Here(threading.local):
    """What this thread is doing."""

    busy = False
    """Whether a record is being taken: what is logged meanwhile is our own doing, and would loop."""
    record: logging.LogRecord | None = None
    """The record whose handlers run."""


class _Capture:
    """Takes the records of this process."""

    def __init__(self) -> None:
        self.on = False
        self.explicit = False
        self.level = 0
        """The lowest level of what is taken."""
        self._pid = os.getpid()
        self._held: deque[tuple[str, LogRecord]] = deque(maxlen=HELD)
        self._loggers: dict[str, ProxyLogger] = {}
        self._here = _Here()

    def take(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Record what a logger is about to hand to its handlers."""
        # A record of another process, inherited or sent here by a QueueHandler, is told by that process.
        if not self.on or record.process not in {None, os.getpid()} or _named(record.name, _OURS):
            return
        if record.levelno < self.level or self._here.busy or suppressed() or not _heard(logger):
            return
        self._here.busy = True
        try:
            self._keep(record.name, logrecords.translate(record))
        finally:
            self._here.busy = False

    def pass_on(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Take a record and hand it to its handlers; one that a handler gives to another logger is not taken again."""
        outer = self._here.record
        if record is not outer:
            try:
                self.take(logger, record)
            except Exception:
                hooks.once("a log record could not be recorded", "logs.take")
        self._here.record = record
        try:
            _call_handlers(logger, record)
        finally:
            self._here.record = outer

    def _keep(self, name: str, made: LogRecord) -> None:
        if forks.current() is None and (not self.explicit or _named(name, _SERVERS)):
            self._waiting().append((name, made))
            return
        self.release()
        self._emit(name, made)

    def _emit(self, name: str, made: LogRecord) -> None:
        logger = self._loggers.get(name)
        if logger is None:
            logger = self._loggers.setdefault(name, ProxyLogger(name, None, None, None))
        logger.emit(made)

    def _waiting(self) -> deque[tuple[str, LogRecord]]:
        if self._pid != os.getpid():
            # The parent's: it has them still. A new deque, for the parent's may have been in use by another thread.
            self._held, self._pid = deque(maxlen=HELD), os.getpid()
        return self._held

    def release(self) -> None:
        """Record what was held, if this process has telemetry by now."""
        held = self._waiting()
        while held and forks.current() is not None:
            try:
                name, made = held.popleft()
            except IndexError:  # another thread was faster
                return
            self._emit(name, made)

    def leave(self) -> None:
        """Record what was held in a process that ends without a first use; our exit code exports it."""
        if self.on and self._waiting():
            forks.ensure()
            self.release()


_capture = _Capture()
_call_handlers = logging.Logger.callHandlers
_installed: set[str] = set()


def install(*, explicit: bool = False, service_name: str | None = None) -> None:
    """Do what the environment says with Python's logging. Idempotent.

    Args:
        explicit: whether the program called `configure`: then a log line of the application is a first use like any other.
        service_name: over OTEL_SERVICE_NAME.

    Raises:
        SettingsError: a variable cannot be used.
    """
    settings = LogSettings.read()
    if settings.level is not None:
        _set_level(settings.level)
    if settings.correlation:
        _correlate(service_name or settings.service_name)
        afterwards.watch()
    if settings.format:
        # Does nothing where the root logger has a handler already: who sets up logging before us has the last word.
        logging.basicConfig(format=settings.format, level=settings.level or logging.INFO)
    _capture.on, _capture.explicit, _capture.level = settings.capture, explicit, settings.exported
    if settings.capture and "capture" not in _installed:
        _installed.add("capture")
        logging.Logger.callHandlers = _taking_call_handlers  # type: ignore[method-assign]
        # Registered after the flush of `exits`, so it runs before it.
        atexit.register(_capture.leave)


def release() -> None:
    """Record what was held until the first use; called by the exporter thread."""
    if _capture.on:
        _capture.release()


def _taking_call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
    _capture.pass_on(self, record)


def _named(name: str, names: tuple[str, ...]) -> bool:
    return name.partition(".")[0] in names


def _heard(logger: logging.Logger) -> bool:
    """Tell whether a record is for us: it reaches the root logger or a handler that does something.

    OpenTelemetry's own logging handlers send it by themselves: then it is not sent once more.
    """
    step: logging.Logger | None = logger
    real = False
    while step is not None:
        for handler in step.handlers:
            if type(handler).__module__.startswith("opentelemetry."):
                return False
            real = real or not isinstance(handler, logging.NullHandler)
        if not step.propagate:
            return real
        step = step.parent
    return True


def _correlate(service_name: str) -> None:
    previous: Any = logging.getLogRecordFactory()
    if isinstance(previous, _Correlation):
        previous.service_name = service_name
        return
    logging.setLogRecordFactory(_Correlation(previous, service_name))


class _Correlation:
    """A record factory that adds trace id, span id, whether they are sampled, and the service's name; 0 outside a trace."""

    def __init__(self, previous: Any, service_name: str) -> None:
        self._previous = previous
        self.service_name = service_name

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._previous(*args, **kwargs)
        context = get_current_span(logrecords.request_context(record)).get_span_context()
        valid = context.is_valid
        record.otelTraceID = format_trace_id(context.trace_id) if valid else "0"
        record.otelSpanID = format_span_id(context.span_id) if valid else "0"
        record.otelTraceSampled = bool(valid and context.trace_flags.sampled)
        record.otelServiceName = self.service_name
        return record


class _LastResort(logging.StreamHandler):  # type: ignore[type-arg] # Python 3.10 does not subscribe it
    """Prints diagnostics on standard error where the application has set up no logging."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record unless the root logger has a handler, which prints it too."""
        if not logging.getLogger().handlers:
            super().emit(record)


def _set_level(level: int) -> None:
    """Give OpenTelemetry's and our own loggers a level, and let what they say be seen."""
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        if not any(isinstance(handler, _LastResort) for handler in logger.handlers):
            handler = _LastResort(sys.stderr)
            handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
            logger.addHandler(handler)
