"""`OTEL_LOGS_EXPORTER=logging`: log records of OpenTelemetry's API written to Python's logging, for development.

Records that come from Python's logging are there already and are left out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.trace import format_span_id, format_trace_id

from otelfork.exporters import Factory
from otelfork.logs.records import CORRELATION, PythonLogRecord
from otelfork.settings import Settings, SettingsError

_LEVELS = (logging.DEBUG, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_FALLBACK = "otelfork.records"


def factory(signal: str, settings: Settings) -> Factory:  # noqa: ARG001 - every exporter module has this signature
    """Return the factory of the exporter.

    Raises:
        SettingsError: it writes log records only.
    """
    if signal != "logs":
        raise SettingsError(
            f"OTEL_{signal.upper()}_EXPORTER", "logging", "console, for `logging` writes log records only"
        )
    return LoggingExporter


class LoggingExporter(LogRecordExporter):
    """Writes each record to the logger that has its scope's name, at its severity, with its attributes as JSON."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Write the records."""
        for record in batch:
            if not isinstance(record.log_record, PythonLogRecord):
                _write(record)
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is kept here."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return True


def _write(record: ReadableLogRecord) -> None:
    made = record.log_record
    scope = record.instrumentation_scope
    logger = logging.getLogger(scope.name if scope is not None and scope.name else _FALLBACK)
    number = made.severity_number.value if made.severity_number is not None else 0
    level = _LEVELS[min(5, max(0, number - 1) // 4)] if number else logging.INFO
    if not logger.isEnabledFor(level):
        return
    body = made.body if made.body is not None else made.event_name
    attributes = dict(made.attributes or {})
    text = f"{body} {json.dumps(attributes, default=str)}" if attributes else str(body)
    written = logger.makeRecord(logger.name, level, "", 0, text, (), None, func=None)
    ids = (format_trace_id(made.trace_id or 0), format_span_id(made.span_id or 0), bool(made.trace_flags))
    for name, value in zip(CORRELATION, ids, strict=False):
        setattr(written, name, value)
    logger.handle(written)
