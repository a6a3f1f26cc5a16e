"""Telemetry in memory, for the tests of applications and for our own.

    from otelfork.testing import capture

    def test_index():
        with capture() as telemetry:
            client.get("/")
        assert telemetry.span("GET /").attributes["http.response.status_code"] == 200

With pytest, `pytest_plugins = ["otelfork.testing"]` gives the fixture `otelfork_telemetry`, fresh for each test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otelfork import bootstrap, forks


class Captured:
    """What was recorded since `capture` began or `reset` was called."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._logs: Any = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self._reader = InMemoryMetricReader()

    def new_reader(self) -> InMemoryMetricReader:
        """Make the metric reader of one generation; a reader belongs to one provider for life."""
        self._reader = InMemoryMetricReader()
        return self._reader

    @property
    def span_processor(self) -> SimpleSpanProcessor:
        """A processor that captures spans."""
        return SimpleSpanProcessor(self._spans)

    @property
    def log_record_processor(self) -> SimpleLogRecordProcessor:
        """A processor that captures log records."""
        return SimpleLogRecordProcessor(self._logs)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The finished spans, in the order of their ends."""
        return self._spans.get_finished_spans()

    @property
    def logs(self) -> Sequence[Any]:
        """The log records, in order."""
        return cast(Sequence[Any], self._logs.get_finished_logs())

    def span(self, name: str) -> ReadableSpan:
        """Return the one finished span of that name.

        Raises:
            LookupError: there is none, or more than one; the message lists what there is.
        """
        found = [span for span in self.spans if span.name == name]
        if len(found) != 1:
            names = [span.name for span in self.spans]
            message = f"expected one span named {name!r}, found {len(found)}; all spans: {names}"
            raise LookupError(message)
        return found[0]

    def metrics(self) -> dict[str, Metric]:
        """Collect and return the metrics by name (cumulative since the capture began)."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> Sequence[Any]:
        """Collect and return the data points of a metric; empty where it has none."""
        metric = self.metrics().get(name)
        return () if metric is None else metric.data.data_points

    def reset(self) -> None:
        """Forget the spans and log records captured so far."""
        self._spans.clear()
        self._logs.clear()


@contextmanager
def capture(**configuration: Any) -> Iterator[Captured]:
    """Capture all telemetry of this process for the time of the block; nothing is sent anywhere.

    Tracers, instruments and middlewares made before or inside the block are captured alike. What was configured before is
    back in place afterwards, with a new generation.

    Args:
        configuration: arguments of `otelfork.configure`, except exporters and providers.
    """
    captured = Captured()
    with bootstrap.replaced():
        bootstrap.configure(
            exporters={"traces": [], "metrics": [], "logs": []},
            span_processors=[lambda: captured.span_processor, *configuration.pop("span_processors", ())],
            log_record_processors=[lambda: captured.log_record_processor],
            metric_readers=[captured.new_reader],
            **configuration,
        )
        forks.ensure()
        bootstrap.bind_observables()
        yield captured


def _fixture() -> Any:
    """Make the pytest fixture where pytest is installed; the module serves without it."""
    try:
        import pytest
    except ImportError:
        return None

    @pytest.fixture
    def otelfork_telemetry() -> Iterator[Captured]:
        """Telemetry in memory, fresh for each test."""
        with capture() as captured:
            yield captured

    return otelfork_telemetry


otelfork_telemetry = _fixture()
