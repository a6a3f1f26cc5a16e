"""What became of one try to send: told by a transport that knows it, to the stream that has to decide what is next.

An exporter answers SUCCESS or FAILURE only. Whether a failure may pass, when the collector wants to be asked again and what it
did not take of a batch that it accepted, is known where the answer arrives. It must not know exporters or streams.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PASSING_STATUS = frozenset({429, 502, 503, 504})
"""HTTP answers that may be different later (OTLP specification: failures, retryable response codes)."""


@dataclass(slots=True)
class Outcome:
    """What one try to send met with."""

    deadline: float = math.inf
    """Monotonic; no request may last longer."""
    passing: bool | None = None
    """Whether the failure may pass; None where nobody knows."""
    retry_after: float | None = None
    """Seconds that the collector asks to wait."""
    rejected: int = 0
    """Records that the collector did not take of a batch that it accepted (OTLP: partial success)."""
    message: str = ""
    """What the collector said about it."""
    why: str = ""
    """What went wrong, where the transport knows it better than the exporter's log line."""

    def left(self, timeout: float) -> float:
        """Return the seconds that a request may last: its own timeout, or what is left until the deadline."""
        return max(0.001, min(timeout, self.deadline - time.monotonic()))


class _Watched(threading.local):
    outcome: Outcome | None = None


_watched = _Watched()


@contextmanager
def watching(deadline: float) -> Iterator[Outcome]:
    """Let the transports that are used on this thread tell what they meet with, and keep the monotonic deadline."""
    before = _watched.outcome
    _watched.outcome = made = Outcome(deadline)
    try:
        yield made
    finally:
        _watched.outcome = before


def watched() -> Outcome | None:
    """Return the outcome that somebody waits for on this thread; None: the exporter is used by somebody else than us."""
    return _watched.outcome
