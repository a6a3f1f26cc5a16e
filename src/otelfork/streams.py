"""One signal's bounded queue and the exporters behind it.

Putting a record takes no lock and does no I/O; draining is the exporter thread's. It knows no particular exporter.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from otelfork.complaints import Complaints
from otelfork.settings import BatchSettings

_T = TypeVar("_T")
_T_contra = TypeVar("_T_contra", contravariant=True)
_logger = logging.getLogger("otelfork")


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
        self.due = time.monotonic() + settings.delay
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
        # Before the queue is read: a record put from here on wakes the thread again, one put before is seen here.
        self._signalled = False
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

    def deliver(self, batch: Sequence[_T]) -> bool:
        """Export records past the queue, at once; for the exporter thread. Tell whether they were handed over."""
        return self._export(list(batch))

    def exporters(self) -> Sequence[Exporter[Sequence[_T]]]:
        """Return the exporters, built on first need by the exporter thread."""
        if self._exporters is None:
            self._exporters = self._build()
        return self._exporters

    def _export(self, batch: list[_T]) -> bool:
        try:
            exporters = self.exporters()
        except (Exception, SystemExit) as error:  # a header, certificate or compression that the exporter refuses
            self._complaints.failed(self.name, self, len(batch), [f"{type(error).__name__}: {error}"])
            return False
        delivered = True
        for exporter in exporters:
            with self._complaints.listening(exporter) as reason:
                try:
                    succeeded = getattr(exporter.export(batch), "name", "SUCCESS") == "SUCCESS"
                except (Exception, SystemExit) as error:
                    succeeded = False
                    reason.append(f"{type(error).__name__}: {error}")
                except BaseException as error:
                    self._complaints.failed(self.name, exporter, len(batch), [f"{type(error).__name__}: {error}"])
                    raise
            if not succeeded:
                delivered = False
                self._complaints.failed(self.name, exporter, len(batch), reason)
        if delivered:
            self.exported += len(batch)
        return delivered

    def shutdown(self) -> None:
        """Stop the exporters that were built, for good."""
        for exporter in self._exporters or ():
            with self._complaints.listening(exporter):
                try:
                    exporter.shutdown()
                except Exception:
                    _logger.exception("the exporter %s could not be shut down", type(exporter).__name__)
