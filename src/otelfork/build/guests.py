"""The user's own processors and readers: kept to their process, carried into children, or put in place of a default exporter.

What a factory of `configure` made belongs to one generation. What `add_span_processor` and its like bring in later is a live
object: it stays in this process if it exports, and is carried into every later generation if it does not.
"""

from __future__ import annotations

import atexit
import logging
import os
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otelfork import forks
from otelfork.build.generation import Generation

_logger = logging.getLogger("otelfork")


class HomeSpanProcessors(SynchronousMultiSpanProcessor):
    """All span processors of one process. A span begun before a fork is ended by the parent alone: they are silent in the child."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pid = os.getpid()

    def on_end(self, span: ReadableSpan) -> None:
        """Pass the span on in the process that began it."""
        if os.getpid() == self._pid:
            super().on_end(span)


def keep_home(reader: MetricReader) -> MetricReader:
    """Make a user's reader collect in this process only.

    The SDK's periodic reader starts itself again in a forked child, and would export what the parent counted once more.
    """
    _at_home(reader, "collect")
    return reader


def keep_providers_home(*providers: Any) -> None:
    """Make the SDK's providers that a user built end with this process: a child neither collects, ends nor exports what is theirs.

    Our own exit code flushes them; theirs would run in each child. Private names used: `MeterProvider._metric_readers` and
    `TracerProvider._active_span_processor`. Without them the SDK repeats the parent's counts and open spans in children.
    """
    for provider in providers:
        if not isinstance(provider, TracerProvider | MeterProvider | LoggerProvider):
            continue
        atexit.unregister(provider.shutdown)
        for reader in getattr(provider, "_metric_readers", ()):
            keep_home(reader)
        processors = getattr(provider, "_active_span_processor", None)
        if processors is not None:
            _at_home(processors, "on_end")


def _at_home(owner: Any, name: str) -> None:
    pid, method = os.getpid(), getattr(owner, name)

    def at_home(*arguments: Any, **keywords: Any) -> Any:
        return method(*arguments, **keywords) if os.getpid() == pid else None

    vars(at_home)["keeps_home"] = True  # for `lane.guarded`, which looks after it by itself
    setattr(owner, name, at_home)


def exports(processor: object) -> bool:
    """Tell whether a processor sends what it gets away: the SDK's own, and what is built like them."""
    if isinstance(processor, SimpleSpanProcessor | SimpleLogRecordProcessor):
        return True
    return hasattr(processor, "span_exporter") or type(processor).__name__ == "BatchLogRecordProcessor"


class Guests:
    """The live processors of this program, whatever process is asked."""

    def __init__(self) -> None:
        self.explicit = False
        """Whether the user chose the exporters; else the first exporting processor replaces the default one."""
        self.span_processors: list[SpanProcessor] = []
        self.log_record_processors: list[LogRecordProcessor] = []

    def add_span_processor(self, processor: SpanProcessor) -> None:
        """Add a live span processor to this process, and to later generations if it exports nothing."""
        if not exports(processor):
            self.span_processors.append(processor)
        generation = _generation(build=exports(processor))
        if generation is None or not hasattr(generation.tracer_provider, "add_span_processor"):
            return
        generation.tracer_provider.add_span_processor(processor)
        self._settle(generation, processor, generation.processor, "span_processors")

    def add_log_record_processor(self, processor: LogRecordProcessor) -> None:
        """Add a live log record processor, as `add_span_processor` does."""
        if not exports(processor):
            self.log_record_processors.append(processor)
        generation = _generation(build=exports(processor))
        if generation is None or not hasattr(generation.logger_provider, "add_log_record_processor"):
            return
        generation.logger_provider.add_log_record_processor(processor)
        self._settle(generation, processor, generation.log_processor, "log_record_processors")

    def add_metric_reader(self, reader: MetricReader) -> None:
        """Add a live metric reader to this process; children have none of it."""
        generation = _generation(build=True)
        if generation is not None and hasattr(generation.meter_provider, "add_metric_reader"):
            if generation.folding is not None:
                generation.folding.fold()  # what was noted until now is nothing of this reader's
            generation.meter_provider.add_metric_reader(keep_home(reader))
            generation.guests.append(reader)

    def _settle(self, generation: Generation, processor: object, default: Any, option: str) -> None:
        if not exports(processor):
            generation.borrowed.append(processor)
            return
        generation.guests.append(processor)
        if self.explicit:
            _logger.warning(
                "a processor that exports stays in process %d: its thread and connection do not survive a fork; "
                "give configure(%s=[...]) a factory that makes one in each process",
                generation.pid,
                option,
            )
        elif default is not None:
            # Nobody chose the default exporter: the user's own takes its place, and nothing leaves twice.
            default.muted = True


def _generation(*, build: bool) -> Generation | None:
    """Return this process's generation. A processor without a connection of its own is no reason to build one in a master."""
    generation = forks.ensure() if build else forks.current()
    return generation if isinstance(generation, Generation) else None
