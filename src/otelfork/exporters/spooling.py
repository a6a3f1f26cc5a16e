"""A stream whose records are on disk before they are sent, and the thread that writes them.

The thread that writes is not the one that sends: a collector that hangs must not keep a record in memory for longer than the
interval. It knows no particular exporter; what it is given encodes batches, and the exporter takes them encoded.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, final

from otelfork.delivery.streams import Stream
from otelfork.exporters.parcels import Parcel

if TYPE_CHECKING:  # the room needs POSIX locks
    from otelfork.delivery.spool import Load, Spool

_T = TypeVar("_T")
KINDS = {"spans": 1, "logs": 2}
"""The signals by their number in the files."""
NAMES = {number: name for name, number in KINDS.items()}
_REQUEST_BYTES = 2 << 20
"""Of one request: half of what a gRPC server takes by default."""
_START_SECONDS = 1.0
"""Between two tries to start the thread, where the system refused one."""
_logger = logging.getLogger("otelfork")
_WRITE = object()
_STOP = object()


@final
class Writer:
    """The thread that writes records ahead; it starts with the first one.

    Args:
        spool: where to.
        interval: seconds after which a record is on disk.
    """

    def __init__(self, spool: Spool, interval: float) -> None:
        self.spool = spool
        self.streams: list[SpooledStream[Any]] = []
        # Half of it to wait, half of it to encode and write.
        self._pause = interval / 2
        self._commands: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._start_at = 0.0
        self._said = ""

    def nudge(self) -> bool:
        """Let the thread write, soon; False where none could be started: ask again, for the system may have one by then."""
        if self._thread is None and not self._started():
            return False
        self._commands.put(_WRITE)
        return True

    def complain(self) -> None:
        """Say once why nothing can be written."""
        problem = self.spool.problem
        if problem and problem != self._said:
            _logger.error("the spool cannot be written (%s): telemetry waits in memory", problem)
        self._said = problem or self._said

    def stop(self, stream: SpooledStream[Any]) -> None:
        """Note that a stream has ended; with the last one the thread ends and the files are let go of."""
        self.streams.remove(stream)
        if not self.streams:
            self._commands.put(_STOP)
            self.spool.close()

    def _started(self) -> bool:
        now = time.monotonic()
        if now < self._start_at:
            return False
        with self._starting:
            if self._thread is not None:
                return True
            self._start_at = now + _START_SECONDS
            thread = threading.Thread(target=self._run, name="otelfork-spool", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter exits, or the system has no thread to spare
                return False
            self._thread = thread
            return True

    def _run(self) -> None:
        while self._commands.get() is not _STOP:
            if self._rest():
                return
            for stream in list(self.streams):
                self._write(stream)

    @staticmethod
    def _write(stream: SpooledStream[Any]) -> None:
        try:
            stream.write_ahead()
        except Exception:
            _logger.exception("writing to the spool met an error and goes on")

    def _rest(self) -> bool:
        """Wait a moment for more records; tell whether to stop."""
        try:
            return self._commands.get(timeout=self._pause) is _STOP
        except queue.Empty:
            return False


class SpooledStream(Stream[_T]):
    """A stream in front of an exporter that takes a `Parcel`: its queue is emptied to disk, and sent from there.

    Args:
        writer: the thread that writes, shared by the streams of a process.
        pack: encodes a batch.
    """

    def __init__(
        self, *args: Any, writer: Writer, pack: Callable[[Sequence[_T]], bytes], **options: Any
    ) -> None:  # fmt: skip
        super().__init__(*args, **options)
        self._kind = KINDS[self.name]
        self._writer = writer
        self._spool = writer.spool
        self._pack = pack
        self._packing = threading.Lock()
        self._nudged = False
        writer.streams.append(self)

    def put(self, record: _T) -> None:
        """Queue a record, which is on disk soon."""
        super().put(record)
        if not self._nudged:
            self._nudged = True
            if not self._writer.nudge():
                self._nudged = False

    @property
    def waiting(self) -> int:
        """Records that are not delivered yet, on disk and in memory."""
        return len(self.queue) + self._spool.waiting(self._kind)

    def write_ahead(self) -> bool:
        """Write what is queued; tell whether all of it is on disk now."""
        with self._packing:
            # Before the queue is read: a record put from here on nudges again, one put before is seen here.
            self._nudged = False
            while batch := self._take(self._batch):
                if not self._spool.put(self._kind, len(batch), self._pack(batch)):
                    self._give_back(batch)
                    self._writer.complain()
                    return False
        if not self.backoff.again and self.waiting >= self._batch:
            self._wake()
        return True

    def _drain(self, deadline: float, *, everything: bool) -> bool:
        """Write what is queued and send what is on disk, oldest first; what could not be written is sent from memory."""
        self.write_ahead()
        if everything:  # a flush, maybe the last: a sibling killed a moment ago may have nobody else
            self._spool.adopt(last=True)
        left = 0 if everything else self._batch - 1
        delivered = True
        while self._spool.waiting(self._kind) > left:
            if time.monotonic() >= deadline or self._tries.halted:
                return False
            load = self._spool.take(self._kind, self._batch, _REQUEST_BYTES)
            if load is None:
                break
            result = self._send_load(load, deadline)
            if result is None:
                self.due = self.backoff.again
                return False
            delivered = delivered and result
        return super()._drain(deadline, everything=everything) and delivered

    def shutdown(self) -> None:
        """Write what is queued and stop; it is sent by whoever comes next."""
        self.write_ahead()
        super().shutdown()
        self._writer.stop(self)

    def _send_load(self, load: Load, deadline: float) -> bool | None:
        result: bool | None = None
        parcel: Any = Parcel(load.count, b"".join(load.packed))  # messages behind each other are one with all they hold
        try:
            result = self.export(parcel, deadline)
        finally:
            if result is None:
                self._spool.keep(load)
            else:
                self._spool.settle(load)
        return result
