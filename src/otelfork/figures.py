"""What this process's own telemetry lost, as metrics: read when metrics are collected, so that counting costs nothing.

Source: semantic conventions, OpenTelemetry SDK metrics (`otel.sdk.processor.span.processed` and its sibling for logs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

Totals = Callable[[], Mapping[tuple[str, str], int]]
"""Records lost so far by (signal, reason)."""

_NAMES = {
    "spans": ("otel.sdk.processor.span.processed", "{span}"),
    "logs": ("otel.sdk.processor.log.processed", "{log_record}"),
}
_COMPONENT = {"otel.component.type": "otelfork_outbox", "otel.component.name": "otelfork_outbox/0"}


def observe(meter: Meter, totals: Totals) -> None:
    """Make the counters; a reason that never came has no point."""
    for signal, (name, unit) in _NAMES.items():
        meter.create_observable_counter(
            name,
            callbacks=[_callback(signal, totals)],
            unit=unit,
            description="Records that were given up, by reason.",
        )


def _callback(signal: str, totals: Totals) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def lost(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(count, {**_COMPONENT, "error.type": reason})
            for (of, reason), count in totals().items()
            if of == signal
        ]

    return lost
