"""One bounded queue per signal and one exporter thread per process, for spans, logs and metrics.

Putting a record takes no lock and does no I/O. The thread sleeps on one queue of commands (wake up, flush, stop), builds the
exporters when it first needs them, and holds the gate while it works, so that a fork can wait for the moment between two
exports. It honours what the SDK's batch processors and periodic reader honour. It knows no particular exporter.
"""

from __future__ import annotations

import functools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from otelfork.delivery.complaints import Complaints
from otelfork.delivery.flushing import Flush, left, share, side_by_side, suppressed
from otelfork.delivery.outcome import Tries
from otelfork.delivery.reading import Reader
from otelfork.delivery.streams import Exporter, Stream
from otelfork.settings import BatchSettings

_T = TypeVar("_T")

_logger = logging.getLogger("otelfork")
CHORES_SECONDS = 1.0
_PATIENCE = 0.5
"""Of a flush's time: so long it waits for the try that is under way, before that is broken off. A collector that takes a second
is slow, and no reason to send twice; what is left is enough for the others, side by side."""
_WAKE = object()
_STOP = object()


class Outbox:
    """The exporter thread of one process and what it serves."""

    def __init__(self, *, metric_interval: float, metric_timeout: float, complaints: Complaints) -> None:
        self.streams: list[Stream[Any]] = []
        self.readers: list[Reader] = []
        self.prepare: Callable[[], None] = lambda: None
        self.fold: Callable[[], None] = lambda: None
        """What is to be done before records are exported and instruments collected."""
        self.chores: Callable[[], object] | None = None
        """What is to be done once a second and before each flush."""
        # Not at once: the first request of the process has the interpreter to itself.
        self.chores_due = time.monotonic() + CHORES_SECONDS
        self.tries = Tries()
        self._complaints = complaints
        self._interval = metric_interval
        self._metric_timeout = metric_timeout
        self._metrics_due = time.monotonic() + metric_interval
        self._commands: queue.SimpleQueue[object] = queue.SimpleQueue()
        # Reentrant: an observable callback may fork, and then the `before` hook runs on the exporter thread itself.
        self._gate = threading.RLock()
        self._flushes: list[Flush] = []
        self._busy_until = math.inf
        """When the flush that is served ends, at the latest; infinity outside of one: a try may take its exporter's own time."""
        self._working = False
        """Whether the holder of the gate is exporting: a callback or a signal handler may ask for a flush meanwhile."""
        self._thread: threading.Thread | None = None
        self._stopped = self._refused = False

    def stream(
        self,
        name: str,
        settings: BatchSettings,
        build: Callable[[], Exporter[Sequence[_T]]],
        *,
        kind: type[Stream[_T]] = Stream,
        **options: Any,
    ) -> Stream[_T]:
        """Add a queue in front of one exporter; `kind` is Stream or a subclass, `options` are its keyword arguments."""
        added = kind(name, settings, build, self.wake, self._complaints, tries=self.tries, **options)
        self.streams.append(added)
        return added

    def start(self) -> None:
        """Start the exporter thread. Where none can be had (interpreter exit, a limit), flush does its work until one can."""
        # After the first delay, too: building the exporters must not slow down the first requests.
        for stream in self.streams:
            stream.due = time.monotonic() + stream.settings.delay
        thread = threading.Thread(target=self._run, name="otelfork-exporter", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._refused = True
            return
        self._refused, self._thread = False, thread

    def pause(self, deadline: float) -> bool:
        """Wait until nothing is being exported and keep it so until `resume`; False past the monotonic deadline.

        Half of the time is left to what is under way. Then a call that a child would inherit half done is ended, to be sent
        again by this process.
        """
        self.tries.parked = True
        if self._gate.acquire(timeout=left(share(deadline, 2))):
            return True
        self.tries.break_off(in_c=True)
        if self._gate.acquire(timeout=left(deadline)):
            return True
        self.tries.parked = False
        return False

    def resume(self) -> None:
        """Let the exporter thread go on after `pause`, on the same thread."""
        self.tries.parked = False
        self._gate.release()

    def flush(self, deadline: float) -> bool:
        """Export everything recorded so far; wait until the monotonic deadline at the most. Never raises."""
        if self._stopped:
            return True
        thread = self._thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            return self._flush_here(deadline)
        request = Flush(deadline)
        self._commands.put(request)
        delivered = request.wait(left(deadline) * _PATIENCE)
        if delivered is None and not request.begun and self._busy_until > deadline:
            self.tries.hurried = True
            self.tries.break_off()
        return (request.wait(left(deadline)) if delivered is None else delivered) is True

    def stop(self, deadline: float) -> None:
        """Stop the thread and the exporters; what is queued is lost, unless it was flushed before."""
        self._stopped = True
        self._commands.put(_STOP)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(left(deadline))

    def wake(self) -> None:
        """Have the exporter thread look at its queues. Takes no lock."""
        if self._refused:
            self.start()
        self._commands.put(_WAKE)

    def _flush_here(self, deadline: float) -> bool:
        with self._held(deadline) as free:
            if not free:
                return False
            with suppressed():
                delivered = self._export_all(deadline)
                while not delivered and (again := self._again()) < deadline:
                    time.sleep(max(0.0, again - time.monotonic()))
                    delivered = self._export_all(deadline)
            self._account(delivered=delivered)
            return delivered

    def _account(self, *, delivered: bool) -> None:
        self._complaints.say()
        if not delivered:
            self._complaints.undelivered({stream.name: stream.waiting for stream in self.streams})

    def _again(self) -> float:
        """Return when something that failed may be tried again (monotonic); infinity where nothing has to be."""
        if self.tries.halted:  # a fork is waiting for its turn
            return time.monotonic()
        backoffs = [stream.backoff for stream in self.streams] + [reader.backoff for reader in self.readers]
        return min((backoff.again for backoff in backoffs if backoff.again), default=math.inf)

    @contextmanager
    def _held(self, deadline: float) -> Iterator[bool]:
        """Hold the gate for an export, and yield True; False past the deadline, or inside an export on this same thread.

        The SDK's locks are not reentrant: a flush from a callback, or from a signal handler that interrupts a flush, would
        wait for itself.
        """
        if not self._gate.acquire(timeout=left(deadline)):
            yield False
            return
        outermost = not self._working
        try:
            self._working = True
            yield outermost
        finally:
            if outermost:
                self._working = False
            self._gate.release()

    def _run(self) -> None:
        """The exporter thread: it survives whatever an exporter or a callback raises."""
        with suppressed():
            self._guarded(self.prepare)
            while True:
                command = self._next_command()
                if command is _STOP:
                    self._guarded(self._close)
                    return
                self._guarded(functools.partial(self._serve, command))

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do the work while the gate is held. SystemExit and the like mean nothing on this thread, but a killed greenlet ends."""
        with self._held(math.inf):
            try:
                work()
            except BaseException as error:
                if type(error).__name__ == "GreenletExit":
                    raise
                _logger.exception("the exporter thread met an error and goes on")

    def _next_command(self) -> object:
        due = [stream.look for stream in self.streams]
        due += [min(flush.again, flush.deadline) for flush in self._flushes]
        due.append(self._metrics_due if self.readers else time.monotonic() + 60)
        if self.chores is not None:
            due.append(self.chores_due)
        try:
            return self._commands.get(timeout=max(0.001, min(due) - time.monotonic()))
        except queue.Empty:
            return _WAKE

    def _serve(self, command: object) -> None:
        if isinstance(command, Flush):
            self._flush(command)
            return
        now = time.monotonic()
        for flush in [flush for flush in self._flushes if now >= min(flush.again, flush.deadline)]:
            self._flush(flush)
        if self.chores is not None and now >= self.chores_due:
            self.chores_due = now + CHORES_SECONDS
            self._do_chores()
        self.fold()
        for stream in self.streams:
            if stream.ready(now):
                self.prepare()
                stream.drain(now + stream.settings.timeout, everything=now >= stream.due)
            elif now >= stream.due:
                stream.due = now + stream.settings.delay
        if self.readers and now >= self._metrics_due:
            self._metrics_due = now + self._interval
            self._collect(now + self._metric_timeout)
            self._metrics_due = min([self._metrics_due, *(r.backoff.again for r in self.readers if r.backoff.again)])
        self._complaints.say()

    def _flush(self, flush: Flush) -> None:
        """Export everything; what has to wait is tried again while the deadline allows it, and nothing else stands still."""
        self._flushes = [each for each in self._flushes if each is not flush]
        flush.begun, self.tries.hurried, self._busy_until = True, False, flush.deadline
        delivered, flush.again = False, math.inf
        try:
            if time.monotonic() < flush.deadline:
                delivered = self._export_all(flush.deadline)
                flush.again = math.inf if delivered else self._again()
        finally:
            self._busy_until = math.inf
            if flush.again < flush.deadline:
                self._flushes.append(flush)
            else:
                flush.done.put(delivered)
                self._account(delivered=delivered)

    def _export_all(self, deadline: float) -> bool:
        self.prepare()
        self._do_chores()
        # Collecting may call the application, whose callbacks may make spans and logs: what was empty before is looked at again.
        first = [stream for stream in self.streams if stream.waiting]
        drains = [functools.partial(stream.drain, everything=True) for stream in first]
        results = side_by_side([self._collect, *drains], deadline)
        failed = [stream for stream, done in zip(first, results[1:], strict=True) if not done]
        late = [stream for stream in self.streams if stream.waiting and stream not in failed]
        return all([*results, *(stream.drain(deadline, everything=True) for stream in late)])

    def _do_chores(self) -> None:
        try:
            if self.chores is not None:
                self.chores()
        except Exception:
            _logger.exception("looking after the scoreboard failed; it is left alone from now on")
            self.chores = None

    def _collect(self, deadline: float) -> bool:
        self.prepare()
        delivered = True
        for number, reader in enumerate(self.readers):
            own = share(deadline, len(self.readers) - number) - time.monotonic()
            remaining = 0.0 if self.tries.halted else min(self._metric_timeout, own)
            delivered = remaining > 0 and reader.collect_and_export(remaining) and delivered
        return delivered

    def _close(self) -> None:
        for stream in self.streams:
            stream.shutdown()
        for reader in self.readers:
            reader.shutdown()
