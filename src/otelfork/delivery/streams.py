"""One signal's bounded queue, the exporter behind it, and what is done when that does not take a batch.

Putting a record takes no lock and does no I/O; draining is the exporter thread's. A batch that was not delivered for a reason
that may pass goes back to the head of the queue and is tried again later, with the same ids: a collector that received it all
the same gets it twice (at least once). It knows no particular exporter.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from otelfork.delivery import outcome
from otelfork.delivery.backoff import Backoff
from otelfork.delivery.complaints import Complaints
from otelfork.delivery.outcome import Outcome, Tries, may_pass
from otelfork.delivery.weights import Scales
from otelfork.settings import BatchSettings

_T = TypeVar("_T")
_T_contra = TypeVar("_T_contra", contravariant=True)
_logger = logging.getLogger("otelfork")

_WEIGH_SECONDS = 1.0
_SHORTEST = 16
"""Records that a queue holds however heavy they are."""


class Exporter(Protocol[_T_contra]):
    """What the outbox asks of an exporter of spans, logs or metrics (the SDK's exporter interfaces)."""

    def export(self, batch: _T_contra, /) -> Any:
        """Send one batch; the result's `name` is SUCCESS or FAILURE."""

    def shutdown(self) -> None:
        """Stop for good."""


class Stream(Generic[_T]):
    """One signal's bounded queue and the exporter behind it.

    Args:
        name: "spans" or "logs".
        settings: bounds and pace.
        build: makes the exporter; called once, by the exporter thread.
        wake: wakes the exporter thread.
        complaints: where losses are counted.
        weigh: estimates a record's bytes in memory.
        budget: bytes that the queue may hold, as estimated.
        tries: what is under way in this process.
    """

    def __init__(
        self,
        name: str,
        settings: BatchSettings,
        build: Callable[[], Exporter[Sequence[_T]]],
        wake: Callable[[], None],
        complaints: Complaints,
        *,
        weigh: Callable[[Any], int] = lambda _: 0,
        budget: float = math.inf,
        tries: Tries | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.queue: deque[_T] = deque()
        self.due = 0.0
        self.exported = 0
        self.backoff = Backoff()
        self.turn = threading.RLock()
        """Held by who exports: the exporter thread, or one that helps it with a flush. Nobody waits for it."""
        self._tries = tries or Tries()
        self._build = build
        self._exporter: Exporter[Sequence[_T]] | None = None
        self._wake = wake
        self._complaints = complaints
        self._room = settings.queue_size
        """Records that the queue may hold: fewer than its size when they are heavy."""
        self._batch = settings.batch_size
        self.relieve: Callable[[], object] = lambda: None
        """Called now and then while records are dropped: who else holds them shall let go, too."""
        self._unrelieved = 0
        self._signalled = False
        self._scales = Scales(weigh)
        self._budget = budget
        self._weighed = 0.0

    def put(self, record: _T) -> None:
        """Queue a record. Never waits; in a full queue it takes the place of the oldest, which is dropped and counted."""
        records = self.queue
        waiting = len(records)
        if waiting >= self._room:
            self._drop_oldest()
        records.append(record)
        if waiting + 1 >= self._batch and not self._signalled:
            self._signalled = True
            self._wake()

    @property
    def waiting(self) -> int:
        """Records that are not delivered yet."""
        return len(self.queue)

    @property
    def look(self) -> float:
        """When this stream wants to be looked at (monotonic)."""
        return min(self.due, self._weighed + _WEIGH_SECONDS) if self.backoff.again and self.waiting else self.due

    def ready(self, now: float) -> bool:
        """Tell whether this queue should be exported now: a full batch, or the delay is over."""
        if self.backoff.waits(now):
            # No record need wake the thread: it looks again by itself.
            self._signalled = True
            self._trim(now)
            return False
        # Before the queue is read: a record put from here on wakes the thread again, one put before is seen here.
        self._signalled = False
        waiting = self.waiting
        return waiting >= self._batch or (waiting > 0 and now >= self.due)

    def drain(self, deadline: float, *, everything: bool) -> bool:
        """Export full batches, or everything that is queued at this moment; tell whether all was handed over.

        It ends at the first batch that has to wait, and says in `backoff` when to try again.
        """
        if not self.turn.acquire(blocking=False):  # another thread is in the middle of a try that hangs
            return False
        try:
            return self._drain(deadline, everything=everything)
        finally:
            self.turn.release()

    def _drain(self, deadline: float, *, everything: bool) -> bool:
        self._signalled = False
        left = 0 if everything else self._batch - 1
        waiting = len(self.queue)
        delivered = True
        while waiting > left:
            if time.monotonic() >= deadline or self._tries.halted:
                return False
            batch = self._take(min(waiting, self._batch))
            waiting -= len(batch) or waiting
            delivered = self._send(batch, deadline) and delivered
            if self.backoff.again:
                self.due = self.backoff.again
                return False
        self.due = time.monotonic() + self.settings.delay
        return delivered

    def deliver(self, batch: Sequence[_T]) -> bool:
        """Export records past the queue, at once; for the exporter thread. Tell whether they were handed over."""
        if not self.turn.acquire(blocking=False):
            return False
        try:
            return self.export(list(batch), math.inf) is True
        finally:
            self.turn.release()

    def exporter(self) -> Exporter[Sequence[_T]]:
        """Return the exporter, built on first need by the exporter thread."""
        if self._exporter is None:
            self._exporter = self._build()
        return self._exporter

    def export(self, batch: Sequence[_T], deadline: float) -> bool | None:
        """Try once; True: delivered, False: refused for good and counted as lost, None: it may be delivered later."""
        if not batch:
            return True
        try:
            exporter = self.exporter()
        except (Exception, SystemExit) as error:  # a header, certificate or compression that the exporter refuses
            self._complaints.failed(self.name, self, len(batch), [f"{type(error).__name__}: {error}"])
            return False
        problem: BaseException | None = None
        with self._complaints.listening(exporter) as reason, outcome.watching(deadline, self._tries) as result:
            try:
                succeeded = getattr(exporter.export(batch), "name", "SUCCESS") == "SUCCESS"
            except (Exception, SystemExit) as error:
                succeeded, problem = False, error
                reason.append(f"{type(error).__name__}: {error}")
            except BaseException as error:
                self._complaints.failed(self.name, exporter, len(batch), [f"{type(error).__name__}: {error}"])
                raise
        if result.twice or (result.interrupted and not succeeded):
            self._tries.repeated += len(batch)
        if succeeded:
            self.backoff.succeeded()
            self._accepted(len(batch), exporter, result)
            return True
        if result.interrupted:
            self.backoff.interrupted()
            return None
        if may_pass(result, problem, reason):
            self.backoff.failed(result.retry_after)
            self._complaints.delayed(exporter, [result.why] if result.why else reason, tries=self.backoff.tries)
            return None
        self.backoff.succeeded()  # it answered
        self._complaints.failed(self.name, exporter, len(batch), reason)
        return False

    def shutdown(self) -> None:
        """Stop the exporter for good, if it was built; what is still queued is lost."""
        if self.queue:
            self._complaints.lost(self.name, "shutdown", len(self.queue))
        exporter = self._exporter
        if exporter is None:
            return
        with self._complaints.listening(exporter):
            try:
                exporter.shutdown()
            except Exception:
                _logger.exception("the exporter %s could not be shut down", type(exporter).__name__)

    def _send(self, batch: list[_T], deadline: float) -> bool:
        try:
            delivered = self.export(batch, deadline)
        finally:
            self._learn(batch)
        if delivered is None:
            self._learn(batch, waiting=True)
            self._give_back(batch)
        return bool(delivered)

    def _accepted(self, count: int, exporter: object, result: Outcome) -> None:
        rejected = min(count, result.rejected)
        self.exported += count - rejected
        if rejected or result.message:
            self._complaints.rejected(self.name, exporter, rejected, result.message)

    def _take(self, size: int) -> list[_T]:
        taken: list[_T] = []
        with contextlib.suppress(IndexError):  # records that were put meanwhile have dropped the oldest
            while len(taken) < size:
                taken.append(self.queue.popleft())
        return taken

    def _give_back(self, batch: list[_T]) -> None:
        """Put a batch back where it was, as far as there is room; its oldest records are dropped."""
        room = max(0, self._room - len(self.queue))
        kept = batch[max(0, len(batch) - room) :]
        self.queue.extendleft(reversed(kept))
        if len(kept) < len(batch):
            self._complaints.lost(self.name, "queue_full", len(batch) - len(kept))

    def _drop_oldest(self) -> None:
        try:
            self.queue.popleft()
        except IndexError:  # the exporter thread has just taken all
            return
        self._complaints.dropped(self.name, "queue_full")
        self._unrelieved += 1
        if self._unrelieved >= max(_SHORTEST, self._room // 8):
            self._unrelieved = 0
            self.relieve()

    def _learn(self, records: Sequence[_T], *, waiting: bool = False) -> None:
        """Let the queue hold as many records as the budget has room for, by the weight of some of these."""
        if math.isinf(self._budget) or not records:
            return
        self._weighed = time.monotonic()
        average = max(1.0, self._scales.of_many(records) if waiting else self._scales.of_few(records))
        self._room = max(
            min(_SHORTEST, self.settings.queue_size), min(self.settings.queue_size, int(self._budget / average))
        )

    def _trim(self, now: float) -> None:
        """Weigh what waits, now and then, and drop the oldest of what is over the budget."""
        if now < self._weighed + _WEIGH_SECONDS:
            return
        self._weighed = now
        self._learn(self.queue.copy(), waiting=True)
        while len(self.queue) > self._room:
            self._drop_oldest()


class Fan(Generic[_T]):
    """Several streams of one signal: `otlp,console`. Each record goes into each of them."""

    def __init__(self, streams: Sequence[Stream[_T]]) -> None:
        self.streams = streams

    def put(self, record: _T) -> None:
        """Queue a record in every stream."""
        for stream in self.streams:
            stream.put(record)

    def deliver(self, batch: Sequence[_T]) -> bool:
        """Export records past the queues, at once; tell whether all took them."""
        delivered = [stream.deliver(batch) for stream in self.streams]  # each of them, whatever the others say
        return all(delivered)
