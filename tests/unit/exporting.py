"""Exporters in memory and a small outbox, for the tests of what stands between a record and an exporter."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from otelfork.delivery.complaints import Complaints
from otelfork.delivery.outbox import Outbox
from otelfork.delivery.streams import Stream
from otelfork.settings import BatchSettings

SUCCESS = SimpleNamespace(name="SUCCESS")
FAILURE = SimpleNamespace(name="FAILURE")
PATIENCE = 10.0
"""Seconds a test waits for what has to come."""


class Keeping:
    """Keeps the batches; `answers` are results to give or exceptions to raise, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers) or [SUCCESS]
        self.batches: list[list[Any]] = []
        self.ended = 0

    def export(self, batch: Sequence[Any]) -> Any:
        self.batches.append(list(batch))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def shutdown(self) -> None:
        self.ended += 1

    @property
    def records(self) -> list[Any]:
        return [record for batch in self.batches for record in batch]


class Hanging(Keeping):
    """Hangs in `export` until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.called = threading.Event()
        self.let_go = threading.Event()

    def export(self, batch: Sequence[Any]) -> Any:
        self.called.set()
        self.let_go.wait(PATIENCE)
        return super().export(batch)


def batches(
    *, queue_size: int = 2048, batch_size: int = 512, delay: float = 60.0, timeout: float = 30.0
) -> BatchSettings:
    """Return settings of a queue that exports nothing by itself for a minute."""
    return BatchSettings(queue_size=queue_size, batch_size=batch_size, delay=delay, timeout=timeout)


def outbox(*, metric_interval: float = 60.0, metric_timeout: float = 30.0) -> Outbox:
    """Return an outbox that was not started."""
    return Outbox(metric_interval=metric_interval, metric_timeout=metric_timeout, complaints=Complaints())


def stream(exporter: Any, settings: BatchSettings | None = None, complaints: Complaints | None = None) -> Stream[Any]:
    """Return a stream alone, whose wake-ups go nowhere."""
    return Stream("spans", settings or batches(), lambda: exporter, lambda: None, complaints or Complaints())


def soon(seconds: float = PATIENCE) -> float:
    """Return a deadline."""
    return time.monotonic() + seconds


def until(condition: Callable[[], Any]) -> Any:
    """Poll until the condition holds; return its last value."""
    deadline = soon()
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return value
