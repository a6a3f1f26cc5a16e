"""Keeps what was received, for any number of threads, and lets readers wait for it.

It must not know protocols or protobuf.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from otelfork.receiver.records import ReceivedLog, ReceivedPoint, ReceivedRequest, ReceivedSpan


class Store:
    """Spans, metric points, logs and requests in the order of their arrival."""

    def __init__(self) -> None:
        # Reentrant, because a predicate of `wait_for` reads the store while it is held.
        self._changed = threading.Condition(threading.RLock())
        self._records: dict[str, list[object]] = {"traces": [], "metrics": [], "logs": []}
        self._requests: list[ReceivedRequest] = []
        self._busy = 0
        self._batches = 0
        self._last_change = time.monotonic()

    @property
    def spans(self) -> list[ReceivedSpan]:
        """A copy of the spans so far."""
        with self._changed:
            return list(self._records["traces"])  # type: ignore[arg-type]

    @property
    def points(self) -> list[ReceivedPoint]:
        """A copy of the metric points so far."""
        with self._changed:
            return list(self._records["metrics"])  # type: ignore[arg-type]

    @property
    def logs(self) -> list[ReceivedLog]:
        """A copy of the log records so far."""
        with self._changed:
            return list(self._records["logs"])  # type: ignore[arg-type]

    @property
    def requests(self) -> list[ReceivedRequest]:
        """A copy of the export requests so far."""
        with self._changed:
            return list(self._requests)

    def clear(self) -> None:
        """Forget everything received so far; batch numbers go on."""
        with self._changed:
            for records in self._records.values():
                records.clear()
            self._requests.clear()
            self._note_change()

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Mark that a request is being handled, so that the store does not count as quiet meanwhile."""
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._note_change()

    def next_batch(self) -> int:
        """Return the number of a new batch, from 1."""
        with self._changed:
            self._batches += 1
            return self._batches

    def add(self, request: ReceivedRequest, records: Sequence[object] = ()) -> None:
        """Keep a request and what it carried."""
        with self._changed:
            self._requests.append(request)
            self._records[request.signal].extend(records)
            self._note_change()

    def wait_for(self, predicate: Callable[[], object], timeout: float) -> bool:
        """Wait until the predicate holds, at most `timeout` seconds; return whether it does.

        It is asked again after each arrival and must not block.
        """
        with self._changed:
            return bool(self._changed.wait_for(lambda: bool(predicate()), timeout))

    def wait_until_quiet(self, quiet: float, timeout: float) -> bool:
        """Wait until nothing has arrived or been in work for `quiet` seconds, at most `timeout` seconds.

        Return whether it became quiet.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                now = time.monotonic()
                quiet_at = self._last_change + quiet
                if not self._busy and quiet_at <= now:
                    return True
                if now >= deadline:
                    return False
                self._changed.wait((deadline if self._busy else min(quiet_at, deadline)) - now)

    def _note_change(self) -> None:
        self._last_change = time.monotonic()
        self._changed.notify_all()
