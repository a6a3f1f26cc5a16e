"""One generation: all telemetry state of one process, replaced as a whole after a fork (see `forks.Generation`)."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import TracerProvider

from otelfork.delivery.outbox import Outbox
from otelfork.exporters.outlets import OutboxLogRecordProcessor, OutboxSpanProcessor
from otelfork.lane.companion import Companion
from otelfork.lane.folding import Folding
from otelfork.request.instruments import Lane

if TYPE_CHECKING:
    from otelfork.prometheus.page import Page
    from otelfork.run.scoreboard import Scoreboard

_NOTHING_TO_FLUSH = (None, SpanProcessor.force_flush, MetricReader.force_flush)
"""What has no flush of its own: a processor that keeps nothing back, a reader that is pulled."""
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
    log_processor: OutboxLogRecordProcessor | None = None
    foreign: list[Any] = field(default_factory=list)
    """Providers of the user in the global seats: flushed with ours, otherwise left alone."""
    borrowed: list[Any] = field(default_factory=list)
    """Live processors of the user that later generations use too: flushed with ours, otherwise left alone."""
    guests: list[Any] = field(default_factory=list)
    """Processors and readers of the user that belong to this generation: flushed and shut down with it."""
    lane: Callable[[Any], Lane | None] | None = None
    """Makes the request lane in place of a tracer of this generation; None where only public names may be used."""
    folding: Folding | None = None
    """Takes the figures of requests in place of the instruments; None as above."""
    companions: list[Companion] = field(default_factory=list)
    """Processors of ours that go along with local root spans: started when this generation is in its place."""
    board: Scoreboard | None = None
    """This process's place in its run."""
    page: Page | None = None
    """This process's part in the page that Prometheus scrapes."""
    pid: int = field(default_factory=os.getpid)

    def start(self) -> None:
        """See `forks.Generation.start`."""
        if self.outbox is not None:
            self.outbox.start()
        for companion in self.companions:
            companion.start()
        if self.page is not None:
            self.page.start()

    def pause(self, deadline: float) -> bool:
        """See `forks.Generation.pause`."""
        if self.outbox is None or not self.outbox.pause(deadline):
            return False
        if self.page is None or self.page.pause(deadline):
            return True
        self.outbox.resume()
        return False

    def resume(self) -> None:
        """See `forks.Generation.resume`."""
        if self.page is not None:
            self.page.resume()
        if self.outbox is not None:
            self.outbox.resume()

    def forget(self) -> None:
        """Keep what is inherited unfinalised, and let the providers die, so that the SDK's at-fork hooks do not revive them.

        What the providers consist of is kept: to free it would touch, and so copy, every page that it lies on.
        """
        own = self._providers() if self.outbox is not None else ()
        _kept.append((self.outbox, self.foreign, self.guests, self.board, self.folding, [vars(each) for each in own]))
        _kept.append((self.lane, self.processor, self.log_processor, self.page))
        names = ("tracer_provider", "meter_provider", "logger_provider", "lane", "processor", "log_processor", "board")
        for name in (*names, "page"):
            setattr(self, name, None)

    def flush(self, deadline: float) -> bool:
        """See `forks.Generation.flush`: our outbox and the user's own providers at the same time."""
        board = self.board
        ended = board.kept() if board is not None else ()
        written = self.page.hurry() if self.page is not None else _at_once
        helpers = [_background(_flusher(each, deadline)) for each in self._flushable()]
        delivered = self.outbox is None or self.outbox.flush(deadline)
        delivered = written(deadline) and delivered
        if delivered and board is not None:
            board.release(ended)
        return _joined(helpers, deadline) and delivered

    def mark(self, ended: str) -> None:
        """See `forks.Generation.mark`."""
        if self.board is not None:
            self.board.mark(ended)

    def shutdown(self, deadline: float) -> bool:
        """See `forks.Generation.shutdown`."""
        delivered = self.flush(deadline)
        ended = self.guests if self.outbox is not None else self._providers()
        helpers = [_background(each.shutdown) for each in ended if hasattr(each, "shutdown")]
        if self.page is not None:
            self.page.stop(deadline)
        if self.outbox is not None:
            self.outbox.stop(deadline)
        if self.board is not None:
            self.board.leave()
        return _joined(helpers, deadline) and delivered

    def _providers(self) -> list[Any]:
        return [self.tracer_provider, self.meter_provider, self.logger_provider]

    def _flushable(self) -> list[Any]:
        candidates = [*self.foreign, *self.borrowed, *self.guests]
        if self.outbox is None:
            candidates += self._providers()
        return [each for each in candidates if getattr(type(each), "force_flush", None) not in _NOTHING_TO_FLUSH]


def _at_once(_: float) -> bool:
    return True


def _flusher(owner: Any, deadline: float) -> Callable[[], object]:
    return lambda: owner.force_flush(max(1, int(min(deadline - time.monotonic(), 86_400.0) * 1000)))


def _joined(helpers: Sequence[threading.Thread | None], deadline: float) -> bool:
    """Wait for the helpers until the deadline; tell whether all are done."""
    running = [helper for helper in helpers if helper is not None]
    for helper in running:
        helper.join(min(max(0.0, deadline - time.monotonic()), 86_400.0))
    return not any(helper.is_alive() for helper in running)


def _background(work: Callable[[], object]) -> threading.Thread | None:
    """Call what is the user's on a thread of its own: it may not keep the deadline it is given. None: done at once."""

    def call() -> None:
        with contextlib.suppress(Exception):  # a provider that is not ours logs its own failures
            work()

    thread = threading.Thread(target=call, name="otelfork-flush", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be started while the interpreter exits
        call()
        return None
    return thread
