"""What was not delivered: counted by reason at once, said once and then at most once a minute.

Exporters log each failed try by themselves. While ours call them, those lines are heard here and become the reason in one
line, so that a collector that is down costs a line a minute and not thousands.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from otelfork.delivery import diagnosis

SAY_EVERY_SECONDS = 60.0
_PATIENT_TRIES = 3
"""Failed tries after which it is said that telemetry waits."""
_WARNINGS = 100
_TOO_LATE = "at interpreter shutdown"
"""Python 3.12 and later start no thread any more while they end; gRPC wants one for another try."""
_logger = logging.getLogger("otelfork")
_HEARD = ("opentelemetry.exporter.", "otelfork.exporters.")
_FIX = (
    "check OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_PROTOCOL and that the collector runs; "
    "the application is not affected"
)


class _Ear(logging.Filter):
    """Keeps the log records of an exporter for the thread that listens, and lets all others pass."""

    def __init__(self) -> None:
        super().__init__()
        # By pid too: a child may give the number of its parent's exporter thread to any of its threads.
        self.listeners: dict[tuple[int, int], Callable[[str], None]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        hear = self.listeners.get((os.getpid(), threading.get_ident()))
        if hear is None or record.levelno < logging.WARNING:
            return True
        hear(record.getMessage())
        return False


_listened: set[type] = set()
_ear = _Ear()  # one for all generations: a filter is added to a logger once, whatever forks


class Complaints:
    """Drops and failures of one process."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str], itertools.count[int]] = {}
        self._reads: Counter[tuple[str, str]] = Counter()
        self._lost: Counter[tuple[str, str]] = Counter()
        self._said: Counter[tuple[str, str]] = Counter()
        self._why = ""
        self._advised: set[diagnosis.Advice] = set()
        self._silent_until = 0.0
        self._reading = threading.Lock()
        self._counting = threading.Lock()
        self._warned: set[str] = set()

    def dropped(self, signal: str, reason: str) -> None:
        """Count a record that was not even queued. Called on the request path: no lock, no log."""
        key = (signal, reason)
        drops = self._counters.get(key)
        if drops is None:
            drops = self._counters.setdefault(key, itertools.count())
        next(drops)

    def failed(self, signal: str, exporter: object, count: int, heard: Sequence[str]) -> None:
        """Count records that an exporter did not deliver, with what it said about it."""
        self.lost(signal, "export_failed", count)
        if self._why and all(_TOO_LATE in message for message in heard):
            heard = (self._why.partition(": ")[2],)  # what failed before the interpreter began to end
        self._advise(exporter, heard, failed=True)
        if heard or not self._why:
            self._why = f"{type(exporter).__name__}: {heard[-1] if heard else 'no reason given'}"

    def lost(self, signal: str, reason: str, count: int) -> None:
        """Count records that were given up. For the threads that export."""
        with self._counting:
            self._lost[(signal, reason)] += count

    def rejected(self, signal: str, exporter: object, count: int, message: str) -> None:
        """Count records that the collector did not take of a batch that it accepted (OTLP: partial success)."""
        self.lost(signal, "rejected", count)
        self._why = f"{type(exporter).__name__}: {message or 'partial success, no reason given'}"
        if not count and message not in self._warned and len(self._warned) < _WARNINGS:
            self._warned.add(message)
            _logger.warning("the collector took all %s and says: %s", signal, message[:300])

    def delayed(self, exporter: object, heard: Sequence[str], *, tries: int) -> None:
        """Note a failed try that is repeated; `tries` since the last success. Nothing is lost yet."""
        self._advise(exporter, heard, failed=tries > 1)
        if heard:
            self._why = f"{type(exporter).__name__}: {heard[-1]}"
        if tries > _PATIENT_TRIES:
            self._say_once("telemetry waits, and is tried again: %s", self._why)

    def undelivered(self, waiting: Mapping[str, int]) -> None:
        """Say what a flush could not deliver before its deadline: at an exit it is lost."""
        what = ", ".join(f"{count} {signal}" for signal, count in waiting.items() if count) or "metrics"
        self._say_once("not delivered before the deadline: %s; %s", what, self._why or "no time left")

    def _say_once(self, message: str, *words: str) -> None:
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + SAY_EVERY_SECONDS
            _logger.error(message, *words)

    def _advise(self, exporter: object, heard: Sequence[str], *, failed: bool) -> None:
        """Say once what setting to change: at once where waiting will not help, else after the second failed try.

        The first of an export's lines that tells something counts: the last may only say that time is up.
        """
        told = ((message, diagnosis.advise(exporter, message)) for message in heard)
        message, advice = next(((message, advice) for message, advice in told if advice is not None), ("", None))
        if advice is None or advice in self._advised:
            return
        now = time.monotonic()
        # One line: a guess does not follow another line within the minute, nor the account of the losses this one.
        if advice.sure or (now >= self._silent_until and (failed or len(heard) > 1)):
            self._silent_until = now + SAY_EVERY_SECONDS
            self._advised.add(advice)
            _logger.error("telemetry cannot be delivered: %s; %s (%s)", advice.what, advice.change, message[:300])

    def totals(self) -> dict[tuple[str, str], int]:
        """Return the records lost so far by (signal, reason)."""
        with self._counting:
            totals = Counter(self._lost)
        with self._reading:
            for key, drops in list(self._counters.items()):
                # Reading an itertools.count is one more step of it: subtract the reads.
                totals[key] += next(drops) - self._reads[key]
                self._reads[key] += 1
        return {key: count for key, count in totals.items() if count}

    def say(self) -> None:
        """Log what was lost since the last line; the first time at once, then at most once a minute."""
        now = time.monotonic()
        if now < self._silent_until:
            return
        totals = self.totals()
        news = [
            f"{count - self._said[key]} {key[0]} ({key[1]})"
            for key, count in sorted(totals.items())
            if count > self._said[key]
        ]
        if news:
            self._silent_until = now + SAY_EVERY_SECONDS
            self._said = Counter(totals)
            fix = "what to change was said before" if self._advised else _FIX
            _logger.error("telemetry lost: %s; %s; %s", ", ".join(news), self._why or "queue full", fix)

    @contextmanager
    def listening(self, exporter: object) -> Iterator[list[str]]:
        """Hear what the exporter's loggers say on this thread while it works."""
        _listen_to(exporter)
        heard: list[str] = []
        me = (os.getpid(), threading.get_ident())

        def hear(message: str) -> None:
            heard.append(message)
            self._advise(exporter, heard, failed=False)

        _ear.listeners[me] = hear
        try:
            yield heard
        finally:
            _ear.listeners.pop(me, None)


def _listen_to(exporter: object) -> None:
    """Put the ear on every logger of the standard exporters: a logger's filters do not apply to its children."""
    kind = type(exporter)
    if kind in _listened:
        return
    _listened.add(kind)
    if not kind.__module__.startswith(_HEARD):
        return
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith(_HEARD) and isinstance(logger, logging.Logger) and _ear not in logger.filters:
            # In front: the standard exporters' own filter against repetition would keep some of it from us.
            logger.filters.insert(0, _ear)
