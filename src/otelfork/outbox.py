"""One bounded queue per signal and one exporter thread per process, for spans, logs and metrics.

Putting a record takes no lock and does no I/O. The thread sleeps on one queue of commands (wake up, flush, stop), builds the
exporters when it first needs them, and holds the gate while it works, so that a fork can wait for the moment between two
exports. It honours what the SDK's batch processors and periodic reader honour. It knows no particular exporter.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from opentelemetry import context as context_api

from otelfork.complaints import Complaints
from otelfork.settings import BatchSettings

_T = TypeVar("_T")
_T_contra = TypeVar("_T_contra", contravariant=True)

_logger = logging.getLogger("otelfork")
_WAKE = object()
_STOP = object()
# The key that OpenTelemetry's instrumentations of HTTP clients and gRPC look for: our own exports are not traced.
_SUPPRESS_INSTRUMENTATION = "suppress_instrumentation"


class Exporter(Protocol[_T_contra]):
    """What the outbox asks of an exporter of spans, logs or metrics (the SDK's exporter interfaces)."""

    def export(self, batch: _T_contra, /) -> Any:
        """Send one batch; the result's `name` is SUCCESS or FAILURE."""

    def shutdown(self) -> None:
        """Stop for good."""


class Stream(Generic[_T]):
    """One signal's bounded queue and the exporters behind it."""

    def __init__(
        self,
        name: str,
        settings: BatchSettings,
        build: Callable[[], Sequence[Exporter[Sequence[_T]]]],
        wake: Callable[[], None],
        complaints: Complaints,
    ) -> None:
        self.name = name
        self.settings = settings
        self.queue: deque[_T] = deque()
        self.due = 0.0
        self.exported = 0
        self._build = build
        self._exporters: Sequence[Exporter[Sequence[_T]]] | None = None
        self._wake = wake
        self._complaints = complaints
        self._size = settings.queue_size
        self._batch = settings.batch_size
        self._signalled = False

    def put(self, record: _T) -> None:
        """Queue a record. Never waits; a full queue drops the record and counts it."""
        records = self.queue
        waiting = len(records)
        if waiting >= self._size:
            self._complaints.dropped(self.name, "queue_full")
            return
        records.append(record)
        if waiting + 1 >= self._batch and not self._signalled:
            self._signalled = True
            self._wake()

    def ready(self, now: float) -> bool:
        """Tell whether this queue should be exported now: a full batch, or the delay is over."""
        waiting = len(self.queue)
        return waiting >= self._batch or (waiting > 0 and now >= self.due)

    def drain(self, deadline: float, *, everything: bool) -> bool:
        """Export full batches, or everything that is queued at this moment; tell whether all was handed over."""
        self._signalled = False
        waiting = len(self.queue)
        left = 0 if everything else self._batch - 1
        delivered = True
        while waiting > left:
            if time.monotonic() >= deadline:
                return False
            size = min(waiting, self._batch)
            delivered = self._export([self.queue.popleft() for _ in range(size)]) and delivered
            waiting -= size
        self.due = time.monotonic() + self.settings.delay
        return delivered

    def exporters(self) -> Sequence[Exporter[Sequence[_T]]]:
        """Return the exporters, built on first need by the exporter thread."""
        if self._exporters is None:
            self._exporters = self._build()
        return self._exporters

    def _export(self, batch: list[_T]) -> bool:
        delivered = True
        for exporter in self.exporters():
            with self._complaints.listening(exporter) as reason:
                try:
                    succeeded = getattr(exporter.export(batch), "name", "SUCCESS") == "SUCCESS"
                except Exception as error:
                    succeeded = False
                    reason.append(f"{type(error).__name__}: {error}")
            if not succeeded:
                delivered = False
                self._complaints.failed(self.name, exporter, len(batch), reason)
        if delivered:
            self.exported += len(batch)
        return delivered


class Reader(Protocol):
    """A pulling side of the metrics: collects and exports once (see `pipelines.OutboxReader`)."""

    def collect_and_export(self, timeout: float) -> bool:
        """Collect all instruments and export them; seconds; tell whether they were handed over."""


class _Flush:
    __slots__ = ("deadline", "done")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        # A SimpleQueue and not an Event: its put and get are safe in a signal handler that interrupts another put.
        self.done: queue.SimpleQueue[bool] = queue.SimpleQueue()


class Outbox:
    """The exporter thread of one process and what it serves."""

    def __init__(self, *, metric_interval: float, metric_timeout: float, complaints: Complaints) -> None:
        self.streams: list[Stream[Any]] = []
        self.readers: list[Reader] = []
        self.prepare: Callable[[], None] = lambda: None
        self._complaints = complaints
        self._interval = metric_interval
        self._metric_timeout = metric_timeout
        self._metrics_due = time.monotonic() + metric_interval
        self._commands: queue.SimpleQueue[object] = queue.SimpleQueue()
        # Reentrant: an observable callback may fork, and then the `before` hook runs on the exporter thread itself.
        self._gate = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def stream(
        self, name: str, settings: BatchSettings, build: Callable[[], Sequence[Exporter[Sequence[_T]]]]
    ) -> Stream[_T]:
        """Add a signal's queue."""
        added: Stream[_T] = Stream(name, settings, build, self._wake, self._complaints)
        self.streams.append(added)
        return added

    def start(self) -> None:
        """Start the exporter thread. Where none can be started any more (interpreter exit), flush does its work."""
        thread = threading.Thread(target=self._run, name="otelfork-exporter", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self._thread = thread

    def pause(self, deadline: float) -> bool:
        """Wait until nothing is being exported and keep it so until `resume`; False past the monotonic deadline."""
        return self._gate.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def resume(self) -> None:
        """Let the exporter thread go on after `pause`, on the same thread."""
        self._gate.release()

    def flush(self, deadline: float) -> bool:
        """Export everything recorded so far; wait until the monotonic deadline at the most. Never raises."""
        if self._stopped:
            return True
        thread = self._thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            return self._flush_here(deadline)
        request = _Flush(deadline)
        self._commands.put(request)
        try:
            return request.done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return False

    def shutdown(self, deadline: float) -> bool:
        """Flush and stop the thread and the exporters."""
        delivered = self.flush(deadline)
        self._stopped = True
        self._commands.put(_STOP)
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))
        return delivered

    def _wake(self) -> None:
        self._commands.put(_WAKE)

    def _flush_here(self, deadline: float) -> bool:
        if not self._gate.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return False
        try:
            with _suppressed():
                return self._export_all(deadline)
        finally:
            self._gate.release()

    def _run(self) -> None:
        """The exporter thread: it survives whatever an exporter or a callback raises."""
        with _suppressed():
            while True:
                command = self._next_command()
                if command is _STOP:
                    self._close()
                    return
                with self._gate:
                    try:
                        self._serve(command)
                    except Exception:
                        _logger.exception("the exporter thread met an error and goes on")

    def _next_command(self) -> object:
        due = [stream.due for stream in self.streams]
        due.append(self._metrics_due if self.readers else time.monotonic() + 60)
        try:
            return self._commands.get(timeout=max(0.001, min(due) - time.monotonic()))
        except queue.Empty:
            return _WAKE

    def _serve(self, command: object) -> None:
        if isinstance(command, _Flush):
            delivered = False
            try:
                delivered = self._export_all(command.deadline)
            finally:
                command.done.put(delivered)
                self._complaints.say()
            return
        now = time.monotonic()
        for stream in self.streams:
            if stream.ready(now):
                self.prepare()
                stream.drain(now + stream.settings.timeout, everything=now >= stream.due)
            elif now >= stream.due:
                stream.due = now + stream.settings.delay
        if self.readers and now >= self._metrics_due:
            self._metrics_due = now + self._interval
            self._collect(now + self._metric_timeout)
        self._complaints.say()

    def _export_all(self, deadline: float) -> bool:
        self.prepare()
        # Metrics first: collecting may call the application, whose callbacks may make spans and logs.
        delivered = self._collect(deadline)
        for stream in self.streams:
            delivered = stream.drain(deadline, everything=True) and delivered
        return delivered

    def _collect(self, deadline: float) -> bool:
        self.prepare()
        delivered = True
        for reader in self.readers:
            remaining = min(self._metric_timeout, deadline - time.monotonic())
            delivered = remaining > 0 and reader.collect_and_export(remaining) and delivered
        return delivered

    def _close(self) -> None:
        for stream in self.streams:
            for exporter in stream.exporters():
                with self._complaints.listening(exporter):
                    exporter.shutdown()


@contextmanager
def _suppressed() -> Iterator[None]:
    token = context_api.attach(context_api.set_value(_SUPPRESS_INSTRUMENTATION, True))
    try:
        yield
    finally:
        context_api.detach(token)
