"""What became of one try to send: told by a transport that knows it, to the stream that has to decide what is next.

An exporter answers SUCCESS or FAILURE only. Whether a failure may pass, when the collector wants to be asked again and what it
did not take of a batch that it accepted, is known where the answer arrives. It must not know exporters or streams.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

PASSING_STATUS = frozenset({429, 502, 503, 504})
"""HTTP answers that may be different later (OTLP specification: failures, retryable response codes)."""


@dataclass(slots=True, eq=False)
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
    cancel: Callable[[], object] | None = None
    """Ends the request under way at once, from any thread; None where the transport cannot."""
    in_c: bool = False
    """Whether threads and locks in C are busy with it: a child that is forked meanwhile inherits them as they are."""
    twice: bool = False
    """Whether the transport had to send it a second time, not knowing what has become of the first."""
    interrupted: bool = False
    """Whether the request was ended that way: nobody's failure, and nobody knows whether it had arrived."""

    def interrupt(self) -> None:
        """End the request under way, if its transport can."""
        cancel = self.cancel
        if cancel is not None:
            self.interrupted = True
            cancel()

    def left(self, timeout: float) -> float:
        """Return the seconds that a request may last: its own timeout, or what is left until the deadline."""
        return max(0.001, min(timeout, self.deadline - time.monotonic()))


@final
class Tries:
    """The tries of one process that are under way, and who asks them to make room."""

    __slots__ = ("_under_way", "hurried", "parked", "repeated")

    def __init__(self) -> None:
        self._under_way: list[Outcome] = []
        self.parked = False
        """Whether a fork waits for a quiet point."""
        self.hurried = False
        """Whether a flush waits for what hangs."""
        self.repeated = 0
        """Records whose try was broken off: they are sent again, and may have arrived before."""

    @property
    def halted(self) -> bool:
        """Whether no other try is to be begun for now."""
        return self.parked or self.hurried

    @contextmanager
    def one(self, made: Outcome) -> Iterator[None]:
        """Note a try while it lasts."""
        self._under_way.append(made)
        try:
            yield
        finally:
            self._under_way.remove(made)

    def break_off(self, *, in_c: bool = False) -> None:
        """End what is under way, where its transport can; with `in_c` only what no forked child should inherit."""
        for each in tuple(self._under_way):
            if each.in_c or not in_c:
                each.interrupt()


class _Watched(threading.local):
    outcome: Outcome | None = None


_watched = _Watched()


@contextmanager
def watching(deadline: float, tries: Tries) -> Iterator[Outcome]:
    """Let the transports that are used on this thread tell what they meet with, and keep the monotonic deadline."""
    before = _watched.outcome
    _watched.outcome = made = Outcome(deadline)
    try:
        with tries.one(made):
            yield made
    finally:
        _watched.outcome = before


def watched() -> Outcome | None:
    """Return the outcome that somebody waits for on this thread; None: the exporter is used by somebody else than us."""
    return _watched.outcome


_MAY_PASS = re.compile(
    r"StatusCode\.(CANCELLED|DEADLINE_EXCEEDED|ABORTED|OUT_OF_RANGE|UNAVAILABLE|DATA_LOSS)\b|due to timeout, max retries"
)
"""What the standard exporters log where they may not be heard otherwise (see `exporters.private`)."""


def may_pass(result: Outcome, error: BaseException | None, heard: Sequence[str] = ()) -> bool:
    """Tell whether a failure may pass: what the transport says, else connections, timeouts and what the exporter logged."""
    if result.passing is not None:
        return result.passing
    return isinstance(error, (ConnectionError, TimeoutError)) or any(map(_MAY_PASS.search, heard))
