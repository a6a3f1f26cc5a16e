"""The metric reader behind the page."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics.export import MetricReader, MetricsData

_COLLECT_MILLIS = 10_000


class PageReader(MetricReader):
    """A metric reader without a thread, cumulative for all instruments: it returns what it collects."""

    def __init__(self) -> None:
        super().__init__()
        self._collected: MetricsData | None = None

    def read(self) -> MetricsData:
        """Collect all instruments; for one thread at a time."""
        self._collected = None
        self.collect(timeout_millis=_COLLECT_MILLIS)
        return self._collected or MetricsData(resource_metrics=[])

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        self._collected = metrics_data

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """There is nothing to stop: the page belongs to its generation."""
