"""The console exporters of the SDK: spans, metric points and log records as JSON on standard output."""

from __future__ import annotations

from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from otelfork.exporters import Factory
from otelfork.settings import Settings

_CLASSES: dict[str, Factory] = {
    "traces": ConsoleSpanExporter,
    "metrics": ConsoleMetricExporter,
    "logs": ConsoleLogRecordExporter,
}


def factory(signal: str, settings: Settings) -> Factory:  # noqa: ARG001 - every exporter module has this signature
    """Return the factory of a signal's console exporter."""
    return _CLASSES[signal]
