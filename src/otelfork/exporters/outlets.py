"""Where the SDK's providers hand over to the outbox: a span processor, a log record processor and a metric reader.

None of them has a thread or a lock of its own.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk import metrics
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.metrics import view
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricReader, MetricsData, ResourceMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from otelfork.delivery import outcome
from otelfork.delivery.backoff import Backoff
from otelfork.delivery.complaints import Complaints
from otelfork.delivery.outcome import Tries, may_pass
from otelfork.delivery.streams import Exporter, Fan, Stream
from otelfork.exporters import Factory
from otelfork.seals import seal
from otelfork.settings import Settings

_logger = logging.getLogger("otelfork")
_KEPT_DELTAS = 10
"""Collections that wait for a collector, where each is a part of the sum."""


class OutboxSpanProcessor(SpanProcessor):
    """Hands ended sampled spans to the outbox of the process that began them."""

    def __init__(self, stream: Stream[ReadableSpan] | Fan[ReadableSpan]) -> None:
        self.put = stream.put
        """For the request lane, which has asked what `on_end` asks: whether the span is sampled, and of this process."""
        self._seal = seal()
        self.muted = False

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        """Nothing is done at the start of a span."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span. One begun before a fork is ended by the parent alone: in the child the pid differs."""
        context = span.context
        if self.muted or context is None or not context.trace_flags.sampled or not self._seal[0]:
            return
        self.put(span)

    def shutdown(self) -> None:
        """The outbox is shut down by its generation."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """The outbox is flushed by its generation."""
        return True


class OutboxLogRecordProcessor(LogRecordProcessor):
    """Hands log records to the outbox of this process."""

    def __init__(self, stream: Stream[Any] | Fan[Any]) -> None:
        self._put = stream.put
        self._pid = os.getpid()
        self.muted = False

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue the record; one that an inherited logger emits in a child is dropped."""
        if self.muted or os.getpid() != self._pid:
            return
        # As the SDK's batch processor does: a copy that does not hold the context, in the type that exporters take.
        record = copy.copy(log_record.log_record)
        record.context = Context()
        resource = log_record.resource or Resource.get_empty()
        self._put(ReadableLogRecord(record, resource, log_record.instrumentation_scope, log_record.limits))

    def shutdown(self) -> None:
        """The outbox is shut down by its generation."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """The outbox is flushed by its generation."""
        return True


class OutboxReader(MetricReader):
    """A metric reader without a thread: the outbox asks it to collect and export."""

    def __init__(self, build: Factory, settings: Settings, complaints: Complaints, tries: Tries | None = None) -> None:
        super().__init__(_temporality(settings), _aggregation(settings))
        self._build = build
        self._complaints = complaints
        self._exporter: Exporter[Any] | None = None
        self._delivered = True
        self._received = False
        self._deadline = math.inf
        # A cumulative collection is repeated by the next one; a delta would be lost with it.
        self._keeps = _KEPT_DELTAS if settings.temporality != "cumulative" else 0
        self._owed: deque[Any] = deque()
        self.backoff = Backoff()
        self.beside: Callable[[], ResourceMetrics | None] = lambda: None
        """What else is told with each collection: the figures of a resource that is not this process's."""
        self._tries = tries or Tries()

    def collect_and_export(self, timeout: float) -> bool:
        """Collect and export once; seconds. A failure is counted and said by the complaints; nothing is raised."""
        self._delivered = True
        self._deadline = time.monotonic() + timeout
        self._received = False
        try:
            self.collect(timeout_millis=timeout * 1000)
            if not self._received:
                self._receive_metrics(MetricsData([]))
        except (Exception, SystemExit) as error:
            self._delivered = False
            self._complaints.failed("metric collections", self, 1, [f"{type(error).__name__}: {error}"])
        return self._delivered

    def _receive_metrics(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        self._received = True
        try:
            beside = self.beside()
        except Exception:
            _logger.exception("the server's figures could not be told; the process's own are")
            beside = None
        if beside is not None:
            metrics_data = MetricsData([*metrics_data.resource_metrics, beside])
        if metrics_data.resource_metrics:
            self._owed.append(metrics_data)
        while self._owed:
            delivered = self._export(self._owed[0])
            if delivered is None:
                break
            self._owed.popleft()
            self._delivered = self._delivered and delivered
        else:
            return
        self._delivered = False
        while len(self._owed) > self._keeps:
            self._owed.popleft()
            if self._keeps:
                self._complaints.lost("metric collections", "queue_full", 1)

    def _export(self, metrics_data: Any) -> bool | None:
        """Try once; True: delivered, False: refused for good and counted, None: it may be delivered later."""
        if self._exporter is None:
            self._exporter = self._build()
        with (
            self._complaints.listening(self._exporter) as reason,
            outcome.watching(self._deadline, self._tries) as told,
        ):
            problem: Exception | None = None
            try:
                succeeded = getattr(self._exporter.export(metrics_data), "name", "SUCCESS") == "SUCCESS"
            except (Exception, SystemExit) as error:
                if not may_pass(told, error):
                    self.backoff.succeeded()
                    raise
                succeeded, problem = False, error if isinstance(error, Exception) else None
                reason.append(f"{type(error).__name__}: {error}")
        if succeeded:
            self.backoff.succeeded()
            if told.rejected or told.message:
                self._complaints.rejected("metric points", self._exporter, told.rejected, told.message)
            return True
        if told.interrupted:
            self.backoff.interrupted()
            return None
        if may_pass(told, problem, reason):
            self.backoff.failed(told.retry_after)
            self._complaints.delayed(self._exporter, [told.why] if told.why else reason, tries=self.backoff.tries)
            return None
        self.backoff.succeeded()
        self._complaints.failed("metric collections", self._exporter, 1, reason)
        return False

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the exporter down, if it was built. Nothing is raised."""
        if self._exporter is None:
            return
        with self._complaints.listening(self._exporter):
            try:
                self._exporter.shutdown()
            except Exception:
                _logger.exception("the exporter %s could not be shut down", type(self._exporter).__name__)


def _temporality(settings: Settings) -> dict[type, AggregationTemporality]:
    """Return the preference by instrument (specification: OTLP metrics exporter, temporality preference)."""
    delta = AggregationTemporality.DELTA
    if settings.temporality == "delta":
        kinds: tuple[type, ...] = (metrics.Counter, metrics.Histogram, metrics.ObservableCounter)
        return dict.fromkeys(kinds, delta)
    if settings.temporality == "lowmemory":
        return {metrics.Counter: delta, metrics.Histogram: delta}
    return {}


def _aggregation(settings: Settings) -> dict[type, view.Aggregation]:
    if settings.histogram_aggregation == "base2_exponential_bucket_histogram":
        return {metrics.Histogram: view.ExponentialBucketHistogramAggregation()}
    return {}
