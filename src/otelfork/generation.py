"""One generation: all telemetry state of one process, replaced as a whole after a fork (see `forks.Generation`)."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from otelfork.outbox import Outbox
from otelfork.outlets import OutboxSpanProcessor

_kept: list[object] = []
"""Inherited exporters, channels and sessions: kept for ever, so that none of their finalisers runs in a child."""


@dataclass(eq=False, slots=True)
class Generation:
    """All telemetry state of one process (see `forks.Generation`)."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    logger_provider: LoggerProvider
    outbox: Outbox | None
    processor: OutboxSpanProcessor | None = None
    foreign: list[Any] = field(default_factory=list)
    """Providers of the user in the global seats: flushed with ours, otherwise left alone."""
    pid: int = field(default_factory=os.getpid)

    def pause(self, deadline: float) -> bool:
        """See `forks.Generation.pause`."""
        return self.outbox is not None and self.outbox.pause(deadline)

    def resume(self) -> None:
        """See `forks.Generation.resume`."""
        if self.outbox is not None:
            self.outbox.resume()

    def forget(self) -> None:
        """Keep the connections unfinalised, and let go of the providers, so that the SDK's at-fork hooks do not revive them."""
        _kept.append((self.outbox, self.foreign))
        for name in ("tracer_provider", "meter_provider", "logger_provider", "processor"):
            setattr(self, name, None)

    def flush(self, deadline: float) -> bool:
        """See `forks.Generation.flush`: our outbox and the user's own providers at the same time."""
        helpers = [_background(provider.force_flush, deadline) for provider in self._flushable()]
        delivered = self.outbox is None or self.outbox.flush(deadline)
        for helper in helpers:
            helper.join(max(0.0, deadline - time.monotonic()))
            delivered = delivered and not helper.is_alive()
        return delivered

    def shutdown(self, deadline: float) -> bool:
        """See `forks.Generation.shutdown`."""
        delivered = self.flush(deadline)
        if self.outbox is not None:
            delivered = self.outbox.shutdown(deadline) and delivered
        return delivered

    def _flushable(self) -> list[Any]:
        candidates = [*self.foreign]
        if self.outbox is None:
            candidates += [self.tracer_provider, self.meter_provider, self.logger_provider]
        return [candidate for candidate in candidates if hasattr(candidate, "force_flush")]


def _background(flush: Callable[[int], object], deadline: float) -> threading.Thread:
    """Call a provider's force_flush on a thread of its own: it may not keep the deadline it is given."""

    def call() -> None:
        with contextlib.suppress(Exception):  # a provider that is not ours logs its own failures
            flush(max(1, int((deadline - time.monotonic()) * 1000)))

    thread = threading.Thread(target=call, name="otelfork-flush", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be started while the interpreter exits
        call()
        thread = threading.Thread(target=_nothing)
        thread.run()
    return thread


def _nothing() -> None:
    """Stand in for work that was done already."""
