"""The failures that a receiver can act out: drop, double, delay, refuse, hang.

It decides what happens to one export request; it must not know protocols or records.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

SIGNALS = ("traces", "metrics", "logs")
"""The signals of OTLP, named as in its URL paths."""

ALWAYS = sys.maxsize
"""A count for a fault that never ends."""


class Outcome(Enum):
    """What becomes of one export request."""

    STORED = "stored"
    DROPPED = "dropped"
    DOUBLED = "doubled"
    REFUSED = "refused"
    HUNG = "hung"


@dataclass(frozen=True, slots=True)
class Faults:
    """How a receiver misbehaves.

    The counts say how many export requests meet the fault, in this order and for each signal separately:
    refused ones first, then hung, dropped (answered as success and forgotten) and doubled (stored twice)
    ones; `ALWAYS` is for ever. A refusal answers `status` over HTTP (gRPC: the matching code) and, if
    `retry_after` is given, asks for a retry in that many seconds. A hung request is never answered. `delay`
    seconds pass before every answer. `signals` limits all of it.
    """

    refuse: int = 0
    hang: int = 0
    drop: int = 0
    double: int = 0
    delay: float = 0.0
    status: int = 503
    retry_after: float | None = None
    signals: Collection[str] = SIGNALS

    def __post_init__(self) -> None:
        """Raise ValueError for counts and names that mean nothing."""
        unknown = set(self.signals) - set(SIGNALS)
        if unknown:
            raise ValueError(f"signals={sorted(unknown)} are unknown: expected some of {', '.join(SIGNALS)}")
        for name in ("refuse", "hang", "drop", "double", "delay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is not valid: expected 0 or more")
        if not 400 <= self.status <= 599:
            raise ValueError(f"status={self.status} is not valid: expected an HTTP error status, 400 to 599")


class Gate:
    """Deals out the faults to the export requests, from any number of threads."""

    def __init__(self, faults: Faults) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self._epoch = 0
        self._dealt: Counter[str] = Counter()
        self._faults = faults

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        with self._changed:
            return self._faults

    def replace(self, faults: Faults) -> None:
        """Put other faults in force, counted from zero; what hangs or waits is let go."""
        with self._changed:
            self._faults = faults
            self._dealt.clear()
            self._epoch += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let go everything that hangs or waits, for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def deal(self, signal: str) -> tuple[Outcome, Faults]:
        """Return what becomes of the next export request of a signal, after waiting out the delay."""
        with self._changed:
            faults, epoch = self._faults, self._epoch
            if signal not in faults.signals:
                return Outcome.STORED, faults
            outcome = self._next(signal, faults)
            if faults.delay:
                self._changed.wait_for(lambda: self._closed or self._epoch != epoch, faults.delay)
            return outcome, faults

    def hang(self) -> None:
        """Block until the faults are replaced or the receiver closes."""
        with self._changed:
            epoch = self._epoch
            self._changed.wait_for(lambda: self._closed or self._epoch != epoch)

    def _next(self, signal: str, faults: Faults) -> Outcome:
        number = self._dealt[signal]
        self._dealt[signal] += 1
        for count, outcome in (
            (faults.refuse, Outcome.REFUSED),
            (faults.hang, Outcome.HUNG),
            (faults.drop, Outcome.DROPPED),
            (faults.double, Outcome.DOUBLED),
        ):
            if number < count:
                return outcome
            number -= count
        return Outcome.STORED
